// The sending side without its looks: devices, preview and a WHIP session.

import { capture, inputs, type Choice } from '../capture'
import { Refusal, wordsOf } from '../refusal'
import type { Progress } from '../session'
import { publish } from '../whip'
import { authorizationOf, type Place } from './where'

/** What a publisher says of itself. */
export type PublisherState = 'idle' | 'ready' | 'connecting' | 'live' | 'interrupted' | 'reconnecting' | 'refused' | 'stopped'

export class Sending {
  state: PublisherState = 'idle'
  /** Why it is so, for a person; "" where nothing is wrong. */
  words = ''
  media: MediaStream | undefined
  choice: Choice
  bitrate = 2_500_000
  ladder = false
  /** Whether the picture keeps its size on a slow computer. */
  steady = false
  private muted = false
  private hidden = false
  private running: AbortController | undefined
  private finished: Promise<void> = Promise.resolve()
  private pc: RTCPeerConnection | undefined
  private meter: Meter | undefined

  /** told is called when anything of it changed. */
  constructor(private readonly told: () => void) {
    this.choice = { picture: 'camera', camera: '', microphone: '', width: 1280, height: 720, voice: true }
  }

  /** Takes the devices that are chosen. Answers whether it has got them. */
  async look(): Promise<boolean> {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      return this.fail('Browsers give camera and microphone only to secure pages: open this page by https://.')
    }
    const before = this.media
    if (!this.running) before?.getTracks().forEach((track) => track.stop()) // phones open one camera at a time
    let taken: MediaStream
    try {
      taken = await capture(this.choice)
    } catch (error) {
      return this.fail(wordsOf(error))
    }
    await this.use(taken)
    before?.getTracks().forEach((track) => track.stop())
    return true
  }

  /** Sends these tracks, now and from here on. */
  async use(media: MediaStream): Promise<void> {
    this.media = media
    for (const track of media.getTracks()) {
      track.addEventListener('ended', () => {
        if (this.media === media) this.fail('The device, or the sharing of the screen, has ended. Choose another one.')
      })
    }
    this.enable()
    this.meter?.close()
    this.meter = media.getAudioTracks().length > 0 ? new Meter(media) : undefined
    this.words = ''
    if (this.running) await this.swap(media)
    else this.state = 'ready'
    this.told()
  }

  /** Publishes until stop() is called. What is final is in state and words. */
  async start(place: Place): Promise<void> {
    if (this.running || (!this.media && !(await this.look()))) return
    const { media } = this
    if (!media || this.running) return
    const running = new AbortController()
    this.running = running
    const what = {
      endpoint: `${place.gateway}/whip/${encodeURIComponent(place.stream)}`,
      authorization: authorizationOf(place.token),
      media,
      bitrate: this.bitrate,
      ladder: this.ladder,
      stereo: !this.choice.voice,
      steady: this.steady,
    }
    this.say('connecting')
    this.finished = publish(what, (progress) => this.follow(progress), running.signal).then(
      () => this.say('stopped'),
      (error: unknown) => this.say('refused', wordsOf(error)),
    )
    await this.finished
    if (this.running === running) this.running = undefined
    this.pc = undefined
    this.told()
  }

  /** Ends the session; the devices stay open. */
  stop(): void {
    this.running?.abort()
    this.running = undefined
  }

  /** Ends the session and gives the devices back. */
  release(): void {
    this.stop()
    this.meter?.close()
    this.meter = undefined
    this.media?.getTracks().forEach((track) => track.stop())
    this.media = undefined
    this.state = 'idle'
    this.told()
  }

  get soundOff(): boolean {
    return this.muted
  }
  set soundOff(off: boolean) {
    this.muted = off
    this.enable()
    this.told()
  }

  get pictureOff(): boolean {
    return this.hidden
  }
  set pictureOff(off: boolean) {
    this.hidden = off
    this.enable()
    this.told()
  }

  /** How loud it is now, from 0 to 1. */
  level(): number {
    return this.meter?.level() ?? 0
  }

  /** Cameras and microphones as [id, name]. */
  devices(): ReturnType<typeof inputs> {
    return navigator.mediaDevices ? inputs() : Promise.resolve({ cameras: [], microphones: [] })
  }

  private enable(): void {
    for (const track of this.media?.getAudioTracks() ?? []) track.enabled = !this.muted
    for (const track of this.media?.getVideoTracks() ?? []) track.enabled = !this.hidden
  }

  /** Puts other tracks into the session; another set of kinds cannot be sent in it. */
  private async swap(media: MediaStream): Promise<void> {
    for (const sender of this.pc?.getSenders() ?? []) {
      const track = media.getTracks().find((one) => one.kind === sender.track?.kind)
      if (track) await sender.replaceTrack(track)
    }
  }

  private follow(progress: Progress): void {
    switch (progress.kind) {
      case 'connecting':
        return this.say(this.pc ? 'reconnecting' : 'connecting')
      case 'connected':
        this.pc = progress.session.pc
        return this.say('live')
      case 'interrupted':
        return this.say('interrupted')
      case 'waiting':
        return this.say('reconnecting', progress.why instanceof Refusal ? wordsOf(progress.why) : '')
    }
  }

  private fail(words: string): false {
    this.words = words
    this.told()
    return false
  }

  private say(state: PublisherState, words = ''): void {
    this.state = state
    this.words = words
    this.told()
  }
}

/** How loud a microphone is. */
class Meter {
  private readonly context = new AudioContext()
  private readonly analyser = this.context.createAnalyser()
  private readonly samples: Float32Array<ArrayBuffer>

  constructor(media: MediaStream) {
    this.analyser.fftSize = 1024
    this.samples = new Float32Array(this.analyser.fftSize)
    this.context.createMediaStreamSource(new MediaStream(media.getAudioTracks())).connect(this.analyser)
  }

  level(): number {
    if (this.context.state === 'suspended') void this.context.resume()
    this.analyser.getFloatTimeDomainData(this.samples)
    return Math.min(1, Math.sqrt(this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)))
  }

  close(): void {
    void this.context.close()
  }
}
