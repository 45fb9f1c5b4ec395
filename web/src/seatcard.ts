// A seat in the control room: its picture, its state, and what can be done with it.

import type * as api from './api'
import { copyText, make, setText } from './dom'
import { WhipcastPlayer } from './embed'
import type { Shown } from './findings'
import { sourceOf } from './source'
import { token } from './token'
import { since } from './words'

/** Asks the gateway for a change of the stage; undefined if it refuses. */
export type Order = (method: string, rest: string, body?: object) => Promise<unknown>

/** What a state is called. */
export const stateWords: Record<api.Seat['state'], string> = {
  invited: 'Invited',
  waiting: 'In the waiting room',
  backstage: 'Backstage',
  on_air: 'On air',
  left: 'Away',
}

/** How full a meter is at this loudness, in dBFS: 0 at −60 and below, 1 at 0. */
export function fullness(level: number): number {
  return Math.min(1, Math.max(0, (level + 60) / 60))
}

/** When a link ends, if that is soon: a seat that nobody has taken until then cannot be. */
export function ends(expires: string | undefined, now = Date.now()): string {
  const at = Date.parse(expires ?? '')
  if (Number.isNaN(at) || at - now > 30 * 60_000) return ''
  return at <= now ? 'link is over' : `link ends in ${Math.max(1, Math.round((at - now) / 60_000))} min`
}

export class SeatCard {
  readonly element: HTMLLIElement
  private readonly player = new WhipcastPlayer()
  private readonly key = make('kbd', '')
  private readonly label = make('h3', '')
  private readonly state = make('p', 'seatstate')
  private readonly bar = make('span', '')
  private readonly doctor = make('div', '')
  private readonly link = make('p', 'hint')
  private readonly rows: HTMLElement[]
  private readonly buttons: ReturnType<SeatCard['make']>
  private seat: api.Seat
  private doctorSaid = ''

  constructor(
    private readonly stage: string,
    seat: api.Seat,
    private readonly order: Order,
  ) {
    this.seat = seat
    Object.assign(this.player, { mode: 'whep', nofallback: true, muted: true, token: token() })
    this.buttons = this.make()
    const meter = make('div', 'meter', this.bar)
    meter.setAttribute('aria-hidden', 'true')
    const { cut, air, back, admit, mute, copy, fresh, obs, rename, kick } = this.buttons
    const first = make('div', 'row', cut, admit, air, back, mute)
    const second = make('div', 'row small', copy, fresh, obs, rename, kick)
    this.rows = [first, second]
    for (const row of this.rows) row.setAttribute('role', 'group')
    this.element = make('li', 'card seat', make('div', 'seathead', this.key, this.label, this.state), this.player, meter, this.doctor, first, second, this.link)
    this.link.setAttribute('role', 'status')
    this.label.tabIndex = -1
    // A key that is held must not press what comes in a button's place.
    this.element.addEventListener('keydown', (event) => {
      if (event.repeat && event.key === 'Enter' && event.target instanceof HTMLButtonElement) event.preventDefault()
    })
  }

  /** Takes the keyboard to the seat, on nothing that does anything. */
  focus(): void {
    this.label.focus()
  }

  /** Shows the seat as it is now, at this place of the list, from 1. */
  show(seat: api.Seat, place: number): void {
    this.seat = seat
    const { cut, air, back, admit, mute, copy } = this.buttons
    const held = [admit, air, back].find((one) => one === document.activeElement)
    setText(this.key, place <= 9 ? String(place) : '')
    this.key.hidden = place > 9
    setText(this.label, seat.role === 'host' ? `${seat.label} (host)` : seat.label)
    for (const row of this.rows) row.setAttribute('aria-label', seat.label)
    if (this.player.token !== token()) this.player.token = token()
    const away = !seat.connected && ['waiting', 'backstage', 'on_air'].includes(seat.state)
    const parts = [stateWords[seat.state], away ? 'not connected now' : '', seat.picture ? 'in the picture' : '', seat.muted ? 'muted' : '', seat.state === 'invited' ? ends(seat.expires) : '', seat.state === 'left' ? since(Date.parse(seat.since), Date.now()) : '']
    setText(this.state, parts.filter(Boolean).join(' · '))
    this.element.dataset['state'] = seat.state
    this.element.classList.toggle('picture', seat.picture)
    this.element.classList.toggle('speaking', seat.speaking)
    // A seat that nobody is in has no stream: it would be asked for in vain.
    if (seat.connected && this.player.stream !== seat.stream) this.player.stream = seat.stream
    this.player.hidden = !seat.connected
    if (!seat.connected && this.player.stream) this.player.removeAttribute('stream')
    // Not disabled: that would take the keyboard away from who has just pressed it.
    cut.setAttribute('aria-disabled', String(!seat.connected || seat.picture))
    cut.setAttribute('aria-keyshortcuts', place <= 9 ? String(place) : '')
    cut.setAttribute('aria-label', `Cut to ${seat.label}`)
    admit.hidden = seat.state !== 'waiting'
    air.hidden = seat.state !== 'backstage'
    back.hidden = seat.state !== 'on_air'
    mute.setAttribute('aria-pressed', String(seat.muted))
    setText(mute, seat.muted ? 'Muted' : 'Mute')
    mute.setAttribute('aria-label', `${seat.muted ? 'Muted' : 'Mute'}: ${seat.label}`)
    copy.hidden = this.kept() === ''
    // The keyboard stays in the row when the button that has it goes.
    if (held?.hidden) [admit, air, back, mute].find((one) => !one.hidden)?.focus()
    if (!seat.connected) this.examined([], 0)
  }

  /** Moves the meter. */
  move(): void {
    const heard = this.player.level
    const full = Number.isNaN(heard) ? fullness(this.seat.level) : Math.sqrt(heard)
    this.bar.style.transform = `scaleX(${(this.seat.connected ? full : 0).toFixed(2)})`
  }

  /** Shows the worst of what is wrong with its stream. */
  examined(findings: Shown[], viewers: number): void {
    const bad = findings.filter((one) => one.severity !== 'note')
    const now = JSON.stringify(bad)
    this.player.title = this.seat.connected ? `${viewers} see this seat in real time` : ''
    if (now === this.doctorSaid) return
    this.doctorSaid = now
    const worst = bad[0]
    if (!worst) {
      this.doctor.className = ''
      return this.doctor.replaceChildren()
    }
    const more = bad.length > 1 ? ` (and ${bad.length - 1} more)` : ''
    this.doctor.className = worst.severity === 'problem' ? 'note bad' : 'note warn'
    this.doctor.replaceChildren(make('details', '', make('summary', '', worst.words + more), make('p', 'hint', worst.remedy)))
  }

  /** Keeps the link of an invitation for this tab, and offers it. */
  invited(made: api.Invitation): void {
    sessionStorage.setItem(this.linkKey, new URL(made.url, location.href).href)
    this.buttons.copy.hidden = false
    setText(this.link, '')
    this.buttons.copy.focus()
  }

  /** Has its picture in the program. */
  async cut(): Promise<void> {
    if (!this.seat.connected) return
    // Whose picture is on air is heard, too.
    if (this.seat.state !== 'on_air' && !(await this.change({ state: 'on_air' }))) return
    await this.order('POST', '/cut', { seat: this.seat.name })
  }

  private get linkKey(): string {
    return `whipcast.link ${this.stage}.${this.seat.name}`
  }

  private kept(): string {
    return sessionStorage.getItem(this.linkKey) ?? ''
  }

  private change(change: api.SeatChange): Promise<unknown> {
    return this.order('PATCH', this.path(), change)
  }

  private path(rest = ''): string {
    return `/seats/${encodeURIComponent(this.seat.name)}${rest}`
  }

  private make() {
    const named = (words: string, press: () => void) => {
      const made = make('button', '', words)
      made.type = 'button'
      made.addEventListener('click', press)
      return made
    }
    const cut = named('Cut', () => {
      if (!this.seat.picture) void this.cut()
    })
    cut.className = 'primary'
    return {
      cut,
      admit: named('Let in', () => void this.change({ state: 'backstage' })),
      air: named('On air', () => void this.change({ state: 'on_air' })),
      back: named('Backstage', () => void this.change({ state: 'backstage' })),
      mute: named('Mute', () => void this.change({ muted: !this.seat.muted })),
      copy: named('Copy link', () => void this.give(this.kept(), 'The link is copied. It lets one person take this seat.')),
      fresh: named('New link', () => void this.invite()),
      obs: named('OBS link', () => void this.source()),
      rename: named('Rename', () => this.ask()),
      kick: this.twice('Remove', 'Really remove?', () => void this.order('DELETE', this.path())),
    }
  }

  /** A button that wants to be pressed twice. */
  private twice(words: string, sure: string, act: () => void): HTMLButtonElement {
    const made = make('button', '', words)
    made.type = 'button'
    let timer = 0
    made.addEventListener('click', () => {
      const armed = made.textContent === sure
      clearTimeout(timer)
      made.textContent = armed ? words : sure
      if (armed) act()
      else timer = window.setTimeout(() => (made.textContent = words), 4000)
    })
    return made
  }

  private async invite(): Promise<void> {
    const made = (await this.order('POST', this.path('/invitation'), {})) as api.Invitation | undefined
    if (!made) return
    this.invited(made)
    setText(this.link, 'A new link; the one before is of no use any more.')
  }

  private async source(): Promise<void> {
    const { address, words } = await sourceOf(this.seat.stream)
    await this.give(address, words)
  }

  private ask(): void {
    const field = make('input', '')
    field.value = this.seat.label
    field.maxLength = 64
    field.setAttribute('aria-label', 'Name')
    const form = make('form', 'rename', field)
    const done = () => {
      if (!form.isConnected) return
      const here = form.contains(document.activeElement)
      form.replaceWith(this.label)
      if (here) this.buttons.rename.focus()
    }
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      const label = field.value.trim()
      if (label && label !== this.seat.label) void this.change({ label })
      done()
    })
    field.addEventListener('keydown', (event) => event.key === 'Escape' && done())
    field.addEventListener('blur', () => setTimeout(done))
    this.label.replaceWith(form)
    field.select()
  }

  private async give(text: string, words: string): Promise<void> {
    setText(this.link, (await copyText(text)) ? words : text)
  }
}
