import assert from 'node:assert/strict'
import { test } from 'node:test'
import type * as api from './api'
import { feasible, type Choice } from './capture'
import { Doors } from './doors'
import { worst } from './findings'
import { cast, listing } from './listing'
import { realTimePage, streamOf, validName } from './names'
import { ask, Refusal, refusalOf, viewerWords, wordsOf } from './refusal'
import { backoff, pause } from './retry'
import { attribute, fragment, iceServers, linked, restarted, withParameters } from './sdp'
import { playlist, tokenIn, withoutToken } from './token'
import { again } from './whep'
import { encodings, preferred, startBitrate, tellCaptureTime } from './whip'
import { codec, codecs, rate, since, size, span } from './words'

const crlf = (...all: string[]) => all.join('\r\n') + '\r\n'

const offer = crlf(
  'v=0',
  'o=- 1 2 IN IP4 127.0.0.1',
  's=-',
  't=0 0',
  'a=group:BUNDLE 0 1',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:0',
  'a=rtpmap:96 H264/90000',
  'a=fmtp:96 packetization-mode=1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:1',
  'a=rtpmap:111 opus/48000/2',
  'a=fmtp:111 minptime=10',
  'a=rtpmap:63 red/48000/2',
  'a=fmtp:63 111/111',
)

test('a quality ladder has three sizes, the smallest first, each with its share', () => {
  const made = encodings(2_500_000)
  assert.deepEqual(
    made.map((one) => [one.rid, one.scaleResolutionDownBy, one.maxBitrate]),
    [
      ['q', 4, 200_000],
      ['h', 2, 750_000],
      ['f', 1, 2_500_000],
    ],
  )
  assert.ok(made.every((one) => one.scalabilityMode === 'L1T1'))
  // All sizes at once: the small ones in full, and some of the biggest.
  assert.equal(startBitrate(2_500_000, true), 950_000 + 1_250_000)
  assert.equal(startBitrate(2_500_000, false), 1_250_000)
})

test('W46, W50: a trickle fragment names the bundle’s section only', () => {
  const made = fragment(offer, ['candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag EsAw'], true)
  assert.equal(
    made,
    crlf(
      'a=ice-ufrag:EsAw',
      'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
      'm=video 9 UDP/TLS/RTP/SAVPF 96',
      'a=mid:0',
      'a=candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag EsAw',
      'a=end-of-candidates',
    ),
  )
})

test('W55: an ICE restart replaces credentials and candidates, and nothing else', () => {
  const candidate = 'a=candidate:1 1 udp 1 192.0.2.7 8100 typ host'
  const answer = offer.replace('a=mid:0\r\n', `a=mid:0\r\n${candidate}\r\na=end-of-candidates\r\n`)
  const answered = crlf('a=ice-ufrag:neww', 'a=ice-pwd:newpassword', 'm=video 9 X 0', 'a=mid:0', candidate.replace('.7', '.9'))
  const result = restarted(answer, answered)
  assert.equal(result.match(/a=ice-ufrag:neww\r\n/g)?.length, 2)
  assert.equal(result.match(/a=ice-pwd:newpassword\r\n/g)?.length, 2)
  assert.equal(result.match(/a=candidate:/g)?.length, 1)
  assert.ok(result.indexOf('192.0.2.9') < result.indexOf('m=audio'), 'candidates belong to the first section')
  assert.ok(!result.includes('192.0.2.7') && !result.includes('EsAw'))
  const rest = (sdp: string) => sdp.replace(/a=(candidate|ice-ufrag|ice-pwd|end-of).*\r\n/g, '')
  assert.equal(rest(result), rest(answer))
})

test('parameters are added to the codec asked for alone', () => {
  const touched = withParameters(offer, 'OPUS', 'stereo=1')
  assert.ok(touched.includes('a=fmtp:111 minptime=10;stereo=1\r\n'))
  assert.ok(touched.includes('a=fmtp:63 111/111\r\n'))
  assert.equal(attribute(touched, 'mid'), '0')
  const again = withParameters(touched, 'opus', 'maxaveragebitrate=9; stereo=0')
  assert.ok(again.includes('a=fmtp:111 minptime=10;maxaveragebitrate=9; stereo=0\r\n'), 'what is there already is replaced')
})

test('W70: ICE servers in Link headers', () => {
  const link =
    '<stun:stun.example.net>; rel="ice-server", ' +
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="17:a,b;\\"c"; credential="p="; credential-type="password", ' +
    '<https://example.net/sse>; rel="urn:ietf:params:whep:ext:x"'
  assert.deepEqual(iceServers(link), [
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: '17:a,b;"c', credential: 'p=' },
  ])
  assert.deepEqual(iceServers(null), [])
  assert.equal(linked(link, 'urn:ietf:params:whep:ext:x'), 'https://example.net/sse')
  assert.equal(linked(link, 'urn:ietf:params:whep:ext:y'), '')
  assert.equal(linked(null, 'ice-server'), '')
})

test('a gateway that is emptied sends on to another one, and either may be gone', () => {
  const [a, b, c] = ['https://a.example.org/whip/show', 'https://b.example.org/whip/show', 'https://c.example.org/whip/show'] as const
  const gone = new Refusal(0, '', 0)
  const absent = new Refusal(404, '', 0)
  let seconds = 0
  const doors = new Doors(a, () => seconds)
  assert.equal(doors.refused(gone, 3), 3)
  assert.equal(doors.refused(new Refusal(403, '', 0), undefined), undefined)
  doors.moved(a)
  doors.moved('')
  doors.moved('javascript:alert(1)')
  assert.equal(doors.here, a)
  doors.moved(b)
  assert.equal(doors.here, b)
  assert.equal(doors.refused(absent, 9), 1, 'the publisher may be on its way there')
  assert.equal(doors.here, b)
  seconds += 30
  assert.equal(doors.refused(absent, 9), 9)
  assert.equal(doors.here, a, 'or has gone back')
  assert.equal(doors.refused(gone, 4), 4)
  assert.equal(doors.here, b)
  doors.moved(c)
  assert.equal(doors.here, c)
  const soon = doors.refused(new Refusal(401, '', 0), undefined) ?? NaN
  assert.ok(soon > 1 && soon < 3 && doors.here === a, 'what the first one says counts')
  assert.equal(doors.refused(gone, 4), 4)
  assert.equal(doors.here, a, 'one that refuses is forgotten')
})

test('a token goes along where the gateway sends the offer of a session on to, and nowhere else', async () => {
  const native = globalThis.fetch
  const asked: string[] = []
  // As browsers do: a redirect to another origin takes the token out.
  globalThis.fetch = (url, init) => {
    const first = String(url).includes('//a.')
    const authorized = !first && new Headers(init?.headers).has('Authorization')
    asked.push(`${init?.method} ${url}`)
    const response = new Response('', { status: authorized ? 201 : 401 })
    Object.defineProperties(response, { url: { value: String(url).replace('//a.', '//b.') }, redirected: { value: first } })
    return Promise.resolve(response)
  }
  try {
    const headers = { Authorization: 'Bearer x' }
    assert.equal((await ask('https://a.example.org/whip/show', { method: 'POST', headers })).status, 201)
    await assert.rejects(ask('https://a.example.org/hls/show/index.m3u8', { method: 'GET', headers }))
    await assert.rejects(ask('https://a.example.org/v1/streams', { method: 'POST', headers }))
    await assert.rejects(ask('https://a.example.org/whep/show', { method: 'POST' }))
  } finally {
    globalThis.fetch = native
  }
  assert.deepEqual(asked, [
    'POST https://a.example.org/whip/show', 'POST https://b.example.org/whip/show', 'GET https://a.example.org/hls/show/index.m3u8',
    'POST https://a.example.org/v1/streams', 'POST https://a.example.org/whep/show',
  ])
})

test('E12: waits double from Retry-After up to 30 s with 20 % of chance, and end on 401, 403', () => {
  const offline = new Refusal(409, '', 2)
  const plain = [0, 1, 2, 3, 4, 5, 99].map((n) => again(offline, n, () => 0.5))
  assert.deepEqual(plain, [2, 4, 8, 16, 30, 30, 30])
  assert.ok(Math.abs((again(offline, 0, () => 0) ?? 0) - 1.6) < 1e-9)
  assert.ok(Math.abs((again(offline, 0, () => 1) ?? 0) - 2.4) < 1e-9)
  for (const status of [400, 401, 403, 406, 415, 422]) assert.equal(again(new Refusal(status, '', 5), 0), undefined)
  assert.deepEqual([0, 1, 9].map((n) => again(new Refusal(404, '', 0), n, () => 0.5)), [2, 4, 10])
  assert.equal(again(new Refusal(503, '', 9), 0, () => 0.5), 9)
  assert.equal(again(new Refusal(0, '', 0), 0, () => 0.5), 0.5)
})

test('R59, W31: H.264 first, VP8 never, repair formats kept', () => {
  const offered = ['video/VP8', 'video/rtx', 'video/VP9', 'video/H264', 'video/AV1', 'video/H264', 'video/red', 'video/ulpfec']
  const codecs = offered.map((mimeType, index) => ({ mimeType, index }))
  assert.deepEqual(
    preferred(codecs).map((one) => one.mimeType),
    ['video/H264', 'video/H264', 'video/VP9', 'video/AV1', 'video/rtx', 'video/red', 'video/ulpfec'],
  )
  assert.deepEqual(preferred([{ mimeType: 'video/VP8' }, { mimeType: 'video/rtx' }]), [])
})

test('a viewer hears of links, not of tokens and headers', () => {
  const needed = new Refusal(401, 'token needed: send the header Authorization: Bearer', 0, 'token-needed')
  assert.equal(viewerWords(needed), 'It is for those who have a link to it: ask for one.')
  assert.match(wordsOf(needed), /Authorization/)
  assert.equal(viewerWords(new Refusal(503, 'too many viewers', 0, 'too-many')), 'Too many viewers.')
  assert.equal(viewerWords(new Error('no stream is named')), 'No stream is named.')
})

test('W7: a problem document becomes a sentence', async () => {
  const body = JSON.stringify({ title: 'stream busy', detail: 'somebody else publishes' })
  const headers = { 'Content-Type': 'application/problem+json', 'Retry-After': '3' }
  const refusal = await refusalOf(new Response(body, { status: 409, headers }))
  assert.equal(refusal.status, 409)
  assert.equal(refusal.retryAfter, 3)
  assert.equal(wordsOf(refusal), 'Stream busy: somebody else publishes.')
  const odd = await refusalOf(new Response('<html>', { status: 502, headers: { 'Content-Type': 'application/json' } }))
  assert.equal(wordsOf(odd), 'The gateway answered 502.')
})

test('names of streams', () => {
  for (const good of ['a', 'Stage.left-1_x', '0', 'a'.repeat(64)]) assert.ok(validName(good), good)
  for (const bad of ['', '.a', '-a', 'a/b', 'a b', 'ä', 'a\n', 'a'.repeat(65)]) assert.ok(!validName(bad), bad)
  assert.equal(streamOf('/watch/demo'), 'demo')
  assert.equal(streamOf('/watch/%22%3E'), '')
  assert.equal(streamOf('/watch/%'), '')
  assert.equal(streamOf('/'), '')
  assert.equal(realTimePage('show'), '/seat/show')
  assert.equal(realTimePage('show.anna'), '/embed/show.anna?controls')
})

test('a token in the query leaves the rest there', () => {
  assert.equal(withoutToken('?a=b&token=x'), '?a=b')
  assert.equal(withoutToken('?token=x'), '')
  assert.equal(withoutToken('?a=%20'), '?a=%20')
  assert.equal(withoutToken(''), '')
})

test('the path of a playlist may hold a token', () => {
  assert.equal(playlist('show'), '/hls/show/index.m3u8')
  assert.equal(playlist('show', 'a.b-c_D'), '/hls/~a.b-c_D/show/index.m3u8')
})

test('a token in the fragment', () => {
  assert.equal(tokenIn('#token=a%2Bb'), 'a+b')
  assert.equal(tokenIn('#x'), '')
  assert.equal(tokenIn(''), '')
})

test('figures in words', () => {
  assert.equal(rate(2_540_000), '2.5 Mb/s')
  assert.equal(rate(999_000), '999 kb/s')
  assert.equal(rate(NaN), '')
  assert.equal(span(0.1804), '180 ms')
  assert.equal(span(2.14), '2.1 s')
  assert.equal(span(NaN), '')
  assert.equal(size(1280, 720), '1280 × 720')
  assert.equal(size(0, 0), '')
  assert.equal(since(0, 59_000), 'just now')
  assert.equal(since(0, 3_900_000), '1 h 5 min')
  assert.equal(codec('avc1.42e01f'), 'H.264')
  assert.equal(codecs('hvc1.1.6', 'mp4a.40.2', 'mp4a.40.2', undefined), 'H.265 + AAC')
  assert.equal(codecs('video/AV1', 'audio/opus'), 'AV1 + Opus')
})

test('waits grow, stay bounded, and obey their signal', async () => {
  assert.equal(backoff(500, 1, 8, () => 0.5), 8)
  const stop = new AbortController()
  const waited = pause(3600, stop.signal)
  stop.abort()
  await waited
  await pause(3600, stop.signal)
})

test('findings: the worst first, one of several layers once', () => {
  const made = (code: string, severity: string, words = code) => ({ code, severity, words, remedy: '' })
  const shown = worst([
    { kind: 'video', rid: 'f', findings: [made('layer-dead', 'warning'), made('loss', 'warning', 'a little')] },
    { kind: 'video', rid: 'h', findings: [made('loss', 'problem', 'much')] },
    { kind: 'audio', findings: [made('mono', 'note'), made('new', 'unheard of')] },
    { kind: 'video', rid: 'q' },
  ])
  assert.deepEqual(
    shown.map((one) => [one.code, one.severity, one.words, ...one.layers]),
    [
      ['loss', 'problem', 'much', 'picture f', 'picture h'],
      ['layer-dead', 'warning', 'layer-dead', 'picture f'],
      ['mono', 'note', 'mono', 'sound'],
      ['new', 'unheard of', 'new', 'sound'],
    ],
  )
  assert.deepEqual(worst([]), [])
})

test('capture times are offered where the browser knows them', () => {
  const uri = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time'
  const chrome = {
    all: [
      { uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', direction: 'sendrecv' as const },
      { uri, direction: 'stopped' as const },
    ] as { uri: string; direction: RTCRtpTransceiverDirection }[],
    getHeaderExtensionsToNegotiate: () => chrome.all,
    setHeaderExtensionsToNegotiate: (all: typeof chrome.all) => {
      chrome.all = all
    },
  }
  tellCaptureTime(chrome)
  assert.deepEqual(
    chrome.all.map((one) => one.direction),
    ['sendrecv', 'sendrecv'],
  )
  tellCaptureTime({}) // Firefox
  tellCaptureTime({ getHeaderExtensionsToNegotiate: () => [] })
  tellCaptureTime({
    getHeaderExtensionsToNegotiate: () => [{ uri, direction: 'stopped' }],
    setHeaderExtensionsToNegotiate: () => {
      throw new Error('InvalidModificationError')
    },
  })
})

test('the start page lists shows and streams, live ones first, and no seats', () => {
  const stream = (name: string, live: boolean) => ({ name, live }) as api.Stream
  const stage = (name: string, live: boolean) => ({ name, program: { live }, seats: [] as api.Seat[] }) as api.Stage
  const made = listing(
    [stream('a', false), stream('talk', true), stream('talk.host', true), stream('v1.2', true), stream('b', true), stream('talkative', false)],
    [stage('empty', false), stage('talk', true)],
  )
  assert.deepEqual(
    made.shows.map((one) => [one.stage.name, one.program?.name]),
    [
      ['talk', 'talk'],
      ['empty', undefined],
    ],
  )
  assert.deepEqual(made.streams.map((one) => one.name), ['b', 'v1.2', 'a', 'talkative'])
})

test('a show says who is there', () => {
  const seat = (state: api.Seat['state'], connected: boolean) => ({ state, connected }) as api.Seat
  assert.equal(cast([]), 'nobody is there')
  assert.equal(cast([seat('left', false), seat('invited', false)]), 'nobody is there')
  assert.equal(cast([seat('on_air', true)]), '1 on air')
  assert.equal(cast([seat('on_air', true), seat('on_air', false), seat('backstage', true), seat('waiting', true)]), '1 on air, 2 waiting or backstage')
})

test('what is not plugged in is left out of a choice, and told', () => {
  const plugged = (...all: [MediaDeviceKind, string][]) => all.map(([kind, deviceId]) => ({ kind, deviceId }))
  const choice = (some: Partial<Choice>): Choice => ({ picture: 'camera', camera: '', microphone: '', width: 1280, height: 720, voice: true, ...some })
  const both = plugged(['videoinput', 'c1'], ['audioinput', 'm1'])
  const made = (some: Partial<Choice>, all: ReturnType<typeof plugged>) => {
    const { choice: got, words } = feasible(choice(some), all)
    return [got.picture, got.camera, got.microphone, words]
  }
  assert.deepEqual(made({}, both), ['camera', '', '', ''])
  assert.deepEqual(made({ camera: 'c1', microphone: 'm1' }, both), ['camera', 'c1', 'm1', ''])
  assert.deepEqual(made({ camera: 'c2', microphone: 'm1' }, both), ['camera', '', 'm1', 'the camera that was chosen is gone: another one is used'])
  assert.deepEqual(made({ picture: 'none', microphone: 'm2' }, both), ['none', '', '', 'the microphone that was chosen is gone: another one is used'])
  assert.deepEqual(made({ camera: 'c1' }, plugged(['audioinput', 'm1'])), ['none', '', '', 'no camera is plugged in'])
  assert.deepEqual(made({}, plugged(['videoinput', 'c1'])), ['camera', '', 'none', 'no microphone is plugged in'])
  assert.deepEqual(made({ microphone: 'none' }, plugged(['videoinput', 'c1'])), ['camera', '', 'none', ''])
  // Before it is allowed, a browser may list devices without names, or none at all.
  assert.deepEqual(made({ camera: 'c2' }, plugged(['videoinput', ''], ['audioinput', ''])), ['camera', 'c2', '', ''])
  assert.deepEqual(made({ camera: 'c2' }, plugged(['audiooutput', 'x'])), ['camera', 'c2', '', ''])
})
