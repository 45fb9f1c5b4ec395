// WHEP as a way to the screen.

import { Refusal } from '../refusal'
import { backoff, pauseUnlessBack } from '../retry'
import type { Progress } from '../session'
import { receive, type Reception } from '../whep'
import type { Look } from './choose'
import { onPicture, type Feed, type Ground } from './feed'
import type { Note } from './heard'
import { Loudness } from './loudness'
import { authorizationOf } from './where'

/** Seconds without media, after which the picture stands still. */
const silence = 1.5

/** The channel for what has none of its own. */
const rest = '*'

export class WhepFeed implements Feed {
  readonly way = 'whep'
  private readonly over = new AbortController()
  private take: AbortController | undefined
  private video: HTMLVideoElement | undefined
  private pc: RTCPeerConnection | undefined
  private look: Look = 'starting'
  private heard = { packets: 0, at: 0 }
  private meter: Loudness | undefined
  private delay = { seconds: 0, frames: 0, latency: NaN }

  constructor(private readonly ground: Ground) {
    void this.run()
    void this.listen()
  }

  stop(): void {
    this.still()
    this.over.abort()
    this.leave()
  }

  latency(): number {
    return this.delay.latency
  }

  loudness(): number {
    const media = this.video?.srcObject
    const track = media instanceof MediaStream ? media.getAudioTracks()[0] : undefined
    if (this.meter?.track !== track) {
      this.meter?.close()
      this.meter = track && new Loudness(track) // only for who asks
    }
    return this.meter?.level() ?? NaN
  }

  takeUntold(): Note[] {
    return []
  }

  private async run(): Promise<void> {
    const { gateway, stream, token } = this.ground.place
    const endpoint = `${gateway}/whep/${encodeURIComponent(stream)}`
    for (let refusals = 0; !this.over.signal.aborted; refusals++) {
      if (this.look !== 'refused') this.say('starting') // or it would be told at each try
      try {
        const { labels } = this.ground
        const what: Reception = {
          endpoint,
          authorization: authorizationOf(token),
          show: (media) => this.show(media),
          // What has no channel of its own comes by the first one: that is for what nobody wants here.
          channels: labels.length > 0 ? [rest, ...labels] : [],
          hear: (label, content) => label !== rest && this.ground.message(this.way, label, content),
        }
        await receive(what, (progress) => this.follow(progress), this.over.signal)
      } catch (error) {
        const why = error instanceof Refusal ? error : new Refusal(0, error instanceof Error ? error.message : String(error), 0)
        this.say('refused', why)
      }
      // What is refused now may be allowed later: another publisher, another codec.
      await pauseUnlessBack(backoff(refusals, 4, 60), this.over.signal)
    }
  }

  private follow(progress: Progress): void {
    switch (progress.kind) {
      case 'connecting':
        if (this.look !== 'still' && this.look !== 'refused') this.say(this.look === 'offline' ? 'offline' : 'starting')
        break
      case 'connected':
        this.pc = progress.session.pc
        if (this.look === 'refused') this.say('starting')
        this.heard = { packets: 0, at: performance.now() }
        break
      case 'interrupted':
        this.say('still')
        break
      case 'ending':
        this.still()
        this.say('still')
        break
      case 'waiting':
        this.pc = undefined
        this.say(progress.why && [404, 409].includes(progress.why.status) ? 'offline' : 'failed', progress.why)
    }
  }

  /** Each session has a video of its own, which plays below until it has a picture. */
  private show(media: MediaStream): void {
    if (this.over.signal.aborted || this.video?.srcObject === media) return
    this.leave()
    const take = new AbortController()
    const video = this.ground.deck.under()
    this.take = take
    this.video = video
    video.srcObject = media
    this.ground.deck.play(video)
    onPicture(video, take.signal, () => {
      this.heard.at = performance.now()
      this.say('moving')
      this.ground.picture(this.way, video)
    })
  }

  /** A connection that is closed turns its pictures black; one that stands still stays. */
  private still(): void {
    this.video?.pause()
  }

  private leave(): void {
    this.take?.abort()
    if (this.video) this.ground.deck.drop(this.video, () => undefined)
    this.video = undefined
    this.meter?.close()
    this.meter = undefined
  }

  /** Tells from what arrives whether the picture moves. */
  private async listen(): Promise<void> {
    while (!this.over.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 300))
      if (!this.pc || this.pc.connectionState !== 'connected') continue
      const packets = this.measure(await this.pc.getStats())
      const now = performance.now()
      if (packets !== this.heard.packets) this.heard = { packets, at: now }
      const silent = (now - this.heard.at) / 1000
      if (this.look === 'moving' && silent > silence) {
        // The line is there, or ICE would say otherwise within seconds: the publisher is away.
        this.say('offline')
      } else if ((this.look === 'still' || this.look === 'offline') && silent < 0.5 && (this.video?.currentTime ?? 0) > 0) {
        this.say('moving')
      }
    }
  }

  private measure(report: RTCStatsReport): number {
    let packets = 0
    let way = 0
    for (const one of report.values()) {
      if (one.type === 'candidate-pair' && one.nominated) way = (one.currentRoundTripTime ?? 0) / 2
      if (one.type !== 'inbound-rtp') continue
      packets += one.packetsReceived ?? 0
      if (one.kind !== 'video') continue
      const seconds = one.jitterBufferDelay ?? 0
      const frames = one.jitterBufferEmittedCount ?? 0
      if (frames > this.delay.frames) {
        this.delay = { seconds, frames, latency: (seconds - this.delay.seconds) / (frames - this.delay.frames) + way }
      } else if (frames < this.delay.frames) {
        this.delay = { seconds, frames, latency: NaN } // another session
      }
    }
    return packets
  }

  private say(look: Look, why?: Refusal): void {
    if (this.over.signal.aborted || (look === this.look && !why)) return
    this.look = look
    this.ground.report(this.way, look, why)
  }
}
