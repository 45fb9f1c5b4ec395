// <whipcast-publisher>: camera and microphone to a stream, by WHIP.

import { wordsOf } from '../refusal'
import { button, flag, piece, shadowOf, Whipcast } from './element'
import { devicesOf, type Devices } from './devices'
import { Sending, type PublisherState } from './sending'
import { screen as screenStyle, sending as sendingStyle, shared } from './styles'

export type { PublisherState }

/** What `whipcast-state` tells of a publisher. */
export interface PublisherStateDetail {
  state: PublisherState
  /** Why it is so, for a person; "" where nothing is wrong. */
  words: string
}

const stateWords: Record<PublisherState, string> = {
  idle: 'Not publishing',
  ready: 'Ready',
  connecting: 'Connecting',
  live: 'Live',
  interrupted: 'Connection lost, healing it',
  reconnecting: 'Reconnecting',
  refused: 'Refused',
  stopped: 'Stopped',
}

export class WhipcastPublisher extends Whipcast {
  static readonly observedAttributes = ['src', 'gateway', 'stream', 'token', 'controls', 'muted', 'bitrate', 'size', 'ladder']
  protected readonly restarts = ['src', 'gateway', 'stream', 'token']
  #sending = new Sending(() => this.#show())
  #devices: Devices
  #parts: ReturnType<typeof build>
  #said = ''
  #timer: ReturnType<typeof setInterval> | undefined

  constructor() {
    super()
    this.#devices = devicesOf(this.#sending, () => void this.#sending.look())
    this.#parts = build(this, this.#devices)
  }

  get controls(): boolean {
    return this.hasAttribute('controls')
  }
  set controls(on: boolean) {
    flag(this, 'controls', on)
  }

  /** Sends no sound. */
  get muted(): boolean {
    return this.hasAttribute('muted')
  }
  set muted(on: boolean) {
    flag(this, 'muted', on)
  }

  /** Sends a black picture. */
  get pictureOff(): boolean {
    return this.#sending.pictureOff
  }
  set pictureOff(off: boolean) {
    this.#sending.pictureOff = off
  }

  get state(): PublisherState {
    return this.#sending.state
  }

  /** What is sent. Set it to send tracks of your own, such as those of a canvas. */
  get media(): MediaStream | undefined {
    return this.#sending.media
  }
  set media(media: MediaStream | undefined) {
    if (media) void this.#sending.use(media)
    else this.#sending.release()
  }

  /** How loud the microphone is now, from 0 to 1. */
  get level(): number {
    return this.#sending.level()
  }

  /** Asks for camera and microphone, and shows the picture. Answers whether they are there. */
  preview(): Promise<boolean> {
    return this.#sending.look()
  }

  /** Publishes, until stop() is called or the gateway refuses. */
  async start(): Promise<void> {
    try {
      await this.#sending.start(this.place())
    } catch (error) {
      this.#sending.state = 'refused'
      this.#sending.words = wordsOf(error)
      this.#show()
    }
  }

  stop(): void {
    this.#sending.stop()
  }

  protected begin(): void {
    const live = this.#sending.cut()
    for (const name of ['bitrate', 'size', 'ladder', 'muted']) this.changed(name)
    this.#timer ??= setInterval(() => this.#devices.move(), 100)
    this.#devices.watch()
    if (live) void this.start()
    this.#show()
  }

  protected end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#devices.unwatch()
    this.#sending.release()
  }

  protected changed(name: string): void {
    const [width, height] = (this.getAttribute('size') ?? '').split('x').map(Number)
    switch (name) {
      case 'bitrate':
        this.#sending.bitrate = Number(this.getAttribute('bitrate')) || 2_500_000
        break
      case 'size':
        if (width && height) Object.assign(this.#sending.choice, { width, height })
        break
      case 'ladder':
        this.#sending.ladder = this.hasAttribute('ladder')
        break
      case 'muted':
        if (this.#sending.soundOff !== this.muted) this.#sending.soundOff = this.muted
    }
    this.#show()
  }

  #show(): void {
    this.#parts?.show(this, this.#sending)
    const { state, words } = this.#sending
    if (this.#said === state + words) return
    this.#said = state + words
    if (this.#sending.media) void this.#devices.list()
    const detail: PublisherStateDetail = { state, words }
    this.emit('state', detail)
  }
}

function build(publisher: WhipcastPublisher, devices: Devices) {
  const root = shadowOf(publisher, shared, screenStyle, sendingStyle)
  const video = document.createElement('video')
  Object.assign(video, { muted: true, autoplay: true, playsInline: true })
  video.className = 'front mirror'
  video.setAttribute('part', 'video')
  video.setAttribute('aria-label', 'Preview of what you send')
  const badge = piece('p', 'badge')
  badge.setAttribute('role', 'status')
  const look = button('preview', 'Show preview', () => void publisher.preview())
  look.classList.add('primary')
  const title = piece('p', 'title', 'No picture yet')
  const cover = piece('div', 'cover', title, look)
  const words = piece('p', 'words')
  words.setAttribute('role', 'alert')
  const running = () => !['idle', 'ready', 'stopped', 'refused'].includes(publisher.state)
  const go = button('go', 'Start', () => (running() ? publisher.stop() : void publisher.start()))
  const mute = button('mute', 'Mute', () => (publisher.muted = !publisher.muted))
  const hide = button('camera', 'Camera off', () => (publisher.pictureOff = !publisher.pictureOff))
  go.classList.add('primary')
  const bar = piece('div', 'bar', go, mute, hide)
  bar.setAttribute('role', 'group')
  bar.setAttribute('aria-label', 'Publisher')
  root.append(piece('div', 'screen', video, cover, badge), words, piece('div', 'panel', devices.meter, devices.form, bar))
  const panel = root.querySelector('.panel') as HTMLElement

  const show = (element: WhipcastPublisher, sending: Sending) => {
    const { media } = sending
    if (video.srcObject !== (media ?? null)) video.srcObject = media ?? null
    video.classList.toggle('mirror', sending.choice.picture === 'camera')
    cover.hidden = (media?.getVideoTracks().length ?? 0) > 0
    look.hidden = media !== undefined || !element.controls
    title.textContent = media ? 'Sound only' : 'No picture yet'
    badge.textContent = stateWords[sending.state]
    badge.dataset['state'] = sending.state
    words.textContent = sending.words
    words.hidden = sending.words === ''
    panel.hidden = !element.controls
    go.textContent = running() ? 'Stop' : 'Start'
    press(mute, sending.soundOff, 'Muted', 'Mute')
    press(hide, sending.pictureOff, 'Camera is off', 'Camera off')
  }
  return { show }
}

/** A button that stays pressed, and says so. */
export function press(made: HTMLButtonElement, on: boolean, pressed: string, plain: string): void {
  made.setAttribute('aria-pressed', String(on))
  const words = on ? pressed : plain
  if (made.textContent !== words) made.textContent = words
}
