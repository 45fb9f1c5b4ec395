// The seat: WHEP, less than a second behind.

import { find, setFigures, setStatus } from './dom'
import { expose } from './figures'
import { bindPlayer, cover, nameHere, uncover } from './player'
import { Refusal, viewerWords, wordsOf } from './refusal'
import type { Progress } from './session'
import { authorization, takeToken } from './token'
import { askForToken } from './tokenform'
import { receive } from './whep'
import { codecs, rate, size, span } from './words'

const video = find('video', HTMLVideoElement)
const status = find('status', HTMLElement)
const figures = {
  state: 'starting',
  latency: NaN,
  currentTime: 0,
  width: 0,
  height: 0,
  rtt: NaN,
  bitrate: 0,
  codecs: '',
  lost: 0,
  droppedFrames: 0,
  framesDecoded: 0,
  sessions: 0,
}
let pc: RTCPeerConnection | undefined
let stop = new AbortController()

takeToken()
const name = nameHere('Seat')
bindPlayer(video)
expose(() => ({ ...figures, currentTime: video.currentTime }))
find('watch-link', HTMLAnchorElement).href = `/watch/${encodeURIComponent(name)}`
// pagehide, not unload: DELETE leaves with the page, and a page that comes
// back out of the browser's memory connects again.
window.addEventListener('pagehide', () => stop.abort())
window.addEventListener('pageshow', (event) => {
  if (event.persisted) void run()
})
window.setInterval(() => void measure(), 500)
void run()

async function run(): Promise<void> {
  stop = new AbortController()
  const { signal } = stop
  while (!signal.aborted) {
    try {
      const what = { endpoint: `/whep/${encodeURIComponent(name)}`, authorization: authorization(), show }
      await receive(what, report, signal)
    } catch (error) {
      const closed = error instanceof Refusal && [401, 403].includes(error.status)
      say('refused', 'bad', closed ? 'Closed' : 'Refused')
      if (!closed) return cover('The gateway refused this seat', wordsOf(error), { label: 'Try again', press: () => void run() })
      cover('This seat needs a token', viewerWords(error))
      await askForToken(viewerWords(error))
    }
  }
}

function say(state: string, tone: 'idle' | 'wait' | 'live' | 'bad', words: string): void {
  figures.state = state
  setStatus(status, tone, words)
}

function report(progress: Progress): void {
  switch (progress.kind) {
    case 'connecting':
      say('connecting', 'wait', 'Connecting')
      break
    case 'connected':
      pc = progress.session.pc
      last = undefined
      figures.sessions++
      say('connected', 'wait', 'Connected, waiting for the first picture')
      if (video.readyState < 2) cover('Connected', 'Waiting for the first picture.')
      break
    case 'interrupted':
      say('interrupted', 'wait', 'Connection lost, healing it')
      break
    case 'waiting':
      pc = undefined
      figures.latency = NaN
      waiting(progress.why, progress.seconds)
  }
}

function waiting(why: Refusal | undefined, seconds: number): void {
  const next = `This page tries again by itself in ${Math.max(1, Math.round(seconds))} s.`
  const now = { label: 'Try now', press: () => window.dispatchEvent(new Event('online')) }
  if (why?.status === 409) {
    say('offline', 'wait', 'Waiting for the publisher')
    cover('Nobody publishes now', `The picture begins by itself when “${name}” goes live.`, now)
  } else if (why?.status === 404) {
    say('unknown', 'wait', 'Waiting for the stream')
    cover('There is no such stream yet', `“${name}” may begin later. ${next}`, now)
  } else {
    say('reconnecting', 'wait', 'Reconnecting')
    cover('The connection is gone', `${why ? wordsOf(why) : 'The session ended.'} ${next}`, now)
  }
}

function show(media: MediaStream): void {
  if (video.srcObject !== media) video.srcObject = media
  video.play().catch(() => undefined) // muted, so this is refused only by a setting of the browser
}

interface Sample {
  at: number
  bytes: number
  delay: number
  emitted: number
  frames: number
  moved: number // when a frame last came
}
let last: Sample | undefined

async function measure(): Promise<void> {
  if (!pc || pc.connectionState !== 'connected') return
  const report = await pc.getStats()
  const now: Sample = { at: performance.now(), bytes: 0, delay: 0, emitted: 0, frames: 0, moved: last?.moved ?? 0 }
  const names: string[] = []
  let lost = 0
  let audioPackets = 0
  for (const one of report.values()) {
    if (one.type === 'inbound-rtp') {
      now.bytes += one.bytesReceived ?? 0
      lost += one.packetsLost ?? 0
      if ((one.packetsReceived ?? 0) > 0) names.push(report.get(one.codecId)?.mimeType ?? '')
      if (one.kind === 'audio') audioPackets = one.packetsReceived ?? 0
      if (one.kind === 'video') {
        now.delay = one.jitterBufferDelay ?? 0
        now.emitted = one.jitterBufferEmittedCount ?? 0
        now.frames = one.framesDecoded ?? 0
        figures.width = one.frameWidth ?? 0
        figures.height = one.frameHeight ?? 0
        figures.droppedFrames = one.framesDropped ?? 0
        figures.framesDecoded = now.frames
      }
    }
    if (one.type === 'candidate-pair' && one.nominated && one.currentRoundTripTime !== undefined) {
      figures.rtt = one.currentRoundTripTime
    }
  }
  if (!last || now.frames > last.frames || (now.frames === 0 && audioPackets > 0)) now.moved = now.at
  figures.lost = lost
  figures.codecs = codecs(...names.sort().reverse())
  if (last && now.emitted > last.emitted) {
    // Half the round trip on the way, then the wait in the jitter buffer.
    figures.latency = (now.delay - last.delay) / (now.emitted - last.emitted) + (figures.rtt || 0) / 2
  }
  if (last) figures.bitrate = (8000 * (now.bytes - last.bytes)) / (now.at - last.at)
  last = now
  judge(now, audioPackets)
  setFigures({
    latency: span(figures.latency),
    picture: size(figures.width, figures.height),
    codecs: figures.codecs,
    bitrate: rate(figures.bitrate),
    rtt: span(figures.rtt),
    lost: String(figures.lost),
  })
}

// The session outlives the publisher: no picture for two seconds means that
// the publisher is away, not that the connection is.
function judge(now: Sample, audioPackets: number): void {
  if (now.frames === 0 && audioPackets === 0) return
  if (now.at - now.moved < 2000) {
    say('playing', 'live', 'Live')
    uncover()
  } else {
    say('silent', 'wait', 'Waiting for the publisher')
    cover('The publisher is away', 'Your seat stays; the picture goes on by itself when they are back.')
  }
}
