// An audience in Debian's Chromium: players side by side, each in a browser
// context of its own (cookies, cache and connections), told what happens by
// lines of JSON on standard input:
//
//   {"name": …, "kind": "watch"|"hls"|"shaka", "url": …, "config": …, "throttle": bytes a second}
//        opens a player: our watch page, or a bare page with hls.js or shaka-player
//   {"name": …, "throttle": bytes a second}   changes a player's network; 0 is as fast as can be
//   {"name": …, "seek": seconds}              jumps to a position
//   {"playing": seconds}                      waits until all players have played so long
//   {"report": true}                          ends
//
// It answers {"opened": name} when a player's page is there, {"opened": "all"} when
// all of them have played or after 40 s, and at last with
// {"players": [...]}: what each saw, times in ms since 1970.
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const say = (answer) => console.log(JSON.stringify(answer))

/** Runs in the page: makes a player, or takes the page's own, and notes what it does. */
function begin({ kind, url, config }) {
  const video = document.querySelector('video')
  const seen = (window.seen = { samples: [], waits: [], seeks: [], errors: [], heights: [] })
  window.begun = video
  const note = (list, words) => list.push({ at: Date.now(), ...words })
  video.addEventListener('waiting', () => note(seen.waits, { position: video.currentTime, seeking: video.seeking }))
  video.addEventListener('seeking', () => note(seen.seeks, { position: video.currentTime }))
  video.addEventListener('resize', () => note(seen.heights, { height: video.videoHeight }))
  setInterval(() => note(seen.samples, { position: video.currentTime, frames: video.getVideoPlaybackQuality().totalVideoFrames, starts: window.whipcast?.stats().starts ?? 0, date: window.player?.playingDate?.getTime() ?? 0 }), 200)
  if (kind === 'hls') {
    const player = (window.player = new window.Hls(config))
    player.on(window.Hls.Events.ERROR, (_, e) => note(seen.errors, { what: e.details, status: e.response?.code ?? 0, fatal: e.fatal, words: String(e.reason ?? e.error?.message ?? '') }))
    player.loadSource(url)
    player.attachMedia(video)
  }
  if (kind === 'shaka') {
    const { shaka } = window
    shaka.polyfill.installAll()
    const player = (window.player = new shaka.Player())
    player.addEventListener('error', ({ detail }) => note(seen.errors, {
      what: detail.code ? `${detail.category}/${detail.code}` : String(detail), status: detail.data?.[1] ?? 0, fatal: detail.severity === 2 && !detail.handled,
    }))
    player.attach(video).then(() => {
      player.configure(config ?? {})
      return player.load(url)
    }).catch((e) => note(seen.errors, { what: `load ${e.category}/${e.code}`, status: 0, fatal: true }))
  }
}

/** Runs in the page: what was seen, and whether it is still the page and the element of the beginning. */
function tell() {
  return { ...window.seen, same: document.querySelector('video') === window.begun }
}

/** Serves the players' scripts and a page with nothing but a video. */
function site() {
  const find = createRequire(import.meta.url)
  const scripts = {
    '/hls.js': join(dirname(find.resolve('hls.js/package.json')), 'dist/hls.min.js'),
    '/shaka.js': join(dirname(find.resolve('shaka-player/package.json')), 'dist/shaka-player.compiled.js'),
  }
  const server = createServer(async (request, response) => {
    const script = scripts[request.url]
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html')
    const name = request.url.slice(1)
    response.end(script ? await readFile(script) : `<!doctype html><title>${name}</title><video muted autoplay playsinline width=320></video><script src="/${name}.js"></script>`)
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function open(browser, origin, spec) {
  const context = await browser.newContext({ viewport: { width: 400, height: 300 } })
  const page = await context.newPage()
  const it = { spec, page, loads: 0, crash: '' }
  page.on('load', () => it.loads++)
  page.on('pageerror', (e) => (it.crash ||= String(e)))
  await throttle(it, spec.throttle)
  await page.goto(spec.kind === 'watch' ? spec.url : `${origin}/${spec.kind}`)
  await page.evaluate(begin, spec)
  return it
}

/** Waits until every player has shown so many seconds of media. */
async function playing(seconds) {
  const behind = () => {
    let sum = 0
    const { samples } = window.seen
    for (let i = 1; i < samples.length; i++) {
      const step = samples[i].position - samples[i - 1].position
      if (step > 0 && step < 1) sum += step
    }
    return sum
  }
  const end = Date.now() + 40_000
  for (const { page } of players.values()) {
    while ((await page.evaluate(behind)) < seconds && Date.now() < end) await new Promise((r) => setTimeout(r, 200))
  }
}

async function throttle(it, bytes) {
  if (bytes === undefined) return
  it.session ??= await it.page.context().newCDPSession(it.page)
  const rate = bytes || -1
  await it.session.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: rate, uploadThroughput: rate })
}

const server = await site()
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-background-media-suspend',
    '--disable-renderer-backgrounding', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
  ],
})
const players = new Map()
try {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line)
    if (order.report) break
    if (order.playing) {
      await playing(order.playing)
      say({ opened: 'all' })
      continue
    }
    if (order.seek !== undefined) {
      await players.get(order.name).page.evaluate((at) => (document.querySelector('video').currentTime = at), order.seek)
      continue
    }
    if (players.has(order.name)) {
      await throttle(players.get(order.name), order.throttle)
      continue
    }
    players.set(order.name, await open(browser, `http://127.0.0.1:${server.address().port}`, order))
    say({ opened: order.name })
  }
  const all = []
  for (const [name, { spec, page, loads, crash }] of players) {
    all.push({ name, kind: spec.kind, loads, crash, ...(await page.evaluate(tell)) })
  }
  say({ players: all })
} finally {
  await browser.close()
  server.close()
}
