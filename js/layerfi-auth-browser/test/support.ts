import { afterEach, beforeEach, vi } from 'vitest'
import { createLayerTokenSource } from '../src/index.js'
import type { LayerAskContext, LayerSession, LayerTokenSource } from '../src/index.js'

export const API = 'https://api.test'
export const BUSINESS = '3fa85f64-5717-4562-b3fc-2c963f66afa6'

export function session(token: string, fields: Partial<LayerSession> = {}): LayerSession {
  const expiresIn = fields.expires_in ?? 100
  const business = fields.business_id ?? BUSINESS
  return {
    access_token: token,
    token_type: 'Bearer',
    expires_in: expiresIn,
    expires_at: '2026-11-27T00:00:00Z',
    business_id: business,
    session_duration: expiresIn,
    renew_in: expiresIn / 2,
    layer_provider_props: {
      businessId: business,
      businessAccessToken: token,
      environmentConfigOverride: { environment: 'sandbox', apiUrl: API },
    },
    ...fields,
  }
}

export type Answer = (context: LayerAskContext) => LayerSession | Promise<LayerSession>

/** A backend whose answers a test sets. It counts and times the requests. */
export class Backend {
  /** Seconds since the start of the test, for each request. */
  readonly times: number[] = []
  readonly refused: (string | undefined)[] = []
  readonly #start = performance.now()
  answer: Answer = () => this.next()

  /** A session with a token that was never given before. */
  next(fields: Partial<LayerSession> = {}): LayerSession {
    return session(`token-${this.times.length}`, fields)
  }

  ask = async (context: LayerAskContext): Promise<LayerSession> => {
    this.times.push((performance.now() - this.#start) / 1000)
    this.refused.push(context.refused)
    return await this.answer(context)
  }
}

const cleanups: (() => void)[] = []

/** Uses fake timers in each test, and ends all subscriptions after it. */
export function useFakePage(): void {
  beforeEach(() => {
    vi.useFakeTimers()
    setHidden(false)
  })
  afterEach(() => {
    for (const cleanup of cleanups.splice(0)) cleanup()
    vi.useRealTimers()
  })
}

/** Subscribes until the end of the test. Returns the number of notifications. */
export function watch(source: LayerTokenSource): () => number {
  let notified = 0
  cleanups.push(
    source.subscribe(() => {
      notified += 1
    }),
  )
  return () => notified
}

/** A source that has its first token. */
export async function readySource(backend: Backend): Promise<LayerTokenSource> {
  const source = createLayerTokenSource(backend.ask)
  watch(source)
  await seconds(0)
  return source
}

export async function seconds(count: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(count * 1000)
}

/** Moves the wall clock alone, as a sleeping device or a user does. */
export function moveWallClock(by: number): void {
  vi.setSystemTime(Date.now() + by * 1000)
}

export function setHidden(isHidden: boolean): void {
  const state = isHidden ? 'hidden' : 'visible'
  Object.defineProperty(document, 'visibilityState', { configurable: true, value: state })
}

export function show(): void {
  setHidden(false)
  document.dispatchEvent(new Event('visibilitychange'))
}

export function hide(): void {
  setHidden(true)
  document.dispatchEvent(new Event('visibilitychange'))
}

export function type(): void {
  window.dispatchEvent(new Event('keydown'))
}
