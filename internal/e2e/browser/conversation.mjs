// A stage with a host, three guests and a viewer of HLS, each in a tab of Chromium.
// Each seat has a colour for a camera and a tone for a microphone, which are looked and
// listened for in the program: the picture where the viewer's player shows it, the sound
// in the newest segments.
import { spawn } from 'node:child_process'

/** Of each seat: the camera's colour and the microphone's tone, in Hz. */
const cast = [
  { seat: 'host', role: 'host', colour: [200, 30, 30], tone: 610 },
  { seat: 'ann', role: 'guest', colour: [30, 180, 40], tone: 1070 },
  { seat: 'bob', role: 'guest', colour: [40, 60, 210], tone: 1730 },
  { seat: 'cyd', role: 'guest', colour: [210, 200, 40], tone: 2590 },
]
/** Tones that nobody has. */
const absent = [850, 1390, 2150, 3170]
const heardAbove = 20 // dB over the loudest of the tones that nobody has
const rate = 48_000
const generous = 60_000 // ms for a slow computer; nothing here is about latency
const small = { width: 360, height: 270 } // of a page: most of what six of them cost is painting

// A camera of one colour, with a spot that moves, and a microphone of one tone.
function devices({ colour, tone }) {
  navigator.mediaDevices.getUserMedia = async ({ video, audio }) => {
    const media = new MediaStream()
    if (video) {
      const canvas = new OffscreenCanvas(320, 180)
      const pen = canvas.getContext('2d')
      const camera = new MediaStreamTrackGenerator({ kind: 'video' })
      const film = camera.writable.getWriter()
      const begun = performance.now()
      const timer = setInterval(() => {
        if (camera.readyState === 'ended') return clearInterval(timer)
        const now = performance.now() - begun
        pen.fillStyle = `rgb(${colour.join()})`
        pen.fillRect(0, 0, 320, 180)
        pen.fillStyle = 'white'
        pen.fillRect((now / 20) % 300, 160, 20, 20)
        film.write(new VideoFrame(canvas, { timestamp: now * 1000 })).catch(() => undefined)
      }, 1000 / 10)
      media.addTrack(camera)
    }
    if (audio) {
      const context = new AudioContext({ sampleRate: 48_000 })
      const voice = new OscillatorNode(context, { frequency: tone })
      const microphone = context.createMediaStreamDestination()
      voice.connect(new GainNode(context, { gain: 0.15 })).connect(microphone)
      voice.start()
      media.addTrack(microphone.stream.getAudioTracks()[0])
    }
    return media
  }
}

/** The colour that a page's picture has in its middle, of an element that find is the way to. */
function middle(find) {
  const video = new Function(`return ${find}`)()
  if (!video?.videoWidth) return undefined
  const pen = new OffscreenCanvas(8, 8).getContext('2d', { willReadFrequently: true })
  pen.drawImage(video, video.videoWidth / 4, video.videoHeight / 4, video.videoWidth / 2, video.videoHeight / 2, 0, 0, 8, 8)
  return [...pen.getImageData(4, 4, 1, 1).data.slice(0, 3)]
}

/** How strong the tones are in what a seat plays of all others, in dB over the loudest of those that nobody has. */
async function earOf({ tones, absent }) {
  const players = document.querySelector('whipcast-seat').shadowRoot.querySelectorAll('whipcast-player')
  const context = new AudioContext({ sampleRate: 48_000 })
  const ear = new AnalyserNode(context, { fftSize: 16_384, smoothingTimeConstant: 0 }) // a third of a second
  for (const { video } of players) {
    const tracks = video?.srcObject?.getAudioTracks() ?? []
    if (tracks.length > 0) context.createMediaStreamSource(new MediaStream(tracks)).connect(ear)
  }
  await new Promise((resolve) => setTimeout(resolve, 700))
  const bins = new Float32Array(ear.frequencyBinCount)
  ear.getFloatFrequencyData(bins)
  await context.close()
  const strength = (tone) => {
    const bin = Math.round((tone * ear.fftSize) / 48_000)
    return Math.max(-160, ...bins.slice(bin - 3, bin + 4))
  }
  const floor = Math.max(...absent.map(strength))
  return tones.map((tone) => Math.round(strength(tone) - floor))
}

/** How strong a tone is in a sound, in dB: Goertzel's algorithm under a Hann window. */
function strength(sound, tone) {
  const turn = 2 * Math.cos((2 * Math.PI * tone) / rate)
  let [last, before] = [0, 0]
  sound.forEach((sample, i) => {
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / sound.length)
    ;[last, before] = [sample * window + turn * last - before, last]
  })
  const power = (last * last + before * before - turn * last * before) / (sound.length / 4) ** 2
  return 10 * Math.log10(power + 1e-12)
}

/** Mono samples of what FFmpeg finds in some bytes. */
function decode(bytes) {
  return new Promise((resolve, reject) => {
    const ffmpeg = spawn('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-i', 'pipe:0', '-f', 'f32le', '-ac', '1', '-ar', String(rate), 'pipe:1'])
    const out = []
    let said = ''
    ffmpeg.stdout.on('data', (chunk) => out.push(chunk))
    ffmpeg.stderr.on('data', (chunk) => (said += chunk))
    ffmpeg.stdin.on('error', () => undefined)
    ffmpeg.on('error', reject)
    ffmpeg.on('close', () => {
      const all = Buffer.concat(out)
      if (all.length === 0) return reject(new Error(`ffmpeg: ${said}`))
      resolve(new Float32Array(new Uint8Array(all).buffer))
    })
    ffmpeg.stdin.end(bytes)
  })
}

export async function conversation(context, { base, token, stream, report, open, stats, until, shot }) {
  const ask = (path, { with: who = token, ...request } = {}) =>
    fetch(base + path, { ...request, headers: { Authorization: `Bearer ${who}`, ...(request.body && { 'Content-Type': 'application/json' }) } })
  const order = async (method, path, body) => {
    const response = await ask(`/v1/stages/${stream}${path}`, { method, ...(body && { body: JSON.stringify(body) }) })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response.status === 204 ? undefined : response.json()
  }
  const text = async (path) => {
    const response = await fetch(base + path, { cache: 'no-store' })
    if (!response.ok) throw new Error(`${path}: ${response.status}`)
    return response.text()
  }
  const publishers = async (seat) => {
    const { sessions } = await (await ask(`/v1/sessions?stream=${stream}.${seat}`)).json()
    return sessions.filter((one) => one.kind === 'publish').map((one) => one.id)
  }
  const seatOf = async (name) => (await order('GET', '')).seats.find((one) => one.name === name)

  /** Address of a Media Playlist of the program: that of the picture, or of the sound. */
  const playlistOf = async (kind) => {
    const main = await text(`/hls/${stream}/index.m3u8`)
    const uris = [...main.matchAll(/URI="([^"]+)"/g)].map((one) => one[1]).concat(main.split('\n').filter((line) => line && !line.startsWith('#')))
    return `/hls/${stream}/${uris.find((one) => one.includes(kind))}`
  }
  /** How many discontinuities the program has had. */
  const discontinuities = async () => {
    const media = await text(await playlistOf('video'))
    return Number(/#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)/.exec(media)?.[1] ?? 0) + (media.match(/^#EXT-X-DISCONTINUITY$/gm)?.length ?? 0)
  }
  /** Whose tones the newest segment of the program has. */
  const heard = async () => {
    const address = await playlistOf('/audio')
    const media = await text(address)
    const map = [...media.matchAll(/#EXT-X-MAP:URI="([^"]+)"/g)].at(-1)?.[1]
    const newest = media.split('\n').filter((line) => line && !line.startsWith('#')).at(-1)
    if (!map || !newest) return undefined
    const parts = []
    for (const uri of [map, newest]) {
      const response = await fetch(new URL(uri, base + address))
      if (!response.ok) return undefined
      parts.push(Buffer.from(await response.arrayBuffer()))
    }
    const sound = (await decode(Buffer.concat(parts))).slice(-rate / 2)
    if (sound.length < rate / 4) return undefined // a segment that a cut has ended at once
    const floor = Math.max(...absent.map((tone) => strength(sound, tone)))
    quiet = Math.round(floor)
    report.levels = Object.fromEntries(cast.map(({ seat, tone }) => [seat, Math.round(strength(sound, tone) - floor)]))
    return cast.filter(({ seat }) => report.levels[seat] >= heardAbove).map(({ seat }) => seat)
  }
  report.trail = [] // of what is heard, over how much else in dB: -120 is silence, above -60 it is chopped
  let quiet = NaN
  const hear = async (...wanted) => {
    let last
    await until(`the program sounds of ${wanted.join(', ')}`, generous, async () => {
      const now = await heard()
      if (now?.join() !== last?.join()) report.trail.push(`${Math.round((Date.now() - begun) / 100) / 10} s: ${now} over ${quiet}`)
      last = now
      return last?.join() === wanted.join()
    }).catch((error) => {
      throw new Error(`${error.message}, but of ${last}: ${JSON.stringify(report.levels)} dB`)
    })
    report.heard.push(wanted.join(' '))
  }
  report.heard = []
  report.seen = []
  report.took = {} // seconds since the beginning
  const begun = Date.now()
  const step = (name) => (report.took[name] = Math.round((Date.now() - begun) / 1000))

  // Invited.
  await order('PUT', '', {})
  const seats = {}
  for (const one of cast) {
    const made = await order('POST', '/seats', { seat: one.seat, role: one.role, label: one.seat })
    seats[one.seat] = { ...one, token: made.token, url: made.url, posts: 0, restarts: [] }
  }
  // By the page of each: a look at the devices, then in.
  const join = async (seat) => {
    const page = (seat.page = await open(context, seat.url, '', [devices, { colour: seat.colour, tone: seat.tone }]))
    await page.setViewportSize(small)
    page.on('response', (response) => {
      const request = response.request()
      const { pathname } = new URL(request.url())
      if (request.method() === 'POST' && pathname.startsWith('/whip/')) {
        seat.posts++
        seat.session = response.headers()['location'] ?? seat.session
      }
      if (request.method() === 'PATCH' && pathname === seat.session && request.headers()['if-match'] === '*') seat.restarts.push(response.status())
    })
    await until(`${seat.seat} sees what the camera gives`, generous, async () => near(await page.evaluate(middle, ownPicture), seat.colour))
    await page.getByRole('button', { name: 'Join', exact: true }).click()
  }
  const state = (seat, wanted) => until(`${seat} is ${wanted}`, generous, async () => (await stats(seats[seat].page))?.state === wanted)
  for (const seat of Object.values(seats)) await join(seat)
  await state('host', 'backstage')
  for (const guest of ['ann', 'bob', 'cyd']) await state(guest, 'waiting')
  step('joined')

  // On air: the host alone at first.
  const cut = async (seat) => {
    await order('POST', '/cut', { seat })
    await until(`the stage shows ${seat}`, generous, async () => (await order('GET', '')).program.picture === seat)
  }
  await order('PATCH', '/seats/host', { state: 'on_air' })
  await cut('host')
  const watcher = await open(context, `/watch/${stream}`, '')
  await watcher.setViewportSize(small)
  const see = async (seat) => {
    let last
    await until(`the viewer of HLS sees ${seat}`, generous, async () => near((last = await watcher.evaluate(middle, 'document.querySelector("video")')), seats[seat].colour)).catch((error) => {
      throw new Error(`${error.message}, but ${last}`)
    })
    report.seen.push(seat)
  }
  await see('host')
  await hear('host')
  // Who watches in real time does so by one session, whatever is cut to.
  const live = await open(context, `/seat/${stream}`, '')
  await live.setViewportSize(small)
  report.live = []
  const watch = async (seat) => {
    const since = Date.now()
    await until(`the viewer of WHEP sees ${seat}`, generous, async () => near(await live.evaluate(middle, 'document.querySelector("video")'), seats[seat].colour))
    const before = (await stats(live)).framesDecoded
    await until(`the picture of ${seat} moves`, generous, async () => (await stats(live)).framesDecoded > before + 3)
    report.live.push(seat)
    return Date.now() - since
  }
  await watch('host')
  step('host is on air')

  // All are let in, see and hear one another, and talk.
  for (const guest of ['ann', 'bob', 'cyd']) await order('PATCH', `/seats/${guest}`, { state: 'backstage' })
  for (const { page, seat, colour } of Object.values(seats)) {
    const others = Object.values(seats).filter((one) => one.seat !== seat)
    await until(`${seat} sees all others`, generous, async () => {
      const colours = await Promise.all([0, 1, 2, 3].map((i) => page.evaluate(middle, tile(i))))
      return !colours[3] && !colours.some((one) => near(one, colour)) && others.every((one) => colours.some((got) => near(got, one.colour)))
    })
  }
  // Each of them hears all others, and never itself.
  report.ears = {}
  report.echoes = []
  await Promise.all(
    Object.values(seats).map(({ page, seat }) => {
      const others = cast.filter((one) => one.seat !== seat).map((one) => one.seat)
      return until(`${seat} hears ${others}`, generous, async () => {
        const levels = await page.evaluate(earOf, { tones: cast.map((one) => one.tone), absent })
        const heard = cast.filter((_, i) => levels[i] >= heardAbove).map((one) => one.seat)
        report.ears[seat] = heard.join(' ')
        if (heard.includes(seat)) report.echoes.push(seat)
        return heard.join() === others.join()
      }).catch((error) => {
        throw new Error(`${error.message}, but ${report.ears[seat]}`)
      })
    }),
  )
  step('all hear one another')
  await hear('host')
  for (const guest of ['ann', 'bob', 'cyd']) {
    await order('PATCH', `/seats/${guest}`, { state: 'on_air' })
    await state(guest, 'on_air')
  }
  await hear('host', 'ann', 'bob', 'cyd')
  step('all talk')

  // Cuts.
  report.discontinuities = [await discontinuities()]
  report.turns = [] // ms from the stage's word to the viewer's eye
  for (const seat of ['ann', 'bob', 'host']) {
    await cut(seat)
    report.turns.push(await watch(seat))
    await see(seat)
    report.discontinuities.push(await discontinuities())
  }
  await shot(watcher, 'conversation-watch')
  await shot(seats.host.page, 'conversation-host')
  step('cut')

  // Muted; and who reloads the page is back as before.
  await order('PATCH', '/seats/ann', { muted: true })
  await hear('host', 'bob', 'cyd')
  step('muted')
  const left = await publishers('ann')
  await seats.ann.page.reload({ timeout: generous })
  step('reloaded')
  await until('ann is back by another session', generous, async () => {
    const now = await publishers('ann')
    return now.length === 1 && now[0] !== left[0]
  })
  step('another session')
  await state('ann', 'on_air')
  step('on air again')
  const back = await seatOf('ann')
  report.back = `${back.state}${back.muted ? ', muted' : ''}`
  await order('PATCH', '/seats/ann', { muted: false })
  await hear('host', 'ann', 'bob', 'cyd')
  step('muted and back')

  // The host, whose picture is on air, gets another network.
  const { host } = seats
  const before = { publishers: await publishers('host'), posts: host.posts }
  await host.page.evaluate(() => dispatchEvent(new Event('online')))
  await until('the host has restarted ICE', generous, () => host.restarts.length > 0)
  await cut('cyd') // a keyframe comes on request from who was restarted, too
  await see('cyd')
  await cut('host')
  await see('host')
  report.discontinuities.push(await discontinuities())
  report.restarts = host.restarts
  report.posts = host.posts - before.posts
  report.kept = before.publishers.length === 1 && (await publishers('host')).join() === before.publishers.join()
  step('another network')

  // Thrown out.
  const { cyd } = seats
  await order('DELETE', '/seats/cyd')
  await state('cyd', 'removed')
  await until('the session of cyd has ended', generous, async () => (await publishers('cyd')).length === 0)
  step('session ended')
  report.refused = [(await ask(`/v1/stages/${stream}/view`, { with: cyd.token })).status, (await ask(`/whip/${stream}.cyd`, { method: 'POST', with: cyd.token })).status]
  await hear('host', 'ann', 'bob')
  report.discontinuities.push(await discontinuities())
  await watch('host')
  report.connections = await live.evaluate(() => window.observed.connections)
  report.viewer = await stats(watcher)
  step('thrown out')
}

const inSeat = 'document.querySelector("whipcast-seat").shadowRoot'
const ownPicture = `${inSeat}.querySelector("video.front")`
const tile = (i) => `${inSeat}.querySelectorAll("whipcast-player")[${i}]?.video`

/** Whether a colour is the other one, but for what coding does to it. */
function near(colour, other) {
  return colour !== undefined && colour.every((value, i) => Math.abs(value - other[i]) < 50)
}
