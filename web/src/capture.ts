// Camera, microphone and screen, and why they cannot be had.

/** What the person chose. */
export interface Choice {
  /** camera, screen or none */
  picture: string
  /** A device, or "" for any. */
  camera: string
  /** A device, "" for any, or "none". */
  microphone: string
  width: number
  height: number
  /** Let the browser take echo and noise out of a voice. */
  voice: boolean
}

/** What is plugged in, as the browser lists it. */
export type Plugged = Pick<MediaDeviceInfo, 'kind' | 'deviceId'>[]

/**
 * The choice as far as it can be had: without a device that is gone, and without a kind
 * of which there is none. words say what is left out.
 */
export function feasible(choice: Choice, plugged: Plugged): { choice: Choice; words: string } {
  const made = { ...choice }
  const lost: string[] = []
  if (!plugged.some(({ kind }) => kind.endsWith('input'))) return { choice: made, words: '' } // the browser does not tell
  const ids = (kind: string) => plugged.filter((one) => one.kind === kind).map((one) => one.deviceId)
  const settle = (kind: string, name: 'camera' | 'microphone', none: () => void) => {
    const all = ids(kind)
    // Without permission devices have no names: what was chosen may be among them.
    if (made[name] && made[name] !== 'none' && all.length > 0 && all.every((id) => id && id !== made[name])) {
      made[name] = ''
      lost.push(`the ${name} that was chosen is gone: another one is used`)
    }
    if (all.length === 0) {
      none()
      lost.push(`no ${name} is plugged in`)
    }
  }
  if (made.picture === 'camera') settle('videoinput', 'camera', () => Object.assign(made, { picture: 'none', camera: '' }))
  if (made.microphone !== 'none') settle('audioinput', 'microphone', () => (made.microphone = 'none'))
  return { choice: made, words: lost.join(', ') }
}

/** Takes what was chosen, as far as it is there. Throws an Error that says what to do. */
export async function take(choice: Choice): Promise<{ media: MediaStream; choice: Choice; words: string }> {
  const settled = feasible(choice, await navigator.mediaDevices.enumerateDevices().catch(() => []))
  if (settled.choice.picture === 'none' && settled.choice.microphone === 'none' && settled.words) {
    throw new Error(`${settled.words}: plug one in, or choose a picture to send`)
  }
  return { ...settled, media: await capture(settled.choice) }
}

/** Takes what was chosen. Throws an Error that says what to do. */
async function capture(choice: Choice): Promise<MediaStream> {
  const sound = choice.microphone !== 'none' && soundOf(choice)
  const size = { width: { ideal: choice.width }, height: { ideal: choice.height }, frameRate: { ideal: 30 } }
  try {
    if (choice.picture === 'screen') return await screen(size, sound)
    if (choice.picture === 'none' && !sound) throw new Error('choose a picture or a microphone: nothing is left to send')
    const picture = choice.picture === 'camera' && { ...size, ...(choice.camera && { deviceId: { exact: choice.camera } }) }
    return await navigator.mediaDevices.getUserMedia({ video: picture, audio: sound })
  } catch (error) {
    throw new Error(reason(error))
  }
}

function soundOf(choice: Choice): MediaTrackConstraints {
  return {
    ...(choice.microphone && { deviceId: { exact: choice.microphone } }),
    echoCancellation: choice.voice,
    noiseSuppression: choice.voice,
    autoGainControl: choice.voice,
    ...(!choice.voice && { channelCount: { ideal: 2 } }),
  }
}

/** The screen, with its own sound and the microphone's mixed into one track. */
async function screen(size: MediaTrackConstraints, sound: MediaTrackConstraints | false): Promise<MediaStream> {
  const shared = await navigator.mediaDevices.getDisplayMedia({ video: size, audio: true })
  for (const track of shared.getVideoTracks()) track.contentHint = 'detail'
  if (!sound) return shared
  let microphone: MediaStream
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: sound })
  } catch (error) {
    shared.getTracks().forEach((track) => track.stop())
    throw error
  }
  if (shared.getAudioTracks().length === 0) return new MediaStream([...shared.getVideoTracks(), ...microphone.getTracks()])
  const context = new AudioContext({ sampleRate: 48_000 })
  const mix = context.createMediaStreamDestination()
  for (const one of [shared, microphone]) context.createMediaStreamSource(one).connect(mix)
  const mixed = mix.stream.getAudioTracks()
  for (const track of mixed) {
    // Whoever stops the mix stops what is in it; no event tells of that.
    track.stop = () => {
      MediaStreamTrack.prototype.stop.call(track)
      for (const one of [...shared.getAudioTracks(), ...microphone.getTracks()]) one.stop()
      if (context.state !== 'closed') void context.close()
    }
  }
  return new MediaStream([...shared.getVideoTracks(), ...mixed])
}

function reason(error: unknown): string {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return 'the browser does not let this page use camera or microphone: allow it in the address bar, then try again'
    case 'NotFoundError':
      return 'no such camera or microphone is plugged in: choose another one, or none'
    case 'NotReadableError':
      return 'another program uses the camera or microphone: close it there, then try again'
    case 'OverconstrainedError':
      return 'the chosen device is gone: choose another one'
    default:
      return error instanceof Error ? error.message : String(error)
  }
}

/** Cameras and microphones as [id, name]; without permission they have no names and are left out. */
export async function inputs(): Promise<{ cameras: [string, string][]; microphones: [string, string][] }> {
  const devices = await navigator.mediaDevices.enumerateDevices()
  const named = (kind: string): [string, string][] =>
    devices.filter((one) => one.kind === kind && one.deviceId && one.label).map((one) => [one.deviceId, one.label])
  return { cameras: named('videoinput'), microphones: named('audioinput') }
}
