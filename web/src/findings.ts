// What the gateway finds wrong with what is published, for its publisher.

import type * as api from './api'
import { find, make, setText } from './dom'
import { ask, Refusal } from './refusal'
import { pause } from './retry'
import { authorization } from './token'

/** As /v1/streams/{stream} has it: what is shown of it. */
export type Finding = Pick<api.Finding, 'code' | 'words' | 'remedy'> & { severity: string }
export type Examined = Pick<api.Layer, 'kind' | 'rid'> & { findings?: Finding[] }

/** One finding, with all layers that have it. */
export interface Shown extends Finding {
  layers: string[]
}

const severities = ['problem', 'warning', 'note']
const labels = ['Problem', 'Warning', 'Good to know']
const tones = ['note bad', 'note warn', 'note']
/** How many are shown; the worst hide what follows from them. */
const most = 3
/** Seconds between two questions. */
const every = 5

/** The worst first; the same one of several layers once, with the words of the worst. */
export function worst(layers: Examined[]): Shown[] {
  const all = new Map<string, Shown>()
  for (const layer of layers) {
    for (const finding of layer.findings ?? []) {
      const known = all.get(finding.code)
      const names = [...(known?.layers ?? []), nameOf(layer)]
      all.set(finding.code, { ...(known && rank(known) <= rank(finding) ? known : finding), layers: names })
    }
  }
  return [...all.values()].sort((a, b) => rank(a) - rank(b))
}

function rank(finding: Finding): number {
  const at = severities.indexOf(finding.severity)
  return at < 0 ? severities.length - 1 : at
}

function nameOf(layer: Examined): string {
  const name = layer.kind === 'video' ? 'picture' : 'sound'
  return layer.rid ? `${name} ${layer.rid}` : name
}

/** Shows what is wrong with a stream until the signal is raised. */
export async function watchFindings(path: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(every, signal)
    if (signal.aborted || document.visibilityState !== 'visible') continue
    try {
      const response = await ask(`/v1/streams/${path}`, { headers: authorization(), cache: 'no-store', signal })
      const { layers } = (await response.json()) as { layers?: Examined[] }
      if (!signal.aborted) show(worst(layers ?? []))
    } catch (error) {
      if (error instanceof Refusal && [401, 403].includes(error.status)) break
      // Whether the gateway is there the page tells by the connection itself.
    }
  }
  show([])
}

interface Item {
  element: HTMLLIElement
  head: HTMLElement
  words: HTMLElement
  remedy: HTMLElement
}

/** The items that are there, by code: text is changed in place, so that what is open or selected stays so. */
const items = new Map<string, Item>()

/** A new item; what to do takes room, so it is open only where it is most wanted. */
function itemOf(open: boolean): Item {
  const [head, words, remedy] = [make('h3', ''), make('p', ''), make('p', 'hint')]
  const more = make('details', '', make('summary', '', 'What to do'), remedy)
  more.open = open
  return { element: make('li', '', head, words, more), head, words, remedy }
}

function show(all: Shown[]): void {
  const shown = all.slice(0, most)
  const list = find('findings-list', HTMLUListElement)
  const fresh = shown.filter((one) => !items.has(one.code))
  for (const [code, item] of items) {
    if (shown.some((one) => one.code === code)) continue
    item.element.remove()
    items.delete(code)
  }
  shown.forEach((one, at) => {
    const item = items.get(one.code) ?? itemOf(at === 0 && rank(one) === 0)
    items.set(one.code, item)
    item.element.className = tones[rank(one)] ?? ''
    setText(item.head, `${labels[rank(one)]} · ${one.layers.join(', ')}`)
    setText(item.words, one.words)
    setText(item.remedy, one.remedy)
    if (list.children[at] !== item.element) list.insertBefore(item.element, list.children[at] ?? null)
  })
  const rest = all.length - shown.length
  setText(find('findings-more', HTMLElement), rest > 0 ? `and ${rest} of less weight` : '')
  find('findings', HTMLElement).hidden = all.length === 0
  // Spoken once when it appears, not each time that its number changes.
  if (fresh.length > 0 || all.length === 0) {
    setText(find('findings-said', HTMLElement), fresh.map((one) => `${labels[rank(one)]}: ${one.words}`).join(' '))
  }
}
