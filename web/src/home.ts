// The start page: what is live, and how to publish.

import type * as api from './api'
import { copyOnClick, find, make, setStatus, setText } from './dom'
import { nameRule, realTimePage, validName } from './names'
import { ask, Refusal, wordsOf } from './refusal'
import { backoff, pauseUnlessBack } from './retry'
import { authorization, keepToken, takeToken, token } from './token'
import { askForToken } from './tokenform'
import { codecs, since } from './words'

type Listed = api.Stream

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
        const response = await ask('/v1/streams', { headers: authorization(), cache: 'no-store' })
        const { streams } = (await response.json()) as { streams?: Listed[] }
        show(streams ?? [])
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

let shown = ''

function show(streams: Listed[]): void {
  const live = streams.filter((one) => one.live)
  setStatus(status, live.length > 0 ? 'live' : 'idle', live.length > 0 ? `${live.length} live` : 'Nothing live')
  find('empty', HTMLElement).hidden = streams.length > 0
  // Rebuilt only on a change, so that focus and selection stay where they are.
  const now = JSON.stringify(streams) + Math.floor(Date.now() / 60_000)
  if (now === shown) return
  shown = now
  const focused = document.activeElement?.getAttribute('href')
  const order = [...streams].sort((a, b) => Number(b.live) - Number(a.live) || a.name.localeCompare(b.name))
  find('list', HTMLUListElement).replaceChildren(...order.filter((one) => validName(one.name)).map(card))
  if (focused) document.querySelector<HTMLElement>(`#list a[href="${CSS.escape(focused)}"]`)?.focus()
}

function card(stream: Listed): HTMLLIElement {
  const state = make('p', 'status')
  setStatus(state, stream.live ? 'live' : 'idle', stream.live ? 'Live' : 'Nobody publishes')
  const more = [
    stream.live && stream.since ? since(new Date(stream.since).getTime(), Date.now()) : '',
    codecs(...(stream.layers ?? []).map((layer) => layer.codec)),
  ].filter(Boolean)
  if (more.length > 0) state.append(make('span', 'more', more.join(' · ')))
  const links = make('div', 'row')
  for (const [page, label] of [
    ['watch', 'Watch'],
    ['seat', 'Seat'],
    ['publish', 'Publish'],
  ] as const) {
    const link = make('a', page === 'watch' ? 'button primary' : 'button', label)
    link.href = page === 'seat' ? realTimePage(stream.name) : `/${page}/${encodeURIComponent(stream.name)}`
    link.setAttribute('aria-label', `${label}: ${stream.name}`)
    links.append(link)
  }
  return make('li', 'card', make('div', '', make('h2', '', stream.name), state), links)
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
    location.assign(page === 'seat' ? realTimePage(field.value) : `/${page}/${encodeURIComponent(field.value)}`)
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
