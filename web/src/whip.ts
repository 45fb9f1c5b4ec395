// The publishing side of WHIP (RFC 9725).

import { keep, Session, type Progress } from './session'
import { backoff } from './retry'
import type { Refusal } from './refusal'
import { withParameters } from './sdp'

/** What to publish, and where. */
export interface Publication {
  endpoint: string
  authorization: Record<string, string>
  media: MediaStream
  /** Bits per second that the picture may take. */
  bitrate: number
  /** Two channels and more bits for sound: for music, not for a voice. */
  stereo: boolean
}

/** Publishes until the signal is raised. Throws the refusal that is final. */
export function publish(what: Publication, report: (progress: Progress) => void, signal: AbortSignal): Promise<void> {
  return keep({ open: (stop) => open(what, stop), again, patience: 12, report }, signal)
}

async function open(what: Publication, signal: AbortSignal): Promise<Session> {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
  try {
    for (const track of what.media.getTracks()) {
      const transceiver = pc.addTransceiver(track, { direction: 'sendonly', streams: [what.media] })
      if (track.kind !== 'video') continue
      const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? []
      const wanted = preferred(codecs)
      if (wanted.length > 0) transceiver.setCodecPreferences(wanted)
    }
    const sound = what.stereo ? 'stereo=1;sprop-stereo=1;maxaveragebitrate=128000' : 'useinbandfec=1'
    // Chrome would begin at 300 kb/s and climb for half a minute.
    const start = `x-google-start-bitrate=${Math.round(what.bitrate / 2000)}`
    const session = await Session.open(pc, what.endpoint, what.authorization, signal, {
      answer: (sdp) => withParameters(withParameters(sdp, 'opus', sound), 'H264', start),
    })
    await limitBitrate(pc, what.bitrate)
    return session
  } catch (error) {
    pc.close()
    throw error
  }
}

/**
 * The codecs to offer: H.264 first, because every HLS player shows it. VP8 is
 * left out, since HLS cannot carry it; repair formats stay.
 */
export function preferred<C extends { mimeType: string }>(codecs: readonly C[]): C[] {
  const order = ['video/h264', 'video/vp9', 'video/av1', 'video/h265']
  const rank = (codec: C) => order.indexOf(codec.mimeType.toLowerCase())
  const media = codecs.filter((codec) => rank(codec) >= 0).sort((a, b) => rank(a) - rank(b))
  const repair = codecs.filter((codec) => /^video\/(rtx|red|ulpfec|flexfec)/i.test(codec.mimeType))
  return media.length > 0 ? [...media, ...repair] : []
}

/** Sets the most that the picture may take, also while live. */
export async function limitBitrate(pc: RTCPeerConnection, bitrate: number): Promise<void> {
  for (const sender of pc.getSenders()) {
    if (sender.track?.kind !== 'video') continue
    const parameters = sender.getParameters()
    for (const encoding of parameters.encodings) encoding.maxBitrate = bitrate
    await sender.setParameters(parameters)
  }
}

// Who is refused for what it is or sends will be refused again; all else may
// pass: an overload, a restart of the gateway, a lost network.
function again(refusal: Refusal, attempt: number): number | undefined {
  if (refusal.status >= 400 && refusal.status < 500 && refusal.status !== 408 && refusal.status !== 429) return undefined
  return Math.max(refusal.retryAfter, backoff(attempt, 0.5, 15))
}
