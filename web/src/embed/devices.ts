// Choosing camera and microphone, with a meter: what publisher and seat share.

import { piece } from './element'
import type { Sending } from './sending'

/** The form, and how it follows the devices. */
export interface Devices {
  form: HTMLElement
  meter: HTMLElement
  /** Lists what is plugged in, and what is chosen. */
  list(): Promise<void>
  /** Moves the meter. */
  move(): void
  /** Lists anew when something is plugged in or out, until unwatch. */
  watch(): void
  unwatch(): void
}

export function devicesOf(sending: Sending, changed: () => void): Devices {
  const camera = select('Camera', 'camera')
  const microphone = select('Microphone', 'microphone')
  const bar = piece('span', 'level')
  const meter = piece('div', 'meter', bar)
  meter.setAttribute('role', 'img')
  meter.setAttribute('aria-label', 'Loudness of the microphone')
  const form = piece('div', 'devices', camera.label, microphone.label)
  camera.field.addEventListener('change', () => {
    sending.choice.camera = camera.field.value === 'none' ? '' : camera.field.value
    sending.choice.picture = camera.field.value === 'none' ? 'none' : 'camera'
    changed()
  })
  microphone.field.addEventListener('change', () => {
    sending.choice.microphone = microphone.field.value
    changed()
  })
  const list = async () => {
    const found = await sending.devices()
    const used = (kind: 'video' | 'audio') => sending.media?.getTracks().find((one) => one.kind === kind)?.getSettings().deviceId ?? ''
    fill(camera.field, found.cameras, 'camera', sending.choice.picture === 'none' ? 'none' : sending.choice.camera || used('video'))
    fill(microphone.field, found.microphones, 'microphone', sending.choice.microphone || used('audio'))
  }
  const plugged = () => void list()
  return {
    form,
    meter,
    list,
    watch: () => navigator.mediaDevices?.addEventListener('devicechange', plugged),
    unwatch: () => navigator.mediaDevices?.removeEventListener('devicechange', plugged),
    move: () => {
      bar.style.transform = `scaleX(${sending.level().toFixed(2)})`
    },
  }
}

function select(words: string, name: string): { label: HTMLLabelElement; field: HTMLSelectElement } {
  const field = piece('select', name)
  const label = piece('label', '', piece('span', 'label', words), field)
  return { label, field }
}

function fill(field: HTMLSelectElement, found: [string, string][], kind: string, chosen: string): void {
  const rows: [string, string][] = [...(found.length > 0 ? found : [['', `Any ${kind}`] as [string, string]]), ['none', `No ${kind}`]]
  const now = JSON.stringify(rows)
  if (field.dataset['rows'] !== now) {
    field.dataset['rows'] = now
    field.replaceChildren(
      ...rows.map(([value, words]) => {
        const option = document.createElement('option')
        option.value = value
        option.textContent = words
        return option
      }),
    )
  }
  if (rows.some(([value]) => value === chosen)) field.value = chosen
}
