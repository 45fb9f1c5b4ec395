// The control room of a stage: who is there, who is on air, what the audience sees.

import type * as api from './api'
import { copyOnClick, copyText, find, setStatus, setText } from './dom'
import { WhipcastPlayer } from './embed'
import { worst, type Examined } from './findings'
import { nameHere } from './player'
import { ask, Refusal, wordsOf } from './refusal'
import { pauseUnlessBack } from './retry'
import { SeatCard } from './seatcard'
import { sourceOf } from './source'
import { newsOf, titled } from './stagenews'
import { followStage, stageAPI } from './stageview'
import { authorization, keepToken, playlist, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { expose } from './figures'

const status = find('status', HTMLElement)
const program = find('program', WhipcastPlayer)
const cards = new Map<string, SeatCard>()
const never = new AbortController().signal
let view: api.StageView | undefined
let pressed: Element | null = null // when an order was refused

takeToken()
const stage = nameHere('Control room')
const title = document.title
const at = { gateway: '', stage }
expose(() => ({ seats: view?.seats.length ?? 0, picture: view?.program.picture ?? '', live: view?.program.live ?? false, program: program.state, way: program.way ?? '' }))
bindRefusal()
bindProgram()
bindSettings()
bindInvite()
bindKeys()
window.setInterval(() => cards.forEach((card) => card.move()), 100)
void run()
void examine()

async function run(): Promise<void> {
  for (;;) {
    while (!token()) await askForToken('One with the action admin for this stage.')
    try {
      const response = await ask(stageAPI(at), { headers: authorization(), cache: 'no-store' })
      open((await response.json()) as api.Stage)
      await followStage({ ...at, authorization: authorization() }, show, lost, never)
    } catch (error) {
      await refused(error)
    }
  }
}

/** What to do when the gateway says no: another token, a new stage, or patience. */
async function refused(error: unknown): Promise<void> {
  const refusal = error instanceof Refusal ? error : new Refusal(0, wordsOf(error), 0)
  find('room', HTMLElement).hidden = true
  if (refusal.status === 401 || refusal.status === 403) {
    setStatus(status, 'bad', 'Closed')
    keepToken('')
    return askForToken(wordsOf(refusal))
  }
  if (refusal.status === 404) {
    setStatus(status, 'idle', 'No stage')
    return makeStage()
  }
  setStatus(status, 'bad', wordsOf(refusal))
  await pauseUnlessBack(3, never)
}

function makeStage(): Promise<void> {
  const absent = find('absent', HTMLElement)
  absent.hidden = false
  return new Promise((resolve) => {
    find('make', HTMLButtonElement).onclick = async () => {
      if (!(await order('PUT', '', { admit: 'ask' }))) return
      absent.hidden = true
      resolve()
    }
  })
}

/** Shows the room, and the settings as the gateway has them. */
function open(now: api.Stage): void {
  find('room', HTMLElement).hidden = false
  find('admit', HTMLSelectElement).value = now.admit
  find('auto-cut', HTMLSelectElement).value = now.auto_cut
  find('hold', HTMLInputElement).value = String(now.hold)
  program.token = token()
  program.stream = stage
  show({ stage, seats: now.seats, program: now.program })
}

function show(now: api.StageView): void {
  const news = view ? newsOf(view.seats, now.seats) : []
  if (news.length > 0) setText(find('news', HTMLElement), news.join(' '))
  const name = titled(title, now.seats)
  if (document.title !== name) document.title = name
  view = now
  const seen = now.seats.find((one) => one.picture)
  const cutting = now.seats.find((one) => one.name === now.program.cutting)
  if (cutting) setStatus(status, 'wait', `Cutting to ${cutting.label}`)
  else if (seen) setStatus(status, now.program.live ? 'live' : 'wait', `On air: ${seen.label}`)
  else setStatus(status, 'idle', 'Nobody’s picture is on air')
  tell('program-error', 'program-error', now.program.error ?? now.program.rest ?? '')
  showSeats(now.seats)
}

function lost(why: Refusal): void {
  setStatus(status, 'bad', `${wordsOf(why)} Asking again.`)
}

function showSeats(seats: api.Seat[]): void {
  const list = find('seats', HTMLOListElement)
  find('nobody', HTMLElement).hidden = seats.length > 0
  let left = -1 // the place of a seat that is gone and had the keyboard
  for (const [name, card] of cards) {
    if (seats.some((one) => one.name === name)) continue
    if (card.element.contains(document.activeElement)) left = [...list.children].indexOf(card.element)
    card.element.remove()
    cards.delete(name)
  }
  seats.forEach((one, place) => {
    let card = cards.get(one.name)
    if (!card) {
      card = new SeatCard(stage, one, order)
      cards.set(one.name, card)
    }
    if (list.children[place] !== card.element) list.insertBefore(card.element, list.children[place] ?? null)
    card.show(one, place + 1)
  })
  if (left < 0) return
  // On its name, where another press does nothing.
  const next = cards.get(seats[Math.min(left, seats.length - 1)]?.name ?? '')
  if (next) next.focus()
  else find('seats-title', HTMLElement).focus()
}

/** Asks the gateway for a change of the stage. Answers what it says; undefined if it refuses, which is shown. */
async function order(method: string, rest: string, body?: object): Promise<unknown> {
  try {
    const response = await ask(stageAPI(at, rest), {
      method,
      headers: { ...authorization(), ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    })
    refuse('')
    return response.status === 204 ? {} : await response.json()
  } catch (error) {
    refuse(wordsOf(error))
    return undefined
  }
}

/** Why an order was refused: stays until one is not, or a person has read it. */
function refuse(words: string): void {
  if (words) pressed = document.activeElement
  tell('refusal', 'warning', words)
}

function tell(box: string, place: string, words: string): void {
  find(box, HTMLElement).hidden = words === ''
  setText(find(place, HTMLElement), words)
}

function bindRefusal(): void {
  find('dismiss', HTMLButtonElement).addEventListener('click', () => {
    refuse('')
    if (pressed instanceof HTMLElement && pressed.isConnected) pressed.focus()
    if (document.activeElement === document.body) find('seats-title', HTMLElement).focus()
  })
}

function bindProgram(): void {
  for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=way]')) {
    radio.addEventListener('change', () => {
      program.mode = radio.value === 'hls' ? 'hls' : 'whep'
    })
  }
  program.mode = 'whep'
  program.nofallback = true // a monitor shows the way that it is asked for
  copyOnClick(find('copy-watch', HTMLButtonElement), () => `${location.origin}/watch/${encodeURIComponent(stage)}`)
  copyOnClick(find('copy-hls', HTMLButtonElement), () => location.origin + playlist(stage))
  for (const id of ['copy-watch', 'copy-hls']) find(id, HTMLButtonElement).addEventListener('click', () => void tellWhetherOpen())
  find('copy-program', HTMLButtonElement).addEventListener('click', async () => {
    const { address, words } = await sourceOf(stage)
    setText(find('source', HTMLElement), (await copyText(address)) ? words : address)
  })
}

/** A link without a token is of no use to the audience where watching needs one. */
async function tellWhetherOpen(): Promise<void> {
  const response = await fetch(playlist(stage), { cache: 'no-store' }).catch(() => undefined)
  const closed = response?.status === 401 || response?.status === 403
  setText(find('source', HTMLElement), closed ? 'Watching needs a token here: who has this alone is not let in.' : '')
}

function bindSettings(): void {
  const form = find('settings', HTMLFormElement)
  form.addEventListener('submit', (event) => event.preventDefault())
  form.addEventListener('change', () => {
    if (!form.reportValidity()) return
    void order('PUT', '', {
      admit: find('admit', HTMLSelectElement).value,
      auto_cut: find('auto-cut', HTMLSelectElement).value,
      hold: Number(find('hold', HTMLInputElement).value),
    })
  })
}

function bindInvite(): void {
  const label = find('label', HTMLInputElement)
  const form = find('invite', HTMLFormElement)
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const wanted = { label: label.value.trim(), role: find('role', HTMLSelectElement).value, ttl: Number(find('ttl', HTMLSelectElement).value) }
    const made = (await order('POST', '/seats', wanted)) as api.Invitation | undefined
    if (!made) return
    form.reset()
    setText(find('invited', HTMLElement), `${made.seat.label} has a seat: copy the link there and send it.`)
    if (view && !view.seats.some((one) => one.name === made.seat.name)) show({ ...view, seats: [...view.seats, made.seat] })
    cards.get(made.seat.name)?.invited(made)
  })
}

/** Number keys cut, unless they are switched off, something is being typed or a key is held with others. */
function bindKeys(): void {
  const on = find('keys', HTMLInputElement)
  on.checked = localStorage.getItem('whipcast.keys') !== 'off'
  on.addEventListener('change', () => localStorage.setItem('whipcast.keys', on.checked ? 'on' : 'off'))
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !on.checked || find('room', HTMLElement).hidden) return
    if (event.target instanceof Element && event.target.closest('input:not([type=radio], [type=checkbox]), select, textarea')) return
    const seat = view?.seats[Number(event.key) - 1]
    if (!/^[1-9]$/.test(event.key) || !seat) return
    event.preventDefault()
    void cards.get(seat.name)?.cut()
  })
}

/** Asks every five seconds what is wrong with the seats' streams, and who watches the program. */
async function examine(): Promise<void> {
  for (;;) {
    await pauseUnlessBack(5, never)
    if (!view || !token() || document.visibilityState !== 'visible') continue
    const about = await streamOf(stage)
    const watching = about?.viewers
    setText(find('viewers', HTMLElement), watching ? `${watching.total} watch, ${watching.whep} of them in real time` : '')
    for (const one of view.seats.filter((seat) => seat.connected)) {
      const now = await streamOf(one.stream)
      cards.get(one.name)?.examined(worst((now?.layers ?? []) as Examined[]), now?.viewers?.whep ?? 0)
    }
  }
}

async function streamOf(name: string): Promise<api.Stream | undefined> {
  try {
    const response = await ask(`/v1/streams/${encodeURIComponent(name)}`, { headers: authorization(), cache: 'no-store' })
    return (await response.json()) as api.Stream
  } catch {
    return undefined // not live, or not reachable, which the status says
  }
}
