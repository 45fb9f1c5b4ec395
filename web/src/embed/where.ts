// Where a stream is, as the attributes of an element say it.

import { validName } from '../names'
import { tokenIn } from '../token'

/** A stream of a gateway, and what lets one in. */
export interface Place {
  /** Such as "https://live.example.org", without a slash at the end. */
  gateway: string
  stream: string
  /** "" where none is needed. */
  token: string
}

/** What an element's author wrote; "" where nothing. */
export interface Written {
  /** The address of any page, playlist or endpoint of the stream. */
  src: string
  gateway: string
  stream: string
  token: string
}

/** The pages and endpoints whose next path element is a stream. */
const kinds = ['watch', 'seat', 'embed', 'publish', 'hls', 'whep', 'whip']

/**
 * What was written, as a place. An address counts, its token as well; gateway and
 * stream say what it leaves open. A gateway that nobody named is the one the module
 * came from. Throws an Error that says what is missing.
 */
export function placeOf(written: Written, home: string): Place {
  const found = written.src ? addressed(written.src, home) : undefined
  const gateway = found?.gateway || trimmed(written.gateway, home) || trimmed(home, home)
  const stream = found?.stream || written.stream
  if (!stream) throw new Error('no stream is named: set src, or gateway and stream')
  if (!validName(stream)) throw new Error(`“${stream}” cannot be the name of a stream`)
  if (!gateway) throw new Error('no gateway is named: set src or gateway')
  return { gateway, stream, token: written.token || (found?.token ?? '') }
}

/** The place of an address such as https://live.example.org/watch/show#token=abc. */
function addressed(src: string, home: string): Place {
  let url: URL
  try {
    url = new URL(src, home || undefined)
  } catch {
    throw new Error(`“${src}” is no address`)
  }
  const path = url.pathname.split('/').map(decode)
  const kind = path.length - 1 - [...path].reverse().findIndex((one, at) => at > 0 && kinds.includes(one))
  const known = kind < path.length
  const before = known ? path.slice(1, kind) : path.slice(1, -1)
  const rest = known ? path.slice(kind + 1) : path.slice(-1)
  let token = tokenIn(url.hash) || (url.searchParams.get('token') ?? '')
  if (rest[0]?.startsWith('~')) token ||= rest.shift()?.slice(1) ?? ''
  const prefix = before.filter(Boolean).map((one) => `/${one}`).join('')
  return { gateway: url.origin + prefix, stream: rest[0] ?? '', token }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a stray %: no stream is called so
  }
}

function trimmed(gateway: string, home: string): string {
  try {
    const url = new URL(gateway, home || undefined)
    return url.origin + url.pathname.replace(/\/+$/, '')
  } catch {
    return ''
  }
}

/** The gateway that a module came from; "" if it came by another way, as from a bundle. */
export function homeOf(module: string): string {
  const at = module.replace(/[?#].*$/, '')
  return at.endsWith('/embed.js') && /^https?:/.test(at) ? at.slice(0, -'/embed.js'.length) : ''
}

/** The stage and the seat in a stream's name such as "show.anna"; undefined if it is none of a seat. */
export function seatOf(stream: string): { stage: string; seat: string } | undefined {
  const dot = stream.lastIndexOf('.')
  if (dot <= 0 || dot === stream.length - 1) return undefined
  return { stage: stream.slice(0, dot), seat: stream.slice(dot + 1) }
}

/** The Authorization header, or none. */
export function authorizationOf(token: string): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {}
}
