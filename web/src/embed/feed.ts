// What a way to the screen has to do with the player that holds it.

import type { Refusal } from '../refusal'
import type { Deck } from './deck'
import type { Look, Way } from './choose'
import type { Note } from './heard'
import type { Place } from './where'

/** What a feed may use. */
export interface Ground {
  place: Place
  deck: Deck
  /** Labels of the messages that are heard. */
  labels: readonly string[]
  /** Told of each change; video is the newest that has moved. */
  report(way: Way, look: Look, why: Refusal | undefined): void
  /** A video of this feed shows its first picture: it may be put in front. */
  picture(way: Way, video: HTMLVideoElement): void
  /** A message has come, by the way that is seen. */
  message(way: Way, label: string, content: string | ArrayBuffer): void
}

/** A running way. It tries again by itself, for ever, until it is stopped. */
export interface Feed {
  readonly way: Way
  stop(): void
  /** Seconds behind what happens; NaN where unknown. */
  latency(): number
  /** How loud it is now, from 0 to 1; NaN where unknown. */
  loudness(): number
  /** Takes the messages of this way whose moment has not come, oldest first. */
  takeUntold(): Note[]
}

/** Calls once when the video has a picture to show, or sound that is heard without one. */
export function onPicture(video: HTMLVideoElement, signal: AbortSignal, act: () => void): void {
  let done = false
  const once = () => {
    if (done || signal.aborted) return
    if (video.paused) return void video.requestVideoFrameCallback?.(once) // of a picture that may not begin
    done = true
    clearInterval(timer)
    act()
  }
  // The callback comes with the first picture; the clock helps where there is no such
  // callback, or where only sound is sent.
  const timer = setInterval(() => {
    if (signal.aborted) return clearInterval(timer)
    if (video.readyState >= 3 && video.currentTime > 0.4 && !video.paused) once()
  }, 100)
  video.requestVideoFrameCallback?.(once)
}
