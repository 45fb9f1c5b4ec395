// The token lives in this tab only (sessionStorage). It may arrive in the
// fragment of a link, which no server and no Referer ever sees; it is taken
// out of the address bar at once.

const key = 'whipcast.token'

/** The token of this tab; "" if there is none. */
export function token(): string {
  return sessionStorage.getItem(key) ?? ''
}

/** Keeps a token for this tab; "" forgets it. */
export function keepToken(value: string): void {
  if (value) sessionStorage.setItem(key, value)
  else sessionStorage.removeItem(key)
}

/** The token in a fragment such as "#token=abc"; "" if there is none. */
export function tokenIn(fragment: string): string {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('token') ?? ''
}

/** Moves a token from the address bar into this tab. */
export function takeToken(): void {
  const found = tokenIn(location.hash)
  if (!found) return
  keepToken(found)
  history.replaceState(null, '', location.pathname + location.search)
}

/** The Authorization header, or none. */
export function authorization(): Record<string, string> {
  const value = token()
  return value ? { Authorization: `Bearer ${value}` } : {}
}
