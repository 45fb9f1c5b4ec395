// A guest's seat on a stage, from the link that the host has sent.

import { WhipcastSeat } from './embed'
import { find } from './dom'
import { expose } from './figures'
import { nameHere } from './player'
import { takeToken, token } from './token'
import { askForToken } from './tokenform'

takeToken()
const name = nameHere('Seat')
const seat = find('seat', WhipcastSeat)
expose(() => ({ state: seat.state, connected: seat.view?.me?.connected ?? false, others: seat.view?.seats.length ?? 0 }))
seat.addEventListener('whipcast-state', () => {
  document.title = `${seat.state === 'on_air' ? '● ' : ''}${name} – Seat`
})
void run()

async function run(): Promise<void> {
  while (!token()) await askForToken('Open the link that the host has sent, or put its token here.')
  seat.hidden = false
  // The audience has the sizes of who has the picture. Three encoders need more than two processors.
  seat.toggleAttribute('ladder', navigator.hardwareConcurrency >= 4)
  seat.token = token()
  seat.stream = name
}
