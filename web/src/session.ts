// What a WHIP and a WHEP session have in common (RFC 9725, WHEP draft): one
// POST, candidates and ICE restarts by PATCH, one DELETE.

import { ask, Refusal } from './refusal'
import { backoff, pauseUnlessBack } from './retry'
import { attribute, fragment, iceServers, linked, restarted } from './sdp'

/** How an offer and its answer are touched before they are used. */
export interface Edits {
  offer?: (sdp: string) => string
  answer?: (sdp: string) => string
}

export class Session {
  /** Aborted once the session is closed, by us or by the gateway. */
  private readonly over = new AbortController()
  private waiting: string[] = []
  private gathered = false
  private timer: ReturnType<typeof setTimeout> | undefined
  private etag = ''
  private url = ''
  /** Where the offer was taken: another gateway than was asked, if that one sent it on. */
  door = ''
  private link = ''
  private trickles = true
  /** PATCHes go one after the other: the gateway judges each by the ETag of its moment. */
  private patches: Promise<void> = Promise.resolve()

  private constructor(
    readonly pc: RTCPeerConnection,
    private readonly authorization: Record<string, string>,
  ) {}

  /**
   * Offers pc's transceivers to an endpoint. The offer is applied only with
   * the answer at hand, so that ICE servers named in it serve the gathering.
   */
  static async open(
    pc: RTCPeerConnection,
    endpoint: string,
    authorization: Record<string, string>,
    signal: AbortSignal,
    edits: Edits = {},
  ): Promise<Session> {
    const session = new Session(pc, authorization)
    const offer = await pc.createOffer()
    const sdp = edits.offer?.(offer.sdp ?? '') ?? offer.sdp ?? ''
    const response = await ask(endpoint, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', ...authorization },
      body: sdp,
      signal: within(signal, 10),
    })
    const location = response.headers.get('Location')
    if (!location) throw new Refusal(response.status, 'the gateway named no session', 0)
    session.url = new URL(location, response.url).href
    session.etag = response.headers.get('ETag') ?? ''
    session.door = response.url
    session.link = response.headers.get('Link') ?? ''
    try {
      const servers = iceServers(response.headers.get('Link'))
      if (servers.length > 0) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: servers })
      const answer = await response.text()
      pc.addEventListener('icecandidate', session.candidate)
      await pc.setLocalDescription({ type: 'offer', sdp })
      await pc.setRemoteDescription({ type: 'answer', sdp: edits.answer?.(answer) ?? answer })
      if (signal.aborted) throw new DOMException('stopped', 'AbortError')
      // At once, so that DELETE still leaves a page that is being closed.
      signal.addEventListener('abort', session.end)
      session.over.signal.addEventListener('abort', () => signal.removeEventListener('abort', session.end))
    } catch (error) {
      session.close()
      throw error
    }
    return session
  }

  /** The address of what the answer links by this relation; "" if it links none. */
  linked(relation: string): string {
    const found = linked(this.link, relation)
    return found && new URL(found, this.url).href
  }

  /** New ICE credentials, same DTLS and media. Fails if the gateway will not. */
  restart(): Promise<void> {
    const done = this.patches.then(() => this.restartNow())
    this.patches = done.catch(() => undefined)
    return done
  }

  /** Ends the session; also while the page is being left. */
  close(): void {
    if (this.over.signal.aborted) return
    this.over.abort()
    clearTimeout(this.timer)
    this.pc.removeEventListener('icecandidate', this.candidate)
    if (ended(this.pc)) return this.pc.close() // by the gateway: there is nothing to delete
    // First the word, then the line: closing DTLS would end the session before
    // DELETE arrives.
    fetch(this.url, { method: 'DELETE', headers: this.authorization, keepalive: true, signal: AbortSignal.timeout(3000) })
      .catch(() => undefined)
      .finally(() => this.pc.close())
  }

  /**
   * What the gateway says of a session that it has ended because another one took its
   * place; undefined for any other reason. Two that both came back would take over from
   * each other for ever.
   */
  async takenOver(): Promise<Refusal | undefined> {
    if (this.over.signal.aborted || !ended(this.pc)) return undefined
    try {
      await ask(this.url, { method: 'DELETE', headers: this.authorization, signal: AbortSignal.timeout(3000) })
    } catch (error) {
      if (error instanceof Refusal && error.code === 'session-was-taken-over') return error
    }
    return undefined
  }

  private readonly end = (): void => this.close()

  private readonly candidate = (event: RTCPeerConnectionIceEvent): void => {
    if (event.candidate?.candidate) this.waiting.push(event.candidate.candidate)
    else this.gathered = true
    clearTimeout(this.timer)
    // Candidates come in bursts: one PATCH carries a burst.
    this.timer = setTimeout(() => {
      this.patches = this.patches.then(() => this.trickle()).catch(() => undefined)
    }, 40)
  }

  private async trickle(): Promise<void> {
    const local = this.pc.localDescription?.sdp ?? ''
    const ufrag = attribute(local, 'ice-ufrag')
    // Candidates of the ICE session before a restart mean nothing any more.
    const candidates = this.waiting.filter((one) => !/ ufrag /.test(one) || one.includes(` ufrag ${ufrag}`))
    const last = this.gathered
    this.waiting = []
    if (!this.trickles || this.over.signal.aborted || (candidates.length === 0 && !last)) return
    try {
      await this.patch(fragment(local, candidates, last), this.etag)
    } catch (error) {
      // Not taken: connectivity checks will show the addresses anyway. Where
      // the gateway has no trickle at all, it is not asked again.
      if (error instanceof Refusal && [405, 422].includes(error.status)) this.trickles = false
    }
  }

  private async restartNow(): Promise<void> {
    const answer = this.pc.remoteDescription?.sdp ?? ''
    this.waiting = []
    this.gathered = false
    const offer = await this.pc.createOffer({ iceRestart: true })
    await this.pc.setLocalDescription(offer)
    try {
      const response = await this.patch(fragment(offer.sdp ?? '', [], false), '*')
      const answered = await response.text()
      if (!attribute(answered, 'ice-ufrag')) throw new Refusal(response.status, 'the gateway did not restart ICE', 0)
      this.etag = response.headers.get('ETag') ?? this.etag
      await this.pc.setRemoteDescription({ type: 'answer', sdp: restarted(answer, answered) })
    } catch (error) {
      if (this.pc.signalingState === 'have-local-offer') await this.pc.setLocalDescription({ type: 'rollback' })
      throw error
    }
  }

  private patch(body: string, match: string): Promise<Response> {
    return ask(this.url, {
      method: 'PATCH',
      headers: {
        'Content-Type': 'application/trickle-ice-sdpfrag',
        ...(match ? { 'If-Match': match } : {}),
        ...this.authorization,
      },
      body,
      signal: within(this.over.signal, 5),
    })
  }
}

/** A signal that is raised with another one, or after some seconds: a gateway that does not answer must not hold up all that follows. */
function within(signal: AbortSignal, seconds: number): AbortSignal {
  const made = new AbortController()
  const end = () => {
    clearTimeout(timer)
    made.abort(signal.reason)
  }
  const timer = setTimeout(() => {
    signal.removeEventListener('abort', end)
    made.abort(new DOMException('no answer in time', 'TimeoutError'))
  }, seconds * 1000)
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  return made.signal
}

/** What happens to a session that is kept alive. */
export type Progress =
  | { kind: 'connecting' }
  | { kind: 'connected'; session: Session }
  | { kind: 'interrupted' }
  /** Its connection is about to be closed. */
  | { kind: 'ending' }
  | { kind: 'waiting'; seconds: number; why: Refusal | undefined }

/** How to keep a session alive. */
export interface Plan {
  open(signal: AbortSignal): Promise<Session>
  /** Seconds until the next try after a refusal; undefined: it is final. */
  again(refusal: Refusal, attempt: number): number | undefined
  /** Seconds that the first connection, and each healing, may take. */
  patience: number
  /** There can be one such session only: another one that takes its place ends it for good. */
  single?: boolean
  report(progress: Progress): void
}

/**
 * Opens a session, and another one whenever it is lost, until the signal is
 * raised. Throws the refusal that is final.
 */
export async function keep(plan: Plan, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    let why: Refusal | undefined
    let wait: number | undefined
    try {
      plan.report({ kind: 'connecting' })
      const session = await plan.open(signal)
      const lasted = await follow(session, signal, plan)
      plan.report({ kind: 'ending' })
      const taken = plan.single ? await session.takenOver() : undefined
      session.close()
      if (taken) throw taken
      if (lasted) attempt = 0
      else why = new Refusal(0, 'no media connection came about: is the UDP or TCP media port reachable?', 0)
      wait = backoff(attempt, 0.5, 15)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof Refusal)) throw error
      why = error
      wait = plan.again(error, attempt)
      if (wait === undefined) throw error
    }
    if (signal.aborted) return
    plan.report({ kind: 'waiting', seconds: wait, why })
    await pauseUnlessBack(wait, signal)
  }
}

/**
 * Follows a connection until it is lost for good; a break is first healed by
 * an ICE restart. Answers whether it was ever connected.
 */
async function follow(session: Session, signal: AbortSignal, plan: Plan): Promise<boolean> {
  const { pc } = session
  let connected = false
  let healing = false
  let since = performance.now() // of the state we do not want
  const network = watchNetwork()
  try {
    while (!signal.aborted && !ended(pc)) {
      const state = pc.connectionState
      const seconds = (performance.now() - since) / 1000
      if (state === 'connected') {
        if (since > 0) plan.report({ kind: 'connected', session })
        connected = true
        healing = false
        since = 0
        if (network.changed()) void session.restart().catch(() => undefined) // the old way may be about to die
      } else if (since === 0) {
        since = performance.now()
        plan.report({ kind: 'interrupted' })
      } else if (seconds > plan.patience || (state === 'failed' && !connected)) {
        break
      } else if (connected && !healing && (state === 'failed' || seconds > 2 || network.changed())) {
        // "disconnected" often heals by itself within a second or two, but not on another network.
        healing = true
        try {
          await session.restart()
        } catch (error) {
          if (!(error instanceof Refusal) || error.status !== 0) break // the gateway does not know this session any more
          healing = false // there is no network yet: ask again
        }
      }
      await change(pc, signal)
    }
  } finally {
    network.close()
  }
  return connected
}

/** Whether the device has got another network since it was asked last. */
function watchNetwork(): { changed(): boolean; close(): void } {
  let changed = false
  const note = () => {
    changed = true
  }
  window.addEventListener('online', note)
  return {
    changed() {
      const was = changed
      changed = false
      return was
    },
    close: () => window.removeEventListener('online', note),
  }
}

// The gateway ends a session by closing DTLS; connectionState keeps silent
// about that in some browsers.
function ended(pc: RTCPeerConnection): boolean {
  const transports = pc.getTransceivers().map((one) => one.receiver.transport ?? one.sender.transport)
  return pc.connectionState === 'closed' || transports.some((one) => one?.state === 'closed' || one?.state === 'failed')
}

/** Waits for the connection to change its state, or a quarter of a second. */
function change(pc: RTCPeerConnection, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      pc.removeEventListener('connectionstatechange', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, 250)
    pc.addEventListener('connectionstatechange', done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}
