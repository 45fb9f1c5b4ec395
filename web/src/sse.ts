// Server-sent events over fetch: EventSource cannot send a token in a header.

/** One event. */
export interface ServerEvent {
  /** "message" where none is named. */
  type: string
  data: string
}

/** Takes text as it comes, in any pieces, and gives whole events (HTML standard §9.2.6). */
export class EventReader {
  private rest = ''
  private type = ''
  private lines: string[] = []

  read(text: string): ServerEvent[] {
    const all: ServerEvent[] = []
    // A CR at the end may be half of a line's end.
    const held = (this.rest + text).match(/^([\s\S]*?)(\r?)$/)
    const lines = (held?.[1] ?? '').split(/\r\n|\r|\n/)
    this.rest = (lines.pop() ?? '') + (held?.[2] ?? '')
    for (const line of lines) {
      const event = this.line(line)
      if (event) all.push(event)
    }
    return all
  }

  private line(line: string): ServerEvent | undefined {
    if (line === '') {
      const event = { type: this.type || 'message', data: this.lines.join('\n') }
      const some = this.lines.length > 0
      this.type = ''
      this.lines = []
      return some ? event : undefined
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
    if (field === 'event') this.type = value ?? ''
    if (field === 'data') this.lines.push(value ?? '')
    return undefined
  }
}

/** Gives the events of a response until it ends. heard is called for anything that comes, comments too. */
export async function* eventsOf(response: Response, heard: () => void): AsyncGenerator<ServerEvent> {
  const reader = new EventReader()
  const body = response.body?.getReader()
  const text = new TextDecoder()
  if (!body) return
  try {
    for (;;) {
      const { done, value } = await body.read()
      if (done) return
      heard()
      yield* reader.read(text.decode(value, { stream: true }))
    }
  } finally {
    await body.cancel().catch(() => undefined)
  }
}
