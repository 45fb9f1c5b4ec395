// The player without its looks: keeps the ways running that choose.ts decides on,
// and puts their pictures in front.

import type { Refusal } from '../refusal'
import { decide, firstWay, type Look, type Mode, type PlayerState, type Way } from './choose'
import type { Deck } from './deck'
import type { Feed, Ground } from './feed'
import { Early, Heard } from './heard'
import { HlsFeed, type Load } from './hlsfeed'
import { WhepFeed } from './whepfeed'
import type { Place } from './where'

/** What is to be played, and how. */
export interface Wish {
  place: Place
  mode: Mode
  /** Whether another way may stand in. */
  fallback: boolean
  /** Labels of the messages that are heard. */
  labels: readonly string[]
}

interface Running {
  feed: Feed
  look: Look
  /** When it began to move, or to be in trouble, or nothing was live. */
  since: number
  why: Refusal | undefined
  /** The newest video that has shown a picture. */
  video: HTMLVideoElement | undefined
}

export class Playing {
  private readonly first: Way
  private readonly spread = Math.random()
  private readonly heard = new Heard()
  private readonly early = new Early()
  private readonly running = new Map<Way, Running>()
  private readonly timer: ReturnType<typeof setInterval>
  private shownWay: Way | undefined
  private starts = 0 // of HLS
  private said = ''
  private over = false

  /** told is called when state, way or reason changed, hear for each message. */
  constructor(
    private readonly wish: Wish,
    private readonly deck: Deck,
    private readonly load: Load,
    private readonly told: () => void,
    private readonly hear: (label: string, content: string | ArrayBuffer) => void,
  ) {
    this.first = firstWay(wish.mode, wish.place.token !== '')
    this.timer = setInterval(() => this.judge(), 250)
    document.addEventListener('visibilitychange', this.seen)
    this.start(this.first)
  }

  stop(): void {
    this.over = true
    clearInterval(this.timer)
    document.removeEventListener('visibilitychange', this.seen)
    for (const { feed } of this.running.values()) feed.stop()
    this.running.clear()
  }

  /** The way of the picture that is seen. */
  get way(): Way | undefined {
    return this.shownWay
  }

  get state(): PlayerState {
    const seen = this.shownWay && this.running.get(this.shownWay)
    if (seen?.look === 'moving') return 'playing'
    const mine = this.running.get(this.first)
    switch (mine?.look) {
      case 'offline':
        return 'waiting'
      case 'refused':
      case 'unable':
        return this.running.size > 1 && [...this.running.values()].some((one) => one.look === 'starting') ? 'connecting' : 'refused'
      case 'failed':
        return mine.why && mine.why.status === 0 ? 'unreachable' : 'connecting'
      case 'still':
        return 'stalled'
      default:
        return this.shownWay ? 'stalled' : 'connecting'
    }
  }

  /** Why there is no picture, where the gateway has said so. */
  get why(): Refusal | undefined {
    return this.running.get(this.first)?.why
  }

  latency(): number {
    return (this.shownWay && this.running.get(this.shownWay)?.feed.latency()) ?? NaN
  }

  loudness(): number {
    return (this.shownWay && this.running.get(this.shownWay)?.feed.loudness()) ?? NaN
  }

  private readonly seen = (): void => {
    if (document.visibilityState === 'visible' && this.state === 'playing') this.deck.goOn()
  }

  private start(way: Way): void {
    const ground: Ground = {
      place: this.wish.place,
      deck: this.deck,
      report: (way, look, why) => this.heed(way, look, why),
      picture: (way, video) => this.picture(way, video),
      labels: this.wish.labels,
      // Both ways may run: a message is told once, at the moment that the picture shows.
      message: (way, label, content) => {
        if (way === this.shownWay) this.pass(way, label, content)
        else if (way === 'whep') this.early.keep({ at: seconds(), label, content })
      },
    }
    // It may report before it is known here.
    const running: Running = { feed: undefined as unknown as Feed, look: 'starting', since: performance.now(), why: undefined, video: undefined }
    this.running.set(way, running)
    if (way === 'hls') this.starts++
    running.feed = way === 'whep' ? new WhepFeed(ground) : new HlsFeed(ground, this.load)
  }

  private heed(way: Way, look: Look, why: Refusal | undefined): void {
    const running = this.running.get(way)
    if (!running || this.over) return
    if (kind(look) !== kind(running.look)) running.since = performance.now()
    running.look = look
    running.why = look === 'moving' ? undefined : (why ?? running.why)
    this.judge()
  }

  private picture(way: Way, video: HTMLVideoElement): void {
    const running = this.running.get(way)
    if (!running || this.over) return
    running.video = video
    if (this.shownWay === way) this.deck.show(video)
    this.judge()
  }

  private pass(way: Way, label: string, content: string | ArrayBuffer): void {
    // Another player of HLS begins with what the one before has told.
    const from = way === 'hls' ? `hls ${this.starts}` : way
    if (!this.over && this.heard.isNew(from, label, content, seconds())) this.hear(label, content)
  }

  /** HLS is left behind: what it has to tell is told now, and then what came by WHEP meanwhile. */
  private catchUp(before: Way | undefined): void {
    const late = (before && this.running.get(before)?.feed.takeUntold()) ?? []
    for (const { label, content } of late) this.pass('hls', label, content)
    for (const { label, content } of this.early.take(seconds())) this.pass('whep', label, content)
  }

  private judge(): void {
    if (this.over) return
    const now = performance.now()
    const seen: Partial<Record<Way, { look: Look; seconds: number }>> = {}
    for (const [way, one] of this.running) {
      // It moves when there is a video to show for it.
      const look = one.look === 'moving' && !one.video ? 'starting' : one.look
      seen[way] = { look, seconds: (now - one.since) / 1000 }
    }
    // Where the browser begins nothing by itself the other way does not help.
    const fallback = this.wish.fallback && !this.deck.barred
    const { run, show } = decide({ first: this.first, fallback, seen, shown: this.shownWay }, this.spread)
    if (show !== this.shownWay) {
      const video = show && this.running.get(show)?.video
      if (video) {
        const before = this.shownWay
        this.shownWay = show
        this.deck.show(video)
        if (show === 'whep') this.catchUp(before)
        if (this.over) return // who heard that has stopped it
      }
    }
    for (const way of run) if (!this.running.has(way)) this.start(way)
    for (const [way, { feed }] of [...this.running]) {
      if (run.includes(way)) continue
      this.running.delete(way)
      feed.stop()
    }
    this.tell()
  }

  private tell(): void {
    const now = `${this.state} ${this.shownWay ?? ''} ${this.why?.message ?? ''}`
    if (now === this.said) return
    this.said = now
    this.told()
  }
}

function seconds(): number {
  return performance.now() / 1000
}

/** Looks that one clock runs for. */
function kind(look: Look): string {
  return look === 'moving' || look === 'offline' ? look : 'trouble'
}
