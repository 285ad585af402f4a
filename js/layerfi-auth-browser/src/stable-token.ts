import { apiUrlOf } from './session.js'
import type { LayerTokenSource } from './source.js'

interface Installation {
  users: number
  /** Known from the first session on. */
  apiUrl: string | undefined
}

// All sources of the page share one wrapper.
const installations = new Map<LayerTokenSource, Installation>()
let undo: (() => void) | undefined

/**
 * Wraps `fetch`: a call to the API that carries `Bearer ${source.stableToken}` is sent with the
 * source's current token instead, and once more with another token if the API answers HTTP 401.
 * All other calls pass unchanged.
 *
 * Returns a function that ends it. The last one restores `fetch`.
 */
export function installStableToken(source: LayerTokenSource): () => void {
  const installation = installations.get(source) ?? { users: 0, apiUrl: undefined }
  installation.users += 1
  installations.set(source, installation)
  undo ??= wrapFetch()
  let isInstalled = true
  return () => {
    if (!isInstalled) return
    isInstalled = false
    installation.users -= 1
    if (installation.users === 0) installations.delete(source)
    if (installations.size === 0) {
      undo?.()
      undo = undefined
    }
  }
}

function wrapFetch(): () => void {
  const original = globalThis.fetch
  const wrapper: typeof fetch = (input, init) => {
    const source = findSource(input, init)
    if (!source) return original(input, init)
    return send(
      source,
      (token) => original(...withToken(token, input, init)),
      isReplayable(init),
    )
  }
  globalThis.fetch = wrapper
  return () => {
    // If other code has wrapped `fetch` since, this wrapper stays and passes all calls on.
    if (globalThis.fetch === wrapper) globalThis.fetch = original
  }
}

/** The source whose stable token the call carries, if the call goes to the source's API. */
function findSource(
  input: RequestInfo | URL,
  init?: RequestInit,
): LayerTokenSource | undefined {
  if (installations.size === 0) return undefined
  const authorization = headersOf(input, init)?.get('authorization')
  if (authorization == null) return undefined
  for (const [source, installation] of installations) {
    if (authorization !== `Bearer ${source.stableToken}`) continue
    const { session } = source.getSnapshot()
    if (session) installation.apiUrl = apiUrlOf(session)
    return isBelow(installation.apiUrl, input) ? source : undefined
  }
  return undefined
}

function headersOf(input: RequestInfo | URL, init?: RequestInit): Headers | undefined {
  try {
    return new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
  } catch {
    // The browser's own `fetch` reports headers that are not valid.
    return undefined
  }
}

function isBelow(apiUrl: string | undefined, input: RequestInfo | URL): boolean {
  if (apiUrl === undefined) return false
  try {
    const api = new URL(apiUrl, document.baseURI)
    const url = new URL(input instanceof Request ? input.url : input, document.baseURI)
    const path = api.pathname.replace(/\/+$/, '')
    return (
      url.origin === api.origin &&
      (url.pathname === path || url.pathname.startsWith(`${path}/`))
    )
  } catch {
    return false
  }
}

function withToken(
  token: string,
  input: RequestInfo | URL,
  init: RequestInit | undefined,
): [RequestInfo | URL, RequestInit] {
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : {}))
  headers.set('authorization', `Bearer ${token}`)
  // A body can be read once, and the call may be sent twice.
  return [input instanceof Request ? input.clone() : input, { ...init, headers }]
}

function isReplayable(init: RequestInit | undefined): boolean {
  return !(init?.body instanceof ReadableStream)
}

async function send(
  source: LayerTokenSource,
  call: (token: string) => Promise<Response>,
  isReplayable: boolean,
): Promise<Response> {
  const token = await source.getToken()
  const response = await call(token)
  if (response.status !== 401) return response
  const other = source.refused(token)
  if (!isReplayable) return response
  const fresh = await other
  if (fresh === undefined) return response
  // Frees the connection of the first answer.
  response.body?.cancel().catch(() => undefined)
  const second = await call(fresh)
  if (second.status === 401) void source.refused(fresh)
  return second
}
