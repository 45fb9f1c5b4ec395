// How a gateway calls its viewers elsewhere (docs/whep.md#events).

import { ask } from './refusal'
import { pause } from './retry'
import type { Session } from './session'
import { eventsOf } from './sse'

const relation = 'urn:ietf:params:whep:ext:core:server-sent-events'

/** Milliseconds between two looks at what arrives. */
const look = 400

/**
 * How many players of a page may listen at once: without HTTP/2 a browser has six connections to a
 * gateway for all that a page does. The others listen when one of them does not any more.
 */
const most = 2
let listening = 0

/**
 * Waits until the gateway calls for another session, and answers where: "" is where this one is; undefined when
 * this one is over. It calls when nothing comes any more, and says it again to who asks then:
 * so it is asked only while nothing comes.
 */
export async function called(session: Session, authorization: Record<string, string>, signal: AbortSignal): Promise<string | undefined> {
  const events = session.linked(relation)
  const { pc } = session
  const over = () => signal.aborted || pc.connectionState === 'closed'
  while (events) {
    await silence(pc, 1 + Math.random(), over) // many viewers do not ask in one moment
    if (over()) return undefined
    if (listening >= most) continue
    const line = new AbortController()
    listening++
    void sign(pc, () => over() || line.signal.aborted).then(() => line.abort())
    try {
      const where = await call(events, authorization, line.signal)
      if (where !== undefined) return where
    } catch {
      // It comes again, the gateway cannot be reached, or knows this session no more, which the connection will show.
    } finally {
      listening--
      line.abort()
    }
    await pause(1, signal)
  }
  return undefined
}

async function call(events: string, authorization: Record<string, string>, signal: AbortSignal): Promise<string | undefined> {
  const response = await ask(events, { headers: authorization, cache: 'no-store', signal })
  for await (const event of eventsOf(response, () => undefined)) {
    if (event.type === 'reconnect') return String((JSON.parse(event.data) as { url?: unknown }).url ?? '')
  }
  return undefined
}

/** Waits until nothing was shown or heard for so many seconds. */
async function silence(pc: RTCPeerConnection, seconds: number, over: () => boolean): Promise<void> {
  const arrived = arrivals(pc)
  for (let still = 0; still < seconds && !over(); ) {
    await sleep()
    still = arrived() ? 0 : still + look / 1000
  }
}

/** Waits until something is shown or heard. */
async function sign(pc: RTCPeerConnection, over: () => boolean): Promise<void> {
  const arrived = arrivals(pc)
  while (!over() && !arrived()) await sleep()
}

/** Tells whether something was shown or heard since it was asked last. */
function arrivals(pc: RTCPeerConnection): () => boolean {
  const last = new Map<number, number>()
  const news = () => {
    let any = false
    // Forgotten by the browser after ten seconds, which is no arrival.
    for (const { source, rtpTimestamp } of pc.getReceivers().flatMap((one) => one.getSynchronizationSources())) {
      any ||= last.get(source) !== rtpTimestamp
      last.set(source, rtpTimestamp)
    }
    return any
  }
  news()
  return news
}

function sleep(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, look))
}
