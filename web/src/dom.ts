// Small typed steps on the document. Text only ever enters as text nodes.

/** The element with this id; a page without it is a mistake in the build. */
export function find<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof type)) throw new Error(`page has no ${type.name} #${id}`)
  return found
}

/** A new element with a class and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children)
  return made
}

/** Sets text only when it differs, so that live regions do not speak twice. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** Fills the values of a definition list by the ids of its <dd>. */
export function setFigures(values: Record<string, string>): void {
  for (const [id, text] of Object.entries(values)) setText(find(id, HTMLElement), text || '–')
}

/** The tone of a status line: its colour, never its only meaning. */
export type Tone = 'idle' | 'wait' | 'live' | 'bad'

/** Shows a state in words, with a dot in its colour. */
export function setStatus(element: HTMLElement, tone: Tone, text: string): void {
  element.dataset['tone'] = tone
  setText(element, text)
}

/** Copies text and says on the button whether that worked. */
export function copyOnClick(button: HTMLButtonElement, text: () => string): void {
  const label = button.textContent ?? 'Copy'
  let timer = 0
  button.addEventListener('click', async () => {
    const copied = await copyText(text())
    button.textContent = copied ? 'Copied' : 'Select it and copy'
    clearTimeout(timer)
    timer = window.setTimeout(() => (button.textContent = label), 2000)
  })
}

/**
 * Copies text and answers whether that worked. The clipboard interface exists in
 * secure contexts only; a gateway in the local network is often reached by plain HTTP.
 */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = make('textarea', 'offscreen')
    area.value = text
    document.body.append(area)
    area.select()
    const copied = document.execCommand('copy')
    area.remove()
    return copied
  }
}
