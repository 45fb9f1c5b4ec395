// When to try again.

/**
 * Seconds to wait before attempt n (0, 1, …): doubles from first, at most
 * cap, with ±20 % of chance so that a thousand viewers do not come back at
 * once (WHEP §4.3.8).
 */
export function backoff(n: number, first: number, cap: number, chance: () => number = Math.random): number {
  const plain = Math.min(cap, first * 2 ** Math.min(n, 16))
  return plain * (0.8 + 0.4 * chance())
}

/** Waits; ends early, without error, when the signal is raised. */
export function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, seconds * 1000)
    signal.addEventListener('abort', done)
  })
}

/**
 * Like pause, but also ends when the person comes back to the page or the
 * network returns: who looks at it should not wait out a long pause.
 */
export async function pauseUnlessBack(seconds: number, signal: AbortSignal): Promise<void> {
  const early = new AbortController()
  const end = () => early.abort()
  const seen = () => {
    if (document.visibilityState === 'visible') end()
  }
  signal.addEventListener('abort', end)
  window.addEventListener('online', end)
  document.addEventListener('visibilitychange', seen)
  await pause(seconds, early.signal)
  signal.removeEventListener('abort', end)
  window.removeEventListener('online', end)
  document.removeEventListener('visibilitychange', seen)
}
