// Tells the gateway every ten seconds how late the picture is, for the
// operator's metrics. It says nothing of who watches.

import { authorization } from './token'

/** What there is to tell. */
export interface Figures {
  /** Program date-time of what is on the screen: the gateway's clock, not ours. */
  playing: Date | null
  /** Seconds loaded ahead. */
  buffer: number
  /** Stalls so far. */
  stalls: number
}

/** Milliseconds between two reports. */
export const every = 10_000
// Where the gateway's API is not reachable, as behind some caches, it is left alone.
const patience = 3

/** Reports what `look` returns, while it returns something. */
export function reportTo(path: string, look: () => Figures | undefined): void {
  const reporter = new Reporter(path, (body) =>
    fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...authorization() },
      body,
      keepalive: true,
    }),
  )
  // Viewers who come together do not report together.
  window.setTimeout(
    () => {
      void reporter.tell(look())
      window.setInterval(() => void reporter.tell(look()), every)
    },
    every * (0.3 + 0.7 * Math.random()),
  )
}

/** Keeps what was told already. */
export class Reporter {
  private stalls = 0
  private failures = 0

  constructor(
    readonly path: string,
    private readonly send: (body: string) => Promise<{ ok: boolean }>,
  ) {}

  async tell(now: Figures | undefined): Promise<void> {
    if (!now?.playing || this.failures >= patience) return
    const stalls = now.stalls - this.stalls
    try {
      const response = await this.send(
        JSON.stringify({ playing: now.playing.getTime(), buffer: Math.round(now.buffer * 10) / 10, stalls }),
      )
      if (!response.ok) throw new Error('refused')
      this.failures = 0
      this.stalls += stalls
    } catch {
      this.failures++
    }
  }
}
