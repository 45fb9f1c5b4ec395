// Messages come by both ways, and by HLS some seconds later: after a change of way
// one that was told already comes again.

/** Seconds after which the same words are another message. */
const memory = 30

export class Heard {
  private readonly recent: { way: string; what: string; at: number }[] = []

  /** Whether a message that comes by a way at a time, in seconds, is to be told. */
  isNew(way: string, label: string, content: string | ArrayBuffer, now: number): boolean {
    while (this.recent[0] && now - this.recent[0].at > memory) this.recent.shift()
    const what = said(label, content)
    if (this.recent.some((one) => one.way !== way && one.what === what)) return false
    this.recent.push({ way, what, at: now })
    return true
  }
}

/** Seconds by which the place of one message may differ between renditions. */
const near = 0.05

/** How many messages are kept in mind. */
const most = 256

/** A message at a moment of the media, in seconds. */
export interface Note {
  at: number
  label: string
  content: string | ArrayBuffer
}

/**
 * Messages that wait for their moment. Each rendition carries them all, and a part may
 * be loaded twice: what is of one moment and says the same is one message.
 */
export class Notes {
  private readonly known: { at: number; what: string }[] = []
  private waiting: Note[] = []

  add(note: Note): void {
    const what = said(note.label, note.content)
    if (this.known.some((one) => one.what === what && Math.abs(one.at - note.at) < near)) return
    if (this.known.push({ at: note.at, what }) > most) this.known.shift()
    const after = this.waiting.findIndex((one) => one.at > note.at)
    this.waiting.splice(after < 0 ? this.waiting.length : after, 0, note)
    if (this.waiting.length > most) this.waiting.shift()
  }

  /** Takes the messages whose moment has come, oldest first. */
  due(now: number): Note[] {
    const first = this.waiting.findIndex((one) => one.at > now)
    return this.waiting.splice(0, first < 0 ? this.waiting.length : first)
  }
}

/** Seconds by which HLS may be behind WHEP. */
const behind = 10

/**
 * Messages that came by WHEP while its picture was not seen. HLS, which is seconds behind, has not
 * told the last of them when WHEP takes its place.
 */
export class Early {
  private kept: Note[] = []

  /** at and now are seconds of one clock. */
  keep(note: Note): void {
    this.kept.push(note)
    if (this.kept.length > most) this.kept.shift()
  }

  /** Takes those that are to be told when WHEP is seen, oldest first. */
  take(now: number): Note[] {
    const all = this.kept
    this.kept = []
    return all.filter((one) => now - one.at < behind)
  }
}

function said(label: string, content: string | ArrayBuffer): string {
  return `${label} ${typeof content === 'string' ? content : String(new Uint8Array(content))}`
}
