import { inspect } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { createLayerTokenSource, LayerTokenError } from '../src/index.js'
import type { LayerSession } from '../src/index.js'
import {
  Backend,
  BUSINESS,
  hide,
  moveWallClock,
  readySource,
  seconds,
  session,
  setHidden,
  show,
  type,
  useFakePage,
  watch,
} from './support.js'

useFakePage()

const unavailable = () => Promise.reject(new LayerTokenError('status', 'down', { status: 503 }))
const never = () => new Promise<LayerSession>(() => undefined)

describe('1: the life of a token', () => {
  test('b29_life_is_counted_from_before_the_request', async () => {
    const backend = new Backend()
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 8_000))
      return session('a')
    }
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(8)
    expect(source.getSnapshot().status).toBe('ready')
    backend.answer = unavailable
    await seconds(91)
    expect(source.getSnapshot().status).toBe('ready')
    await seconds(1)
    expect(source.getSnapshot().status).toBe('expired')
  })

  test('b29_life_ends_while_the_device_sleeps', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    backend.answer = never
    // The steady clock and all timers stand still.
    moveWallClock(3_600)
    const token = source.getToken()
    expect(backend.times).toHaveLength(2)
    expect(source.getSnapshot().status).toBe('expired')
    await expect(Promise.race([token, Promise.resolve('no token')])).resolves.toBe('no token')
    void token.catch(() => undefined)
  })

  test('b29_sleep_is_noticed_within_30_seconds_without_an_event', async () => {
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    backend.answer = () => session('a', { expires_in: 28_800 })
    watch(source)
    await seconds(0)
    moveWallClock(30_000)
    await seconds(30)
    expect(backend.times).toHaveLength(2)
  })

  test('b29_wall_clock_set_back_does_not_extend_a_life', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    backend.answer = unavailable
    moveWallClock(-86_400)
    await seconds(99)
    expect(source.getSnapshot().status).toBe('ready')
    await seconds(1)
    expect(source.getSnapshot().status).toBe('expired')
  })

  test('b29_wall_clock_set_forward_costs_one_request', async () => {
    const backend = new Backend()
    backend.answer = () => session('a')
    const source = await readySource(backend)
    moveWallClock(86_400)
    await seconds(45)
    expect(backend.times).toHaveLength(2)
    expect(source.getSnapshot()).toMatchObject({ status: 'ready', error: null })
  })

  test('b29_token_does_not_start_a_call_that_it_may_not_survive', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    backend.answer = unavailable
    await seconds(97.9)
    await expect(source.getToken()).resolves.toBe('token-1')
    await seconds(0.2)
    const late = source.getToken().catch((error: unknown) => error)
    await seconds(30)
    expect(await late).toBeInstanceOf(LayerTokenError)
  })

  test('b29_answer_with_a_dead_token_is_a_failure', async () => {
    const backend = new Backend()
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5_000))
      return session('a', { expires_in: 5 })
    }
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(60)
    expect(source.getSnapshot()).toMatchObject({ status: 'loading', session: null })
    expect(source.getSnapshot().error?.kind).toBe('invalid_session')
    expect(backend.times.length).toBeLessThan(10)
  })
})

describe('2: one flight, timeout and back-off', () => {
  test('b29_all_callers_share_one_request', async () => {
    const backend = new Backend()
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      return backend.next()
    }
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    watch(source)
    const tokens = Array.from({ length: 100 }, () => source.getToken())
    window.dispatchEvent(new Event('focus'))
    window.dispatchEvent(new Event('online'))
    await seconds(1)
    expect(new Set(await Promise.all(tokens))).toEqual(new Set(['token-1']))
    expect(backend.times).toEqual([0])
  })

  test('b29_request_ends_after_10_seconds_and_a_late_answer_is_ignored', async () => {
    const backend = new Backend()
    const signals: AbortSignal[] = []
    backend.answer = async ({ signal }) => {
      signals.push(signal)
      await new Promise((resolve) => setTimeout(resolve, 10_200))
      return session('late')
    }
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(9.9)
    expect(signals[0]?.aborted).toBe(false)
    await seconds(0.1)
    expect(source.getSnapshot().error?.kind).toBe('timeout')
    expect(signals[0]?.aborted).toBe(true)
    await seconds(0.3)
    expect(source.getSnapshot()).toMatchObject({ status: 'loading', session: null })
  })

  test.each([
    [0, [0.5, 1, 2, 4, 8, 15, 15]],
    [1, [1, 2, 4, 8, 16, 30, 30]],
  ])('b29_back_off_with_random_%d', async (random, expected) => {
    vi.spyOn(Math, 'random').mockReturnValue(random)
    const backend = new Backend()
    backend.answer = unavailable
    watch(createLayerTokenSource(backend.ask))
    await seconds(expected.reduce((sum, pause) => sum + pause))
    const pauses = backend.times.slice(1).map((time, n) => time - (backend.times[n] ?? 0))
    expect(pauses).toEqual(expected)
  })

  test('b29_back_off_starts_again_after_a_success', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1)
    const backend = new Backend()
    backend.answer = unavailable
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(7)
    backend.answer = () => backend.next()
    await seconds(8)
    expect(source.getSnapshot()).toMatchObject({ status: 'ready', error: null })
    backend.answer = unavailable
    const before = backend.times.length
    await seconds(60)
    expect(backend.times).toHaveLength(before + 1)
    await seconds(1)
    expect(backend.times).toHaveLength(before + 2)
  })

  test('b29_retry_after_is_obeyed_whatever_the_page_does', async () => {
    const backend = new Backend()
    backend.answer = () =>
      Promise.reject(
        new LayerTokenError('status', 'busy', { status: 503, retryAfter: 120_000 }),
      )
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    for (let n = 0; n < 119; n += 1) {
      await seconds(1)
      window.dispatchEvent(new Event('online'))
      window.dispatchEvent(new Event('focus'))
      source.getToken().catch(() => undefined)
    }
    expect(backend.times).toEqual([0])
    await seconds(1)
    expect(backend.times).toEqual([0, 120])
  })

  test('b29_caller_fails_at_once_if_the_next_attempt_is_far_away', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1)
    const backend = new Backend()
    backend.answer = unavailable
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    // Attempts at 0, 1, 3, 7, 15 and 31 s.
    await seconds(16)
    await expect(source.getToken()).rejects.toMatchObject({ kind: 'status', status: 503 })
    await seconds(10)
    const soon = source.getToken()
    backend.answer = () => backend.next()
    await seconds(5)
    await expect(soon).resolves.toBe('token-6')
  })

  test('b29_caller_survives_one_failed_attempt_and_no_second_one', async () => {
    const backend = new Backend()
    backend.answer = unavailable
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    const first = source.getToken()
    await seconds(0)
    backend.answer = () => backend.next()
    await seconds(1)
    await expect(first).resolves.toBe('token-2')

    backend.answer = unavailable
    await seconds(99)
    const second = createLayerTokenSource(backend.ask)
    watch(second)
    const failed = second.getToken().catch((error: unknown) => error)
    await seconds(0)
    await seconds(1)
    expect(await failed).toMatchObject({ kind: 'status' })
  })

  test('b29_network_that_comes_back_ends_the_back_off', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1)
    const backend = new Backend()
    backend.answer = () => Promise.reject(new TypeError('Failed to fetch'))
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(16)
    expect(source.getSnapshot().error?.kind).toBe('network')
    backend.answer = () => backend.next()
    window.dispatchEvent(new Event('online'))
    await seconds(0)
    expect(source.getSnapshot().status).toBe('ready')
  })

  test('b29_function_that_throws_at_once_is_a_failed_attempt', async () => {
    const source = createLayerTokenSource(() => {
      throw new Error('not a promise')
    })
    watch(source)
    await seconds(0)
    expect(source.getSnapshot().error?.kind).toBe('network')
  })
})

describe('3: the same token again', () => {
  test('b29_same_token_changes_nothing_and_renew_in_is_obeyed', async () => {
    const backend = new Backend()
    backend.answer = () => session('a')
    const source = createLayerTokenSource(backend.ask)
    const notified = watch(source)
    await seconds(0)
    const before = source.getSnapshot()
    const count = notified()
    backend.answer = () => session('a', { expires_in: 40, renew_in: 27 })
    await seconds(60)
    expect(backend.times).toEqual([0, 60])
    expect(source.getSnapshot()).toBe(before)
    expect(notified()).toBe(count)
    // 60 % of the remaining life would be after 24 s.
    backend.answer = () => session('b')
    await seconds(26.9)
    expect(backend.times).toHaveLength(2)
    await seconds(0.1)
    expect(backend.times).toHaveLength(3)
    expect(source.getSnapshot().session?.access_token).toBe('b')
  })

  test('b29_first_renewal_waits_for_renew_in', async () => {
    const backend = new Backend()
    backend.answer = () => session('a', { renew_in: 80 })
    await readySource(backend)
    await seconds(79)
    expect(backend.times).toHaveLength(1)
    await seconds(1)
    expect(backend.times).toHaveLength(2)
  })

  test('b29_backend_that_never_has_a_new_token_is_not_asked_in_a_loop', async () => {
    const backend = new Backend()
    backend.answer = () => session('a', { expires_in: 0.1, renew_in: 0 })
    await readySource(backend)
    await seconds(10)
    expect(backend.times.length).toBeLessThanOrEqual(21)
  })
})

describe('4: when to renew', () => {
  test('b29_idle_user_gets_a_new_token_at_60_percent', async () => {
    const backend = new Backend()
    await readySource(backend)
    await seconds(59.9)
    expect(backend.times).toHaveLength(1)
    await seconds(0.1)
    expect(backend.times).toHaveLength(2)
  })

  test('b29_busy_user_gets_a_new_token_at_90_percent', async () => {
    const backend = new Backend()
    await readySource(backend)
    for (let n = 0; n < 89; n += 1) {
      type()
      await seconds(1)
    }
    expect(backend.times).toEqual([0])
    type()
    await seconds(1)
    expect(backend.times).toEqual([0, 90])
  })

  test.each(['pointerdown', 'pointermove', 'keydown', 'input', 'wheel', 'touchmove'])(
    'b29_user_is_idle_5_seconds_after_%s',
    async (name) => {
      const backend = new Backend()
      await readySource(backend)
      await seconds(59)
      window.dispatchEvent(new Event(name))
      await seconds(4.9)
      expect(backend.times).toHaveLength(1)
      await seconds(0.1)
      expect(backend.times).toHaveLength(2)
    },
  )
})

describe('5: a hidden page', () => {
  test('b29_hidden_page_asks_for_nothing', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    hide()
    await seconds(3_600)
    expect(backend.times).toEqual([0])
    expect(source.getSnapshot().status).toBe('expired')
  })

  test('b29_page_that_opens_hidden_asks_when_it_is_shown', async () => {
    setHidden(true)
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    const token = source.getToken()
    await seconds(600)
    expect(backend.times).toEqual([])
    show()
    await seconds(0)
    await expect(token).resolves.toBe('token-1')
  })

  test.each([
    ['visibilitychange', document],
    ['resume', document],
    ['pageshow', window],
    ['online', window],
    ['focus', window],
  ])('b29_page_looks_at_the_clock_on_%s', async (name, target) => {
    const backend = new Backend()
    await readySource(backend)
    hide()
    await seconds(80)
    setHidden(false)
    target.dispatchEvent(new Event(name))
    await seconds(0)
    expect(backend.times).toEqual([0, 80])
  })

  test('b29_page_that_is_shown_with_a_young_token_asks_for_nothing', async () => {
    const backend = new Backend()
    await readySource(backend)
    hide()
    await seconds(50)
    show()
    await seconds(9)
    expect(backend.times).toEqual([0])
  })
})

describe('6: expiry', () => {
  test('b29_session_stays_at_expiry_and_the_source_goes_on_trying', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    const first = source.getSnapshot().session
    backend.answer = unavailable
    await seconds(600)
    expect(source.getSnapshot()).toMatchObject({ status: 'expired', error: { status: 503 } })
    expect(source.getSnapshot().session).toBe(first)
    backend.answer = () => backend.next()
    await seconds(30)
    expect(source.getSnapshot()).toMatchObject({ status: 'ready', error: null })
    expect(source.getSnapshot().session).not.toBe(first)
  })

  test('b29_page_that_is_built_anew_does_not_begin_with_a_dead_token', async () => {
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    const stop = source.subscribe(() => undefined)
    await seconds(0)
    stop()
    await seconds(50)
    expect(source.getSnapshot().status).toBe('ready')
    await seconds(50)
    expect(source.getSnapshot()).toMatchObject({ status: 'loading', session: null })
    expect(backend.times).toEqual([0])
  })
})

describe('7: signed out', () => {
  const refusals: [string, () => Promise<LayerSession>, string][] = [
    ['401', () => Promise.reject(Object.assign(new Error(), { status: 401 })), 'signed_out'],
    ['403', () => Promise.reject(Object.assign(new Error(), { status: 403 })), 'signed_out'],
    [
      'another_business',
      () => Promise.resolve(session('b', { business_id: 'another' })),
      'another_business',
    ],
  ]

  test.each(refusals)('b29_%s_means_signed_out', async (_, answer, kind) => {
    const backend = new Backend()
    const source = await readySource(backend)
    const stable = source.stableToken
    backend.answer = answer
    await seconds(60)
    expect(source.getSnapshot()).toMatchObject({
      status: 'signed-out',
      session: null,
      error: { kind },
    })
    expect(source.stableToken).not.toBe(stable)
    await expect(source.getToken()).rejects.toMatchObject({ kind })
    window.dispatchEvent(new Event('focus'))
    window.dispatchEvent(new Event('online'))
    await seconds(3_600)
    expect(backend.times).toHaveLength(2)
  })

  test('b29_restart_asks_again_and_accepts_another_business', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    backend.answer = () => session('b', { business_id: 'another' })
    await seconds(60)
    source.restart()
    await seconds(0)
    expect(source.getSnapshot()).toMatchObject({
      status: 'ready',
      session: { access_token: 'b' },
    })
  })

  test('b29_page_that_is_built_anew_does_not_begin_signed_out', async () => {
    const backend = new Backend()
    backend.answer = () => Promise.reject(new LayerTokenError('signed_out', 'nobody'))
    const source = createLayerTokenSource(backend.ask)
    const stop = source.subscribe(() => undefined)
    await seconds(0)
    expect(source.getSnapshot().status).toBe('signed-out')
    stop()
    expect(source.getSnapshot().status).toBe('loading')
    backend.answer = () => backend.next()
    watch(source)
    await seconds(0)
    expect(source.getSnapshot().status).toBe('ready')
  })

  test('b29_answer_for_a_session_that_restart_has_ended_is_ignored', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 5_000))
      return session('old')
    }
    await seconds(60)
    backend.answer = () => session('new', { business_id: 'another' })
    source.restart()
    await seconds(10)
    expect(source.getSnapshot().session?.access_token).toBe('new')
  })
})

describe('8: refused tokens', () => {
  test('b29_burst_of_refusals_is_one_request_with_the_refused_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    await seconds(5)
    const others = Array.from({ length: 20 }, () => source.refused('token-1'))
    await seconds(0)
    expect(new Set(await Promise.all(others))).toEqual(new Set(['token-2']))
    expect(backend.refused).toEqual([undefined, 'token-1'])
    // Late answers to calls with the old token.
    await expect(source.refused('token-1')).resolves.toBe('token-2')
    await seconds(30)
    expect(backend.times).toHaveLength(2)
  })

  test('b29_refusals_are_10_20_and_40_seconds_apart', async () => {
    const backend = new Backend()
    backend.answer = () => backend.next({ expires_in: 28_800 })
    const source = await readySource(backend)
    await seconds(5)
    for (let n = 0; n < 800; n += 1) {
      void source.refused(source.getSnapshot().session?.access_token ?? '')
      await seconds(0.25)
    }
    const refused = backend.times.filter((_, n) => backend.refused[n] !== undefined)
    expect(refused).toEqual([5, 15, 35, 75, 155])
  })

  test('b29_refusals_are_forgotten_after_a_quiet_time', async () => {
    const backend = new Backend()
    backend.answer = () => backend.next({ expires_in: 28_800 })
    const source = await readySource(backend)
    for (const token of ['token-1', 'token-2']) {
      await seconds(20)
      void source.refused(token)
    }
    await seconds(321)
    void source.refused('token-3')
    await seconds(1)
    void source.refused('token-4')
    await seconds(10)
    expect(backend.times).toEqual([0, 20, 40, 361, 371])
  })

  test('b29_refused_token_is_used_again_while_no_other_one_is_on_the_way', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    await seconds(5)
    void source.refused('token-1')
    await seconds(1)
    await expect(source.refused('token-2')).resolves.toBeUndefined()
    await expect(source.getToken()).resolves.toBe('token-2')
  })

  test('b29_call_waits_while_a_refused_token_is_replaced', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    await seconds(5)
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      return session('b')
    }
    void source.refused('token-1')
    const token = source.getToken()
    await seconds(2)
    await expect(token).resolves.toBe('b')
  })

  test('b29_hidden_page_replaces_a_refused_token_when_it_is_shown', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    await seconds(5)
    hide()
    const other = source.refused('token-1')
    await seconds(20)
    expect(backend.times).toHaveLength(1)
    show()
    await seconds(0)
    await expect(other).resolves.toBe('token-2')
  })

  test('b29_backend_that_gives_the_refused_token_again_is_not_asked_in_a_loop', async () => {
    const backend = new Backend()
    backend.answer = () => session('a')
    const source = await readySource(backend)
    await seconds(5)
    const other = source.refused('a')
    await seconds(0)
    await expect(other).resolves.toBeUndefined()
    await seconds(9)
    expect(backend.times).toEqual([0, 5])
  })
})

describe('10: neighbours and secrets', () => {
  test('b29_strict_mode_and_several_listeners_cost_one_request', async () => {
    const backend = new Backend()
    backend.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      return backend.next()
    }
    const source = createLayerTokenSource(backend.ask)
    source.subscribe(() => undefined)()
    watch(source)
    source.subscribe(() => undefined)()
    await seconds(30)
    expect(backend.times).toEqual([0])
    expect(source.getSnapshot().status).toBe('ready')
  })

  test('b29_source_without_listeners_stops', async () => {
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    const stop = source.subscribe(() => undefined)
    await seconds(0)
    stop()
    expect(vi.getTimerCount()).toBe(0)
    window.dispatchEvent(new Event('focus'))
    await seconds(90)
    expect(backend.times).toEqual([0])
  })

  test('b29_listener_that_throws_stops_nothing', async () => {
    const thrown: unknown[] = []
    vi.stubGlobal('queueMicrotask', (task: () => void) => {
      try {
        task()
      } catch (error) {
        thrown.push(error)
      }
    })
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    const stop = source.subscribe(() => {
      throw new Error('of the application')
    })
    const notified = watch(source)
    await seconds(61)
    stop()
    expect(notified()).toBe(2)
    expect(thrown).toHaveLength(2)
  })

  test('b29_two_sources_do_not_know_each_other', async () => {
    const first = new Backend()
    const second = new Backend()
    second.answer = () => Promise.reject(new LayerTokenError('signed_out', 'nobody'))
    const a = await readySource(first)
    const b = await readySource(second)
    expect(a.getSnapshot().status).toBe('ready')
    expect(b.getSnapshot().status).toBe('signed-out')
    expect(a.stableToken).not.toBe(b.stableToken)
  })

  test('b29_token_is_neither_stored_nor_printed', async () => {
    const stored = vi.spyOn(Storage.prototype, 'setItem')
    const printed = (['debug', 'error', 'info', 'log', 'warn'] as const).map((name) =>
      vi.spyOn(console, name),
    )
    const backend = new Backend()
    const source = await readySource(backend)
    for (const answer of [unavailable, () => session('another-token', { business_id: 'b' })]) {
      backend.answer = answer
      await seconds(120)
      const { error } = source.getSnapshot()
      expect(inspect(error)).not.toMatch(/token-|another-token/)
    }
    expect(inspect(source, { depth: 9, showHidden: true })).not.toContain('token-1')
    expect(JSON.stringify(source)).not.toContain('token-1')
    expect(stored).not.toHaveBeenCalled()
    for (const spy of printed) expect(spy).not.toHaveBeenCalled()
    expect(document.cookie).toBe('')
  })

  test('b29_server_rendering_has_no_session', () => {
    const backend = new Backend()
    const source = createLayerTokenSource(backend.ask)
    expect(source.getServerSnapshot()).toEqual({
      status: 'loading',
      session: null,
      error: null,
    })
    expect(backend.times).toEqual([])
  })
})

describe('the session', () => {
  const good = session('a')
  const wrong: [string, unknown][] = [
    ['no_object', 'a'],
    ['no_token', { ...good, access_token: undefined }],
    ['a_token_with_a_line_break', { ...good, access_token: 'a\r\nx: y' }],
    ['no_life', { ...good, expires_in: 0 }],
    ['a_life_in_words', { ...good, expires_in: '60' }],
    ['no_business', { ...good, business_id: '' }],
    ['no_props', { ...good, layer_provider_props: null }],
    [
      'props_of_another_business',
      { ...good, layer_provider_props: { ...good.layer_provider_props, businessId: 'b' } },
    ],
    [
      'an_unknown_environment',
      {
        ...good,
        layer_provider_props: {
          businessId: BUSINESS,
          businessAccessToken: 'a',
          environment: 'custom',
        },
      },
    ],
  ]

  test.each(wrong)('b29_answer_with_%s_is_not_a_session', async (_, answer) => {
    const backend = new Backend()
    backend.answer = () => answer as LayerSession
    const source = createLayerTokenSource(backend.ask)
    watch(source)
    await seconds(0)
    expect(source.getSnapshot()).toMatchObject({
      status: 'loading',
      session: null,
      error: { kind: 'invalid_session' },
    })
  })
})
