// How loud a received track is. Browsers know the level of a sender only if it says it in each packet
// (RFC 6464), which few do: so it is measured, in one AudioContext for the whole page.

let context: AudioContext | undefined
let meters = 0

const gestures = ['pointerup', 'click', 'keydown'] as const

/** Browsers let an AudioContext run once somebody has pressed something. */
function wake(): void {
  if (context && context.state !== 'running') context.resume().catch(() => undefined)
}

function enter(): AudioContext {
  meters++
  if (!context) {
    context = new AudioContext()
    for (const gesture of gestures) window.addEventListener(gesture, wake, true)
  }
  return context
}

function exit(): void {
  if (--meters > 0) return
  for (const gesture of gestures) window.removeEventListener(gesture, wake, true)
  context?.close().catch(() => undefined)
  context = undefined
}

/** Measures one track, which some media element must play, be it muted: Chrome decodes no other. */
export class Loudness {
  private readonly source: MediaStreamAudioSourceNode
  private readonly analyser: AnalyserNode
  private readonly samples: Float32Array<ArrayBuffer>
  private closed = false

  constructor(readonly track: MediaStreamTrack) {
    const here = enter()
    this.source = here.createMediaStreamSource(new MediaStream([track]))
    this.analyser = here.createAnalyser()
    this.analyser.fftSize = 4096 // 85 ms at 48 kHz: who looks ten times a second misses nothing
    this.samples = new Float32Array(this.analyser.fftSize)
    this.source.connect(this.analyser)
  }

  /** The highest sample of late, from 0 to 1; NaN while the browser does not let it measure. */
  level(): number {
    if (this.closed || context?.state !== 'running') return NaN
    this.analyser.getFloatTimeDomainData(this.samples)
    let most = 0
    for (const sample of this.samples) most = Math.max(most, Math.abs(sample))
    return Math.min(1, most)
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.source.disconnect()
    exit()
  }
}
