// What the start page lists: shows, and the streams that belong to none.

import type * as api from './api'

/** What is listed, in its order. */
export interface Listing {
  shows: Show[]
  streams: api.Stream[]
}

/** A stage, with the stream of its program if there is one. */
export interface Show {
  stage: api.Stage
  program: api.Stream | undefined
}

/**
 * Sorts what the gateway lists: live first, then by name. What begins with a stage's name
 * and a dot is a seat of it: not for everybody, and without HLS. The control room has it.
 */
export function listing(streams: api.Stream[], stages: api.Stage[]): Listing {
  const names = new Set(stages.map((one) => one.name))
  const byName = (a: string, b: string) => a.localeCompare(b)
  return {
    shows: stages
      .map((stage) => ({ stage, program: streams.find((one) => one.name === stage.name) }))
      .sort((a, b) => Number(b.stage.program.live) - Number(a.stage.program.live) || byName(a.stage.name, b.stage.name)),
    streams: streams
      .filter((one) => !names.has(one.name.split('.', 1)[0] ?? ''))
      .sort((a, b) => Number(b.live) - Number(a.live) || byName(a.name, b.name)),
  }
}

/** Who is in a show, in words. */
export function cast(seats: api.Seat[]): string {
  const here = seats.filter((one) => one.connected)
  if (here.length === 0) return 'nobody is there'
  const onAir = here.filter((one) => one.state === 'on_air').length
  const rest = here.length - onAir
  return [`${onAir} on air`, rest > 0 ? `${rest} waiting or backstage` : ''].filter(Boolean).join(', ')
}
