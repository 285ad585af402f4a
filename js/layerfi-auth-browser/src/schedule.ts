// When to ask for a token. Pure functions of times in milliseconds.

/** A flight that is not finished by then has failed. */
export const ASK_TIMEOUT = 10_000
/** A user without input for this time is idle. */
export const IDLE_AFTER = 5_000
/** Who waits for a token waits for the next attempt if it starts within this time. */
export const WORTH_WAITING = 10_000

/** Time between an answer and the next request, however short the token's life is. */
export const SHORTEST_INTERVAL = 500

const RENEW_FROM = 0.6
const RENEW_UNTIL = 0.9
const MIN_BACKOFF = 500
const MAX_BACKOFF = 30_000
const MAX_RETRY_AFTER = 3_600_000
const FIRST_REFUSAL_PAUSE = 10_000
const MAX_REFUSAL_PAUSE = 300_000
const REFUSALS_FORGOTTEN_AFTER = 300_000

/** Life of a token that the page holds. All times count from before its request. */
export interface Life {
  readonly length: number
  /** Asking sooner would give the same token. */
  readonly renewIn: number
}

/**
 * Milliseconds until the token is renewed: between 60 and 90 % of its life as soon as the user
 * is idle, at 90 % in any case, and never before the server has a new one.
 */
export function untilRenewal(life: Life, age: number, idleFor: number): number {
  const from = Math.min(Math.max(RENEW_FROM * life.length, life.renewIn), life.length)
  const until = Math.max(RENEW_UNTIL * life.length, from)
  if (age < from) return from - age
  if (age >= until || idleFor >= IDLE_AFTER) return 0
  return Math.min(IDLE_AFTER - idleFor, until - age)
}

/**
 * The last part of a life in which a call does not start with the token any more, because it
 * could expire on the way.
 */
export function spareTime(life: Life): number {
  return Math.min(2_000, 0.05 * life.length)
}

/**
 * Milliseconds until the next attempt after a number of failures in a row, which is at least 1.
 * `random` is from 0 to 1. The server's `Retry-After` is a lower limit.
 */
export function backoff(failures: number, random: number, retryAfter = 0): number {
  const most = Math.min(MAX_BACKOFF, 2 * MIN_BACKOFF * 2 ** (failures - 1))
  return Math.max(most / 2 + (random * most) / 2, Math.min(retryAfter, MAX_RETRY_AFTER))
}

/** Milliseconds between the nth request because of a refused token and the next such request. */
export function refusalPause(refusals: number): number {
  return Math.min(MAX_REFUSAL_PAUSE, FIRST_REFUSAL_PAUSE * 2 ** (refusals - 1))
}

/** True if a refusal so long after the start of the last pause counts as the first one. */
export function isFirstRefusal(pause: { length: number; elapsed: number }): boolean {
  return pause.elapsed > pause.length + REFUSALS_FORGOTTEN_AFTER
}
