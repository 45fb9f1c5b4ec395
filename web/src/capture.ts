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

/** Takes what was chosen. Throws an Error that says what to do. */
export async function capture(choice: Choice): Promise<MediaStream> {
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
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: sound })
  if (shared.getAudioTracks().length === 0) return new MediaStream([...shared.getVideoTracks(), ...microphone.getTracks()])
  const context = new AudioContext({ sampleRate: 48_000 })
  const mix = context.createMediaStreamDestination()
  for (const one of [shared, microphone]) context.createMediaStreamSource(one).connect(mix)
  const mixed = mix.stream.getAudioTracks()
  mixed[0]?.addEventListener('ended', () => void context.close())
  return new MediaStream([...shared.getVideoTracks(), ...mixed])
}

function reason(error: unknown): string {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return 'the browser does not let this page use it: allow it in the address bar, then press “Show preview” or “Start”'
    case 'NotFoundError':
      return 'no such camera or microphone is plugged in: choose another one, or “None”'
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
