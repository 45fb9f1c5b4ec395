// Names of streams, and what the address bar says about them.

/** Whether a stream may have this name (the gateway's own rule). */
export function validName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)
}

/** Why a name is refused, in words. */
export const nameRule = 'Letters, digits, dots, dashes and underscores; it begins with a letter or digit; at most 64.'

/** The stream named by the second element of the path; "" if none is. */
export function streamOf(path: string): string {
  try {
    const name = decodeURIComponent(path.split('/')[2] ?? '')
    return validName(name) ? name : ''
  } catch {
    return '' // a stray %
  }
}

/**
 * The page that shows a stream in real time. A name with a dot is that of a guest's
 * seat on a stage: its own page is for the guest alone.
 */
export function realTimePage(name: string): string {
  const path = encodeURIComponent(name)
  return name.includes('.') ? `/embed/${path}?controls` : `/seat/${path}`
}
