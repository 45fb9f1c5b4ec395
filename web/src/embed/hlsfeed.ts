// Low-latency HLS as a way to the screen, by hls.js or by the browser itself.

import type HlsPlayer from 'hls.js'
import { ahead, catchUp, goingOn, hasEnded, inGap, presentationIn, settings, stuckAfter, type Presentation } from '../hlsplay'
import { ask, Refusal } from '../refusal'
import { every, Reporter } from '../report'
import { backoff, pauseUnlessBack } from '../retry'
import { playlist } from '../token'
import type { Look } from './choose'
import { onPicture, type Feed, type Ground } from './feed'
import { Notes, type Note } from './heard'
import { authorizationOf } from './where'

type Hls = typeof HlsPlayer
type Outcome = 'over' | 'failed'

/** Gets hls.js. */
export type Load = (gateway: string, attempt: number) => Promise<Hls>

export class HlsFeed implements Feed {
  readonly way = 'hls'
  private readonly over = new AbortController()
  private readonly address: string
  private look: Look = 'starting'
  private player: HlsPlayer | undefined
  private left: () => void = () => undefined
  private stalls = 0
  private notes = new Notes()

  constructor(
    private readonly ground: Ground,
    load: Load,
  ) {
    this.address = ground.place.gateway + playlist(ground.place.stream)
    void this.run(load)
    this.report()
  }

  stop(): void {
    this.over.abort()
    this.left()
  }

  latency(): number {
    const date = this.player?.playingDate
    const edge = this.player?.latency ?? NaN
    const wall = date ? (Date.now() - date.getTime()) / 1000 : NaN
    return Math.abs(wall - edge) < 4 ? wall : edge
  }

  loudness(): number {
    return NaN
  }

  takeUntold(): Note[] {
    return this.notes.due(Infinity)
  }

  /**
   * Timed metadata (ID3) comes as cues: text as TXXX, bytes as PRIV. They are read when
   * they are made, for some are gone before their moment: Chromium empties a track that
   * hls.js has just begun once that has been loaded, from nowhere.
   */
  private listen(video: HTMLVideoElement, signal: AbortSignal, player?: HlsPlayer, Hls?: Hls): void {
    const { labels } = this.ground
    if (labels.length === 0) return
    const notes = (this.notes = new Notes())
    const known = new WeakSet<TextTrackCue>()
    const read = (cues: TextTrackCueList | null) => {
      for (const cue of [...(cues ?? [])]) {
        if (known.has(cue)) continue
        known.add(cue)
        const { key, info, data } = (cue as TextTrackCue & { value?: { key?: string; info?: string; data?: unknown } }).value ?? {}
        const fits = key === 'TXXX' ? typeof data === 'string' : key === 'PRIV' && data instanceof ArrayBuffer
        if (fits && info !== undefined && labels.includes(info)) {
          notes.add({ at: cue.startTime, label: info, content: data as string | ArrayBuffer })
        }
      }
    }
    const tell = () => {
      for (const { label, content } of notes.due(video.currentTime)) this.ground.message(this.way, label, content)
    }
    const tracks = () => [...video.textTracks].filter((track) => track.kind === 'metadata')
    if (player && Hls) {
      player.on(Hls.Events.FRAG_PARSING_METADATA, () => tracks().forEach((track) => read(track.cues)))
    } else {
      video.textTracks.addEventListener(
        'addtrack',
        ({ track }) => {
          if (track?.kind !== 'metadata') return
          track.mode = 'hidden' // its cues become active, and nothing of them is shown
          track.addEventListener('cuechange', () => (read(track.activeCues), tell()), { signal })
        },
        { signal },
      )
    }
    video.addEventListener('timeupdate', tell, { signal })
    const onFrame = () => {
      if (signal.aborted) return
      tell()
      video.requestVideoFrameCallback(onFrame)
    }
    video.requestVideoFrameCallback?.(onFrame)
  }

  /** Tells the gateway how late the picture is, as the watch page does; nothing of who watches. */
  private report(): void {
    const { gateway, stream, token } = this.ground.place
    const reporter = new Reporter(`${gateway}/v1/streams/${encodeURIComponent(stream)}/latency`, (body) =>
      fetch(reporter.path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...authorizationOf(token) }, body, keepalive: true }),
    )
    // Viewers who come together do not report together.
    const tell = () => {
      if (this.stopped) return
      const { player } = this
      const video = this.ground.deck.shown
      if (player && video && this.look === 'moving') void reporter.tell({ playing: player.playingDate, buffer: ahead(video), stalls: this.stalls })
      timer = setTimeout(tell, every)
    }
    let timer = setTimeout(tell, every * (0.3 + 0.7 * Math.random()))
    this.over.signal.addEventListener('abort', () => clearTimeout(timer))
  }

  private get stopped(): boolean {
    return this.over.signal.aborted
  }

  private async run(load: Load): Promise<void> {
    const Hls = await this.loaded(load)
    if (!Hls || this.stopped) return
    let ended: Presentation = ''
    for (let failures = 0; !this.stopped; ) {
      if (this.look !== 'still') this.say(this.look === 'offline' ? 'offline' : 'starting')
      await this.untilLive(ended)
      if (this.stopped) return
      const began = performance.now()
      const native = !Hls.isSupported()
      const { outcome, presentation } = native ? await this.playNatively() : await this.play(Hls)
      if (this.stopped) return
      if (performance.now() - began > 20_000) failures = 0
      if (outcome === 'over') {
        ended = presentation
        this.say('offline')
      } else {
        this.say('failed')
        await pauseUnlessBack(backoff(failures++, 0.5, 8), this.over.signal)
      }
    }
  }

  private async loaded(load: Load): Promise<Hls | undefined> {
    for (let attempt = 0; !this.stopped; attempt++) {
      try {
        const Hls = await load(this.ground.place.gateway, attempt)
        if (Hls.isSupported() || document.createElement('video').canPlayType('application/vnd.apple.mpegurl')) return Hls
        this.say('unable', new Refusal(0, 'this browser cannot play HLS', 0))
        return undefined
      } catch {
        this.say('failed', new Refusal(0, 'the player cannot be loaded from the gateway', 0))
      }
      await pauseUnlessBack(backoff(attempt, 1, 30), this.over.signal)
    }
    return undefined
  }

  /** Asks until the stream has a presentation other than the one that has ended. */
  private async untilLive(ended: Presentation): Promise<void> {
    for (let n = 0; !this.stopped; n++) {
      try {
        const headers = authorizationOf(this.ground.place.token)
        const response = await ask(this.address, { headers, cache: 'no-store', signal: this.over.signal })
        if (presentationIn(await response.text(), response.url) !== ended) return
        this.say('offline')
      } catch (error) {
        if (this.stopped) return
        const why = error instanceof Refusal ? error : new Refusal(0, String(error), 0)
        if ([404, 409, 410].includes(why.status)) this.say('offline', why)
        else this.say([401, 403].includes(why.status) ? 'refused' : 'failed', why)
      }
      await pauseUnlessBack(backoff(n, 0.3, this.look === 'refused' ? 30 : 2.5), this.over.signal)
    }
  }

  /** Plays until the presentation is over or this player is of no more use. */
  private play(Hls: Hls): Promise<{ outcome: Outcome; presentation: Presentation }> {
    const { deck, place } = this.ground
    const video = deck.under()
    const player = new Hls(settings(this.address, () => authorizationOf(place.token)))
    this.player = player
    return new Promise((resolve) => {
      const take = new AbortController()
      const finish = (outcome: Outcome) => {
        if (take.signal.aborted) return
        take.abort()
        this.player = undefined
        const presentation = player.levels[0]?.uri ?? ''
        player.stopLoad()
        deck.drop(video, () => player.destroy())
        resolve({ outcome, presentation })
      }
      this.left = () => finish('over')
      this.follow({ player, video, goOn: goingOn(player, Hls, video, () => deck.play(video)) }, take.signal, finish)
      this.listen(video, take.signal, player, Hls)
      player.on(Hls.Events.LEVEL_LOADED, (_, loaded) => {
        if (!loaded.details.live && video.readyState === 0) finish('over') // kept for a while, not live
      })
      let rescued = 0
      player.on(Hls.Events.ERROR, (_, problem) => {
        if (!problem.fatal) return
        if (problem.type === Hls.ErrorTypes.MEDIA_ERROR && rescued++ < 2) return player.recoverMediaError()
        finish(hasEnded(player) ? 'over' : 'failed')
      })
      player.on(Hls.Events.MANIFEST_PARSED, () => deck.play(video))
      player.loadSource(this.address)
      player.attachMedia(video)
    })
  }

  /** Turns what happens to the picture into looks. */
  private follow(what: { player: HlsPlayer; video: HTMLVideoElement; goOn: () => void }, signal: AbortSignal, finish: (outcome: Outcome) => void): void {
    const { player, video, goOn } = what
    let moved = performance.now()
    let position = -1
    let edge = NaN // of the playlist, when the picture moved last or there was nothing to show
    const pace = { late: moved, jumped: 0 }
    onPicture(video, signal, () => {
      this.say('moving')
      this.ground.picture(this.way, video)
    })
    // Browsers take what they cannot read for the end.
    video.addEventListener('ended', () => finish(hasEnded(player) ? 'over' : 'failed'), { signal })
    const timer = setInterval(() => {
      if (signal.aborted) return clearInterval(timer)
      goOn()
      const now = performance.now()
      const moves = video.currentTime !== position
      if (moves || video.paused) {
        if (position >= 0 && moves && this.look === 'still') this.say('moving')
        position = video.currentTime
        moved = now
      }
      const still = (now - moved) / 1000
      if (hasEnded(player) && still > 2) return finish('over') // at the end, though no event said so
      if (still > 1 && (this.look === 'moving' || this.look === 'still')) this.say(inGap(player) ? 'offline' : 'still')
      const newest = player.latestLevelDetails?.edge ?? NaN
      if (moved === now || inGap(player) || Number.isNaN(edge)) edge = newest
      if (newest - edge > stuckAfter) return finish('failed')
      catchUp(player, video, pace)
    }, 250)
  }

  /** Without MediaSource the browser plays HLS itself: the token is in the path. */
  private playNatively(): Promise<{ outcome: Outcome; presentation: Presentation }> {
    const { deck, place } = this.ground
    const video = deck.under()
    video.src = place.gateway + playlist(place.stream, place.token)
    return new Promise((resolve) => {
      const take = new AbortController()
      const finish = (outcome: Outcome) => {
        if (take.signal.aborted) return
        take.abort()
        deck.drop(video, () => undefined)
        resolve({ outcome, presentation: '' })
      }
      this.left = () => finish('over')
      this.listen(video, take.signal)
      onPicture(video, take.signal, () => {
        this.say('moving')
        this.ground.picture(this.way, video)
      })
      video.addEventListener('waiting', () => this.look === 'moving' && this.say('still'), { signal: take.signal })
      video.addEventListener('playing', () => this.look === 'still' && this.say('moving'), { signal: take.signal })
      video.addEventListener('ended', () => finish('over'), { signal: take.signal })
      video.addEventListener('error', () => finish('failed'), { signal: take.signal })
      deck.play(video)
    })
  }

  private say(look: Look, why?: Refusal): void {
    if (this.stopped || (look === this.look && !why)) return
    if (look === 'still') this.stalls++
    this.look = look
    this.ground.report(this.way, look, why)
  }
}
