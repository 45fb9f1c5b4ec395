// The audience's player: low-latency HLS through hls.js.

import type HlsPlayer from 'hls.js'
import type { Level } from 'hls.js'
import { copyOnClick, find, setFigures, setStatus, setText } from './dom'
import { expose } from './figures'
import { ahead, catchUp, goingOn, hasEnded, inGap, presentationIn, settings, stuckAfter, type Presentation } from './hlsplay'
import { realTimePage } from './names'
import { bindPlayer, cover, nameHere, uncover } from './player'
import { ask, Refusal, viewerWords, wordsOf } from './refusal'
import { reportTo } from './report'
import { backoff, pauseUnlessBack } from './retry'
import { authorization, playlist, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { codecs, rate, size, span } from './words'

type State = 'loading' | 'waiting' | 'starting' | 'playing' | 'paused' | 'stalled' | 'ended' | 'refused' | 'unreachable'
/** Why a player was given up. */
type Outcome = 'over' | 'refused' | 'failed'
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
    ? { playing: hls.playingDate, buffer: ahead(video), stalls: figures.stalls }
    : undefined,
)
void run()

async function run(): Promise<void> {
  const { default: Hls } = await import('./hls')
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
      if (presentationIn(await response.text(), response.url) !== ended) return
      waitFor('The show is over', `A new one begins here by itself when “${name}” goes live again.`)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (error.status === 401 || error.status === 403) {
        say('refused', 'bad', 'Closed')
        cover('This stream needs a token', viewerWords(error))
        await askForToken(viewerWords(error))
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

function waitFor(title: string, text: string): void {
  say('waiting', 'wait', 'Waiting for the publisher')
  cover(title, text)
}

function say(state: State, tone: 'idle' | 'wait' | 'live' | 'bad', words: string): void {
  figures.state = state
  setStatus(status, tone, words)
}

/** Plays until the presentation is over or this player is of no more use. */
function play(Hls: typeof HlsPlayer): Promise<{ outcome: Outcome; presentation: Presentation }> {
  const player = new Hls(settings(new URL(address, location.href).href, authorization))
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
    watchPicture(player, goingOn(player, Hls, video, () => void start()), over.signal, finish)
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
function watchPicture(player: HlsPlayer, goOn: () => void, signal: AbortSignal, finish: (outcome: Outcome) => void): void {
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
    if (!video.ended && !video.error) say('paused', 'idle', 'Paused')
  })
  listen('waiting', () => {
    if (!begun || video.seeking || figures.state === 'stalled' || hasEnded(player)) return
    figures.stalls++
    say('stalled', 'wait', 'Waiting for the publisher')
  })
  listen('ended', () => {
    if (!hasEnded(player)) return finish('failed') // browsers take what they cannot read for the end
    say('ended', 'idle', 'Over')
    finish('over')
  })
  const timer = window.setInterval(() => {
    if (signal.aborted) return clearInterval(timer)
    goOn()
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
    catchUp(player, video, pace)
  }, 250)
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
  find('seat-link', HTMLAnchorElement).href = realTimePage(name)
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

function stats(): Record<string, number | string | boolean> {
  const now = level()
  return {
    ...figures,
    latency: behind(),
    edgeLatency: hls?.latency ?? NaN,
    targetLatency: hls?.targetLatency ?? NaN,
    currentTime: video.currentTime,
    playbackRate: video.playbackRate,
    buffer: ahead(video),
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
    buffer: showing ? span(ahead(video)) : '',
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
