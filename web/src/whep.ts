// The playing side of WHEP (draft-ietf-wish-whep).

import { called } from './calls'
import { Doors } from './doors'
import { keep, Session, type Progress } from './session'
import { backoff } from './retry'
import type { Refusal } from './refusal'
import { withParameters } from './sdp'

/** What to play, and who gets it. */
export interface Reception {
  endpoint: string
  authorization: Record<string, string>
  show(media: MediaStream): void
  /** Labels of data channels to open; none without. */
  channels?: readonly string[]
  /** Hears what comes by a channel. */
  hear?(label: string, message: string | ArrayBuffer): void
}

/** Plays until the signal is raised. Throws the refusal that is final. */
export function receive(what: Reception, report: (progress: Progress) => void, signal: AbortSignal): Promise<void> {
  const doors = new Doors(what.endpoint)
  const begin = async (stop: AbortSignal) => {
    const session = await open({ ...what, endpoint: doors.here }, stop)
    doors.moved(session.door)
    void called(session, what.authorization, stop).then((door) => {
      if (door === undefined) return
      doors.moved(door)
      report({ kind: 'ending' })
      session.close() // another one is opened then
    })
    return session
  }
  return keep({ open: begin, again: (why, attempt) => doors.refused(why, again(why, attempt)), patience: 10, report }, signal)
}

async function open(what: Reception, signal: AbortSignal): Promise<Session> {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
  const media = new MediaStream()
  pc.addEventListener('track', (event) => {
    media.addTrack(event.track)
    what.show(media)
  })
  try {
    for (const kind of ['video', 'audio']) hurry(pc.addTransceiver(kind, { direction: 'recvonly' }).receiver)
    for (const label of what.channels ?? []) {
      const channel = pc.createDataChannel(label)
      channel.binaryType = 'arraybuffer'
      channel.addEventListener('message', (event: MessageEvent<string | ArrayBuffer>) => what.hear?.(label, event.data))
    }
    return await Session.open(pc, what.endpoint, what.authorization, signal, {
      // Chrome plays two channels only if it asked for them (RFC 7587 §7).
      offer: (sdp) => withParameters(sdp, 'opus', 'stereo=1'),
    })
  } catch (error) {
    pc.close()
    throw error
  }
}

// A seat is for talking: as little buffer as the network allows. In both
// tracks, or else one would wait for the other.
function hurry(receiver: RTCRtpReceiver): void {
  if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0
}

/**
 * 409 means "known, but nobody publishes": ask again soon, at first after
 * what the gateway names. 404 may become a stream later: ask on, every ten
 * seconds. 401, 403 and an offer that does not fit will not change by asking.
 */
export function again(refusal: Refusal, attempt: number, chance: () => number = Math.random): number | undefined {
  const { status, retryAfter } = refusal
  if (status === 404) return backoff(attempt, 2, 10, chance)
  if (status === 409) return backoff(attempt, retryAfter || 1, 30, chance)
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) return undefined
  return Math.max(retryAfter, backoff(attempt, 0.5, 30, chance))
}
