// Drives Debian's Chromium against a running gateway and prints what it saw as
// one JSON object.
//
//   node run.mjs show    BASE TOKEN STREAM   our pages: publish, watch, seat
//   node run.mjs watch   BASE TOKEN STREAM   watch and seat a stream that is live
//   node run.mjs foreign BASE TOKEN STREAM   the npm client whip-whep, from another origin
//   node run.mjs ladder  BASE TOKEN STREAM   our publish page sends a quality ladder
//   node run.mjs layers  BASE TOKEN STREAM   three RIDs from a page without any hints
//   node run.mjs relayed BASE TOKEN STREAM   publish and sit where only TURN gets through
//   node run.mjs closed  BASE TOKEN STREAM   watch and sit in a live stream with and without the token
//   node run.mjs embed   BASE TOKEN STREAM   <whipcast-player> in a page of another origin, under the policy that docs/embedding.md names
//   node run.mjs control BASE TOKEN STREAM   the control room of a stage, and two guests
//   node run.mjs moved   BASE TOKEN STREAM   the gateway is emptied: who publishes and who watches goes on at its peer
//   node run.mjs conversation BASE TOKEN STREAM   a stage with a host, three guests and a viewer: conversation.mjs
//   node run.mjs glass   BASE TOKEN STREAM   how old pictures are that a seat shows: glass.mjs
//   node run.mjs adapt   BASE TOKEN STREAM   a viewer behind a link that changes: adapt.mjs
//
// SHOTS=FOLDER keeps screenshots there.
import { createServer } from 'node:http'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { chromium } from 'playwright-core'
import { adapt } from './adapt.mjs'
import { conversation } from './conversation.mjs'
import { glass } from './glass.mjs'

// A certificate of our own making is as good as any to see what goes by TLS.
const trusting = process.argv[3]?.startsWith('https:') ? ['--ignore-certificate-errors'] : []
if (trusting.length > 0) process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
const [scenario, base, token, stream] = process.argv.slice(2)
const watching = 31_000 // ms of play that must pass without a stall

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Polls until ask returns something true; fails with the words when time is up. */
async function until(what, limit, ask) {
  const end = Date.now() + limit
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${what}`)
    await sleep(20)
  }
}

// Notes how many peer connections there were, when one connects and when pictures appear, from outside
// of the page's own code.
function observe() {
  const seen = (window.observed = { posted: 0, connections: 0, connected: 0, frames: [], waits: 0, playing: 0 })
  const Native = window.RTCPeerConnection
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args)
      seen.connections++
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected' && !seen.connected) seen.connected = Date.now()
      })
    }
  }
  const fetchOf = window.fetch
  window.fetch = (...args) => {
    if (args[1]?.method === 'POST' && !seen.posted) seen.posted = Date.now()
    return fetchOf(...args)
  }
  const watchVideo = (video) => {
    const note = () => {
      if (seen.frames.length < 100) seen.frames.push(Date.now())
      video.requestVideoFrameCallback(note)
    }
    video.requestVideoFrameCallback(note)
    video.addEventListener('playing', () => (seen.playing ||= Date.now()))
    video.addEventListener('waiting', () => {
      if (seen.playing && Date.now() - seen.playing > 1000) seen.waits++
    })
  }
  addEventListener('DOMContentLoaded', () => {
    for (const video of document.querySelectorAll('video')) watchVideo(video)
  })
}

async function shot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) })
}

const observed = (page) => page.evaluate(() => window.observed)
const stats = (page) => page.evaluate(() => window.whipcast?.stats())

/** Opens one of our pages; script, [function, argument], runs in it before its own. */
async function open(context, path, credentials = `#token=${token}`, script = undefined) {
  const page = await context.newPage()
  page.on('pageerror', (e) => report.errors.push(`${path}: ${e}`))
  page.on('request', (r) => {
    if (!r.url().startsWith(base) && !/^(blob|data):/.test(r.url())) report.external.push(r.url())
  })
  await page.addInitScript(observe)
  if (script) await page.addInitScript(...script)
  await page.goto(base + path + credentials)
  return page
}

const report = { errors: [], external: [] }

async function show(context) {
  const publisher = await open(context, `/publish/${stream}?autostart=1&size=640x360&bitrate=1500000`)
  const connected = await until('the publisher is connected', 20_000, async () => (await observed(publisher)).connected)
  await watchAndSit(context, connected)
  await shot(publisher, 'publish')
}

async function watchAndSit(context, since = Date.now()) {
  const watcher = await open(context, `/watch/${stream}`)
  const first = await until('the watch page shows a picture', 20_000, async () => (await observed(watcher)).frames[0])
  report.firstPicture = first - since
  const seat = await open(context, `/seat/${stream}`)
  const moving = await until('the seat shows a moving picture', 20_000, async () => (await observed(seat)).frames[2])
  report.seatMoving = moving - (await observed(seat)).posted
  await watcher.bringToFront()
  await sleep(15_000)
  report.after15 = await stats(watcher)
  report.seat = await stats(seat)
  await shot(watcher, 'watch')
  await sleep(Math.max(0, first + watching - Date.now()))
  report.after30 = await stats(watcher)
  report.waits = (await observed(watcher)).waits
  report.paused = await watcher.evaluate(() => document.querySelector('video').paused)
  await seat.bringToFront()
  await sleep(500)
  report.seatLater = await stats(seat)
  await shot(seat, 'seat')
}

/** Serves the npm client and a bare page, as another origin would. */
function foreignSite() {
  const folder = dirname(createRequire(import.meta.url).resolve('whip-whep/package.json'))
  const server = createServer(async (request, response) => {
    const name = { '/whip.js': 'whip.js', '/whep.js': 'whep.js' }[request.url]
    response.setHeader('Content-Type', name ? 'text/javascript' : 'text/html')
    response.end(name ? await readFile(join(folder, name)) : '<!doctype html><title>elsewhere</title><video muted autoplay playsinline></video>')
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function foreign(context) {
  const site = await foreignSite()
  const address = `http://127.0.0.1:${site.address().port}/`
  try {
    const publisher = await context.newPage()
    await publisher.goto(address)
    report.published = await publisher.evaluate(async ({ url, token }) => {
      const { WHIPClient } = await import('/whip.js')
      const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 }, audio: true })
      const pc = (window.pc = new RTCPeerConnection())
      for (const track of media.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] })
      const client = (window.client = new WHIPClient())
      await client.publish(pc, url, token)
      for (let i = 0; i < 100 && pc.connectionState !== 'connected'; i++) await new Promise((r) => setTimeout(r, 100))
      return pc.connectionState
    }, { url: `${base}/whip/${stream}`, token })
    const viewer = await context.newPage()
    await viewer.addInitScript(observe)
    await viewer.goto(address)
    report.viewed = await viewer.evaluate(async ({ url, token }) => {
      const { WHEPClient } = await import('/whep.js')
      const pc = (window.pc = new RTCPeerConnection())
      pc.addTransceiver('audio', { direction: 'recvonly' })
      pc.addTransceiver('video', { direction: 'recvonly' })
      pc.ontrack = (event) => (document.querySelector('video').srcObject = event.streams[0])
      const client = (window.client = new WHEPClient())
      for (let i = 0; ; i++) {
        try {
          await client.view(pc, url, token)
          break
        } catch (e) {
          if (i > 5) throw e
          await new Promise((r) => setTimeout(r, 500))
        }
      }
      for (let i = 0; i < 100 && pc.connectionState !== 'connected'; i++) await new Promise((r) => setTimeout(r, 100))
      return pc.connectionState
    }, { url: `${base}/whep/${stream}`, token })
    await until('the foreign viewer shows a moving picture', 20_000, async () => (await observed(viewer)).frames[10])
    report.moving = true
    report.stopped = await viewer.evaluate(() => window.client.stop().then(() => true))
    report.unpublished = await publisher.evaluate(() => window.client.stop().then(() => true))
  } finally {
    site.close()
  }
}

/** Publishes three RIDs as any page elsewhere would: only the codec is chosen. */
async function layers(context) {
  const site = await foreignSite()
  try {
    const page = await context.newPage()
    await page.addInitScript(observe)
    await page.goto(`http://127.0.0.1:${site.address().port}/`)
    await threeRIDs(page)
    await arrivals(page)
  } finally {
    site.close()
  }
}

function threeRIDs(page) {
  return page.evaluate(async ({ url, token }) => {
    const media = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: true })
    const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' }))
    pc.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly', streams: [media] })
    const video = pc.addTransceiver(media.getVideoTracks()[0], {
      direction: 'sendonly',
      streams: [media],
      sendEncodings: [{ rid: 'q', scaleResolutionDownBy: 4 }, { rid: 'h', scaleResolutionDownBy: 2 }, { rid: 'f' }],
    })
    video.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter((c) => /h264|rtx/i.test(c.mimeType)))
    await pc.setLocalDescription()
    const answer = await fetch(url, {
      method: 'POST',
      body: pc.localDescription.sdp,
      headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` },
    })
    await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() })
  }, { url: `${base}/whip/${stream}`, token })
}

/** Publishes by our page, with its quality ladder. */
async function ladder(context) {
  const page = await open(context, `/publish/${stream}?autostart=1&size=1280x720&bitrate=2500000&ladder=1`)
  await arrivals(page)
  await until('the page counts three sizes', 10_000, async () => (await stats(page)).sizes === 3).catch(() => undefined)
  report.publisher = await stats(page)
  await shot(page, 'ladder')
}

/** Notes when each layer's first packet has arrived at the gateway, in ms after the page was connected. */
async function arrivals(page) {
  const ask = async () => {
    // A kept connection may be closed by the gateway just as it is used again.
    const response = await fetch(`${base}/v1/streams/${stream}`, { headers: { Authorization: `Bearer ${token}` } }).catch(() => undefined)
    return response?.ok ? (await response.json()).layers.filter((layer) => layer.kind === 'video') : []
  }
  const first = {}
  await until('three layers', 20_000, async () => {
    for (const layer of await ask()) if (layer.packets > 0) first[layer.rid] ??= Date.now()
    return Object.keys(first).length === 3
  }).catch(() => undefined) // the test tells which
  const { connected } = await observed(page)
  report.arrived = Object.fromEntries(Object.entries(first).map(([rid, at]) => [rid, Math.max(0, at - connected)]))
  await sleep(5000)
  report.layers = await until('the layers again', 5000, async () => {
    const all = await ask()
    return all.length > 0 && all
  })
}

/** A closed gateway: nothing without the token, both players with it. */
async function closed(context) {
  const stranger = await open(context, `/watch/${stream}`, '')
  await until('the watch page asks for a token', 20_000, async () => (await stats(stranger))?.state === 'refused')
  report.asks = await stranger.evaluate(() => !document.getElementById('token-form').hidden)
  await shot(stranger, 'closed')
  // A link in the same tab changes the fragment only.
  await stranger.evaluate((token) => (location.hash = `token=${token}`), token)
  await until('the watch page takes the token of a link that came later', 20_000, async () => (await stats(stranger).catch(() => undefined))?.state === 'playing')
  report.later = stranger.url()
  await stranger.close() // its storage is its own, and goes with it
  const watcher = await open(context, `/watch/${stream}`, `?a=b&token=${token}`)
  await until('the watch page shows moving pictures', 30_000, async () => (await observed(watcher)).frames[20])
  report.bar = watcher.url()
  const seat = await open(context, `/seat/${stream}`)
  await until('the seat shows moving pictures', 20_000, async () => (await observed(seat)).frames[20])
  report.seat = await stats(seat)
}

/** Takes all ways from a page but the relays of one transport: udp, tcp or tls. */
function relayOnly(transport) {
  window.connections = []
  const wanted = { udp: /^turn:.*transport=udp$/, tcp: /^turn:.*transport=tcp$/, tls: /^turns:/ }[transport]
  const Native = window.RTCPeerConnection
  const policy = (configuration) => ({
    ...configuration,
    iceTransportPolicy: 'relay',
    iceServers: (configuration?.iceServers ?? []).filter((one) => wanted.test(String(one.urls))),
  })
  window.RTCPeerConnection = class extends Native {
    constructor(configuration) {
      super(policy(configuration))
      window.connections.push(this)
    }
    setConfiguration(configuration) {
      super.setConfiguration(policy(configuration))
    }
  }
}

/** Publishes and sits by our pages, relayed by TLS, by TCP and by UDP. */
async function relayed(context) {
  const enter = async (path, transport) => {
    const page = await context.newPage()
    page.on('pageerror', (e) => report.errors.push(`${path}: ${e}`))
    await page.addInitScript(observe)
    await page.addInitScript(relayOnly, transport)
    await page.goto(`${base}${path}#token=${token}`)
    await until(`${path} is connected`, 30_000, async () => (await observed(page)).connected)
    return page
  }
  const way = (page) =>
    page.evaluate(async () => {
      const all = [...(await window.connections.at(-1).getStats()).values()]
      const pair = all.find((one) => one.type === 'candidate-pair' && one.nominated && one.state === 'succeeded')
      const local = all.find((one) => one.id === pair?.localCandidateId)
      return `${local?.candidateType} ${local?.relayProtocol}`
    })
  const publisher = await enter(`/publish/${stream}?autostart=1&size=640x360&bitrate=1000000`, 'tls')
  const seats = [await enter(`/seat/${stream}`, 'tcp'), await enter(`/seat/${stream}`, 'udp')]
  for (const seat of seats) {
    await seat.bringToFront()
    await until('the seat shows moving pictures', 30_000, async () => (await observed(seat)).frames[20])
  }
  report.ways = await Promise.all([publisher, ...seats].map(way))
  const sessions = await fetch(`${base}/v1/sessions`, { headers: { Authorization: `Bearer ${token}` } })
  report.reports = await Promise.all(
    (await sessions.json()).sessions.map(async ({ id }) => {
      const one = await fetch(`${base}/v1/sessions/${id}`, { headers: { Authorization: `Bearer ${token}` } })
      return (await one.json()).ice?.words
    }),
  )
}

/** Another origin: a page with one player, under the policy that the guide asks for; one with frames; and the guide's example. */
async function embeddingSite() {
  const example = await readFile(new URL('../../../docs/examples/embed.html', import.meta.url), 'utf8')
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html')
    if (request.url === '/example') {
      response.end(example.replaceAll('https://live.example.org', base).replaceAll('/watch/show', `/watch/${stream}`))
      return
    }
    response.setHeader(
      'Content-Security-Policy',
      `default-src 'none'; script-src ${base}; connect-src ${base}; media-src ${base} blob: data:; frame-src ${base}; require-trusted-types-for 'script'`,
    )
    response.end(
      request.url === '/frame'
        ? `<!doctype html><title>frames</title><iframe src="${base}/embed/${stream}?muted#token=${token}" allow="autoplay; fullscreen"></iframe><iframe src="${base}/watch/${stream}"></iframe>`
        : `<!doctype html><title>elsewhere</title><script type="module" src="${base}/embed.js"></script>` +
            `<whipcast-player src="${base}/watch/${stream}#token=${token}" muted controls messages="score,chat"></whipcast-player>`,
    )
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

// Looks at the picture many times a second from its first one on, and counts when
// there was none.
function lookAtPlayer() {
  const seen = (window.seen = { looks: 0, blank: 0, ways: [], states: [], messages: [] })
  addEventListener('whipcast-way', (event) => seen.ways.push(event.detail.to))
  addEventListener('whipcast-state', (event) => seen.states.push(event.detail.state))
  addEventListener('whipcast-message', (event) => seen.messages.push(`${event.detail.label} ${event.detail.text}`))
  addEventListener('securitypolicyviolation', (event) => seen.states.push(`policy: ${event.violatedDirective} ${event.blockedURI}`))
  const canvas = new OffscreenCanvas(16, 9).getContext('2d', { willReadFrequently: true })
  setInterval(() => {
    const video = document.querySelector('whipcast-player')?.video
    if (!video) return
    canvas.clearRect(0, 0, 16, 9)
    canvas.drawImage(video, 0, 0, 16, 9)
    seen.looks++
    if (canvas.getImageData(0, 0, 16, 9).data.every((value, i) => i % 4 === 3 || value < 8)) seen.blank++
  }, 40)
}

/** WHEP is refused, works, breaks, and works again: the picture goes on by HLS meanwhile, and is never gone. */
async function embed(context) {
  const site = await embeddingSite()
  const origin = `http://127.0.0.1:${site.address().port}`
  const refuse = (route) =>
    route.fulfill({
      status: 503,
      headers: {
        'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': 'authorization, content-type', 'Access-Control-Allow-Methods': 'POST',
        'Access-Control-Expose-Headers': 'Retry-After', 'Retry-After': '1',
      },
    })
  try {
    const page = await context.newPage()
    page.on('pageerror', (e) => report.errors.push(String(e)))
    await page.addInitScript(lookAtPlayer)
    await page.route(`${base}/whep/**`, refuse)
    await page.goto(origin)
    const say = async (label, text) => {
      const answer = await fetch(`${base}/v1/streams/${stream}/messages`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ label, text }),
      })
      if (!answer.ok) throw new Error(`message: ${answer.status} ${await answer.text()}`)
      return label === 'score' && until(`the message ${text}`, 20_000, () => page.evaluate((text) => window.seen.messages.includes(`score ${text}`), text))
    }
    const way = (wanted) => until(`the picture comes by ${wanted}`, 40_000, () =>
      page.evaluate((wanted) => {
        const player = document.querySelector('whipcast-player')
        return player.way === wanted && player.state === 'playing'
      }, wanted))
    const headers = { Authorization: `Bearer ${token}` }
    const watching = async () => {
      const { sessions } = await (await fetch(`${base}/v1/sessions?stream=${stream}`, { headers })).json()
      return sessions.filter((one) => one.kind === 'watch')
    }
    await way('hls')
    await say('score', '1:0')
    await say('score', '1:1')
    await page.unroute(`${base}/whep/**`)
    // While WHEP takes the place of HLS, which never gets to it.
    await until('a WHEP session', 20_000, async () => (await watching()).length > 0)
    await sleep(300) // its data channels open
    await say('score', '1:2')
    await way('whep')
    await say('other', 'not for here')
    await say('score', '2:0')
    // Moved to another place in the document it goes on.
    report.kept = await page.evaluate(() => new Promise((resolve) => {
      const player = document.querySelector('whipcast-player')
      const { video } = player
      document.body.append(player)
      setTimeout(() => resolve(player.video === video && player.state === 'playing' && !video.paused), 500)
    }))
    await page.route(`${base}/whep/**`, refuse)
    for (const one of await watching()) await fetch(`${base}/v1/sessions/${one.id}`, { method: 'DELETE', headers })
    await way('hls')
    await page.unroute(`${base}/whep/**`)
    await way('whep')
    report.player = await page.evaluate(() => ({ ...window.seen, ...document.querySelector('whipcast-player').stats() }))
    await shot(page, 'embed')
    const frames = await context.newPage()
    await frames.goto(`${origin}/frame`)
    const framed = await until('the framed page plays', 30_000, async () => {
      for (const frame of frames.frames()) {
        if (!frame.url().includes('/embed/')) continue
        const now = await frame.evaluate(() => window.whipcast?.stats()).catch(() => undefined)
        if (now?.state === 'playing') return now
      }
      return undefined
    })
    report.framed = framed.way
    report.refusedFrame = !frames.frames().some((frame) => frame.url().includes('/watch/'))
    await shot(frames, 'frames')
    await frames.close()
    const example = await context.newPage()
    example.on('pageerror', (e) => report.errors.push(String(e)))
    await example.goto(`${origin}/example`)
    await example.fill('#token', token)
    await example.click('#entry button')
    await until('the example publishes and plays', 30_000, async () => {
      const state = await example.evaluate(() => [document.getElementById('publisher').state, document.getElementById('state').value])
      return (report.example = state.join('; ')) === 'live; playing, by hls'
    })
    await shot(example, 'example')
  } finally {
    site.close()
  }
}

/** From the control room: invite, let in, cut, mute, remove; the guests see and hear each other, change networks and reload. */
async function control(context) {
  const room = await open(context, `/control/${stream}`)
  await room.click('#make')
  for (const [label, role] of [['Ann', 'host'], ['Bob', 'guest']]) {
    await room.fill('#label', label)
    await room.selectOption('#role', role)
    await room.click('#invite button')
    await room.locator('.seat', { hasText: label }).waitFor()
  }
  const links = await until('both links are there', 10_000, () => room.evaluate((stream) => {
    const all = Object.keys(sessionStorage).filter((key) => key.startsWith(`whipcast.link ${stream}.`)).sort()
    return all.length === 2 && all.map((key) => sessionStorage[key])
  }, stream))
  // Each guest has a tab of its own, with storage of its own. guest-1 comes before host-1.
  const join = async (link) => {
    const page = await open(context, link.slice(base.length), '')
    await page.getByRole('button', { name: 'Join', exact: true }).click()
    return page
  }
  const state = (page, wanted) => until(`a guest is ${wanted}`, 30_000, async () => (await stats(page))?.state === wanted)
  const bob = await join(links[0])
  const ann = await join(links[1])
  await state(ann, 'backstage')
  await state(bob, 'waiting')
  await until('the room tells that Bob waits', 10_000, () => room.evaluate(() => document.title.startsWith('(1) ') && document.getElementById('news').textContent.includes('Bob is in the waiting room')))
  await room.bringToFront()
  const seat = (name) => room.locator('.seat', { hasText: name })
  const focused = (words) => until(`the keyboard is on ${words}`, 10_000, () => room.evaluate((words) => document.activeElement?.textContent === words, words))
  await seat('Bob').getByRole('button', { name: 'Let in' }).press('Enter')
  await state(bob, 'backstage')
  await focused('On air')
  report.meter = await until('the meter of a seat that nobody hears on air moves', 20_000, () => room.evaluate(() => {
    const seen = (window.levels ??= new Set())
    const card = [...document.querySelectorAll('.seat')].find((one) => one.textContent.includes('Bob'))
    seen.add(card.querySelector('.meter span').style.transform)
    const { level } = card.querySelector('whipcast-player')
    return seen.size > 5 && level > 0.01 && level
  }))
  const playing = (page) => until('a guest sees the other', 30_000, () => page.evaluate(() =>
    [...document.querySelector('whipcast-seat').shadowRoot.querySelectorAll('whipcast-player')].map((one) => one.state).join() === 'playing'))
  await playing(ann)
  await playing(bob)
  const cut = async (key, name) => {
    await room.locator('#name').click()
    await room.keyboard.press(key)
    await until(`the picture is ${name}'s`, 30_000, async () => (await stats(room)).picture.startsWith(name))
  }
  const monitor = (way) => until(`the monitor plays by ${way}`, 40_000, async () => {
    const now = await stats(room)
    return now.way === way && now.program === 'playing'
  })
  await cut('1', 'host')
  await monitor('whep')
  await room.check('input[name=way][value=hls]')
  await monitor('hls')
  await cut('2', 'guest')
  await state(bob, 'on_air')
  // What was refused is said until the next order is not, though the stage tells of itself meanwhile.
  const refuse = (route) => (route.request().method() === 'PATCH' ? route.fulfill({ status: 409, contentType: 'application/problem+json', body: '{"title":"not now"}' }) : route.continue())
  const told = () => room.locator('#refusal').isVisible()
  await room.route('**/seats/**', refuse)
  await seat('Bob').getByRole('button', { name: 'Mute' }).press('Enter')
  await until('the room tells of the refusal', 10_000, told)
  await sleep(1500)
  report.told = await told()
  await room.unroute('**/seats/**', refuse)
  await room.locator('#dismiss').press('Enter')
  await focused('Mute')
  await seat('Bob').getByRole('button', { name: 'Mute' }).press('Enter')
  await until('Bob is told that he is muted', 10_000, () => bob.evaluate(() => document.querySelector('whipcast-seat').shadowRoot.querySelector('.meaning').textContent.includes('muted')))
  await shot(room, 'control')
  await bob.reload()
  await state(bob, 'on_air')
  // The same link in another tab: it takes the seat, and the first one does not take it back by itself.
  const again = await join(links[0])
  await state(again, 'on_air')
  await until('Bob is told that the seat was taken over', 20_000, () => bob.evaluate(() => {
    const seat = document.querySelector('whipcast-seat')
    return seat.state === 'check' && seat.shadowRoot.querySelector('.words').textContent.includes('taken over')
  }))
  await bob.getByRole('button', { name: 'Join', exact: true }).click()
  await state(bob, 'on_air')
  await again.close()
  // Without the camera, and with it again: what is sent changes.
  const sent = (wanted) => until(`Bob sends ${wanted}`, 20_000, async () => {
    const response = await fetch(`${base}/v1/streams/${stream}.guest-1`, { headers: { Authorization: `Bearer ${token}` } })
    return (await response.json()).layers?.map((one) => one.codec).sort().join() === wanted
  })
  const camera = bob.locator('whipcast-seat').locator('select').first()
  await camera.selectOption('none')
  await sent('Opus')
  await camera.selectOption({ index: 0 })
  await sent('H264,Opus')
  await state(bob, 'on_air')
  // Another network: ICE restarts, and the session stays.
  const sessions = async () => {
    const ask = () => fetch(`${base}/v1/sessions?stream=${stream}.host-1`, { headers: { Authorization: `Bearer ${token}` } })
    const response = await ask().catch(ask) // a kept connection may be closed just as it is used again
    return (await response.json()).sessions.filter((one) => one.kind === 'publish').map((one) => one.id).join()
  }
  const before = await sessions()
  const restarted = ann.waitForResponse((r) => r.request().method() === 'PATCH' && r.request().headers()['if-match'] === '*', { timeout: 20_000 })
  await ann.evaluate(() => dispatchEvent(new Event('online')))
  report.restart = (await restarted).status()
  await sleep(1000)
  report.kept = before !== '' && before === (await sessions())
  await state(ann, 'on_air')
  // The start page leads to the control room, and offers no seat.
  const home = await open(context, '/')
  await home.getByRole('link', { name: `Control room: ${stream}` }).waitFor({ timeout: 20_000 })
  report.listed = await home.locator('#list li').count()
  await shot(home, 'home')
  await home.close()
  await room.bringToFront()
  await seat('Bob').getByRole('button', { name: 'Remove' }).press('Enter')
  await seat('Bob').getByRole('button', { name: 'Really remove?' }).press('Enter')
  await state(bob, 'removed')
  report.seats = (await until('the room has one seat', 10_000, async () => {
    const now = await stats(room)
    return now.seats === 1 && now
  })).seats
  await focused('Ann (host)')
  await shot(ann, 'guest')
}

/** The gateway is emptied and ends: publisher and viewers go on at its peer, by the pages that they have open. */
async function moved(context) {
  const publisher = await open(context, `/publish/${stream}?autostart=1&size=320x180&bitrate=500000`)
  await until('the publisher is live', 20_000, async () => (await stats(publisher))?.state === 'live')
  const seat = await open(context, `/seat/${stream}`)
  const frame = await open(context, `/embed/${stream}?muted`)
  const plays = () => until('both viewers play', 30_000, async () => (await stats(seat))?.state === 'playing' && (await stats(frame))?.state === 'playing')
  await plays()
  await frame.evaluate(() => {
    // Looks whether a picture that was there is gone.
    window.blank = 0
    const canvas = new OffscreenCanvas(16, 9).getContext('2d', { willReadFrequently: true })
    setInterval(() => {
      canvas.clearRect(0, 0, 16, 9)
      const { video } = document.querySelector('whipcast-player')
      if (video) canvas.drawImage(video, 0, 0, 16, 9)
      if (canvas.getImageData(0, 0, 16, 9).data.every((value, i) => i % 4 === 3 || value < 8)) window.blank++
    }, 50)
  })
  const answer = await fetch(`${base}/v1/drain`, { method: 'POST', headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }, body: '{"deadline":0}' })
  const { to } = await answer.json()
  const peer = async () => {
    const response = await fetch(`${to}/v1/sessions?stream=${stream}`, { headers: { Authorization: `Bearer ${token}` } })
    return (await response.json()).sessions.map((one) => one.kind).sort().join()
  }
  await until('publisher and viewers are at the peer', 60_000, async () => (report.peer = await peer()) === 'publish,watch,watch')
  await until('the gateway has ended', 30_000, () => fetch(`${base}/healthz`).then(() => false, () => true))
  await plays()
  report.seat = await stats(seat)
  report.seatLater = await until('the seat moves', 20_000, async () => {
    const now = await stats(seat)
    return now.framesDecoded > report.seat.framesDecoded && now
  })
  report.moved = [(await stats(publisher)).state, (await stats(seat)).state, (await stats(frame)).state].join()
  report.blank = await frame.evaluate(() => window.blank)
  report.external = report.external.filter((url) => !url.startsWith(to))
}

const follow = (context) => adapt(context, { base, stream, report, until })
const talk = (context) => conversation(context, { base, token, stream, report, open, stats, until, shot })
const age = (context) => glass(context, { stream, report, open, stats, until })

const profile = await mkdtemp(join(tmpdir(), 'whipcast-chromium-'))
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1280, height: 800 },
  args: [
    ...trusting, '--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--allow-loopback-in-peer-connection',
    '--disable-features=WebRtcHideLocalIpsWithMdns', '--autoplay-policy=no-user-gesture-required', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-renderer-backgrounding', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
  ],
})
try {
  await { show, watch: (c) => watchAndSit(c), foreign, ladder, layers, relayed, closed, embed, control, moved, conversation: talk, glass: age, adapt: follow }[scenario](context)
} catch (e) {
  report.failure = String(e)
  for (const [i, page] of context.pages().entries()) {
    await shot(page, `failure-${i}`).catch(() => undefined)
    const words = await page.evaluate(() => document.body.innerText).catch(() => '')
    report[`page${i}`] = `${page.url()}: ${words.slice(0, 400)}`
  }
} finally {
  await context.close()
  await rm(profile, { recursive: true, force: true })
}
console.log(JSON.stringify(report))
