// A bare WHEP viewer behind a link that gets slower and quicker again (`/link` sets
// its rate). It notes each picture that is shown.

/** Runs in the page: watches by WHEP and notes when a picture came, and its width. */
async function watch(url) {
  const seen = (window.seen = { frames: [] })
  const video = document.querySelector('video')
  const note = (now, frame) => {
    seen.frames.push([Math.round(now), frame.width])
    video.requestVideoFrameCallback(note)
  }
  video.requestVideoFrameCallback(note)
  const pc = (window.pc = new RTCPeerConnection())
  for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' })
  pc.ontrack = (event) => (video.srcObject = event.streams[0])
  await pc.setLocalDescription()
  seen.posted = performance.now()
  const answer = await fetch(url, { method: 'POST', body: pc.localDescription.sdp, headers: { 'Content-Type': 'application/sdp' } })
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
  await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() })
}

/** Runs in the page: what its video's statistics tell. */
async function counts() {
  const all = [...(await window.pc.getStats()).values()]
  const video = all.find((one) => one.type === 'inbound-rtp' && one.kind === 'video') ?? {}
  const { framesDecoded, framesDropped, freezeCount, totalFreezesDuration, packetsLost, packetsReceived, nackCount, pliCount } = video
  return { framesDecoded, framesDropped, freezeCount, totalFreezesDuration, packetsLost, packetsReceived, nackCount, pliCount }
}

/** What was seen from one time to another. */
function judge(frames, from, to) {
  const phase = { longest: 0, at: 0, width: 0, settled: 0, changes: [] }
  let last = from
  for (const [now, width] of [...frames, [to, 0]]) {
    if (now > to) break
    if (now >= from && now - last > phase.longest) [phase.longest, phase.at] = [Math.round(now - last), Math.round(last - from)]
    if (now >= from) last = now
    if (width !== 0 && width !== phase.width) {
      if (now >= from) phase.changes.push([Math.round(now - from), width])
      ;[phase.width, phase.settled] = [width, Math.max(0, Math.round(now - from))]
    }
  }
  return phase
}

/** The rates of the link, and when a picture of which width says that the viewer has followed. */
const phases = [
  { rate: 3_000_000, followed: (width) => width > 320 },
  { rate: 600_000, followed: (width) => width === 320 },
  { rate: 3_000_000, followed: (width) => width > 320 },
]

export async function adapt(context, { base, stream, report, until }) {
  const page = await context.newPage()
  page.on('pageerror', (e) => report.errors.push(String(e)))
  await page.goto(`${base}/link`)
  await page.evaluate(watch, `${base}/whep/${stream}`)
  await until('the viewer shows a picture', 20_000, () => page.evaluate(() => window.seen.frames.length > 0))
  report.phases = []
  for (const { rate, followed } of phases) {
    const start = await page.evaluate(counts)
    const from = await page.evaluate((rate) => fetch(`/link?rate=${rate}`).then(() => performance.now()), rate)
    const followedBy = until('', 20_000, async () => followed(await page.evaluate(() => window.seen.frames.at(-1)[1])))
    await followedBy.catch(() => undefined) // the test tells
    await page.waitForTimeout(3000)
    const end = await page.evaluate(counts)
    const { to, seen } = await page.evaluate(() => ({ to: performance.now(), seen: window.seen }))
    const phase = { rate, first: Math.round(seen.frames[0][0] - seen.posted), ...judge(seen.frames, from, to), counts: {} }
    for (const key of Object.keys(end)) phase.counts[key] = Math.round(100 * ((end[key] ?? 0) - (start[key] ?? 0))) / 100
    report.phases.push(phase)
  }
}
