/** A moment, read from both clocks of the browser. */
export interface Moment {
  readonly wall: number
  readonly steady: number
}

export function now(): Moment {
  return { wall: Date.now(), steady: performance.now() }
}

/**
 * Milliseconds since a moment, by the clock that counted more. The steady clock stops while
 * some devices sleep. The wall clock may be set back.
 */
export function elapsedSince(moment: Moment): number {
  return Math.max(Date.now() - moment.wall, performance.now() - moment.steady)
}

/** A moment in the future, as a time that must pass. */
export class Pause {
  readonly #start = now()

  constructor(readonly length: number) {}

  /** Milliseconds until the pause is over; 0 afterwards. */
  get left(): number {
    return Math.max(0, this.length - elapsedSince(this.#start))
  }

  /** Milliseconds since the pause began. */
  get elapsed(): number {
    return elapsedSince(this.#start)
  }
}
