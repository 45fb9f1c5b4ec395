// What the two playing pages share: the picture, its cover, its buttons.

import { find, setText } from './dom'
import { streamOf } from './names'

/**
 * The stream in the address bar, also put into heading and title. The gateway
 * answers 404 for a name that no stream can have; the start page explains it.
 */
export function nameHere(what: string): string {
  const name = streamOf(location.pathname)
  if (!name) location.replace('/')
  setText(find('name', HTMLElement), name || 'No stream')
  document.title = `${name || 'No stream'} – ${what}`
  return name
}

/** Covers the picture with a reason and, if there is one, a thing to press. */
export function cover(title: string, text: string, action?: { label: string; press: () => void }): void {
  setText(find('cover-title', HTMLElement), title)
  setText(find('cover-text', HTMLElement), text)
  const button = find('retry', HTMLButtonElement)
  find('cover-action', HTMLElement).hidden = !action
  if (action) {
    setText(button, action.label)
    button.onclick = action.press
  }
  find('cover', HTMLElement).hidden = false
}

/** Takes the cover off. */
export function uncover(): void {
  find('cover', HTMLElement).hidden = true
}

/** Buttons for sound and full screen. */
export function bindPlayer(video: HTMLVideoElement): void {
  const unmute = find('unmute', HTMLButtonElement)
  const mute = find('mute', HTMLButtonElement)
  const volume = find('volume', HTMLInputElement)
  const show = () => {
    setText(mute, video.muted ? 'Unmute' : 'Mute')
    // Browsers let a page begin to play by itself only without sound: say so
    // where nobody overlooks it.
    unmute.hidden = !video.muted || !find('cover', HTMLElement).hidden
    volume.value = String(video.muted ? 0 : video.volume)
  }
  const sound = (on: boolean) => {
    if (on && video.volume === 0) video.volume = 1
    video.muted = !on
    if (on) video.play().catch(() => undefined)
    show()
  }
  unmute.addEventListener('click', () => {
    sound(true)
    mute.focus() // the pressed button goes away; the keyboard must not be lost
  })
  mute.addEventListener('click', () => sound(video.muted))
  volume.addEventListener('input', () => {
    video.volume = Number(volume.value)
    sound(video.volume > 0)
  })
  video.addEventListener('volumechange', show)
  new MutationObserver(show).observe(find('cover', HTMLElement), { attributes: true })
  bindFullScreen(video)
  show()
}

function bindFullScreen(video: HTMLVideoElement): void {
  const screen = find('screen', HTMLElement)
  const full = find('full', HTMLButtonElement)
  // An iPhone has full screen for a video alone, under a name of its own.
  const phone = video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }
  if (!screen.requestFullscreen && !phone.webkitEnterFullscreen) full.hidden = true
  full.addEventListener('click', () => {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => undefined)
    else if (screen.requestFullscreen) screen.requestFullscreen().catch(() => undefined)
    else phone.webkitEnterFullscreen?.()
  })
}
