// One picture out of several video elements: the next one plays under the present
// one until it has something to show.

/** Called once a video has left the deck. */
type Teardown = () => void

export class Deck {
  private front: HTMLVideoElement | undefined
  private leaving: { video: HTMLVideoElement; teardown: Teardown } | undefined
  private wanted = { muted: false, volume: 1 }
  private blocked = false
  private refused = false

  /** box holds the videos; changed is called when the sound or the video in front does. */
  constructor(
    private readonly box: HTMLElement,
    private readonly changed: () => void,
  ) {}

  /** A new video under the one that is seen, without sound. */
  under(): HTMLVideoElement {
    const video = document.createElement('video')
    video.muted = true
    video.autoplay = true
    video.playsInline = true
    video.disablePictureInPicture = false
    video.setAttribute('part', 'video')
    this.box.prepend(video)
    return video
  }

  /** Lets a video begin. Some browsers, and phones that save power, begin none that nobody has asked for. */
  play(video: HTMLVideoElement): void {
    const silent = video.muted
    video.play().catch((error: unknown) => {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError') return
      if (silent) this.refused = true
      else {
        this.blocked = true // nothing may sound: it plays on without
        video.muted = true
        this.play(video)
      }
      this.changed()
    })
  }

  /** Whether the browser begins no video before a person presses something. */
  get barred(): boolean {
    return this.refused
  }

  /** Lets all begin; to be called when a person presses something. */
  begin(): void {
    this.refused = false
    for (const video of this.box.querySelectorAll('video')) if (this.leaving?.video !== video) this.play(video)
    this.changed()
  }

  /** Goes on where the browser has paused what is seen, as phones do with a page that is not looked at. */
  goOn(): void {
    if (this.front?.paused && this.leaving?.video !== this.front) this.play(this.front)
  }

  /** The video that is seen. */
  get shown(): HTMLVideoElement | undefined {
    return this.front
  }

  /** Lets a video be seen and heard instead of the one before. */
  show(video: HTMLVideoElement): void {
    const before = this.front
    if (before === video) return
    this.front = video
    this.refused = false
    video.classList.add('front')
    if (before) {
      before.classList.remove('front')
      before.muted = true
    }
    if (this.leaving && this.leaving.video !== video) this.remove(this.leaving.video, this.leaving.teardown)
    this.leaving = undefined
    this.sound()
    this.changed()
  }

  /** Takes a video away. The one that is seen stays, as it is, until another one takes its place. */
  drop(video: HTMLVideoElement, teardown: Teardown): void {
    if (video === this.front) this.leaving = { video, teardown }
    else this.remove(video, teardown)
  }

  /** Takes all away. */
  clear(): void {
    if (this.leaving) this.leaving.teardown()
    this.leaving = undefined
    this.front = undefined
    this.refused = false
    for (const video of this.box.querySelectorAll('video')) video.remove()
    this.changed()
  }

  get muted(): boolean {
    return this.wanted.muted
  }

  set muted(muted: boolean) {
    this.wanted.muted = muted
    this.blocked = false
    this.sound()
    this.changed()
  }

  get volume(): number {
    return this.wanted.volume
  }

  set volume(volume: number) {
    this.wanted.volume = Number.isFinite(volume) ? Math.min(1, Math.max(0, volume)) : 1
    this.sound()
    this.changed()
  }

  /** Whether the browser wants a person to press something first. */
  get soundBlocked(): boolean {
    return this.blocked && !this.wanted.muted
  }

  private sound(): void {
    const video = this.front
    if (!video) return
    const moved = !video.paused // one that stands still stays so
    video.volume = this.wanted.volume
    video.muted = this.wanted.muted || this.blocked
    if (moved) this.play(video)
  }

  private remove(video: HTMLVideoElement, teardown: Teardown): void {
    teardown()
    video.pause()
    video.srcObject = null
    video.removeAttribute('src')
    video.remove()
  }
}
