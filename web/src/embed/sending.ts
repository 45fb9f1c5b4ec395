// The sending side without its looks: devices, preview and a WHIP session.

import { inputs, take, type Choice } from '../capture'
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
  /** Of the session that runs; another set of kinds needs another one. */
  private round: AbortController | undefined
  private looking: { what: string; got: Promise<boolean> } | undefined
  private looks = 0
  /** Counts releases: devices that come after one are given back. */
  private life = 0
  /** Counts starts and stops: a start that waits for devices is void after another one. */
  private turn = 0
  /** The start that waits for devices; 0 if none does. */
  private waiting = 0
  private pc: RTCPeerConnection | undefined
  private meter: Meter | undefined

  /** told is called when anything of it changed. */
  constructor(private readonly told: () => void) {
    this.choice = { picture: 'camera', camera: '', microphone: '', width: 1280, height: 720, voice: true }
  }

  /** Takes the devices that are chosen. Answers whether it has got them. */
  look(): Promise<boolean> {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      return Promise.resolve(this.fail('Browsers give camera and microphone only to secure pages: open this page by https://.'))
    }
    const what = JSON.stringify(this.choice)
    if (this.looking?.what === what) return this.looking.got
    const turn = ++this.looks
    const got = this.take(this.life, () => this.looks === turn).finally(() => {
      if (this.looks === turn) this.looking = undefined
    })
    this.looking = { what, got }
    return got
  }

  /** newest tells whether nothing else was chosen meanwhile. */
  private async take(life: number, newest: () => boolean): Promise<boolean> {
    const before = this.media
    if (before && !this.running) {
      before.getTracks().forEach((track) => track.stop()) // phones open one camera at a time
      this.media = undefined
      this.state = 'idle'
    }
    let taken: Awaited<ReturnType<typeof take>>
    try {
      taken = await take(this.choice)
    } catch (error) {
      return life === this.life && newest() && this.fail(wordsOf(error))
    }
    if (life !== this.life || !newest()) {
      taken.media.getTracks().forEach((track) => track.stop())
      return life === this.life && (this.looking?.got ?? false)
    }
    // What is gone is forgotten; a kind of which there is none now may come.
    this.choice.camera = taken.choice.camera
    if (taken.choice.microphone !== 'none') this.choice.microphone = taken.choice.microphone
    await this.use(taken.media)
    before?.getTracks().forEach((track) => track.stop())
    if (taken.words) this.fail(wordsOf(taken.words))
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
    if (this.running) return
    const turn = ++this.turn
    this.waiting = turn
    const got = this.media !== undefined || (await this.look())
    if (turn !== this.turn) return
    this.waiting = 0
    if (!got || !this.media) return
    const running = new AbortController()
    this.running = running
    const current = () => this.running === running
    for (let again = true; again && current(); ) {
      const round = new AbortController()
      this.round = round
      this.say('connecting')
      const said = (state: PublisherState, words = '') => {
        if (current()) this.say(state, words)
      }
      await publish(this.publication(place, this.media), (progress) => current() && this.follow(progress), round.signal).catch((error: unknown) =>
        said('refused', wordsOf(error)),
      )
      if (current()) this.pc = undefined
      again = round.signal.aborted
    }
    if (!current()) return // stopped, and perhaps started anew
    this.running = undefined
    this.told()
  }

  private publication(place: Place, media: MediaStream) {
    return {
      endpoint: `${place.gateway}/whip/${encodeURIComponent(place.stream)}`,
      authorization: authorizationOf(place.token),
      media,
      bitrate: this.bitrate,
      ladder: this.ladder,
      stereo: !this.choice.voice,
      steady: this.steady,
    }
  }

  /** Ends the session; the devices stay open. */
  stop(): void {
    if (this.cut()) this.say('stopped')
  }

  /** Ends the session without a word, for another one that follows. Answers whether there was one. */
  cut(): boolean {
    const waited = this.waiting > 0
    this.turn++
    this.waiting = 0
    if (!this.running) return waited
    this.running = undefined
    this.pc = undefined
    this.round?.abort()
    return true
  }

  /** Ends the session and gives the devices back. */
  release(): void {
    this.stop()
    this.life++
    this.looking = undefined
    this.meter?.close()
    this.meter = undefined
    this.media?.getTracks().forEach((track) => track.stop())
    this.media = undefined
    this.state = 'idle'
    this.words = ''
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

  /** Puts other tracks into the session; another set of kinds needs another session. */
  private async swap(media: MediaStream): Promise<void> {
    const senders = this.pc?.getSenders() ?? []
    const kinds = (tracks: (MediaStreamTrack | null)[]) => tracks.map((one) => one?.kind).sort().join()
    if (kinds(senders.map((one) => one.track)) !== kinds(media.getTracks())) return this.round?.abort()
    for (const sender of senders) {
      await sender.replaceTrack(media.getTracks().find((one) => one.kind === sender.track?.kind) ?? null)
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
