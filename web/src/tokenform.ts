import { find, setText } from './dom'
import { keepToken } from './token'

/** Shows the page's token form and waits until a token was typed in. */
export function askForToken(why: string): Promise<void> {
  const form = find('token-form', HTMLFormElement)
  const field = find('token-field', HTMLInputElement)
  setText(find('token-why', HTMLElement), why)
  form.hidden = false
  field.focus()
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
