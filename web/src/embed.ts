// Whipcast in any page: <whipcast-player>, <whipcast-publisher>, <whipcast-seat>.
// One module without dependencies, served at /embed.js and published as
// whipcast-embed. See docs/embedding.md.

import { WhipcastPlayer } from './embed/player-element'
import { WhipcastPublisher } from './embed/publisher-element'
import { WhipcastSeat } from './embed/seat-element'

export { WhipcastPlayer, WhipcastPublisher, WhipcastSeat }
export type { Mode, PlayerMessageDetail, PlayerState, PlayerStateDetail, PlayerStats, Way } from './embed/player-element'
export type { PublisherState, PublisherStateDetail } from './embed/publisher-element'
export type { SeatState, SeatStateDetail } from './embed/seat-element'

function define(name: string, type: CustomElementConstructor): void {
  // Two modules of different versions in one page: the first one stays.
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, type)
}

define('whipcast-player', WhipcastPlayer)
define('whipcast-publisher', WhipcastPublisher)
define('whipcast-seat', WhipcastSeat)

declare global {
  interface HTMLElementTagNameMap {
    'whipcast-player': WhipcastPlayer
    'whipcast-publisher': WhipcastPublisher
    'whipcast-seat': WhipcastSeat
  }
}
