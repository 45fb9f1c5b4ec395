// What happens on a stage, in words for who does not look.

import type * as api from './api'

/** What has changed between two views that the host should hear of: who came, and who is gone. */
export function newsOf(before: readonly api.Seat[], now: readonly api.Seat[]): string[] {
  const news: string[] = []
  for (const seat of now) {
    const was = before.find((one) => one.name === seat.name)
    if (seat.state === 'waiting' && was?.state !== 'waiting') news.push(`${seat.label} is in the waiting room.`)
    else if (seat.state === 'left' && was && was.state !== 'left') news.push(`${seat.label} has left.`)
    else if (was?.connected && !seat.connected && seat.state !== 'left') news.push(`${seat.label} is not connected any more.`)
    else if (was && !was.connected && seat.connected && (was.state === 'left' || was.state === seat.state)) news.push(`${seat.label} is back.`)
  }
  return news
}

/** The name of the page: how many wait comes first, to be seen in a tab that is not looked at. */
export function titled(title: string, seats: readonly api.Seat[]): string {
  const waiting = seats.filter((one) => one.state === 'waiting' && one.connected).length
  return waiting > 0 ? `(${waiting}) ${title}` : title
}
