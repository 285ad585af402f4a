import { elapsedSince, now } from './clock.js'

const INPUT_EVENTS = ['pointerdown', 'pointermove', 'keydown', 'input', 'wheel', 'touchmove']

/** True while the page is hidden. Always false where there is no document, as in a worker. */
export function isHidden(): boolean {
  return typeof document !== 'undefined' && document.visibilityState === 'hidden'
}

/** Watches the page: when it is shown or connected again, and when the user last did something. */
export class PageWatcher {
  #lastInput: ReturnType<typeof now> | undefined
  #stop: AbortController | undefined

  /** Milliseconds since the user's last input. */
  get idleFor(): number {
    return this.#lastInput === undefined ? Infinity : elapsedSince(this.#lastInput)
  }

  start(onShown: () => void, onOnline: () => void): void {
    if (this.#stop) return
    if (typeof window === 'undefined' || typeof document === 'undefined') return
    this.#stop = new AbortController()
    const { signal } = this.#stop
    document.addEventListener('visibilitychange', onShown, { signal })
    document.addEventListener('resume', onShown, { signal })
    window.addEventListener('pageshow', onShown, { signal })
    window.addEventListener('focus', onShown, { signal })
    window.addEventListener('online', onOnline, { signal })
    const onInput = () => {
      this.#lastInput = now()
    }
    for (const name of INPUT_EVENTS) {
      window.addEventListener(name, onInput, { signal, capture: true, passive: true })
    }
  }

  stop(): void {
    this.#stop?.abort()
    this.#stop = undefined
  }
}
