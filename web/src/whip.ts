// The publishing side of WHIP (RFC 9725).

import { Doors } from './doors'
import { keep, Session, type Progress } from './session'
import { backoff } from './retry'
import type { Refusal } from './refusal'
import { withParameters } from './sdp'

/** What to publish, and where. */
export interface Publication {
  endpoint: string
  authorization: Record<string, string>
  media: MediaStream
  /** Bits per second that the picture, of a ladder the biggest one, may take. */
  bitrate: number
  /** Send the picture in three sizes at once (simulcast, RFC 8853). */
  ladder: boolean
  /** Two channels and more bits for sound: for music, not for a voice. */
  stereo: boolean
  /** On a slow computer fewer pictures rather than smaller ones: what is cut into a show should keep its size. */
  steady?: boolean
}

/** Publishes until the signal is raised. Throws the refusal that is final. */
export function publish(what: Publication, report: (progress: Progress) => void, signal: AbortSignal): Promise<void> {
  const doors = new Doors(what.endpoint)
  const begin = async (stop: AbortSignal) => {
    const session = await open({ ...what, endpoint: doors.here }, stop)
    doors.moved(session.door)
    return session
  }
  return keep({ open: begin, again: (why, attempt) => doors.refused(why, again(why, attempt)), patience: 12, single: true, report }, signal)
}

/**
 * The sizes of a ladder, the smallest first: browsers give bits to the first ones
 * first, so that a weak uplink costs the biggest picture. share is of its bitrate.
 */
const rungs = [
  { rid: 'q', scale: 4, share: 0.08 },
  { rid: 'h', scale: 2, share: 0.3 },
  { rid: 'f', scale: 1, share: 1 },
]

/**
 * What to send of a picture track. One temporal layer each: HLS has no use for
 * more, and VP9 and AV1 would put all sizes into one stream otherwise.
 */
export function encodings(bitrate: number): (RTCRtpEncodingParameters & { scalabilityMode: string })[] {
  return rungs.map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(bitrate * share),
    scalabilityMode: 'L1T1',
  }))
}

/** What a browser's estimate begins with, bits per second: enough for every size of a ladder at once. */
export function startBitrate(bitrate: number, ladder: boolean): number {
  const below = ladder ? rungs.filter((rung) => rung.scale > 1).reduce((sum, rung) => sum + rung.share, 0) : 0
  return Math.round(bitrate * (below + 0.5))
}

async function open(what: Publication, signal: AbortSignal): Promise<Session> {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' })
  try {
    for (const track of what.media.getTracks()) {
      const transceiver = pc.addTransceiver(track, {
        direction: 'sendonly',
        streams: [what.media],
        ...(what.ladder && track.kind === 'video' && { sendEncodings: encodings(what.bitrate) }),
      })
      tellCaptureTime(transceiver)
      if (track.kind !== 'video') continue
      const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? []
      const wanted = preferred(codecs)
      if (wanted.length > 0) transceiver.setCodecPreferences(wanted)
    }
    const sound = what.stereo ? 'stereo=1;sprop-stereo=1;maxaveragebitrate=128000' : 'useinbandfec=1'
    // Chrome would begin at 300 kb/s and climb for half a minute.
    const start = `x-google-start-bitrate=${Math.round(startBitrate(what.bitrate, what.ladder) / 1000)}`
    const session = await Session.open(pc, what.endpoint, what.authorization, signal, {
      answer: (sdp) => withParameters(withParameters(sdp, 'opus', sound), 'H264', start),
    })
    await limitBitrate(pc, what.bitrate)
    if (what.steady) await keepSize(pc)
    return session
  } catch (error) {
    pc.close()
    throw error
  }
}

const captureTime = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time'

interface HeaderExtension {
  uri: string
  direction: RTCRtpTransceiverDirection
}

/** What TypeScript does not know yet (WebRTC Extensions §5.2). */
interface Negotiable {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[]
  setHeaderExtensionsToNegotiate?(all: HeaderExtension[]): void
}

/** Offers to tell when media was captured, which Chrome does only when asked to. */
export function tellCaptureTime(sender: object): void {
  const transceiver: Negotiable = sender
  const all = transceiver.getHeaderExtensionsToNegotiate?.() ?? []
  if (!all.some((one) => one.uri === captureTime)) return
  try {
    transceiver.setHeaderExtensionsToNegotiate?.(all.map((one) => (one.uri === captureTime ? { ...one, direction: 'sendrecv' } : one)))
  } catch {
    // Sender reports tell nearly the same.
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

/** Sets the most that the picture, of a ladder the biggest one, may take, also while live. */
export async function limitBitrate(pc: RTCPeerConnection, bitrate: number): Promise<void> {
  for (const sender of pc.getSenders()) {
    if (sender.track?.kind !== 'video') continue
    const parameters = sender.getParameters()
    for (const encoding of parameters.encodings) {
      const rung = rungs.find((one) => one.rid === encoding.rid)
      encoding.maxBitrate = Math.round(bitrate * (rung?.share ?? 1))
    }
    await sender.setParameters(parameters)
  }
}

async function keepSize(pc: RTCPeerConnection): Promise<void> {
  for (const sender of pc.getSenders()) {
    if (sender.track?.kind !== 'video') continue
    const parameters: RTCRtpSendParameters & { degradationPreference?: string } = sender.getParameters()
    parameters.degradationPreference = 'maintain-resolution'
    await sender.setParameters(parameters).catch(() => undefined) // a wish: not all browsers know it
  }
}

// Who is refused for what it is or sends will be refused again; all else may
// pass: an overload, a restart of the gateway, a lost network.
function again(refusal: Refusal, attempt: number): number | undefined {
  if (refusal.status >= 400 && refusal.status < 500 && refusal.status !== 408 && refusal.status !== 429) return undefined
  return Math.max(refusal.retryAfter, backoff(attempt, 0.5, 15))
}
