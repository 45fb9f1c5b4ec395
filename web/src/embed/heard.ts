// Messages come by both ways, and by HLS some seconds later: after a change of way
// one that was told already comes again.

import type { Way } from './choose'

/** Seconds after which the same words are another message. */
const memory = 30

export class Heard {
  private readonly recent: { way: Way; what: string; at: number }[] = []

  /** Whether a message that comes by a way at a time, in seconds, is to be told. */
  isNew(way: Way, label: string, content: string | ArrayBuffer, now: number): boolean {
    while (this.recent[0] && now - this.recent[0].at > memory) this.recent.shift()
    const what = `${label} ${typeof content === 'string' ? content : String(new Uint8Array(content))}`
    if (this.recent.some((one) => one.way !== way && one.what === what)) return false
    this.recent.push({ way, what, at: now })
    return true
  }
}
