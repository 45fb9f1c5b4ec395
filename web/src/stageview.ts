// What a stage looks like now, as the gateway tells it at each change.

import type * as api from './api'
import { ask, Refusal } from './refusal'
import { backoff, pauseUnlessBack } from './retry'
import { eventsOf } from './sse'

/** Where a stage is, and who asks. */
export interface StageAddress {
  /** "" for the gateway that this page is from. */
  gateway: string
  stage: string
  authorization: Record<string, string>
}

/** The address of the API of a stage, with more after it. */
export function stageAPI(at: Pick<StageAddress, 'gateway' | 'stage'>, rest = ''): string {
  return `${at.gateway}/v1/stages/${encodeURIComponent(at.stage)}${rest}`
}

/** Seconds without a word, after which the line is given up: the gateway sends something more often. */
const silence = 45

/**
 * Shows the stage now and at each change, until the signal is raised. lost is called
 * when the gateway is not heard, until it is again. Throws the refusal that is final:
 * the seat, or the stage, is gone.
 */
export async function followStage(
  at: StageAddress,
  show: (view: api.StageView) => void,
  lost: (why: Refusal) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    const line = new AbortController()
    const hangUp = () => line.abort()
    signal.addEventListener('abort', hangUp)
    let timer = setTimeout(hangUp, silence * 1000)
    const heard = () => {
      clearTimeout(timer)
      timer = setTimeout(hangUp, silence * 1000)
    }
    try {
      const response = await ask(stageAPI(at, '/events'), { headers: at.authorization, cache: 'no-store', signal: line.signal })
      for await (const event of eventsOf(response, heard)) {
        if (event.type !== 'stage') continue
        failures = 0
        show(JSON.parse(event.data) as api.StageView)
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof Refusal && isFinal(error)) throw error
      lost(error instanceof Refusal ? error : new Refusal(0, 'the gateway cannot be reached', 0))
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', hangUp)
    }
    await pauseUnlessBack(backoff(failures++, 0.5, 15), signal)
  }
}

/** Whether asking again will not help. */
export function isFinal(refusal: Refusal): boolean {
  return [400, 401, 403, 404, 410].includes(refusal.status)
}
