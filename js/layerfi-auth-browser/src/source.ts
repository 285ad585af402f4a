import { askEndpoint, toTokenError } from './ask.js'
import type { LayerAsk, LayerEndpointOptions } from './ask.js'
import { elapsedSince, now, Pause } from './clock.js'
import { LayerTokenError } from './error.js'
import { isHidden, PageWatcher } from './page.js'
import {
  ASK_TIMEOUT,
  backoff,
  isFirstRefusal,
  refusalPause,
  spareTime,
  SHORTEST_INTERVAL,
  untilRenewal,
  WORTH_WAITING,
} from './schedule.js'
import type { Life } from './schedule.js'
import { toSession } from './session.js'
import type { LayerSession } from './session.js'

/**
 * - `loading`: there is no session yet.
 * - `ready`: the session's token is alive.
 * - `expired`: the session's token has expired, and the source goes on trying to renew it.
 * - `signed-out`: nobody is signed in, or somebody else; the session is dropped.
 */
export type LayerTokenStatus = 'loading' | 'ready' | 'expired' | 'signed-out'

export interface LayerTokenState {
  readonly status: LayerTokenStatus
  /** The last session, also if its token has expired. */
  readonly session: LayerSession | null
  /** Why the last attempt failed; `null` after an attempt that succeeded. */
  readonly error: LayerTokenError | null
}

export interface LayerTokenSource {
  /** The current state: the same object until something changes. */
  readonly getSnapshot: () => LayerTokenState
  /** The state where there is no browser: always `loading`. */
  readonly getServerSnapshot: () => LayerTokenState
  /** Calls `listener` after each change. The source works while there is a listener. */
  readonly subscribe: (listener: () => void) => () => void
  /** Waits for a token that is alive. Fails after two attempts, or if the next one is far away. */
  readonly getToken: () => Promise<string>
  /**
   * Says that the API answered HTTP 401 to this token. Resolves with another token, or with
   * `undefined` if there is none soon. It never rejects.
   */
  readonly refused: (token: string) => Promise<string | undefined>
  /** Forgets the session and asks again, for example after a sign-in without a page load. */
  readonly restart: () => void
  /** A constant that can stand for the token; it changes only when the user has signed out. */
  readonly stableToken: string
}

interface Held {
  readonly session: LayerSession
  readonly life: Life
  readonly askedAt: ReturnType<typeof now>
}

interface Waiter {
  /** Attempts that have failed since it waits. */
  failures: number
  resolve(token: string): void
  reject(error: LayerTokenError): void
}

const LOADING: LayerTokenState = Object.freeze({
  status: 'loading',
  session: null,
  error: null,
})
const LONGEST_LIFE_S = 86_400
// A device that slept fires its timers late. With short timers it notices soon.
const LONGEST_TIMER = 30_000

/**
 * Makes a source that keeps a business token alive.
 *
 * @param ask the address of the application's token endpoint, or a function that asks for a
 *   session.
 * @param options for an endpoint only.
 */
export function createLayerTokenSource(
  ask: string | URL | LayerAsk,
  options: LayerEndpointOptions = {},
): LayerTokenSource {
  return new Source(typeof ask === 'function' ? ask : askEndpoint(ask, options))
}

class Source implements LayerTokenSource {
  readonly #ask: LayerAsk
  readonly #page = new PageWatcher()
  readonly #listeners = new Set<() => void>()
  #waiters: Waiter[] = []
  #state = LOADING
  #held: Held | undefined
  #flight: AbortController | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  /** No attempt before the end of this pause. */
  #retry: Pause | undefined
  #refusedToken: string | undefined
  #refusals = 0
  #nextRefusal: Pause | undefined
  #stableToken = newStableToken()

  constructor(ask: LayerAsk) {
    this.#ask = ask
  }

  get stableToken(): string {
    return this.#stableToken
  }

  getSnapshot = (): LayerTokenState => {
    // A page that is rendered again starts as loading if it was signed out, or its token expired.
    if (!this.#isActive && (this.#state.status === 'signed-out' || this.#hasExpired())) {
      this.#forget()
    }
    return this.#state
  }

  getServerSnapshot = (): LayerTokenState => LOADING

  subscribe = (listener: () => void): (() => void) => {
    // The same function may be given twice.
    const entry = () => listener()
    this.getSnapshot()
    this.#listeners.add(entry)
    this.#look()
    return () => {
      this.#listeners.delete(entry)
      this.#look()
    }
  }

  getToken = (): Promise<string> =>
    new Promise((resolve, reject) => {
      this.getSnapshot()
      const token = this.#usableToken()
      if (token !== undefined) {
        resolve(token)
        return
      }
      if (this.#state.status === 'signed-out') {
        reject(this.#state.error ?? new LayerTokenError('signed_out', 'nobody is signed in'))
        return
      }
      this.#waiters.push({ failures: 0, resolve, reject })
      this.#look()
      if (
        !this.#flight &&
        this.#state.error &&
        this.#untilAsk() > WORTH_WAITING &&
        !isHidden()
      ) {
        this.#rejectWaiters(this.#state.error)
      }
    })

  refused = async (token: string): Promise<string | undefined> => {
    if (this.#held?.session.access_token === token && this.#refusedToken !== token) {
      if (this.#nextRefusal && isFirstRefusal(this.#nextRefusal)) {
        this.#refusals = 0
        this.#nextRefusal = undefined
      }
      this.#refusedToken = token
      this.#look()
    }
    if (this.#refusedToken === token && !this.#flight && this.#untilRefusal() > 0) {
      return undefined
    }
    const other = await this.getToken().catch(() => undefined)
    return other === token ? undefined : other
  }

  restart = (): void => {
    this.#forget()
    this.#notify()
    this.#look()
  }

  get #isActive(): boolean {
    return this.#listeners.size > 0 || this.#waiters.length > 0
  }

  #age(held: Held): number {
    return elapsedSince(held.askedAt)
  }

  #hasExpired(): boolean {
    return this.#held !== undefined && this.#age(this.#held) >= this.#held.life.length
  }

  #usableToken(): string | undefined {
    const held = this.#held
    if (!held || this.#age(held) >= held.life.length - spareTime(held.life)) return undefined
    const token = held.session.access_token
    // A refused token is used again if no other one is on the way: perhaps only one resource
    // of the API refuses it.
    return this.#refusedToken === token && (this.#flight || this.#untilRefusal() === 0)
      ? undefined
      : token
  }

  #untilRefusal(): number {
    return this.#nextRefusal?.left ?? 0
  }

  /** Milliseconds until the next attempt, if the page is not hidden. */
  #untilAsk(): number {
    const held = this.#held
    let due = 0
    if (held) {
      due = untilRenewal(held.life, this.#age(held), this.#page.idleFor)
      if (this.#refusedToken !== undefined) due = Math.min(due, this.#untilRefusal())
      // A call waits for a token that it can use to the end.
      if (this.#waiters.length > 0 && this.#usableToken() === undefined) due = 0
    }
    return Math.max(due, this.#retry?.left ?? 0)
  }

  /** Looks at the clocks: marks an expired token, asks if it is time, and sets the timer. */
  readonly #look = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#isActive) {
      this.#page.stop()
      return
    }
    this.#page.start(this.#look, this.#online)
    if (this.#state.status === 'signed-out') return

    if (this.#state.status === 'ready' && this.#hasExpired()) {
      this.#set({ ...this.#state, status: 'expired' })
    }
    if (!this.#flight && !isHidden() && this.#untilAsk() <= 0) void this.#renew()
    this.#timer = setTimeout(this.#look, Math.ceil(this.#untilLook()))
  }

  #untilLook(): number {
    let wait = LONGEST_TIMER
    if (this.#held && this.#state.status === 'ready') {
      wait = Math.min(wait, this.#held.life.length - this.#age(this.#held))
    }
    return this.#flight || isHidden() ? wait : Math.min(wait, this.#untilAsk())
  }

  readonly #online = (): void => {
    // A failure without an answer was perhaps the missing network.
    if (this.#state.error && this.#state.error.status === undefined) this.#retry = undefined
    this.#look()
  }

  async #renew(): Promise<void> {
    const flight = new AbortController()
    const askedAt = now()
    const refused = this.#untilRefusal() > 0 ? undefined : this.#refusedToken
    this.#flight = flight
    if (refused !== undefined) {
      this.#refusals += 1
      this.#nextRefusal = new Pause(refusalPause(this.#refusals))
    }
    let timer: ReturnType<typeof setTimeout> | undefined
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          reject(
            new LayerTokenError(
              'timeout',
              `the token endpoint did not answer within ${ASK_TIMEOUT / 1000} s`,
            ),
          )
        }, ASK_TIMEOUT)
      })
      const context = { signal: flight.signal, ...(refused === undefined ? {} : { refused }) }
      const session = toSession(await Promise.race([this.#ask(context), late]))
      if (this.#flight === flight) this.#succeed(session, askedAt)
    } catch (thrown) {
      if (this.#flight === flight) this.#fail(toTokenError(thrown))
    } finally {
      clearTimeout(timer)
      flight.abort()
      this.#look()
    }
  }

  #succeed(session: LayerSession, askedAt: Held['askedAt']): void {
    this.#flight = undefined
    const before = this.#held?.session
    if (before && before.business_id !== session.business_id) {
      this.#signOut(
        new LayerTokenError(
          'another_business',
          'the token endpoint answered with a session of another business',
        ),
      )
      return
    }
    const length = Math.min(session.expires_in, LONGEST_LIFE_S) * 1000
    const life = { length, renewIn: session.renew_in * 1000 }
    if (elapsedSince(askedAt) >= length - spareTime(life)) {
      // For example because the device slept between the request and the answer.
      this.#fail(new LayerTokenError('invalid_session', 'the token expired before it was used'))
      return
    }
    const isSame = before?.access_token === session.access_token
    this.#held = { session: isSame ? before : session, life, askedAt }
    if (!isSame) this.#refusedToken = undefined
    this.#failures = 0
    this.#retry = new Pause(SHORTEST_INTERVAL)
    const waiters = this.#takeWaiters()
    this.#set({ status: 'ready', session: this.#held.session, error: null })
    for (const waiter of waiters) waiter.resolve(session.access_token)
  }

  #fail(error: LayerTokenError): void {
    this.#flight = undefined
    if (error.isSignedOut) {
      this.#signOut(error)
      return
    }
    this.#failures += 1
    this.#retry = new Pause(backoff(this.#failures, Math.random(), error.retryAfter))
    const isFar = this.#retry.length > WORTH_WAITING
    const failed = this.#waiters.filter((waiter) => (waiter.failures += 1) > 1 || isFar)
    this.#waiters = this.#waiters.filter((waiter) => !failed.includes(waiter))
    this.#set({ ...this.#state, error })
    for (const waiter of failed) waiter.reject(error)
  }

  #signOut(error: LayerTokenError): void {
    this.#forget()
    this.#set({ status: 'signed-out', session: null, error })
    this.#rejectWaiters(error)
  }

  #forget(): void {
    this.#flight?.abort()
    this.#flight = undefined
    this.#held = undefined
    this.#failures = 0
    this.#retry = undefined
    this.#refusedToken = undefined
    this.#refusals = 0
    this.#nextRefusal = undefined
    this.#stableToken = newStableToken()
    this.#state = LOADING
  }

  #takeWaiters(): Waiter[] {
    const waiters = this.#waiters
    this.#waiters = []
    return waiters
  }

  #rejectWaiters(error: LayerTokenError): void {
    for (const waiter of this.#takeWaiters()) waiter.reject(error)
  }

  #set(state: LayerTokenState): void {
    const { status, session, error } = this.#state
    if (state.status === status && state.session === session && state.error === error) return
    this.#state = Object.freeze(state)
    this.#notify()
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener()
      } catch (error) {
        // An error of one listener must not stop the renewals.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}

function newStableToken(): string {
  // Not a secret: it only has to differ from all others on this page.
  return `layerfi-auth-stable-token-${Math.random().toString(36).slice(2)}`
}
