// Whipcast in any page: <whipcast-player>, <whipcast-publisher>, <whipcast-seat>.
// One module without dependencies, served at /embed.js and published as
// whipcast-embed. See docs/embedding.md.

import { WhipcastPlayer } from './embed/player-element'

export { WhipcastPlayer }
export type { Mode, PlayerState, PlayerStateDetail, PlayerStats, Way } from './embed/player-element'

function define(name: string, type: CustomElementConstructor): void {
  // Two modules of different versions in one page: the first one stays.
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, type)
}

define('whipcast-player', WhipcastPlayer)

declare global {
  interface HTMLElementTagNameMap {
    'whipcast-player': WhipcastPlayer
  }
}
