// Browser sources for OBS: a bare picture, and a token that can play it and nothing else.

import type * as api from './api'
import { ask } from './refusal'
import { authorization } from './token'

/** Days that such a token is good for. */
const days = 7

/** The address of a stream's bare picture, and what to say of it. */
export async function sourceOf(stream: string): Promise<{ address: string; words: string }> {
  const address = `${location.origin}/embed/${encodeURIComponent(stream)}`
  try {
    const wanted: api.TokenRequest = { actions: ['play'], streams: [stream], lifetime: days * 86_400, principal: 'obs' }
    const response = await ask('/v1/tokens', {
      method: 'POST',
      headers: { ...authorization(), 'Content-Type': 'application/json' },
      body: JSON.stringify(wanted),
    })
    const { token } = (await response.json()) as api.Token
    return { address: `${address}#token=${token}`, words: `The browser source is copied. Its token plays this for ${days} days.` }
  } catch {
    // Who directs one stage may not be allowed to make tokens.
    return { address, words: 'The browser source is copied. It has no token: it works where everyone may watch.' }
  }
}
