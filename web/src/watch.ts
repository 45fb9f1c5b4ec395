// The audience's player: low-latency HLS through hls.js.

import type HlsPlayer from 'hls.js'
import type { HlsConfig, Level } from 'hls.js'
import { copyOnClick, find, setFigures, setStatus, setText } from './dom'
import { expose } from './figures'
import { bindPlayer, cover, nameHere, uncover } from './player'
import { ask, Refusal, wordsOf } from './refusal'
import { reportTo } from './report'
import { backoff, pauseUnlessBack } from './retry'
import { authorization, playlist, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { codecs, rate, size, span } from './words'

type State = 'loading' | 'waiting' | 'starting' | 'playing' | 'paused' | 'stalled' | 'ended' | 'refused' | 'unreachable'
/** Why a player was given up. */
type Outcome = 'over' | 'refused' | 'failed'
/** A presentation, known by the address of its first Media Playlist. */
type Presentation = string

// Seconds of media that are listed while none is shown, after which a player is
// given up: hls.js that begins in a gap may wait for its first picture for ever.
const stuckAfter = 8

const video = find('video', HTMLVideoElement)
const status = find('status', HTMLElement)
const never = new AbortController().signal
const figures = { state: 'loading' as State, stalls: 0, starts: 0, recoveries: 0 }
let hls: HlsPlayer | undefined

takeToken()
const name = nameHere('Watch')
const address = playlist(name)
bindPlayer(video)
bindWatch()
expose(stats)
window.setInterval(showFigures, 500)
reportTo(`/v1/streams/${encodeURIComponent(name)}/latency`, () =>
  hls && figures.state === 'playing'
    ? { playing: hls.playingDate, buffer: ahead(), stalls: figures.stalls }
    : undefined,
)
void run()

async function run(): Promise<void> {
  const { default: Hls } = await import('hls.js')
  if (!Hls.isSupported()) return playNatively()
  let ended: Presentation = ''
  for (let failures = 0; ; ) {
    await whenLive(ended)
    const started = performance.now()
    const { outcome, presentation } = await play(Hls)
    if (performance.now() - started > 20_000) failures = 0
    if (outcome === 'over') {
      ended = presentation
    } else if (outcome === 'failed') {
      figures.recoveries++
      say('waiting', 'wait', 'Starting the player anew')
      await pauseUnlessBack(backoff(failures++, 0.5, 8), never)
    }
  }
}

/**
 * Asks until the stream has a presentation other than the one that has ended,
 * at first quickly, then every two to three seconds.
 */
async function whenLive(ended: Presentation): Promise<void> {
  for (let n = 0; ; n++) {
    try {
      const response = await ask(address, { headers: authorization(), cache: 'no-store' })
      if (presentationIn(await response.text()) !== ended) return
      waitFor('The show is over', `A new one begins here by itself when “${name}” goes live again.`)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (error.status === 401 || error.status === 403) {
        say('refused', 'bad', 'Closed')
        cover('This stream needs a token', wordsOf(error))
        await askForToken(wordsOf(error))
        n = -1
        continue
      }
      if (error.status === 404 || error.status === 409 || error.status === 410) {
        waitFor('Nothing is live here now', `The picture begins by itself when “${name}” goes live.`)
      } else {
        say('unreachable', 'bad', 'Gateway not reachable')
        cover('The gateway does not answer', `${wordsOf(error)} This page keeps asking.`)
      }
    }
    await pauseUnlessBack(backoff(n, 0.3, 2.5), never)
  }
}

function presentationIn(playlist: string): Presentation {
  const first = playlist.split(/\r?\n/).find((line) => line !== '' && !line.startsWith('#'))
  return first ? new URL(first, location.origin + address).href : ''
}

function waitFor(title: string, text: string): void {
  say('waiting', 'wait', 'Waiting for the publisher')
  cover(title, text)
}

function say(state: State, tone: 'idle' | 'wait' | 'live' | 'bad', words: string): void {
  figures.state = state
  setStatus(status, tone, words)
}

function settings(): Partial<HlsConfig> {
  // A playlist that is late or refused for a moment is asked for again for
  // about a minute: the gateway keeps a presentation that long while its
  // publisher reconnects. One that is gone or closed is not.
  const patient = {
    maxTimeToFirstByteMs: 20_000,
    maxLoadTimeMs: 30_000,
    timeoutRetry: { maxNumRetry: 8, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: {
      maxNumRetry: 40,
      retryDelayMs: 300,
      maxRetryDelayMs: 2000,
      shouldRetry: (
        _: unknown,
        count: number,
        __: boolean,
        response: { code?: number } | undefined,
      ): boolean => count < 40 && ![401, 403, 404, 410].includes(response?.code ?? 0),
    },
  }
  return {
    lowLatencyMode: true,
    maxLiveSyncPlaybackRate: 1.1,
    backBufferLength: 30,
    liveSyncOnStallIncrease: 0.3,
    enableWorker: false, // our segments need no transmuxing, so a worker would only add a hop
    playlistLoadPolicy: { default: patient },
    xhrSetup: (xhr, url) => {
      // A kept Multivariant Playlist may be that of the show before.
      if (url.endsWith(address)) xhr.setRequestHeader('Cache-Control', 'no-cache')
      // The token is for the gateway, not for a CDN that media may be on.
      if (new URL(url, location.href).origin !== location.origin) return
      for (const [header, value] of Object.entries(authorization())) xhr.setRequestHeader(header, value)
    },
  }
}

/** Plays until the presentation is over or this player is of no more use. */
function play(Hls: typeof HlsPlayer): Promise<{ outcome: Outcome; presentation: Presentation }> {
  const player = new Hls(settings())
  hls = player
  figures.starts++
  say('starting', 'wait', 'Loading the first picture')
  cover('Live', 'Loading the first picture.')
  return new Promise((resolve) => {
    const over = new AbortController()
    const finish = (outcome: Outcome) => {
      if (over.signal.aborted) return
      over.abort()
      const presentation = player.levels[0]?.uri ?? ''
      hls = undefined
      player.destroy()
      resolve({ outcome, presentation })
    }
    watchPicture(player, over.signal, finish)
    player.on(Hls.Events.LEVEL_LOADED, (_, data) => {
      // An ended presentation may be kept for a while; it is not live.
      if (!data.details.live && video.readyState === 0) finish('over')
    })
    let rescued = 0
    player.on(Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && rescued++ < 2) {
        figures.recoveries++
        player.recoverMediaError()
        return
      }
      // The presentation may have ended and gone between two looks at it.
      if (hasEnded(player)) return finish('over')
      finish([401, 403].includes(data.response?.code ?? 0) ? 'refused' : 'failed')
    })
    player.on(Hls.Events.MANIFEST_PARSED, () => void start())
    player.loadSource(address)
    player.attachMedia(video)
  })
}

async function start(): Promise<void> {
  try {
    await video.play()
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return
    say('paused', 'idle', 'Ready')
    cover('Ready to play', 'This browser starts nothing by itself.', { label: 'Play', press: () => void video.play() })
  }
}

/** Turns what happens to the picture into states, and counts stalls. */
function watchPicture(player: HlsPlayer, signal: AbortSignal, finish: (outcome: Outcome) => void): void {
  let begun = false
  let moved = performance.now()
  let position = -1
  const pace = { late: moved, jumped: 0 }
  let edge = NaN // of the playlist, when the picture moved last or there was nothing to show
  const listen = (event: string, act: () => void) => video.addEventListener(event, act, { signal })
  listen('playing', () => {
    begun = true
    say('playing', 'live', 'Live')
    uncover()
  })
  listen('pause', () => {
    if (!video.ended) say('paused', 'idle', 'Paused')
  })
  listen('waiting', () => {
    if (!begun || video.seeking || figures.state === 'stalled' || hasEnded(player)) return
    figures.stalls++
    say('stalled', 'wait', 'Waiting for the publisher')
  })
  listen('ended', () => {
    say('ended', 'idle', 'Over')
    finish('over')
  })
  const timer = window.setInterval(() => {
    if (signal.aborted) return clearInterval(timer)
    const now = performance.now()
    if (video.currentTime !== position || video.paused) {
      if (position >= 0 && figures.state === 'stalled' && !video.paused) {
        say('playing', 'live', 'Live')
        uncover()
      }
      position = video.currentTime
      moved = now
    }
    const still = (now - moved) / 1000
    if (hasEnded(player) && still > 2) return finish('over') // at the end, though no event said so
    if ((figures.state === 'stalled' && still > 3) || (!begun && inGap(player))) {
      cover('The publisher is away', 'The picture goes on by itself when they are back.')
    }
    if (still === 0 || inGap(player) || Number.isNaN(edge)) edge = player.latestLevelDetails?.edge ?? NaN
    if ((player.latestLevelDetails?.edge ?? NaN) - edge > stuckAfter) return finish('failed')
    catchUp(player, pace)
  }, 250)
}

/** Whether the newest in the playlist is a gap: there is nothing to show now. */
function inGap(player: HlsPlayer): boolean {
  const details = player.latestLevelDetails
  return (details?.partList?.at(-1) ?? details?.fragments.at(-1))?.gap === true
}

function hasEnded(player: HlsPlayer): boolean {
  return player.latestLevelDetails?.live === false
}

/**
 * Jumps to where the live picture should be, if that is far from here.
 * Playing faster makes up for a second in ten or more, and hls.js does not
 * even try beyond a segment's length. One jump in ten seconds: a computer too
 * slow for the picture must not do nothing but jump.
 */
function catchUp(player: HlsPlayer, behindSince: { late: number; jumped: number }): void {
  const { liveSyncPosition, latency, targetLatency } = player
  const now = performance.now()
  if (video.paused || video.seeking || !liveSyncPosition || !targetLatency || hasEnded(player)) return
  const late = latency - targetLatency
  if (late < 1.2) {
    behindSince.late = now
    return
  }
  if (now - behindSince.late < 1500 || now - behindSince.jumped < 10_000) return
  // What is loaded is jumped into without a pause; after a long sleep there
  // is nothing loaded, and waiting is the only way.
  if (late < ahead() - 0.3 || late > 10) {
    behindSince.jumped = now
    video.currentTime = liveSyncPosition
  }
}

function bindWatch(): void {
  const play = find('play', HTMLButtonElement)
  const live = find('live', HTMLButtonElement)
  const label = () => setText(play, video.paused ? 'Play' : 'Pause')
  play.addEventListener('click', () => {
    if (video.paused) video.play().catch(() => undefined)
    else video.pause()
  })
  video.addEventListener('play', label)
  video.addEventListener('pause', label)
  live.addEventListener('click', () => {
    if (hls?.liveSyncPosition) video.currentTime = hls.liveSyncPosition
    video.play().catch(() => undefined)
  })
  find('seat-link', HTMLAnchorElement).href = `/seat/${encodeURIComponent(name)}`
  setText(find('address', HTMLElement), location.origin + address)
  copyOnClick(find('copy-address', HTMLButtonElement), () => location.origin + address)
}

/** Seconds from the camera's clock to this screen; from the playlist's edge where the clocks disagree. */
function behind(): number {
  if (!hls || !hls.latestLevelDetails) return NaN
  const date = hls.playingDate
  const wall = date ? (Date.now() - date.getTime()) / 1000 : NaN
  return Math.abs(wall - hls.latency) < 4 ? wall : hls.latency
}

function level(): Level | undefined {
  if (!hls) return undefined
  return hls.levels[hls.currentLevel >= 0 ? hls.currentLevel : hls.loadLevel]
}

function ahead(): number {
  for (let i = 0; i < video.buffered.length; i++) {
    const end = video.buffered.end(i)
    if (video.buffered.start(i) <= video.currentTime && video.currentTime <= end) return end - video.currentTime
  }
  return 0
}

function stats(): Record<string, number | string | boolean> {
  const now = level()
  return {
    ...figures,
    latency: behind(),
    edgeLatency: hls?.latency ?? NaN,
    targetLatency: hls?.targetLatency ?? NaN,
    currentTime: video.currentTime,
    playbackRate: video.playbackRate,
    buffer: ahead(),
    level: hls?.currentLevel ?? -1,
    width: video.videoWidth,
    height: video.videoHeight,
    codecs: codecs(now?.videoCodec, now?.audioCodec),
    droppedFrames: video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
    muted: video.muted,
  }
}

function showFigures(): void {
  const now = level()
  const showing = hls !== undefined && video.readyState > 0
  const usable = ['playing', 'paused', 'stalled'].includes(figures.state)
  for (const id of ['play', 'live']) find(id, HTMLButtonElement).disabled = !usable
  setFigures({
    latency: showing ? span(behind()) : '',
    picture: showing ? size(video.videoWidth, video.videoHeight) || 'Sound only' : '',
    codecs: codecs(now?.videoCodec, now?.audioCodec),
    bitrate: rate(now?.averageBitrate || now?.bitrate || 0),
    buffer: showing ? span(ahead()) : '',
    stalls: String(figures.stalls),
  })
}

/** Without MediaSource the browser plays HLS itself, if at all. */
async function playNatively(): Promise<void> {
  if (!video.canPlayType('application/vnd.apple.mpegurl')) {
    say('refused', 'bad', 'This browser cannot play')
    return cover('This browser cannot play HLS', 'Another browser can, and so can any HLS player with the address below.')
  }
  for (;;) {
    await whenLive('')
    video.src = playlist(name, token())
    await start()
    await new Promise((resolve) => {
      video.onplaying = () => {
        say('playing', 'live', 'Live')
        uncover()
      }
      video.onended = resolve
      video.onerror = resolve
    })
    await pauseUnlessBack(2, never)
  }
}
