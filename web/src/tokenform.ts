import { find, setText } from './dom'
import { keepToken } from './token'

/**
 * Shows the page's token form and waits until a token was typed in. focus
 * takes the person there; not on a page that offers other things as well.
 */
export function askForToken(why: string, focus = true): Promise<void> {
  const form = find('token-form', HTMLFormElement)
  const field = find('token-field', HTMLInputElement)
  setText(find('token-why', HTMLElement), why)
  form.hidden = false
  if (focus) field.focus()
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault()
      keepToken(field.value.trim())
      field.value = ''
      form.hidden = true
      resolve()
    }
  })
}
