// The start page: what is live, and how to publish.

import type * as api from './api'
import { copyOnClick, find, make, setStatus, setText, type Tone } from './dom'
import { cast, listing, type Show } from './listing'
import { nameRule, realTimePage, validName } from './names'
import { ask, Refusal, wordsOf } from './refusal'
import { backoff, pauseUnlessBack } from './retry'
import { authorization, keepToken, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { codecs, since } from './words'

const status = find('status', HTMLElement)
const field = find('name', HTMLInputElement)

takeToken()
bindOpen()
bindObs()
void run()

async function run(): Promise<void> {
  if (!token()) {
    find('welcome', HTMLElement).hidden = false
    await askForToken('With the gateway’s token this page lists what is live and shows how to publish.', false)
  }
  for (;;) {
    showTokenPart(true)
    const refusal = await listUntilRefused()
    keepToken('')
    showTokenPart(false)
    await askForToken(wordsOf(refusal))
  }
}

function showTokenPart(known: boolean): void {
  find('welcome', HTMLElement).hidden = known
  find('streams', HTMLElement).hidden = !known
  find('obs', HTMLElement).hidden = !known
}

/** Lists again and again; ends with the refusal once the token is not good. */
async function listUntilRefused(): Promise<Refusal> {
  const never = new AbortController().signal
  for (let failures = 0; ; ) {
    if (document.visibilityState === 'visible') {
      try {
        const [streams, stages] = await Promise.all([listed<api.StreamList>('/v1/streams'), listed<api.StageList>('/v1/stages')])
        show(streams.streams, stages.stages)
        failures = 0
      } catch (error) {
        if (error instanceof Refusal && error.status === 401) return error
        failures++
        setStatus(status, 'bad', `${wordsOf(error)} Asking again.`)
      }
    }
    await pauseUnlessBack(failures > 0 ? backoff(failures, 2, 30) : 3, never)
  }
}

async function listed<T>(path: string): Promise<T> {
  const response = await ask(path, { headers: authorization(), cache: 'no-store' })
  return (await response.json()) as T
}

let shown = ''

function show(all: api.Stream[], stages: api.Stage[]): void {
  const { shows, streams } = listing(all, stages)
  const live = shows.filter((one) => one.stage.program.live).length + streams.filter((one) => one.live).length
  setStatus(status, live > 0 ? 'live' : 'idle', live > 0 ? `${live} live` : 'Nothing live')
  find('empty', HTMLElement).hidden = shows.length + streams.length > 0
  // Rebuilt only on a change, so that focus and selection stay where they are.
  const made = [...shows.map(showCard), ...streams.filter((one) => validName(one.name)).map(streamCard)]
  const now = made.map((one) => one.outerHTML).join('')
  if (now === shown) return
  shown = now
  const focused = document.activeElement?.getAttribute('href')
  find('list', HTMLUListElement).replaceChildren(...made)
  if (focused) document.querySelector<HTMLElement>(`#list a[href="${CSS.escape(focused)}"]`)?.focus()
}

function streamCard(stream: api.Stream): HTMLLIElement {
  return card(stream.name, [stream.live ? 'live' : 'idle', stream.live ? 'Live' : 'Nobody publishes'], details(stream), [
    ['Watch', pageOf('watch', stream.name)],
    ['Seat', realTimePage(stream.name)],
    ['Publish', pageOf('publish', stream.name)],
  ])
}

function showCard({ stage, program }: Show): HTMLLIElement {
  const more = [`show: ${cast(stage.seats)}`, ...(program ? details(program) : [])]
  return card(stage.name, stage.program.live ? ['live', 'Live'] : ['idle', 'Nobody on air'], more, [
    ['Watch', pageOf('watch', stage.name)],
    ['Control room', pageOf('control', stage.name)],
  ])
}

function details(stream: api.Stream): string[] {
  return [
    stream.live && stream.since ? since(new Date(stream.since).getTime(), Date.now()) : '',
    codecs(...(stream.layers ?? []).map((layer) => layer.codec)),
  ].filter(Boolean)
}

function pageOf(page: string, name: string): string {
  return `/${page}/${encodeURIComponent(name)}`
}

function card(name: string, [tone, words]: [Tone, string], more: string[], ways: [string, string][]): HTMLLIElement {
  const state = make('p', 'status')
  setStatus(state, tone, words)
  if (more.length > 0) state.append(make('span', 'more', more.join(' · ')))
  const links = make('div', 'row')
  ways.forEach(([label, address], i) => {
    const link = make('a', i === 0 ? 'button primary' : 'button', label)
    link.href = address
    link.setAttribute('aria-label', `${label}: ${name}`)
    links.append(link)
  })
  return make('li', 'card', make('div', '', make('h2', '', name), state), links)
}

function bindOpen(): void {
  const why = find('name-why', HTMLElement)
  const check = () => {
    const good = validName(field.value)
    field.setCustomValidity(good ? '' : nameRule)
    setText(why, good || field.value === '' ? '' : nameRule)
    setText(find('obs-server', HTMLElement), serverAddress())
  }
  field.addEventListener('input', check)
  find('open-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault()
    const page = event.submitter instanceof HTMLButtonElement ? event.submitter.value : 'watch'
    location.assign(page === 'seat' ? realTimePage(field.value) : pageOf(page, field.value))
  })
  check()
}

function serverAddress(): string {
  return `${location.origin}/whip/${validName(field.value) ? field.value : '…'}`
}

function bindObs(): void {
  const shownToken = find('obs-token', HTMLElement)
  const toggle = find('show-token', HTMLButtonElement)
  toggle.addEventListener('click', () => {
    const visible = toggle.textContent === 'Show'
    setText(shownToken, visible ? token() : '••••••••')
    setText(toggle, visible ? 'Hide' : 'Show')
  })
  copyOnClick(find('copy-server', HTMLButtonElement), serverAddress)
  copyOnClick(find('copy-token', HTMLButtonElement), token)
  find('forget', HTMLButtonElement).addEventListener('click', () => {
    keepToken('')
    location.reload()
  })
}
