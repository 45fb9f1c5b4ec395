// <whipcast-seat>: a guest's seat on a stage. One is seen and heard, and sees and
// hears the others, never oneself.

import type * as api from '../api'
import { Refusal, wordsOf } from '../refusal'
import { followStage } from '../stageview'
import { button, flag, piece, shadowOf, Whipcast } from './element'
import { devicesOf, type Devices } from './devices'
import { WhipcastPlayer } from './player-element'
import { press } from './publisher-element'
import { Sending } from './sending'
import { screen as screenStyle, seat as seatStyle, sending as sendingStyle, shared } from './styles'
import { authorizationOf, seatOf, type Place } from './where'

/** Where a guest is. */
export type SeatState = 'idle' | 'check' | 'joining' | 'waiting' | 'backstage' | 'on_air' | 'left' | 'removed'

/** What `whipcast-state` tells of a seat. */
export interface SeatStateDetail {
  state: SeatState
  /** Whether the audience sees this seat now. */
  picture: boolean
  /** Whether the host has taken the sound out of the program. */
  muted: boolean
  /** The name that people see. */
  label: string
  /** Why something does not work, for a person; "" where nothing is wrong. */
  words: string
}

const lights: Record<SeatState, string> = {
  idle: '',
  check: 'Not joined',
  joining: 'Joining',
  waiting: 'Waiting room',
  backstage: 'Backstage',
  on_air: 'On air',
  left: 'You have left',
  removed: 'This seat is gone',
}

/** What a state means, in a sentence. */
export function explained(now: Pick<SeatStateDetail, 'state' | 'picture' | 'muted'>): string {
  switch (now.state) {
    case 'check':
      return 'See whether camera and microphone are right, then join.'
    case 'joining':
      return 'One moment.'
    case 'waiting':
      return 'The host sees you and will let you in. The others neither see nor hear you yet.'
    case 'backstage':
      return 'You and the others see and hear each other. The audience does not.'
    case 'on_air':
      if (now.muted) return `The host has muted you: the audience does not hear you${now.picture ? ', but sees you' : ''}.`
      return now.picture ? 'The audience sees and hears you.' : 'The audience hears you.'
    case 'left':
      return 'Nobody sees or hears you any more. The seat stays yours.'
    case 'removed':
      return 'The host has taken it back, or the invitation is over. Ask for a new link.'
    default:
      return ''
  }
}

export class WhipcastSeat extends Whipcast {
  static readonly observedAttributes = ['src', 'gateway', 'stream', 'token', 'autojoin', 'muted', 'bitrate', 'size', 'ladder']
  protected readonly restarts = ['src', 'gateway', 'stream', 'token']
  #sending = new Sending(() => this.#show())
  #devices: Devices
  #parts: ReturnType<typeof build>
  #place: Place | undefined
  #following: AbortController | undefined
  #view: api.StageView | undefined
  #joined = false
  #state: SeatState = 'idle'
  #trouble = ''
  #said = ''
  #timer: ReturnType<typeof setInterval> | undefined

  constructor() {
    super()
    this.#devices = devicesOf(this.#sending, () => {
      this.#remember()
      void this.#sending.look()
    })
    this.#parts = build(this, this.#devices)
    this.#sending.steady = true
  }

  /** Joins without being asked; browsers still ask for the devices. */
  get autojoin(): boolean {
    return this.hasAttribute('autojoin')
  }
  set autojoin(on: boolean) {
    flag(this, 'autojoin', on)
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

  get state(): SeatState {
    return this.#state
  }

  /** What this seat sees of its stage; undefined before the gateway has told. */
  get view(): api.StageView | undefined {
    return this.#view
  }

  /** What is sent. Set it to send tracks of your own. */
  get media(): MediaStream | undefined {
    return this.#sending.media
  }
  set media(media: MediaStream | undefined) {
    if (media) void this.#sending.use(media)
    else this.#sending.release()
  }

  /** Asks for camera and microphone, and shows the picture. Answers whether they are there. */
  async preview(): Promise<boolean> {
    const got = await this.#sending.look()
    await this.#devices.list()
    return got
  }

  /** Takes the seat: publishes, and plays the others. */
  async join(): Promise<void> {
    const place = this.#place
    if (!place || this.#joined || this.#state === 'removed') return
    this.#joined = true
    this.#show()
    const ready = this.#sending.media !== undefined || (await this.preview())
    if (this.#place !== place || !this.#joined) return // removed or left while the browser asked
    if (!ready) {
      this.#joined = false
      return this.#show()
    }
    this.#remember()
    this.#show()
    await this.#sending.start(place)
    if (this.#sending.state !== 'refused' || this.#place !== place) return
    this.#joined = false
    this.#remember()
    this.#show()
  }

  /** Gives the devices back, and leaves. join() takes the seat again. */
  leave(): void {
    this.#joined = false
    this.#remember()
    this.#sending.release()
    this.#state = 'left'
    this.#show()
  }

  protected begin(): void {
    this.#following?.abort()
    this.#joined = false
    this.#sending.stop()
    this.#view = undefined
    this.#trouble = ''
    this.#state = 'check'
    this.changed('size')
    this.changed('ladder')
    this.changed('muted')
    this.#timer ??= setInterval(() => this.#devices.move(), 100)
    this.#devices.watch()
    try {
      this.#place = this.place()
      const seat = seatOf(this.#place.stream)
      if (!seat) throw new Error(`“${this.#place.stream}” is no seat: its name is that of the stage, a dot, and that of the seat`)
      const following = new AbortController()
      this.#following = following
      void this.#follow(this.#place, seat.stage, following.signal)
      void this.#resume()
    } catch (error) {
      this.#place = undefined
      this.#gone(wordsOf(error))
    }
    this.#show()
  }

  protected end(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#devices.unwatch()
    this.#following?.abort()
    this.#joined = false
    this.#sending.release()
    this.#parts.clear()
    this.#state = 'idle'
  }

  protected changed(name: string): void {
    if (name === 'muted' && this.#sending.soundOff !== this.muted) this.#sending.soundOff = this.muted
    if (name === 'ladder') this.#sending.ladder = this.hasAttribute('ladder')
    if (name === 'size' || name === 'bitrate') {
      const [width, height] = (this.getAttribute('size') ?? '').split('x').map(Number)
      if (width && height) Object.assign(this.#sending.choice, { width, height })
      this.#sending.bitrate = Number(this.getAttribute('bitrate')) || 2_500_000
    }
  }

  async #follow(place: Place, stage: string, signal: AbortSignal): Promise<void> {
    const at = { gateway: place.gateway, stage, authorization: authorizationOf(place.token) }
    const show = (view: api.StageView) => {
      if (this.#view?.me && !view.me) return this.#gone('')
      const own = view.seats.find((one) => one.stream === place.stream) // who administers the stage may sit there, too
      this.#view = own ? { ...view, me: own } : view
      this.#trouble = ''
      this.#show()
    }
    const lost = (why: Refusal) => {
      this.#trouble = `${wordsOf(why)} Trying again.`
      this.#show()
    }
    try {
      await followStage(at, show, lost, signal)
    } catch (error) {
      // What the gateway says of tokens is for who makes them.
      if (!signal.aborted) this.#gone(error instanceof Refusal && error.status > 400 ? '' : wordsOf(error))
    }
  }

  #gone(words: string): void {
    this.#joined = false
    this.#remember()
    this.#following?.abort()
    this.#sending.release()
    this.#parts.clear()
    this.#state = 'removed'
    this.#trouble = words
    this.#show()
  }

  /** Who reloads the page is back in the seat, with the same devices. */
  async #resume(): Promise<void> {
    const kept = this.#kept()
    if (kept) Object.assign(this.#sending.choice, kept)
    if (kept || this.autojoin) return this.join()
    if (await permitted()) await this.preview()
  }

  get #key(): string {
    return `whipcast.joined ${this.#place?.gateway} ${this.#place?.stream}`
  }

  #kept(): object | undefined {
    try {
      const text = sessionStorage.getItem(this.#key)
      return text === null ? undefined : (JSON.parse(text) as object)
    } catch {
      return undefined // no storage here, or none of ours
    }
  }

  #remember(): void {
    try {
      const { picture, camera, microphone } = this.#sending.choice
      if (this.#joined) sessionStorage.setItem(this.#key, JSON.stringify({ picture, camera, microphone }))
      else sessionStorage.removeItem(this.#key)
    } catch {
      // no storage here: a reload asks again
    }
  }

  #show(): void {
    if (!this.#parts) return
    const me = this.#view?.me
    if (this.#joined) {
      // The last word of a gateway that cannot be reached may be out of date.
      const there = me?.state === 'waiting' || me?.state === 'backstage' || me?.state === 'on_air'
      this.#state = there && this.#sending.state === 'live' ? (me.state as SeatState) : 'joining'
    } else if (this.#state !== 'left' && this.#state !== 'removed' && this.#state !== 'idle') {
      this.#state = 'check'
    }
    const connection = { interrupted: 'The connection is lost. Healing it.', reconnecting: 'Reconnecting.' } as Partial<Record<string, string>>
    const detail: SeatStateDetail = {
      state: this.#state,
      picture: me?.picture ?? false,
      muted: me?.muted ?? false,
      label: me?.label ?? '',
      words: [this.#sending.words || (this.#joined && connection[this.#sending.state]), this.#trouble].filter(Boolean).join(' '),
    }
    this.#parts.show(detail, { sending: this.#sending, joined: this.#joined, view: this.#view, place: this.#place })
    const now = JSON.stringify(detail)
    if (now === this.#said) return
    this.#said = now
    this.emit('state', detail)
  }
}

async function permitted(): Promise<boolean> {
  try {
    const asked = ['camera', 'microphone'].map((name) => navigator.permissions.query({ name: name as PermissionName }))
    return (await Promise.all(asked)).every((one) => one.state === 'granted')
  } catch {
    return false // some browsers do not tell
  }
}

interface Tile {
  element: HTMLElement
  player: WhipcastPlayer
  name: HTMLElement
}

interface Inside {
  sending: Sending
  joined: boolean
  view: api.StageView | undefined
  place: Place | undefined
}

function build(seat: WhipcastSeat, devices: Devices) {
  const root = shadowOf(seat, shared, screenStyle, sendingStyle, seatStyle)
  const heading = piece('h2', 'heading')
  const light = piece('p', 'light')
  const meaning = piece('p', 'meaning')
  const status = piece('div', 'status', light, meaning)
  status.setAttribute('role', 'status')
  const words = piece('p', 'words')
  words.setAttribute('role', 'alert')

  const video = document.createElement('video')
  Object.assign(video, { muted: true, autoplay: true, playsInline: true })
  video.className = 'front mirror'
  video.setAttribute('part', 'video')
  video.setAttribute('aria-label', 'Preview of what you send')
  const look = button('preview', 'Check camera and microphone', () => {
    void seat.preview().then((got) => got && join.focus()) // the pressed button goes away
  })
  look.classList.add('primary')
  const title = piece('p', 'title')
  const cover = piece('div', 'cover', title, look)
  const mine = piece('figure', 'tile', piece('div', 'screen', video, cover, piece('figcaption', 'badge', 'You')))
  mine.part.add('self')
  const tiles = piece('div', 'tiles', mine)

  const join: HTMLButtonElement = button('join', 'Join', () => {
    void seat.join()
    if (!mute.hidden) mute.focus()
    else leave.focus()
  })
  join.classList.add('primary')
  const mute: HTMLButtonElement = button('mute', 'Mute', () => (seat.muted = !seat.muted))
  const hide = button('camera', 'Camera off', () => (seat.pictureOff = !seat.pictureOff))
  const leave = button('leave', 'Leave', () => {
    seat.leave()
    join.focus()
  })
  const bar = piece('div', 'bar', join, mute, hide, leave)
  bar.setAttribute('role', 'group')
  bar.setAttribute('aria-label', 'Your seat')
  const panel = piece('div', 'panel', devices.meter, devices.form, bar)
  root.append(piece('div', 'head', heading, status), words, tiles, panel)

  const others = new Map<string, Tile>()
  const clear = () => {
    for (const { element } of others.values()) element.remove()
    others.clear()
  }

  const follow = (inside: Inside) => {
    const wanted = inside.joined && inside.place ? seen(inside.view, inside.place.stream) : []
    for (const [name, tile] of others) {
      if (wanted.some((one) => one.name === name)) continue
      tile.element.remove()
      others.delete(name)
    }
    for (const one of wanted) {
      const tile = others.get(one.name) ?? tileOf(one, inside.place as Place)
      if (!others.has(one.name)) {
        others.set(one.name, tile)
        tiles.append(tile.element)
      }
      const state = one.state === 'on_air' ? ' · on air' : ''
      if (tile.name.textContent !== one.label + state) tile.name.textContent = one.label + state
      tile.element.classList.toggle('speaking', one.speaking)
    }
  }

  const show = (now: SeatStateDetail, inside: Inside) => {
    const { sending } = inside
    const focused = root.activeElement // what is hidden gives it away
    const set = (element: HTMLElement, text: string) => {
      if (element.textContent !== text) element.textContent = text
    }
    set(heading, inside.view?.stage ?? (inside.place && seatOf(inside.place.stream)?.stage) ?? '')
    set(light, lights[now.state])
    set(meaning, `${now.label && now.state === 'check' ? `You join as ${now.label}. ` : ''}${explained(now)}`)
    status.dataset['state'] = now.state
    status.classList.toggle('picture', now.state === 'on_air' && now.picture)
    set(words, now.words)
    words.hidden = now.words === ''
    if (video.srcObject !== (sending.media ?? null)) video.srcObject = sending.media ?? null
    const pictured = (sending.media?.getVideoTracks().length ?? 0) > 0
    cover.hidden = pictured && !sending.pictureOff
    look.hidden = sending.media !== undefined
    set(title, sending.pictureOff && pictured ? 'Your camera is off' : sending.media ? 'Sound only' : '')
    const gone = now.state === 'removed'
    mine.hidden = gone
    panel.hidden = gone
    devices.meter.hidden = !sending.media
    devices.form.hidden = !sending.media && !sending.words // what does not work can be left out
    join.hidden = inside.joined
    set(join, now.state === 'left' ? 'Join again' : 'Join')
    leave.hidden = !inside.joined
    mute.hidden = hide.hidden = !sending.media
    hide.disabled = !pictured
    press(mute, sending.soundOff, 'Muted: nobody hears you', 'Mute')
    press(hide, sending.pictureOff, 'Camera is off', 'Camera off')
    if (focused instanceof HTMLElement && focused.hidden) (inside.joined ? leave : join).focus()
    follow(inside)
  }
  return { show, clear }
}

/** Whom a seat plays: all that it may and that are there, never itself. */
export function seen(view: api.StageView | undefined, own: string): api.Seat[] {
  return (view?.seats ?? []).filter((one) => one.connected && one.stream !== own && one.name !== view?.me?.name)
}

function tileOf(one: api.Seat, place: Place): Tile {
  const player = new WhipcastPlayer()
  Object.assign(player, { gateway: place.gateway, stream: one.stream, token: place.token, mode: 'whep', nofallback: true })
  player.setAttribute('part', 'player')
  const name = piece('figcaption', 'badge')
  return { element: piece('figure', 'tile', player, name), player, name }
}
