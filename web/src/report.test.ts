import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Reporter } from './report'

const playing = new Date(1_795_284_000_123)

/** A reporter whose reports are answered in turn. */
function reporter(...answers: boolean[]) {
  const sent: unknown[] = []
  const made = new Reporter('/v1/streams/show/latency', (body) => {
    sent.push(JSON.parse(body))
    return answers.shift() === false ? Promise.reject(new Error('offline')) : Promise.resolve({ ok: true })
  })
  return { made, sent }
}

test('a report tells what is on the screen, and the stalls since the one before', async () => {
  const { made, sent } = reporter()
  await made.tell({ playing, buffer: 1.2345, stalls: 2 })
  await made.tell({ playing, buffer: 1, stalls: 5 })
  assert.deepEqual(sent, [
    { playing: 1_795_284_000_123, buffer: 1.2, stalls: 2 },
    { playing: 1_795_284_000_123, buffer: 1, stalls: 3 },
  ])
})

test('stalls that nobody heard of are told again', async () => {
  const { made, sent } = reporter(false)
  await made.tell({ playing, buffer: 1, stalls: 2 })
  await made.tell({ playing, buffer: 1, stalls: 3 })
  assert.deepEqual(
    sent.map((one) => (one as { stalls: number }).stalls),
    [2, 3],
  )
})

test('nothing is told while nothing plays, nor where nobody listens', async () => {
  const { made, sent } = reporter(false, false, false)
  await made.tell(undefined)
  await made.tell({ playing: null, buffer: 0, stalls: 0 })
  assert.equal(sent.length, 0)
  for (let n = 0; n < 5; n++) await made.tell({ playing, buffer: 1, stalls: 0 })
  assert.equal(sent.length, 3)
})
