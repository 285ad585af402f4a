import { LayerTokenError } from './error.js'

/** Environments that Layer's React components know by name. */
export type LayerEnvironment = 'sandbox' | 'production' | 'production-ca'

/** Props of `<LayerProvider>`. */
export type LayerSessionProps = {
  readonly businessId: string
  readonly businessAccessToken: string
} & (
  | { readonly environment: LayerEnvironment }
  | {
      readonly environmentConfigOverride: {
        readonly environment: LayerEnvironment
        readonly apiUrl: string
      }
    }
)

/** What the backend answers: a business token and what a page must know about it. */
export interface LayerSession {
  readonly access_token: string
  readonly token_type: 'Bearer'
  /** Seconds that the token lives from now on. */
  readonly expires_in: number
  /** The same as a point in time (RFC 3339). The clock of a user may be wrong. */
  readonly expires_at: string
  readonly business_id: string
  /** Seconds that the token was asked for. */
  readonly session_duration: number
  /** Seconds after which asking gives a new token. */
  readonly renew_in: number
  readonly layer_provider_props: LayerSessionProps
}

const API_URLS: Readonly<Record<string, string>> = {
  sandbox: 'https://sandbox.layerfi.com',
  production: 'https://api.layerfi.com',
  'production-ca': 'https://api-ca.layerfi.com',
}

/** Address of the API that the components call with the props of this session. */
export function apiUrlOf(session: LayerSession): string {
  const props: unknown = session.layer_provider_props
  const url = findApiUrl(props)
  if (url === undefined) throw invalid('layer_provider_props has no known environment')
  return url
}

function findApiUrl(props: unknown): string | undefined {
  if (!isRecord(props)) return undefined
  const override = props['environmentConfigOverride']
  if (isRecord(override) && typeof override['apiUrl'] === 'string') return override['apiUrl']
  const name = isRecord(override) ? override['environment'] : props['environment']
  return typeof name === 'string' && Object.hasOwn(API_URLS, name) ? API_URLS[name] : undefined
}

/** Checks what the backend answered. The errors name the field and never its value. */
export function toSession(answer: unknown): LayerSession {
  if (!isRecord(answer)) throw invalid('the answer is not a JSON object')
  const token = answer['access_token']
  // What is allowed in a header without quotes.
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw invalid('access_token is missing or not a token')
  }
  if (!isPositive(answer['expires_in'])) {
    throw invalid('expires_in is not a number of seconds above 0')
  }
  const business = answer['business_id']
  if (typeof business !== 'string' || business === '') throw invalid('business_id is missing')
  const props = answer['layer_provider_props']
  if (!isRecord(props)) throw invalid('layer_provider_props is missing')
  if (props['businessId'] !== business || props['businessAccessToken'] !== token) {
    throw invalid('layer_provider_props has another business or token than the session')
  }
  if (findApiUrl(props) === undefined) {
    throw invalid('layer_provider_props has no known environment')
  }
  const renewIn = answer['renew_in']
  return Object.freeze({
    ...(answer as unknown as LayerSession),
    // Half of the life is what the server itself uses by default.
    renew_in: isPositive(renewIn) || renewIn === 0 ? renewIn : answer['expires_in'] / 2,
  })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
}

function invalid(reason: string): LayerTokenError {
  return new LayerTokenError(
    'invalid_session',
    `the token endpoint's answer is not a session: ${reason}`,
  )
}
