// What all elements share.

import { homeOf, placeOf, type Place } from './where'

/** The gateway that this module came from. */
export const home = homeOf(import.meta.url)

/** Where there is no document, as on a server, the module can be imported, and its elements cannot be made. */
const Native = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement

/** An element with a shadow, attributes that are properties, and one restart for many changes. */
export abstract class Whipcast extends Native {
  #due = false
  #connected = false
  #begun = false

  /** The address of any page, playlist or endpoint of the stream. */
  get src(): string {
    return this.getAttribute('src') ?? ''
  }
  set src(value: string) {
    this.setAttribute('src', value)
  }

  /** Such as "https://live.example.org"; by default where the module came from. */
  get gateway(): string {
    return this.getAttribute('gateway') ?? ''
  }
  set gateway(value: string) {
    this.setAttribute('gateway', value)
  }

  get stream(): string {
    return this.getAttribute('stream') ?? ''
  }
  set stream(value: string) {
    this.setAttribute('stream', value)
  }

  /** Best set by a script: what is in the document everyone reads who sees its source. */
  get token(): string {
    return this.getAttribute('token') ?? ''
  }
  set token(value: string) {
    this.setAttribute('token', value)
  }

  connectedCallback(): void {
    this.#connected = true
    if (!this.#begun) this.#later()
    window.addEventListener('pagehide', this.#hidden)
    window.addEventListener('pageshow', this.#shown)
  }

  disconnectedCallback(): void {
    this.#connected = false
    window.removeEventListener('pagehide', this.#hidden)
    window.removeEventListener('pageshow', this.#shown)
    // Moved to another place in the document is not removed from it.
    queueMicrotask(() => {
      if (!this.isConnected) this.#over()
    })
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return
    if (this.restarts.includes(name)) this.#later()
    else this.changed(name)
  }

  /** Attributes that begin everything anew. */
  protected abstract readonly restarts: readonly string[]
  /** Begins with the attributes as they are. */
  protected abstract begin(): void
  /** Ends all sessions. */
  protected abstract end(): void
  /** Another attribute has changed. */
  protected abstract changed(name: string): void

  /** Where the stream is. Throws an Error that says what is missing. */
  protected place(): Place {
    const { src, gateway, stream, token } = this
    return placeOf({ src, gateway, stream, token }, home || location.origin)
  }

  /** Tells whoever listens. */
  protected emit(name: string, detail: object): void {
    this.dispatchEvent(new CustomEvent(`whipcast-${name}`, { detail, bubbles: true, composed: true }))
  }

  #later(): void {
    if (this.#due) return
    this.#due = true
    queueMicrotask(() => {
      this.#due = false
      if (!this.#connected) return
      if (!this.src && !this.stream) return this.#over() // nothing is named yet, or any more
      this.#begun = true
      this.begin()
    })
  }

  #over(): void {
    this.#begun = false
    this.end()
  }

  // DELETE leaves with the page, and a page that comes back out of the browser's
  // memory connects again.
  readonly #hidden = (): void => this.#over()
  readonly #shown = (event: PageTransitionEvent): void => {
    if (event.persisted) this.#later()
  }
}

/** A shadow with a style; no markup is parsed, so that strict policies let it through. */
export function shadowOf(element: HTMLElement, ...styles: string[]): ShadowRoot {
  const root = element.attachShadow({ mode: 'open' })
  root.adoptedStyleSheets = styles.map((text) => {
    const sheet = new CSSStyleSheet()
    sheet.replaceSync(text)
    return sheet
  })
  return root
}

/** A new element with a class, which is its part's name as well, and children. */
export function piece<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  name: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  if (name) {
    made.className = name
    made.setAttribute('part', name)
  }
  made.append(...children)
  return made
}

/** A button with words. */
export function button(name: string, words: string, press: () => void): HTMLButtonElement {
  const made = piece('button', name, words)
  made.part.add('button')
  made.type = 'button'
  made.addEventListener('click', press)
  return made
}

/** Sets a boolean attribute. */
export function flag(element: Element, name: string, on: boolean): void {
  if (element.hasAttribute(name) !== on) element.toggleAttribute(name, on)
}
