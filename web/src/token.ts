// The token lives in this tab only (sessionStorage). It may arrive in the
// fragment of a link, which no server and no Referer ever sees, or in its query,
// where some tools can only put it; it is taken out of the address bar at once.

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

/** A query such as "?a=b&token=abc" without its token. */
export function withoutToken(query: string): string {
  const rest = new URLSearchParams(query)
  if (!rest.has('token')) return query
  rest.delete('token')
  return rest.size > 0 ? `?${rest}` : ''
}

/**
 * Moves a token from the address bar into this tab; that of the fragment counts. A link that is put there
 * later and differs in nothing else loads no page: then this one begins anew, with the link's token.
 */
export function takeToken(): void {
  take()
  window.addEventListener('hashchange', () => {
    if (take()) location.reload()
  })
}

function take(): boolean {
  const found = tokenIn(location.hash) || (new URLSearchParams(location.search).get('token') ?? '')
  if (!found) return false
  keepToken(found)
  history.replaceState(null, '', location.pathname + withoutToken(location.search))
  return true
}

/**
 * Where a stream's playlist is. With a token in the path the browser's own
 * player, which sends no headers, is let in: all that the playlist names is
 * below that path.
 */
export function playlist(name: string, token = ''): string {
  return `/hls/${token && `~${encodeURIComponent(token)}/`}${encodeURIComponent(name)}/index.m3u8`
}

/** The Authorization header, or none. */
export function authorization(): Record<string, string> {
  const value = token()
  return value ? { Authorization: `Bearer ${value}` } : {}
}
