// How long a picture takes from the camera of a page to the screen of another one, by
// WHIP and WHEP: the camera draws the time of each picture into it, in black and white,
// and the viewer reads it when the picture is shown. Both pages have the same clock.

const bits = 16 // of milliseconds: 65 s go by before a time comes again
const width = 640
const height = 360

// A camera whose pictures are a noisy ground and 16 fields, the bits of the time.
function camera({ bits, width, height }) {
  navigator.mediaDevices.getUserMedia = async () => {
    const canvas = new OffscreenCanvas(width, height)
    const pen = canvas.getContext('2d')
    const track = new MediaStreamTrackGenerator({ kind: 'video' })
    const film = track.writable.getWriter()
    const side = width / 8
    setInterval(() => {
      const now = Math.round(performance.timeOrigin + performance.now()) % 2 ** bits
      pen.fillStyle = '#808080'
      pen.fillRect(0, 0, width, height)
      pen.fillStyle = '#c04040'
      pen.fillRect((now / 10) % width, height - 40, 60, 30)
      for (let i = 0; i < bits; i++) {
        pen.fillStyle = (now >> i) & 1 ? 'white' : 'black'
        pen.fillRect((i % 8) * side, Math.floor(i / 8) * side, side, side)
      }
      film.write(new VideoFrame(canvas, { timestamp: Math.round(performance.now() * 1000) })).catch(() => undefined)
    }, 1000 / 30)
    const context = new AudioContext({ sampleRate: 48_000 })
    const voice = new OscillatorNode(context, { frequency: 440 })
    const microphone = context.createMediaStreamDestination()
    voice.connect(new GainNode(context, { gain: 0.1 })).connect(microphone)
    voice.start()
    return new MediaStream([track, ...microphone.stream.getAudioTracks()])
  }
}

/**
 * Reads the time of each picture that is shown for some seconds: how old it was then, and
 * when its last packet had come, in ms.
 */
function read({ bits, seconds }) {
  const video = document.querySelector('video')
  const pen = new OffscreenCanvas(8, 4).getContext('2d', { willReadFrequently: true })
  const ages = { shown: [], received: [] }
  return new Promise((resolve) => {
    const end = performance.now() + 1000 * seconds
    const look = (_, { receiveTime }) => {
      const shown = performance.now()
      const side = video.videoWidth / 8
      let time = 0
      pen.drawImage(video, 0, 0, video.videoWidth, 2 * side, 0, 0, 8, 2)
      const { data } = pen.getImageData(0, 0, 8, 2)
      for (let i = 0; i < bits; i++) if (data[4 * i] > 128) time |= 1 << i
      const age = (at) => Math.round(performance.timeOrigin + at - time) & (2 ** bits - 1)
      ages.shown.push(age(shown))
      // A late look sees a newer picture than it is told of.
      if (receiveTime && age(receiveTime) < 2 ** (bits - 1)) ages.received.push(age(receiveTime))
      if (performance.now() < end) video.requestVideoFrameCallback(look)
      else resolve(ages)
    }
    video.requestVideoFrameCallback(look)
  })
}

export async function glass(context, { stream, report, open, stats, until }) {
  const publisher = await open(context, `/publish/${stream}?autostart=1&size=${width}x${height}&bitrate=1500000`, undefined, [camera, { bits, width, height }])
  await until('the publisher is live', 20_000, async () => (await stats(publisher))?.state === 'live')
  const viewer = await open(context, `/seat/${stream}`)
  await until('the picture has its size', 40_000, async () => (await viewer.evaluate(() => document.querySelector('video').videoWidth)) === width)
  await new Promise((resolve) => setTimeout(resolve, 3000)) // what buffers learn in the beginning
  report.ages = await viewer.evaluate(read, { bits, seconds: 15 })
  report.viewer = await stats(viewer)
}
