import { LayerTokenError } from './error.js'
import type { LayerSession } from './session.js'

export interface LayerAskContext {
  /** Aborted when the answer comes too late to be used. */
  readonly signal: AbortSignal
  /** A token that the API answered with HTTP 401. The backend must give another one. */
  readonly refused?: string
}

/**
 * Asks the backend for a session. To say that the user is not signed in, throw an error with
 * `status: 401`.
 */
export type LayerAsk = (ask: LayerAskContext) => Promise<LayerSession>

export interface LayerEndpointOptions {
  /** Headers of each request, such as a token against cross-site request forgery. */
  headers?: HeadersInit | (() => HeadersInit)
  /** `include` for an endpoint of another origin that needs cookies. Default: `same-origin`. */
  credentials?: RequestCredentials
}

/** Asks an endpoint of the application with POST and a JSON body. */
export function askEndpoint(url: string | URL, options: LayerEndpointOptions): LayerAsk {
  return async ({ signal, refused }) => {
    const { headers } = options
    const all = new Headers(typeof headers === 'function' ? headers() : headers)
    all.set('content-type', 'application/json')
    all.set('accept', 'application/json')
    const response = await fetch(url, {
      method: 'POST',
      headers: all,
      body: JSON.stringify(refused === undefined ? {} : { refused }),
      cache: 'no-store',
      credentials: options.credentials ?? 'same-origin',
      redirect: 'manual',
      signal,
    })
    if (!response.ok) throw toError(response)
    try {
      return (await response.json()) as LayerSession
    } catch (cause) {
      if (signal.aborted) throw cause
      // The parser's message can quote the answer, and with it a token.
      throw new LayerTokenError(
        'invalid_session',
        "the token endpoint's answer is not a session: it is not JSON",
        { status: response.status },
      )
    }
  }
}

function toError(response: Response): LayerTokenError {
  if (response.type === 'opaqueredirect') {
    return new LayerTokenError(
      'redirect',
      'the token endpoint answered with a redirect; answer HTTP 401 if nobody is signed in',
    )
  }
  return statusError(response.status, parseRetryAfter(response.headers.get('retry-after')))
}

function statusError(status: number, retryAfter?: number, cause?: unknown): LayerTokenError {
  const fields = { status, retryAfter, ...(cause === undefined ? {} : { cause }) }
  const message = `the token endpoint answered HTTP ${status}`
  return status === 401 || status === 403
    ? new LayerTokenError('signed_out', `${message}: nobody is signed in`, fields)
    : new LayerTokenError('status', message, fields)
}

/** Makes one kind of error from whatever a request function has thrown. */
export function toTokenError(thrown: unknown): LayerTokenError {
  if (thrown instanceof LayerTokenError) return thrown
  const status = typeof thrown === 'object' && thrown !== null && 'status' in thrown
  if (status && typeof thrown.status === 'number') {
    return statusError(thrown.status, undefined, thrown)
  }
  return new LayerTokenError('network', 'the token endpoint was not reached', { cause: thrown })
}

/** Milliseconds of a `Retry-After` header, which is a number of seconds or a date. */
export function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}
