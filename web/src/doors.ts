// Which gateway to ask for a session: one that is emptied sends on to another one
// (docs/operations.md#restart-upgrade-drain), and may be gone the next time.

import type { Refusal } from './refusal'
import { backoff } from './retry'

/** Seconds after a move in which a stream is expected where it is not yet. */
const arrival = 20

/** The addresses of one endpoint, at all gateways that it was found at. */
export class Doors {
  private readonly known: string[]
  private at = 0
  private movedAt = -Infinity

  /** endpoint is the first door, which stays known. now tells seconds. */
  constructor(
    endpoint: string,
    private readonly now: () => number = () => performance.now() / 1000,
  ) {
    this.known = [absolute(endpoint)]
  }

  /** The door to ask now. */
  get here(): string {
    return this.known[this.at] ?? ''
  }

  /** A session is at this door, or is to be: a redirect led there, or an event names it. */
  moved(door: string): void {
    if (door === this.here || !/^https?:/.test(door)) return
    const before = this.known.indexOf(door)
    // The first one, and the newest: who was sent on twice need not know the one between.
    if (before < 0) this.known.splice(1, 1, door)
    this.at = before < 0 ? 1 : before
    this.movedAt = this.now()
  }

  /**
   * Takes a refusal here to the other door, if there is one. wait is in how many seconds to ask again if there
   * is none, undefined: never; answers the same with what is known of doors.
   */
  refused(refusal: Refusal, wait: number | undefined): number | undefined {
    if (wait === undefined) {
      if (this.at === 0 || ![401, 403].includes(refusal.status)) return undefined
      // It does not know us: what the first one says counts.
      this.known.length = 1
      this.at = 0
      return backoff(0, 2, 2)
    }
    if (this.known.length < 2) return wait
    // Publishers and viewers are sent on one by one: the publisher may be on its way.
    const early = [404, 409].includes(refusal.status) && this.now() - this.movedAt < arrival
    if (!early) this.at = (this.at + 1) % this.known.length
    return early ? Math.min(wait, 1) : wait
  }
}

function absolute(address: string): string {
  return new URL(address, globalThis.location?.href).href
}
