// Which way a player takes: WHEP, below a second, or low-latency HLS, for any
// number. Decisions only; what they come to is done in playing.ts.

/** A way from the gateway to a screen. */
export type Way = 'whep' | 'hls'

/** What a page asks for. */
export type Mode = 'auto' | 'whep' | 'hls'

/** What a player says of itself. */
export type PlayerState = 'idle' | 'connecting' | 'playing' | 'waiting' | 'stalled' | 'unreachable' | 'refused' | 'paused'

/** What a way does now. */
export type Look =
  | 'starting'
  | 'moving'
  /** It was moving, and is not: the way is broken, or slow. */
  | 'still'
  /** The way is there, and nobody publishes. */
  | 'offline'
  /** It does not work now. */
  | 'failed'
  /** The gateway will not. */
  | 'refused'
  /** This browser cannot. */
  | 'unable'

/** A way's look, and for how many seconds it has moved, nothing was live, or neither. */
export interface Seen {
  look: Look
  seconds: number
}

export interface Situation {
  first: Way
  /** Whether the other way may stand in. */
  fallback: boolean
  seen: Partial<Record<Way, Seen>>
  shown: Way | undefined
}

export interface Decision {
  /** The ways that are to run. */
  run: Way[]
  /** The way that is to be seen. */
  show: Way | undefined
}

export function other(way: Way): Way {
  return way === 'whep' ? 'hls' : 'whep'
}

/**
 * The way to begin with. Who has a token is one of a few, and is shown what is now;
 * the audience is shown what any number can be shown.
 */
export function firstWay(mode: Mode, invited: boolean): Way {
  if (mode !== 'auto') return mode
  return invited ? 'whep' : 'hls'
}

/**
 * Seconds that the first way may be in trouble, before the other one stands in. HLS is given
 * time, and each viewer another one: all of a big audience must not come by WHEP in one
 * moment because a cache has stumbled.
 */
function patience(way: Way, look: Look, spread: number): number {
  if (look === 'offline' || look === 'moving') return Infinity // nobody publishes: the other way has nothing either
  if (look === 'unable') return 0
  if (way === 'hls') return 8 + 12 * spread
  switch (look) {
    case 'starting':
      return 4
    case 'still':
      return 1.5
    default:
      return 0
  }
}

/** Seconds that the first way must move before it takes the place of the other one that does. */
const proof = 1

/** spread is this viewer's share of chance, from 0 to 1; it does not change. */
export function decide(now: Situation, spread: number): Decision {
  const { first, shown, seen } = now
  const second = other(first)
  const moves = (way: Way) => seen[way]?.look === 'moving'
  const mine = seen[first]
  const run: Way[] = [first]
  if (now.fallback && mine) {
    const due = mine.seconds >= patience(first, mine.look, spread)
    // One that is seen, or is about to be, goes on until the first is worth it.
    const kept = seen[second] !== undefined && mine.look !== 'offline' && !(moves(first) && shown === first)
    if (due || kept || (shown === second && moves(second))) run.push(second)
  }
  let show = shown
  if (moves(first) && (!moves(second) || shown !== second || (mine?.seconds ?? 0) >= proof)) show = first
  else if (moves(second) && run.includes(second)) show = second
  if (show === first && moves(first)) return { run: [first], show }
  return { run, show }
}
