// Takes pictures of every page, in light and dark, wide and as on a phone.
//
//   node screenshots.mjs BASE_URL FOLDER [STREAM [TOKEN]]
//
// BASE_URL is a running gateway (make demo), STREAM what to look at ("demo").
// It drives Debian's Chromium, or the one that CHROMIUM names.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [base, folder, stream = 'demo', token = ''] = process.argv.slice(2)
if (!base || !folder) {
  console.error('usage: node screenshots.mjs BASE_URL FOLDER [STREAM [TOKEN]]')
  process.exit(2)
}

const fragment = token ? `#token=${encodeURIComponent(token)}` : ''
// What the gateway may find, in its own words; a test camera is never that bad.
const findings = {
  layers: [
    {
      kind: 'video',
      findings: [
        {
          code: 'encoder-slow',
          severity: 'problem',
          words: 'The media runs at 91% of real time: the encoder, or the uplink, does not keep up. Viewers will stall.',
          remedy:
            'In OBS open the Stats dock. “Skipped frames due to encoding lag”: a faster preset, a hardware encoder, a smaller output size or frame rate. “Frames missed due to rendering lag”: fewer or simpler sources. Neither: lower the bit rate. In FFmpeg use -preset veryfast, and see that it reports a speed of 1x. In a browser choose a smaller size and close other tabs.',
        },
        {
          code: 'packet-loss',
          severity: 'warning',
          words:
            '1.2% of the packets are lost between the publisher and the gateway, also after asking for them again. Pictures or sound with holes are left out.',
          remedy:
            'Use a wire instead of Wi-Fi, and a bit rate of at most half of what the uplink can do: in OBS Settings → Output → Bitrate, on the publish page “Bit rate”, in FFmpeg -b:v with -maxrate and -bufsize.',
        },
      ],
    },
    {
      kind: 'audio',
      findings: [
        {
          code: 'opus-dtx',
          severity: 'note',
          words:
            'The sender leaves out pauses (Opus DTX): 12% of the last seconds were not sent. The gateway fills them with silence, which may sound cut off.',
          remedy: 'Turn DTX off: in FFmpeg -dtx 0, in a page of your own no usedtx=1 in the SDP. OBS does not use it.',
        },
        { code: 'mono-audio', severity: 'note', words: 'The sound is mono.', remedy: 'Harmless for speech.' },
      ],
    },
  ],
}
// A stage with who is on it, as the API tells it; there is no need to invite people for a picture.
const seat = (name, label, some = {}) => ({
  name, stream, label, role: 'guest', state: 'backstage', muted: false, picture: false, connected: true, speaking: false, level: -127,
  since: '2026-01-01T12:00:00Z', ...some,
})
const seats = [
  seat('host1', 'Hanna', { role: 'host', state: 'on_air', picture: true }),
  seat('guest1', 'Ben', { state: 'on_air', speaking: true, level: -12 }),
  seat('guest2', 'Carla Maria de la Fuente', { state: 'waiting', muted: true }),
  seat('guest3', 'Dorian', { state: 'invited', connected: false }),
]
const stage = { name: 'show', admit: 'ask', auto_cut: 'off', hold: 4, seats, program: { live: true, picture: 'host1' } }
const view = { stage: 'show', seats, program: stage.program }
const guest = { ...view, me: seat('anna', 'Anna', { state: 'on_air', picture: true }), seats: seats.slice(0, 2) }
const pages = [
  { name: 'welcome', path: '/' },
  ...(token ? [{ name: 'home', path: `/${fragment}`, wait: 1000 }] : []),
  { name: 'watch', path: `/watch/${stream}`, wait: 6000 },
  { name: 'watch-offline', path: '/watch/nothing-here', wait: 1000 },
  { name: 'seat', path: `/seat/${stream}`, wait: 4000 },
  { name: 'publish', path: `/publish/nothing-here${fragment}`, wait: 1500 },
  ...(token ? [{ name: 'publish-findings', path: `/publish/screenshot?autostart${fragment}`, wait: 9000, findings }] : []),
  { name: 'embed', path: `/embed/${stream}`, wait: 4000 },
  ...(token
    ? [
        { name: 'control', path: `/control/show${fragment}`, wait: 6000, view, findings },
        { name: 'guest-check', path: `/seat/show.anna${fragment}`, wait: 2500, view: { ...guest, me: { ...guest.me, state: 'invited', connected: false } } },
        { name: 'guest', path: `/seat/show.anna${fragment}`, wait: 6000, view: guest, join: true },
      ]
    : []),
  { name: 'missing', path: '/watch/..a' },
]
const sizes = [
  { name: 'wide', width: 1280, height: 800 },
  { name: 'phone', width: 360, height: 740 },
]

await mkdir(folder, { recursive: true })
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--allow-loopback-in-peer-connection',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
})
let faults = 0
try {
  for (const size of sizes) {
    for (const colorScheme of ['light', 'dark']) {
      for (const page of pages) await take(page, size, colorScheme)
    }
  }
} finally {
  await browser.close()
}
process.exit(faults > 0 ? 1 : 0)

async function take(page, size, colorScheme) {
  const context = await browser.newContext({
    viewport: { width: size.width, height: size.height },
    colorScheme,
    reducedMotion: 'reduce',
    permissions: ['camera', 'microphone'],
  })
  const tab = await context.newPage()
  const fault = (text) => {
    faults++
    console.error(`${page.name}: ${text}`)
  }
  tab.on('pageerror', (error) => fault(error.message))
  tab.on('console', (message) => {
    // A refusal that the page shows in words is also in the console.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) fault(message.text())
  })
  tab.on('request', (request) => {
    if (!request.url().startsWith(base) && !/^(blob|data):/.test(request.url())) fault(`asks a foreign host: ${request.url()}`)
  })
  if (page.findings) await tab.route('**/v1/streams/*', (route) => route.fulfill({ json: page.findings }))
  if (page.view) {
    await tab.route('**/v1/stages/show', (route) => route.fulfill({ json: stage }))
    const body = `event: stage\ndata: ${JSON.stringify(page.view)}\n\n`
    await tab.route('**/v1/stages/show/events', (route) => route.fulfill({ contentType: 'text/event-stream', body }))
  }
  await tab.goto(base + page.path)
  if (page.join) await tab.getByRole('button', { name: 'Join', exact: true }).click()
  await tab.waitForTimeout(page.wait ?? 300)
  const beyond = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  if (beyond > 0) fault(`is ${beyond} px wider than a ${size.name} window`)
  const file = join(folder, `${page.name}-${size.name}-${colorScheme}.png`)
  await tab.screenshot({ path: file, fullPage: true })
  console.log(file)
  await context.close()
}
