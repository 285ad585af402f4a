/**
 * Why there is no new token:
 *
 * - `network`: the backend was not reached, or the request function failed.
 * - `timeout`: there was no answer within 10 seconds.
 * - `status`: the backend answered with an HTTP status other than 2xx, 401 and 403.
 * - `redirect`: the backend answered with a redirect, such as to a sign-in page.
 * - `invalid_session`: the answer is not a session.
 * - `signed_out`: the backend answered with HTTP 401 or 403.
 * - `another_business`: the answer is a session of another business than before.
 */
export type LayerTokenErrorKind =
  | 'network'
  | 'timeout'
  | 'status'
  | 'redirect'
  | 'invalid_session'
  | 'signed_out'
  | 'another_business'

export interface LayerTokenErrorFields {
  /** HTTP status of the answer. */
  status?: number | undefined
  /** Milliseconds that the backend asks to wait. */
  retryAfter?: number | undefined
  /** What the request function threw. */
  cause?: unknown
}

/** Why there is no new token. The message contains no token. */
export class LayerTokenError extends Error {
  override readonly name = 'LayerTokenError'
  readonly status: number | undefined
  readonly retryAfter: number | undefined

  constructor(
    readonly kind: LayerTokenErrorKind,
    message: string,
    fields: LayerTokenErrorFields = {},
  ) {
    super(message, 'cause' in fields ? { cause: fields.cause } : undefined)
    this.status = fields.status
    this.retryAfter = fields.retryAfter
  }

  /** True if asking again is useless until the user has signed in again. */
  get isSignedOut(): boolean {
    return this.kind === 'signed_out' || this.kind === 'another_business'
  }
}
