import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Seat, StageView } from './api'
import { decide, firstWay, type Look, type Seen, type Situation, type Way } from './embed/choose'
import { Early, Heard, Notes } from './embed/heard'
import { explained, seen } from './embed/seat-element'
import { homeOf, placeOf, seatOf } from './embed/where'
import { presentationIn } from './hlsplay'
import { Refusal } from './refusal'
import { ends, fullness } from './seatcard'
import { EventReader } from './sse'
import { newsOf, titled } from './stagenews'
import { isFinal, stageAPI } from './stageview'

const written = (some: object) => ({ src: '', gateway: '', stream: '', token: '', ...some })
const home = 'https://live.example.org'

test('a place from the address of anything that a stream has', () => {
  const show = { gateway: home, stream: 'show', token: '' }
  for (const path of ['/watch/show', '/seat/show?x=1', '/embed/show', '/whep/show', '/hls/show/index.m3u8', '/show']) {
    assert.deepEqual(placeOf(written({ src: home + path }), 'https://elsewhere.example'), show, path)
  }
  const closed = { ...show, token: 'a.b-c' }
  assert.deepEqual(placeOf(written({ src: `${home}/watch/show#token=a.b-c` }), ''), closed)
  assert.deepEqual(placeOf(written({ src: `${home}/watch/show?token=a.b-c` }), ''), closed)
  assert.deepEqual(placeOf(written({ src: `${home}/hls/~a.b-c/show/index.m3u8` }), ''), closed)
  assert.deepEqual(placeOf(written({ src: `${home}/watch/show#token=other`, token: 'a.b-c' }), ''), closed, 'what is said apart counts')
  assert.equal(placeOf(written({ src: `${home}/live/tv/watch/show` }), '').gateway, `${home}/live/tv`, 'a gateway below a path')
  assert.equal(placeOf(written({ src: `${home}/watch/watch` }), '').stream, 'watch')
})

test('a place from gateway and stream, and from where the module came', () => {
  assert.deepEqual(placeOf(written({ gateway: `${home}/`, stream: 'show', token: 't' }), ''), { gateway: home, stream: 'show', token: 't' })
  assert.deepEqual(placeOf(written({ stream: 'show' }), home), { gateway: home, stream: 'show', token: '' })
  assert.deepEqual(placeOf(written({ src: '/watch/show' }), home), { gateway: home, stream: 'show', token: '' })
  assert.equal(homeOf(`${home}/embed.js?v=1`), home)
  assert.equal(homeOf(`${home}/assets/shared-1.js`), '')
  assert.equal(homeOf('file:///embed.js'), '')
})

test('what is missing is said', () => {
  assert.throws(() => placeOf(written({}), home), /no stream is named/)
  assert.throws(() => placeOf(written({ stream: 'a/b' }), home), /cannot be the name/)
  assert.throws(() => placeOf(written({ src: 'https://:', stream: 'a' }), home), /is no address/)
  assert.throws(() => placeOf(written({ stream: 'a' }), ''), /no gateway/)
})

test('the stream of a seat', () => {
  assert.deepEqual(seatOf('show.anna'), { stage: 'show', seat: 'anna' })
  for (const none of ['show', '.anna', 'show.']) assert.equal(seatOf(none), undefined, none)
})

test('the invited come by WHEP, the audience by HLS', () => {
  assert.equal(firstWay('auto', true), 'whep')
  assert.equal(firstWay('auto', false), 'hls')
  assert.equal(firstWay('hls', true), 'hls')
  assert.equal(firstWay('whep', false), 'whep')
})

const look = (look: Look, seconds = 0): Seen => ({ look, seconds })
const now = (first: Way, seen: Situation['seen'], shown?: Way): Situation => ({ first, fallback: true, seen, shown })

test('the other way stands in when the first fails, and leaves when the first has proven itself', () => {
  const steps: [string, Situation, Way[], Way | undefined][] = [
    ['begin', now('whep', { whep: look('starting', 1) }), ['whep'], undefined],
    ['slow', now('whep', { whep: look('starting', 4) }), ['whep', 'hls'], undefined],
    ['refused', now('whep', { whep: look('refused') }), ['whep', 'hls'], undefined],
    ['the other loads', now('whep', { whep: look('failed', 1), hls: look('starting') }), ['whep', 'hls'], undefined],
    ['it moves', now('whep', { whep: look('failed', 2), hls: look('moving') }), ['whep', 'hls'], 'hls'],
    ['the first tries again', now('whep', { whep: look('starting', 0), hls: look('moving', 9) }, 'hls'), ['whep', 'hls'], 'hls'],
    ['the first moves', now('whep', { whep: look('moving', 0.3), hls: look('moving', 9) }, 'hls'), ['whep', 'hls'], 'hls'],
    ['it goes on', now('whep', { whep: look('moving', 1), hls: look('moving', 9) }, 'hls'), ['whep'], 'whep'],
    ['it breaks', now('whep', { whep: look('still', 1) }, 'whep'), ['whep'], 'whep'],
    ['it stays so', now('whep', { whep: look('still', 1.6) }, 'whep'), ['whep', 'hls'], 'whep'],
    ['nothing moves', now('whep', { whep: look('still', 9), hls: look('failed', 9) }, 'whep'), ['whep', 'hls'], 'whep'],
    ['healed before the other has a picture', now('whep', { whep: look('moving'), hls: look('starting') }, 'whep'), ['whep'], 'whep'],
  ]
  for (const [name, situation, run, show] of steps) assert.deepEqual(decide(situation, 0.5), { run, show }, name)
})

test('nobody publishes: there is nothing to change to', () => {
  assert.deepEqual(decide(now('whep', { whep: look('offline', 60) }), 0.5), { run: ['whep'], show: undefined })
  assert.deepEqual(decide(now('whep', { whep: look('offline', 60), hls: look('offline') }, 'hls'), 0.5), { run: ['whep'], show: 'hls' })
  // What moves is not taken away.
  assert.deepEqual(decide(now('whep', { whep: look('offline', 60), hls: look('moving') }, 'hls'), 0.5), { run: ['whep', 'hls'], show: 'hls' })
})

test('an audience does not leave HLS in one moment, but a browser that cannot play it does', () => {
  const trouble = (seconds: number) => now('hls', { hls: look('failed', seconds) })
  assert.deepEqual(decide(trouble(7), 0).run, ['hls'])
  assert.deepEqual(decide(trouble(8), 0).run, ['hls', 'whep'])
  assert.deepEqual(decide(trouble(19), 1).run, ['hls'])
  assert.deepEqual(decide(trouble(20), 1).run, ['hls', 'whep'])
  assert.deepEqual(decide(now('hls', { hls: look('unable') }), 1).run, ['hls', 'whep'])
  assert.deepEqual(decide({ ...trouble(99), fallback: false }, 0).run, ['hls'])
})

test('the presentation that a playlist names', () => {
  const text = '#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\np1/v.m3u8\r\n'
  assert.equal(presentationIn(text, 'https://a.example/hls/show/index.m3u8'), 'https://a.example/hls/show/p1/v.m3u8')
  assert.equal(presentationIn('#EXTM3U', 'https://a.example/x'), '')
})

test('events as they come, in any pieces', () => {
  const text = ': hello\n\nevent: stage\ndata: {"a":\ndata: 1}\n\ndata:x\r\n\r\nevent: none\n\nid: 5\rdata: y\r\r'
  const wanted = [
    { type: 'stage', data: '{"a":\n1}' },
    { type: 'message', data: 'x' },
    { type: 'message', data: 'y' },
  ]
  // What ends with CR may go on with LF: the end is known only with what follows.
  assert.deepEqual(new EventReader().read(`${text} `), wanted)
  const byOne = new EventReader()
  assert.deepEqual([...text, ' '].flatMap((one) => byOne.read(one)), wanted)
})

const seat = (name: string, some: Partial<Seat> = {}): Seat => ({
  name, stream: `show.${name}`, label: name, role: 'guest', state: 'backstage', muted: false, picture: false, connected: true, speaking: false,
  level: -127, since: '2026-01-01T00:00:00Z', ...some,
})

test('a seat plays the others that are there, and never itself', () => {
  const me = seat('anna')
  const view: StageView = { stage: 'show', me, seats: [me, seat('ben'), seat('carl', { connected: false })], program: { live: true } }
  assert.deepEqual(seen(view, 'show.anna').map((one) => one.name), ['ben'])
  const { me: _, ...unknown } = view
  assert.deepEqual(seen(unknown, 'show.anna').map((one) => one.name), ['ben'], 'also while the gateway does not say who asks')
  assert.deepEqual(seen(undefined, 'show.anna'), [])
})

test('a guest is told who sees and hears them', () => {
  const on = { state: 'on_air' as const, picture: true, muted: false }
  assert.equal(explained(on), 'The audience sees and hears you.')
  assert.equal(explained({ ...on, picture: false }), 'The audience hears you.')
  assert.match(explained({ ...on, muted: true }), /does not hear you, but sees you/)
  assert.match(explained({ ...on, state: 'waiting' }), /neither see nor hear/)
})

test('what is final about a stage', () => {
  for (const status of [401, 403, 404, 410]) assert.ok(isFinal(new Refusal(status, '', 0)), String(status))
  for (const status of [0, 409, 429, 500, 503]) assert.ok(!isFinal(new Refusal(status, '', 0)), String(status))
  assert.equal(stageAPI({ gateway: 'https://a.example', stage: 'show' }, '/events'), 'https://a.example/v1/stages/show/events')
})

test('a meter is empty at silence and full at 0 dBFS', () => {
  assert.deepEqual([-127, -60, -30, 0, 3].map(fullness), [0, 0, 0.5, 1, 1])
})

test('the host hears who waits and who is gone, once', () => {
  const seat = (name: string, state: Seat['state'], connected = true) => ({ name, label: name.toUpperCase(), state, connected }) as Seat
  const before = [seat('ann', 'on_air'), seat('bob', 'invited', false), seat('cid', 'backstage')]
  const now = [seat('ann', 'on_air', false), seat('bob', 'waiting'), seat('cid', 'left', false), seat('dan', 'waiting')]
  assert.deepEqual(newsOf(before, now), ['ANN is not connected any more.', 'BOB is in the waiting room.', 'CID has left.', 'DAN is in the waiting room.'])
  assert.deepEqual(newsOf(now, now), [])
  assert.deepEqual(newsOf(now, [seat('ann', 'on_air'), seat('cid', 'backstage')]), ['ANN is back.', 'CID is back.'])
  assert.equal(titled('talk – Control room', now), '(2) talk – Control room')
  assert.equal(titled('talk – Control room', before), 'talk – Control room')
})

test('a link that ends soon is told of', () => {
  const now = Date.parse('2026-01-01T20:00:00Z')
  assert.deepEqual(
    [undefined, '', '2026-01-01T21:00:00Z', '2026-01-01T20:12:00Z', '2026-01-01T20:00:20Z', '2026-01-01T19:59:00Z'].map((at) => ends(at, now)),
    ['', '', '', 'link ends in 12 min', 'link ends in 1 min', 'link is over'],
  )
})

test('a message that came by one way is not told again by the other', () => {
  const heard = new Heard()
  assert.ok(heard.isNew('whep', 'score', '1:0', 0))
  assert.ok(heard.isNew('whep', 'score', '1:0', 1), 'the same words again by the same way')
  assert.ok(!heard.isNew('hls', 'score', '1:0', 3))
  assert.ok(heard.isNew('hls', 'chat', '1:0', 3))
  assert.ok(heard.isNew('hls', 'score', '1:0', 60))
  const bytes = new Uint8Array([1, 2]).buffer
  assert.ok(heard.isNew('hls', 'raw', bytes, 61))
  assert.ok(!heard.isNew('whep', 'raw', bytes.slice(0), 62))
})

test('a message at a moment of the media is told once, then', () => {
  const notes = new Notes()
  const due = (now: number) => notes.due(now).map(({ at, content }) => `${at} ${String(content)}`)
  notes.add({ at: 4, label: 'score', content: '1:0' })
  notes.add({ at: 4.0004, label: 'score', content: '1:0' }) // of the sound's rendition
  notes.add({ at: 3.5, label: 'score', content: '0:0' })
  assert.deepEqual(due(3.4), [])
  assert.deepEqual(due(4.1), ['3.5 0:0', '4 1:0'], 'in the order of their moments')
  notes.add({ at: 4, label: 'score', content: '1:0' }) // the part is loaded again
  assert.deepEqual(due(5), [])
  notes.add({ at: 4.5, label: 'score', content: '1:0' })
  assert.deepEqual(due(5), ['4.5 1:0'], 'the same words at another moment')
  for (let i = 0; i < 1000; i++) notes.add({ at: 10 + i, label: 'score', content: '' })
  assert.equal(due(9999).length, 256)
})

test('what came by WHEP before it is seen is told when it is, unless that is long ago', () => {
  const early = new Early()
  for (const at of [1, 20, 21]) early.keep({ at, label: 'score', content: String(at) })
  assert.deepEqual(early.take(22).map((one) => one.content), ['20', '21'])
  assert.deepEqual(early.take(22), [])
  for (let at = 0; at < 1000; at++) early.keep({ at: 30, label: 'score', content: String(at) })
  const all = early.take(30)
  assert.equal(all.length, 256)
  assert.equal(all.at(-1)?.content, '999', 'the newest are kept')
})
