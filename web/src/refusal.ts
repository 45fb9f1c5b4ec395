// What the gateway answers when it says no, in words for a person.

/** An answer that is not a success. status 0: no answer came at all. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    /** Seconds; 0 if the gateway named none. */
    readonly retryAfter: number,
    /** For programs; "" where the gateway named none. */
    readonly code = '',
  ) {
    super(detail)
    this.name = 'Refusal'
  }
}

/** Reads a problem document (RFC 9457), or makes do with the status. */
export async function refusalOf(response: Response): Promise<Refusal> {
  const retryAfter = Number(response.headers.get('Retry-After') ?? 0) || 0
  let detail = ''
  let code = ''
  if ((response.headers.get('Content-Type') ?? '').includes('json')) {
    try {
      const problem = (await response.json()) as { title?: unknown; detail?: unknown; code?: unknown }
      detail = [problem.title, problem.detail].filter((part) => typeof part === 'string' && part).join(': ')
      if (typeof problem.code === 'string') code = problem.code
    } catch {
      // not the JSON it claims to be: the status must do
    }
  }
  return new Refusal(response.status, detail || `the gateway answered ${response.status}`, retryAfter, code)
}

/** fetch, with every failure as a Refusal. */
export async function ask(url: string, init: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, init)
    // Browsers keep the token from another origin that they are sent on to. A gateway that is emptied
    // sends sessions to one that is as trusted (docs/operations.md): it is told there, too.
    if (response.status === 401 && sentOn(response, init)) response = await fetch(response.url, init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Refusal(0, 'the gateway cannot be reached', 0)
  }
  if (!response.ok) throw await refusalOf(response)
  return response
}

/** Whether the gateway has sent the offer of a session to another one. */
function sentOn(response: Response, init: RequestInit): boolean {
  return response.redirected && init.method === 'POST' && new Headers(init.headers).has('Authorization') && /\/wh[ie]p\/[^/]+$/.test(new URL(response.url).pathname)
}

/** Any error as one sentence. */
export function wordsOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  const sentence = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`
}

const closed: Partial<Record<string, string>> = {
  'token-needed': 'It is for those who have a link to it: ask for one.',
  'token-expired': 'The link to it is too old: ask for a new one.',
  'token-revoked': 'The link to it was taken back: ask for a new one.',
}

/** Any error as one sentence, for who only wants to watch: what the gateway says of tokens is for who makes them. */
export function viewerWords(error: unknown): string {
  return (error instanceof Refusal && closed[error.code]) || wordsOf(error)
}
