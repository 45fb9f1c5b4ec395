// The few places where session descriptions are read or touched as text.

const lines = (sdp: string): string[] => sdp.split(/\r\n|\n/).filter((line) => line !== '')
const text = (all: string[]): string => all.join('\r\n') + '\r\n'

/** The first value of an attribute such as "ice-ufrag"; "" if absent. */
export function attribute(sdp: string, name: string): string {
  const prefix = `a=${name}:`
  return (
    lines(sdp)
      .find((line) => line.startsWith(prefix))
      ?.slice(prefix.length) ?? ''
  )
}

/**
 * A trickle fragment (RFC 8840 §9): credentials, then the first m-section
 * (the bundle's) with the candidates. last adds end-of-candidates.
 */
export function fragment(offer: string, candidates: string[], last: boolean): string {
  const mid = attribute(offer, 'mid')
  const mline = lines(offer).find((line) => line.startsWith('m=')) ?? 'm=audio 9 UDP/TLS/RTP/SAVPF 0'
  return text([
    `a=ice-ufrag:${attribute(offer, 'ice-ufrag')}`,
    `a=ice-pwd:${attribute(offer, 'ice-pwd')}`,
    mline,
    `a=mid:${mid}`,
    ...candidates.map((candidate) => `a=${candidate.replace(/^a=/, '')}`),
    ...(last ? ['a=end-of-candidates'] : []),
  ])
}

/**
 * The answer after an ICE restart: the fragment's credentials and candidates
 * replace the old ones (RFC 9725 §4.3.3), all else stays.
 */
export function restarted(answer: string, answered: string): string {
  const ufrag = attribute(answered, 'ice-ufrag')
  const pwd = attribute(answered, 'ice-pwd')
  const candidates = lines(answered).filter((line) => /^a=(candidate:|end-of-candidates)/.test(line))
  const result: string[] = []
  let sections = 0
  const finish = () => {
    if (sections === 1) result.push(...candidates) // they belong to the bundle's first section
  }
  for (const line of lines(answer)) {
    if (line.startsWith('m=')) {
      finish()
      sections++
    }
    if (/^a=(candidate:|end-of-candidates)/.test(line)) continue
    if (line.startsWith('a=ice-ufrag:')) result.push(`a=ice-ufrag:${ufrag}`)
    else if (line.startsWith('a=ice-pwd:')) result.push(`a=ice-pwd:${pwd}`)
    else result.push(line)
  }
  finish()
  return text(result)
}

/** Sets parameters in the fmtp line of every payload type of a codec; the others stay. */
export function withParameters(sdp: string, codec: string, parameters: string): string {
  const types = new Set(
    lines(sdp).flatMap((line) => {
      const match = /^a=rtpmap:(\d+) ([^/]+)\//.exec(line)
      return match?.[1] && match[2]?.toLowerCase() === codec.toLowerCase() ? [match[1]] : []
    }),
  )
  const name = (parameter: string) => parameter.trim().split('=')[0]
  const set = parameters.split(';')
  return text(
    lines(sdp).map((line) => {
      const [, begin, type, before] = /^(a=fmtp:(\d+) )(.*)$/.exec(line) ?? []
      if (!type || !types.has(type)) return line
      const kept = (before ?? '').split(';').filter((one) => !set.some((other) => name(other) === name(one)))
      return begin + [...kept, ...set].join(';')
    }),
  )
}

/** The links of Link headers (RFC 8288): addresses and their parameters. */
function* links(header: string | null): Generator<{ address: string; parameters: Map<string, string> }> {
  for (const one of (header ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+(?:=(?:"(?:[^"\\]|\\.)*"|[^";,\s]*))?)*)/g)) {
    const parameters = new Map<string, string>()
    for (const pair of (one[2] ?? '').matchAll(/;\s*([\w-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^";,\s]*)))?/g)) {
      parameters.set((pair[1] ?? '').toLowerCase(), (pair[2]?.replace(/\\(.)/g, '$1') ?? pair[3]) || '')
    }
    yield { address: one[1] ?? '', parameters }
  }
}

/** The first address that Link headers give for a relation; "" if they give none. */
export function linked(header: string | null, relation: string): string {
  for (const { address, parameters } of links(header)) if (parameters.get('rel') === relation) return address
  return ''
}

/** The ICE servers in Link headers (RFC 9725 §4.6). */
export function iceServers(link: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = []
  for (const { address, parameters } of links(link)) {
    if (parameters.get('rel') !== 'ice-server' || !address) continue
    const server: RTCIceServer = { urls: address }
    const username = parameters.get('username')
    const credential = parameters.get('credential')
    if (username !== undefined) server.username = username
    if (credential !== undefined) server.credential = credential
    servers.push(server)
  }
  return servers
}
