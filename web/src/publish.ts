// Publishing from the browser: choose, look, start.

import { find, make, setFigures, setStatus, setText } from './dom'
import { expose } from './figures'
import { watchFindings } from './findings'
import { realTimePage } from './names'
import { nameHere } from './player'
import { Refusal, wordsOf } from './refusal'
import type { Progress } from './session'
import { authorization, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { limitBitrate, publish } from './whip'
import { inputs, take, type Choice } from './capture'
import { codecs, rate, size, span } from './words'

const form = find('settings', HTMLFormElement)
const preview = find('preview', HTMLVideoElement)
const status = find('status', HTMLElement)
const go = find('go', HTMLButtonElement)
const camera = find('camera', HTMLSelectElement)
const microphone = find('microphone', HTMLSelectElement)
const bitrate = find('bitrate', HTMLSelectElement)
const voice = find('voice', HTMLInputElement)
const ladder = find('ladder', HTMLInputElement)
const figures = {
  state: 'idle',
  bitrate: 0,
  fps: 0,
  width: 0,
  height: 0,
  sizes: 0, // that are sent now: more than one of a ladder
  rtt: NaN,
  keyframes: 0,
  codecs: '',
  limited: '',
  sessions: 0,
}
let media: MediaStream | undefined
let pc: RTCPeerConnection | undefined
let stop: AbortController | undefined // set while publishing
let decided = false // by a person or a link: the ladder stays as it is

takeToken()
const name = nameHere('Publish')
const path = encodeURIComponent(name)
find('watch-link', HTMLAnchorElement).href = `/watch/${path}`
find('seat-link', HTMLAnchorElement).href = realTimePage(name)
expose(() => ({ ...figures }))
window.addEventListener('pagehide', () => stop?.abort())
window.setInterval(() => void measure(), 1000)
bind()
preset(new URLSearchParams(location.search))
void begin()

/** A link may choose: ?size=640x360&bitrate=1500000&ladder=1. What is not on offer is ignored. */
function preset(wanted: URLSearchParams): void {
  for (const select of [find('size', HTMLSelectElement), bitrate]) {
    const value = wanted.get(select.id)
    if (value && [...select.options].some((option) => option.value === value)) select.value = value
  }
  decided = wanted.has('ladder')
  ladder.checked = decided ? wanted.get('ladder') === '1' : sensible()
}

/**
 * Whether a ladder is the better choice. Its smaller sizes are of use below 720
 * lines only for a face, three encoders need more than two processors, and text on
 * a screen cannot be read any more at a quarter of its size.
 */
function sensible(): boolean {
  return source() === 'camera' && choice().height >= 720 && navigator.hardwareConcurrency >= 4
}

async function begin(): Promise<void> {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    warn(
      'Browsers give camera, microphone and screen only to secure pages. Open this page by https://, or on the ' +
        'gateway’s own machine by http://localhost. Publishing from OBS works either way.',
    )
    go.disabled = true
    find('allow', HTMLButtonElement).disabled = true
    return
  }
  navigator.mediaDevices.addEventListener('devicechange', () => void listDevices())
  await listDevices()
  if (new URLSearchParams(location.search).has('autostart')) return start()
  // Who allowed it before sees the picture at once.
  if (camera.selectedOptions[0]?.value || (await allowed('camera'))) await look()
}

async function allowed(device: string): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: device as PermissionName })).state === 'granted'
  } catch {
    return false // some browsers do not tell
  }
}

function bind(): void {
  find('allow', HTMLButtonElement).addEventListener('click', () => void look())
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    if (stop) stop.abort()
    else void start()
  })
  form.addEventListener('change', (event) => {
    find('camera-row', HTMLElement).hidden = source() !== 'camera'
    if (event.target === ladder) decided = true
    else if (!decided && !stop) ladder.checked = sensible()
    if (event.target === bitrate) {
      if (pc) void limitBitrate(pc, Number(bitrate.value))
    } else if (event.target === ladder) {
      if (stop) void anew()
    } else if (media) {
      void look()
    }
  })
}

function source(): string {
  return String(new FormData(form).get('source'))
}

function choice(): Choice {
  const [width, height] = find('size', HTMLSelectElement).value.split('x').map(Number)
  return {
    picture: source(),
    camera: camera.value,
    microphone: microphone.value,
    width: width ?? 1280,
    height: height ?? 720,
    voice: voice.checked,
  }
}

/** Takes camera, microphone or screen as chosen, and shows it. */
async function look(): Promise<boolean> {
  const before = media
  // Phones open one camera at a time; while live the old picture goes on.
  if (!stop) before?.getTracks().forEach((track) => track.stop())
  let taken: MediaStream
  try {
    const got = await take(choice())
    taken = got.media
    warn(got.words && wordsOf(got.words))
  } catch (error) {
    warn(wordsOf(error))
    if (!stop) media = undefined // its tracks have ended
    return false
  }
  media = taken
  preview.srcObject = taken
  preview.classList.toggle('mirror', source() === 'camera')
  find('cover', HTMLElement).hidden = taken.getVideoTracks().length > 0
  setText(find('cover-title', HTMLElement), 'Sound only')
  setText(find('cover-text', HTMLElement), '')
  find('cover-action', HTMLElement).hidden = true
  for (const track of taken.getTracks()) {
    track.addEventListener('ended', () => {
      if (media !== taken) return
      warn('The device or the screen sharing ended. Choose another one; the stream goes on with it.')
    })
  }
  watchLevel(taken)
  await listDevices()
  if (stop) await swap(taken)
  before?.getTracks().forEach((track) => track.stop())
  return true
}

/** Puts new tracks into the running session; another set of kinds needs a new one. */
async function swap(taken: MediaStream): Promise<void> {
  const senders = pc?.getSenders() ?? []
  const fits = taken.getTracks().every((track) => senders.some((sender) => sender.track?.kind === track.kind))
  if (!pc || !fits || senders.length !== taken.getTracks().length) {
    return anew()
  }
  for (const track of taken.getTracks()) {
    await senders.find((sender) => sender.track?.kind === track.kind)?.replaceTrack(track)
  }
}

let finished: Promise<void> = Promise.resolve()

/** Ends the session and begins another one, with what is chosen now. */
async function anew(): Promise<void> {
  const done = finished
  stop?.abort()
  await done
  return start()
}

async function start(): Promise<void> {
  if (!media && !(await look())) return
  while (!token()) await askForToken('Type it in, and the stream starts.')
  find('token-form', HTMLFormElement).hidden = true
  if (stop || !media) return
  const running = new AbortController()
  stop = running
  setText(go, 'Stop publishing')
  go.classList.replace('primary', 'stop')
  const what = {
    endpoint: `/whip/${path}`,
    authorization: authorization(),
    media,
    bitrate: Number(bitrate.value),
    ladder: ladder.checked,
    stereo: !voice.checked,
  }
  const lock = await awake()
  const watched = new AbortController()
  void watchFindings(path, watched.signal)
  finished = publish(what, report, running.signal).catch(refused)
  await finished
  watched.abort()
  void lock?.release()
  stop = undefined
  pc = undefined
  setText(go, 'Start publishing')
  go.classList.replace('stop', 'primary')
  if (figures.state !== 'refused') say('stopped', 'idle', 'Stopped')
}

function refused(error: unknown): void {
  say('refused', 'bad', 'Refused')
  warn(wordsOf(error))
  if (error instanceof Refusal && [401, 403].includes(error.status)) {
    // After the button is itself again.
    setTimeout(() => void askForToken(wordsOf(error)).then(start))
  }
}

/** Keeps a phone's screen on: it would stop the camera. */
async function awake(): Promise<WakeLockSentinel | undefined> {
  try {
    return await navigator.wakeLock.request('screen')
  } catch {
    return undefined
  }
}

function say(state: string, tone: 'idle' | 'wait' | 'live' | 'bad', words: string): void {
  figures.state = state
  setStatus(status, tone, words)
}

function warn(words: string): void {
  const box = find('warning', HTMLElement)
  setText(box, words)
  box.hidden = words === ''
}

function report(progress: Progress): void {
  switch (progress.kind) {
    case 'connecting':
      say('connecting', 'wait', 'Connecting to the gateway')
      break
    case 'connected':
      pc = progress.session.pc
      last = undefined
      figures.sessions++
      warn('')
      say('live', 'live', 'Live')
      break
    case 'interrupted':
      say('interrupted', 'wait', 'Connection lost, healing it')
      break
    case 'waiting':
      pc = undefined
      say('reconnecting', 'wait', `Trying again in ${Math.max(1, Math.round(progress.seconds))} s`)
      if (progress.why) warn(wordsOf(progress.why))
  }
}

async function listDevices(): Promise<void> {
  const found = await inputs()
  fill(camera, found.cameras, [['', 'Any camera']])
  fill(microphone, found.microphones, [['', 'Any microphone']], [['none', 'No microphone']])
}

function fill(select: HTMLSelectElement, devices: [string, string][], first: [string, string][], end: [string, string][] = []): void {
  const before = select.value
  const options = [...(devices.length > 0 ? [] : first), ...devices, ...end].map(([value, label]) => {
    const option = make('option', '', label)
    option.value = value
    return option
  })
  select.replaceChildren(...options)
  if (options.some((option) => option.value === before)) select.value = before
}

let level: (() => void) | undefined

/** A bar that moves with the sound, so that a dead microphone is seen before anyone waits for a voice. */
function watchLevel(stream: MediaStream): void {
  level?.()
  level = undefined
  const bar = find('level', HTMLElement)
  bar.style.transform = 'scaleX(0)'
  const track = stream.getAudioTracks()[0]
  if (!track) return
  const context = new AudioContext()
  const analyser = context.createAnalyser()
  analyser.fftSize = 1024
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser)
  const samples = new Float32Array(analyser.fftSize)
  const timer = window.setInterval(() => {
    analyser.getFloatTimeDomainData(samples)
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)
    bar.style.transform = `scaleX(${Math.min(1, Math.sqrt(peak)).toFixed(2)})`
  }, 100)
  level = () => {
    clearInterval(timer)
    void context.close()
  }
}

let last: { at: number; bytes: number } | undefined

async function measure(): Promise<void> {
  if (!pc || pc.connectionState !== 'connected') return
  const report = await pc.getStats()
  const now = { at: performance.now(), bytes: 0 }
  const names: string[] = []
  const pictures: { width: number; height: number; fps: number; keyframes: number; limited: string }[] = []
  for (const one of report.values()) {
    if (one.type === 'outbound-rtp') {
      now.bytes += one.bytesSent ?? 0
      if ((one.packetsSent ?? 0) > 0) names.push(report.get(one.codecId)?.mimeType ?? '')
      if (one.kind === 'video') {
        pictures.push({
          width: one.frameWidth ?? 0,
          height: one.frameHeight ?? 0,
          fps: one.framesPerSecond ?? 0,
          keyframes: one.keyFramesEncoded ?? 0,
          limited: one.qualityLimitationReason ?? '',
        })
      }
    }
    if (one.type === 'candidate-pair' && one.nominated && one.currentRoundTripTime !== undefined) {
      figures.rtt = one.currentRoundTripTime
    }
  }
  // Of a ladder the biggest picture that moves.
  const moving = pictures.filter((one) => one.fps > 0)
  const best = (moving.length > 0 ? moving : pictures).sort((a, b) => b.height - a.height)[0]
  Object.assign(figures, best, { sizes: moving.length })
  if (last) figures.bitrate = (8000 * (now.bytes - last.bytes)) / (now.at - last.at)
  last = now
  figures.codecs = codecs(...new Set(names.sort().reverse()))
  if (figures.state === 'live') setStatus(status, 'live', `Live${limit()}`)
  setFigures({
    'bitrate-now': rate(figures.bitrate),
    picture: size(figures.width, figures.height) + (figures.sizes > 1 ? `, ${figures.sizes} sizes` : ''),
    fps: figures.fps ? `${Math.round(figures.fps)} a second` : '',
    codecs: figures.codecs,
    rtt: span(figures.rtt),
    keyframes: String(figures.keyframes),
  })
}

function limit(): string {
  if (figures.limited === 'cpu') return ', held back by this computer’s speed: choose a smaller size'
  if (figures.limited === 'bandwidth') return ', held back by the network'
  return ''
}
