// <whipcast-player>: plays a stream, by WHEP or low-latency HLS, whichever works.

import { viewerWords, wordsOf } from '../refusal'
import type { Mode, PlayerState, Way } from './choose'
import { Deck } from './deck'
import { button, flag, home, piece, shadowOf, Whipcast } from './element'
import type { Load } from './hlsfeed'
import { Playing } from './playing'
import { player as playerStyle, screen as screenStyle, shared } from './styles'

export type { Mode, PlayerState, Way }

/** What `whipcast-state` tells of a player. */
export interface PlayerStateDetail {
  state: PlayerState
  /** The way of the picture that is seen; undefined before there was one. */
  way: Way | undefined
  /** For a person; "" while it plays. */
  words: string
}

/** What `whipcast-message` tells: text or bytes. */
export interface PlayerMessageDetail {
  label: string
  text?: string
  bytes?: ArrayBuffer
}

/** Figures of a player; NaN where unknown. */
export interface PlayerStats {
  state: PlayerState
  way: Way | undefined
  /** Seconds behind what happens. */
  latency: number
  width: number
  height: number
  currentTime: number
  /** How often the way was changed. */
  switches: number
}

/** Imports hls.js from the gateway, which no bundler may look for; a module that failed to load is asked for by another address. */
const load: Load = async (gateway, attempt) => {
  const module = (await import(/* webpackIgnore: true */ /* @vite-ignore */ `${gateway}/embed-hls.js${attempt ? `?${attempt}` : ''}`)) as {
    default: Awaited<ReturnType<Load>>
  }
  return module.default
}

const titles: Record<PlayerState, string> = {
  idle: '',
  connecting: 'Connecting',
  playing: '',
  waiting: 'Nothing is live now',
  stalled: 'The connection is lost',
  unreachable: 'The gateway does not answer',
  refused: 'The gateway refuses this',
  paused: 'Paused',
}

export class WhipcastPlayer extends Whipcast {
  static readonly observedAttributes = ['src', 'gateway', 'stream', 'token', 'mode', 'nofallback', 'messages', 'muted', 'volume', 'controls', 'clean']
  protected readonly restarts = ['src', 'gateway', 'stream', 'token', 'mode', 'nofallback', 'messages']
  #playing: Playing | undefined
  #deck: Deck
  #state: PlayerState = 'idle'
  #words = ''
  #way: Way | undefined
  #switches = 0
  #of = ''
  #parts: ReturnType<typeof build>

  constructor() {
    super()
    this.#parts = build(this)
    this.#deck = new Deck(this.#parts.screen, () => this.#show())
    this.#parts.bind(this, this.#deck)
  }

  /** auto, whep or hls: which way comes first. */
  get mode(): Mode {
    const mode = this.getAttribute('mode')
    return mode === 'whep' || mode === 'hls' ? mode : 'auto'
  }
  set mode(mode: Mode) {
    this.setAttribute('mode', mode)
  }

  /** Keeps to the first way. */
  get nofallback(): boolean {
    return this.hasAttribute('nofallback')
  }
  set nofallback(on: boolean) {
    flag(this, 'nofallback', on)
  }

  /** Labels of the messages that are heard, at most three, with commas between. */
  get messages(): string {
    return this.getAttribute('messages') ?? ''
  }
  set messages(labels: string) {
    this.setAttribute('messages', labels)
  }

  get muted(): boolean {
    return this.hasAttribute('muted')
  }
  set muted(on: boolean) {
    flag(this, 'muted', on)
  }

  /** From 0 to 1. */
  get volume(): number {
    return this.#deck.volume
  }
  set volume(volume: number) {
    this.#deck.volume = volume
  }

  get controls(): boolean {
    return this.hasAttribute('controls')
  }
  set controls(on: boolean) {
    flag(this, 'controls', on)
  }

  /** No words, no ground: only the picture, as for OBS. */
  get clean(): boolean {
    return this.hasAttribute('clean')
  }
  set clean(on: boolean) {
    flag(this, 'clean', on)
  }

  get state(): PlayerState {
    return this.#state
  }

  get way(): Way | undefined {
    return this.#way
  }

  /** The video element that is seen now; another one takes its place when the way changes. */
  get video(): HTMLVideoElement | undefined {
    return this.#deck.shown
  }

  /** How loud it is now, from 0 to 1, muted or not; NaN where unknown, as by HLS. */
  get level(): number {
    return this.#playing?.loudness() ?? NaN
  }

  /** Connects again after pause(). */
  play(): void {
    if (!this.#playing) this.begin()
  }

  /** Ends all sessions: what is live cannot wait. The last picture stays. */
  pause(): void {
    this.#playing?.stop()
    this.#playing = undefined
    this.#deck.shown?.pause()
    this.#say('paused', '')
  }

  stats(): PlayerStats {
    const video = this.#deck.shown
    return {
      state: this.#state,
      way: this.#way,
      latency: this.#playing?.latency() ?? NaN,
      width: video?.videoWidth ?? 0,
      height: video?.videoHeight ?? 0,
      currentTime: video?.currentTime ?? NaN,
      switches: this.#switches,
    }
  }

  protected begin(): void {
    this.#playing?.stop()
    this.#playing = undefined
    this.#way = undefined
    this.changed('muted')
    try {
      const place = this.place()
      const of = `${place.gateway} ${place.stream}`
      if (of !== this.#of) this.#deck.clear() // a picture of something else must not stay
      this.#of = of
      const labels = [...new Set(this.messages.split(/[\s,]+/).filter(Boolean))].slice(0, 3)
      const wish = { place, mode: this.mode, fallback: !this.nofallback, labels }
      const hear = (label: string, content: string | ArrayBuffer) => {
        const detail: PlayerMessageDetail = typeof content === 'string' ? { label, text: content } : { label, bytes: content }
        this.emit('message', detail)
      }
      this.#playing = new Playing(wish, this.#deck, load, () => this.#heed(), hear)
      this.#heed()
    } catch (error) {
      this.#say('refused', wordsOf(error))
    }
  }

  protected end(): void {
    this.#playing?.stop()
    this.#playing = undefined
    this.#deck.clear()
    this.#way = undefined
    this.#say('idle', '')
  }

  protected changed(name: string): void {
    if (name === 'muted' && this.#deck.muted !== this.muted) this.#deck.muted = this.muted
    if (name === 'volume') this.#deck.volume = Number(this.getAttribute('volume') ?? 1)
    this.#show()
  }

  #heed(): void {
    const playing = this.#playing
    if (!playing) return
    const before = this.#way
    this.#way = playing.way
    if (before !== this.#way) {
      if (before) this.#switches++
      this.emit('way', { from: before, to: this.#way })
    }
    const { state, why } = playing
    // That nobody publishes is all that there is to say of it.
    const words = !why || state === 'playing' || state === 'waiting' ? '' : viewerWords(why)
    this.#say(state, words, before !== this.#way)
  }

  #say(state: PlayerState, words: string, anyway = false): void {
    if (!anyway && state === this.#state && words === this.#words) return
    this.#state = state
    this.#words = words
    this.#show()
    const detail: PlayerStateDetail = { state, way: this.#way, words: words || titles[state] }
    this.emit('state', detail)
  }

  #show(): void {
    this.#parts?.show(this, this.#deck, { state: this.#state, words: this.#words, way: this.#way })
  }
}

/** The element's inside: parts, and how they follow its state. */
function build(element: HTMLElement) {
  const root = shadowOf(element, shared, screenStyle, playerStyle)
  const title = piece('p', 'title')
  const words = piece('p', 'words')
  const slot = piece('slot', '', title, words)
  slot.name = 'cover'
  const cover = piece('div', 'cover', slot)
  cover.setAttribute('role', 'status')
  const unmute = button('unmute', 'Turn sound on', () => undefined)
  unmute.classList.add('primary')
  const play = button('play', 'Pause', () => undefined)
  const mute = button('mute', 'Mute', () => undefined)
  const volume = piece('input', 'volume')
  Object.assign(volume, { type: 'range', min: '0', max: '1', step: '0.05', value: '1' })
  volume.setAttribute('aria-label', 'Volume')
  const way = piece('span', 'way')
  const full = button('fullscreen', 'Full screen', () => undefined)
  const bar = piece('div', 'controls', play, mute, volume, way, full)
  bar.setAttribute('role', 'group')
  bar.setAttribute('aria-label', 'Player')
  const screen = piece('div', 'screen', cover, unmute, bar)
  root.append(screen)
  full.hidden = !screen.requestFullscreen

  const bind = (player: WhipcastPlayer, deck: Deck) => {
    const sound = (on: boolean) => {
      if (on && deck.volume === 0) deck.volume = 1
      player.muted = !on
      if (on) deck.muted = false // also where the attribute has not changed
    }
    unmute.addEventListener('click', () => {
      if (deck.barred) deck.begin()
      else sound(true)
      if (!bar.hidden) mute.focus()
    })
    mute.addEventListener('click', () => sound(player.muted))
    volume.addEventListener('input', () => {
      deck.volume = Number(volume.value)
      player.muted = deck.volume === 0
    })
    play.addEventListener('click', () => (player.state === 'paused' ? player.play() : player.pause()))
    full.addEventListener('click', () => {
      const done = document.fullscreenElement ? document.exitFullscreen() : screen.requestFullscreen()
      done.catch(() => undefined)
    })
    let shown: ReturnType<typeof setTimeout> | undefined
    screen.addEventListener('click', () => {
      clearTimeout(shown)
      screen.classList.add('touched')
      shown = setTimeout(() => screen.classList.remove('touched'), 4000)
      // In a frame of OBS or of a page nothing but the picture can be pressed.
      if (!player.clean) return
      if (deck.barred) deck.begin()
      if (deck.soundBlocked) deck.muted = false
    })
  }

  const show = (player: WhipcastPlayer, deck: Deck, now: { state: PlayerState; words: string; way: Way | undefined }) => {
    cover.hidden = player.clean || now.state === 'playing' || (now.state === 'connecting' && deck.shown !== undefined)
    set(title, deck.barred ? 'Ready to play' : titles[now.state])
    set(words, deck.barred ? 'This browser starts nothing by itself.' : now.state === 'waiting' ? 'The picture begins by itself.' : now.words)
    bar.hidden = !player.controls || player.clean
    bar.classList.toggle('stays', now.state !== 'playing')
    const silent = deck.shown !== undefined && now.state === 'playing' && (deck.soundBlocked || (player.muted && player.controls))
    unmute.hidden = player.clean || !(silent || deck.barred)
    set(unmute, deck.barred ? 'Play' : 'Turn sound on')
    set(play, now.state === 'paused' ? 'Play' : 'Pause')
    set(mute, player.muted ? 'Unmute' : 'Mute')
    volume.value = String(player.muted ? 0 : deck.volume)
    set(way, now.way === 'whep' ? 'Real time' : now.way === 'hls' ? 'Live' : '')
  }
  return { screen, bind, show }
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** The gateway that this module came from; "" if it came by another way. */
export const gateway = home
