// Figures and names as a person reads them.

/** "2.5 Mb/s" from bits per second; "" if unknown. */
export function rate(bits: number): string {
  if (!(bits > 0)) return ''
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mb/s` : `${Math.round(bits / 1000)} kb/s`
}

/** "1280 × 720"; "" if unknown. */
export function size(width: number | undefined, height: number | undefined): string {
  return width && height ? `${width} × ${height}` : ''
}

/** "2.1 s" or "180 ms"; "" if unknown. */
export function span(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return ''
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`
}

/** "4 min" since a moment given in milliseconds. */
export function since(start: number, now: number): string {
  const minutes = Math.floor((now - start) / 60_000)
  if (!Number.isFinite(minutes) || minutes < 1) return 'just now'
  if (minutes < 60) return `${minutes} min`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** The usual name of a codec, from an RFC 6381 string, a MIME type or a name. */
export function codec(id: string | undefined): string {
  const short = (id ?? '').toLowerCase().replace(/^(video|audio)\//, '')
  const names: [string, string][] = [
    ['avc', 'H.264'],
    ['h264', 'H.264'],
    ['hvc1', 'H.265'],
    ['hev1', 'H.265'],
    ['h265', 'H.265'],
    ['av01', 'AV1'],
    ['av1', 'AV1'],
    ['vp09', 'VP9'],
    ['vp9', 'VP9'],
    ['mp4a', 'AAC'],
    ['aac', 'AAC'],
    ['opus', 'Opus'],
  ]
  return names.find(([prefix]) => short.startsWith(prefix))?.[1] ?? short.toUpperCase()
}

/** "H.264 + Opus", without doubles and gaps. */
export function codecs(...ids: (string | undefined)[]): string {
  return [...new Set(ids.filter(Boolean).map(codec))].join(' + ')
}
