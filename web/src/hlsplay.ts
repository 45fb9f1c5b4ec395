// What every low-latency player made of hls.js has in common.

import type HlsPlayer from 'hls.js'
import type { HlsConfig } from 'hls.js'

/** A presentation, known by the address of its first Media Playlist. */
export type Presentation = string

/**
 * Seconds of media that are listed while none is shown, after which a player is
 * given up: hls.js that begins in a gap may wait for its first picture for ever.
 */
export const stuckAfter = 8

/** The presentation that a Multivariant Playlist at this address names; "" if none. */
export function presentationIn(playlist: string, address: string): Presentation {
  const first = playlist.split(/\r?\n/).find((line) => line !== '' && !line.startsWith('#'))
  return first ? new URL(first, address).href : ''
}

/** How hls.js plays the Multivariant Playlist at an absolute address. */
export function settings(address: string, authorization: () => Record<string, string>): Partial<HlsConfig> {
  // A playlist that is late or refused for a moment is asked for again for
  // about a minute: the gateway keeps a presentation that long while its
  // publisher reconnects. One that is gone or closed is not.
  const patient = {
    maxTimeToFirstByteMs: 20_000,
    maxLoadTimeMs: 30_000,
    timeoutRetry: { maxNumRetry: 8, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: {
      maxNumRetry: 40,
      retryDelayMs: 300,
      maxRetryDelayMs: 2000,
      shouldRetry: (
        _: unknown,
        count: number,
        __: boolean,
        response: { code?: number } | undefined,
      ): boolean => count < 40 && ![401, 403, 404, 410].includes(response?.code ?? 0),
    },
  }
  const { origin } = new URL(address)
  return {
    lowLatencyMode: true,
    maxLiveSyncPlaybackRate: 1.1,
    backBufferLength: 30,
    liveSyncOnStallIncrease: 0.3,
    enableWorker: false, // our segments need no transmuxing, so a worker would only add a hop
    playlistLoadPolicy: { default: patient },
    xhrSetup: (xhr, url) => {
      const asked = new URL(url, location.href)
      // A kept Multivariant Playlist may be that of the show before. To another
      // origin the header would have to be allowed, for the little that it saves.
      if (asked.href === address && origin === location.origin) xhr.setRequestHeader('Cache-Control', 'no-cache')
      // The token is for the gateway, not for a CDN that media may be on.
      if (asked.origin !== origin) return
      for (const [header, value] of Object.entries(authorization())) xhr.setRequestHeader(header, value)
    },
  }
}

/** Milliseconds after an error of the media in which nobody but the browser pauses. */
const shaken = 10_000

/**
 * Where the browser cannot read what it got, it pauses, and hls.js loads the media anew and leaves it so.
 * Answers what to call often: it lets the picture go on.
 */
export function goingOn(player: HlsPlayer, Hls: typeof HlsPlayer, video: HTMLVideoElement, play: () => void): () => void {
  let until = -Infinity
  const { BUFFER_STALLED_ERROR, BUFFER_SEEK_OVER_HOLE, BUFFER_NUDGE_ON_STALL } = Hls.ErrorDetails
  const usual: string[] = [BUFFER_STALLED_ERROR, BUFFER_SEEK_OVER_HOLE, BUFFER_NUDGE_ON_STALL] // nothing is loaded anew
  player.on(Hls.Events.ERROR, (_, { type, details, fatal }) => {
    if (type === Hls.ErrorTypes.MEDIA_ERROR && (fatal || !usual.includes(details))) until = performance.now() + shaken
  })
  return () => {
    if (video.paused && !video.error && performance.now() < until) play()
  }
}

/** Whether the newest in the playlist is a gap: there is nothing to show now. */
export function inGap(player: HlsPlayer): boolean {
  const details = player.latestLevelDetails
  return (details?.partList?.at(-1) ?? details?.fragments.at(-1))?.gap === true
}

/** Whether the presentation is over. */
export function hasEnded(player: HlsPlayer): boolean {
  return player.latestLevelDetails?.live === false
}

/** Seconds that are loaded from here on. */
export function ahead(video: HTMLVideoElement): number {
  for (let i = 0; i < video.buffered.length; i++) {
    const end = video.buffered.end(i)
    if (video.buffered.start(i) <= video.currentTime && video.currentTime <= end) return end - video.currentTime
  }
  return 0
}

/** When a player was last in time, and when it last jumped, by performance.now(). */
export interface Pace {
  late: number
  jumped: number
}

/**
 * Jumps to where the live picture should be, if that is far from here.
 * Playing faster makes up for a second in ten or more, and hls.js does not
 * even try beyond a segment's length. One jump in ten seconds: a computer too
 * slow for the picture must not do nothing but jump.
 */
export function catchUp(player: HlsPlayer, video: HTMLVideoElement, pace: Pace): void {
  const { liveSyncPosition, latency, targetLatency } = player
  const now = performance.now()
  if (video.paused || video.seeking || !liveSyncPosition || !targetLatency || hasEnded(player)) return
  const late = latency - targetLatency
  if (late < 1.2) {
    pace.late = now
    return
  }
  if (now - pace.late < 1500 || now - pace.jumped < 10_000) return
  // What is loaded is jumped into without a pause; after a long sleep there
  // is nothing loaded, and waiting is the only way.
  if (late < ahead(video) - 0.3 || late > 10) {
    pace.jumped = now
    video.currentTime = liveSyncPosition
  }
}
