import { LayerTokenError, createLayerTokenSource } from 'layerfi-auth-browser'
import type { LayerAskContext, LayerSession, LayerTokenSource } from 'layerfi-auth-browser'
import { StrictMode, act, useEffect, version } from 'react'
import type { ReactNode } from 'react'
import { createRoot } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { LayerAuthProvider, useLayerToken } from '../src/index.js'

// The tests in tests/browser run with the published components. Here a component records what
// it gets.
const recorded = vi.hoisted(() => ({
  renders: [] as Record<string, unknown>[],
  mounts: 0,
  unmounts: 0,
}))

vi.mock('@layerfi/components', async () => {
  const react = await import('react')
  return {
    LayerProvider: (props: { children?: ReactNode; businessAccessToken: string }) => {
      recorded.renders.push(props)
      react.useEffect(() => {
        recorded.mounts += 1
        return () => {
          recorded.unmounts += 1
        }
      }, [])
      react.useEffect(() => {
        void fetch('https://api.test/v1', {
          headers: { authorization: `Bearer ${props.businessAccessToken}` },
        })
      }, [props.businessAccessToken])
      return <main>{props.children}</main>
    },
  }
})

const BUSINESS = '3fa85f64-5717-4562-b3fc-2c963f66afa6'
let count: number
let asked: LayerAskContext[]
let sent: (string | null)[]
let unmount: (() => void)[]
let browserFetch: typeof fetch
let answer: () => LayerSession | Promise<LayerSession>

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true)
  Object.assign(recorded, { renders: [], mounts: 0, unmounts: 0 })
  count = 0
  asked = []
  sent = []
  unmount = []
  answer = () => session(`token-${(count += 1)}`)
  browserFetch = (_, init) => {
    sent.push(new Headers(init?.headers).get('authorization'))
    return Promise.resolve(new Response('{}'))
  }
  vi.stubGlobal('fetch', browserFetch)
})

afterEach(() => {
  for (const each of unmount) each()
  expect(fetch).toBe(browserFetch)
  vi.useRealTimers()
})

function session(token: string, business = BUSINESS): LayerSession {
  return {
    access_token: token,
    token_type: 'Bearer',
    expires_in: 100,
    expires_at: '2026-11-27T00:00:00Z',
    business_id: business,
    session_duration: 100,
    renew_in: 50,
    layer_provider_props: {
      businessId: business,
      businessAccessToken: token,
      environmentConfigOverride: { environment: 'sandbox', apiUrl: 'https://api.test' },
    },
  }
}

function newSource(): LayerTokenSource {
  return createLayerTokenSource(async (context) => {
    asked.push(context)
    return await answer()
  })
}

function mount(element: ReactNode): { text: () => string; render: (next: ReactNode) => void } {
  const container = document.createElement('div')
  const root = createRoot(container)
  const render = (next: ReactNode) => {
    act(() => {
      root.render(next)
    })
  }
  render(element)
  unmount.push(() => {
    act(() => {
      root.unmount()
    })
  })
  return { text: () => container.innerHTML, render }
}

/** Keeps a source at work without a component. */
function listen(source: LayerTokenSource): void {
  unmount.push(source.subscribe(() => undefined))
}

async function seconds(duration: number): Promise<void> {
  await act(async () => {
    await vi.advanceTimersByTimeAsync(duration * 1000)
  })
}

function lastProps(): Record<string, unknown> {
  return recorded.renders.at(-1) ?? {}
}

const down = () => Promise.reject(new LayerTokenError('status', 'down', { status: 503 }))
const nobody = () => Promise.reject(new LayerTokenError('signed_out', 'nobody'))

test('b29_tests_run_with_the_react_version_of_the_project', (context) => {
  expect(version.split('.')[0]).toBe(context.task.file.projectName?.replace('react-', ''))
})

describe('useLayerToken', () => {
  test('b29_hook_returns_the_state_and_renders_only_for_changes', async () => {
    let renders = 0
    function State({ source }: { source: LayerTokenSource }) {
      const { status, session, error } = useLayerToken(source)
      renders += 1
      return <p>{[status, session?.access_token, error?.status].join(' ')}</p>
    }
    const page = mount(<State source={newSource()} />)
    expect(page.text()).toBe('<p>loading  </p>')
    await seconds(0)
    expect(page.text()).toBe('<p>ready token-1 </p>')
    answer = () => session('token-1')
    await seconds(60)
    expect(asked).toHaveLength(2)
    expect(renders).toBe(2)
    answer = down
    await seconds(100)
    expect(page.text()).toBe('<p>expired token-1 503</p>')
  })
})

describe('LayerAuthProvider', () => {
  test('b29_provider_shows_the_fallback_until_there_is_a_session', async () => {
    const page = mount(
      <LayerAuthProvider source={newSource()} fallback="wait" usePlaidSandbox>
        <p>page</p>
      </LayerAuthProvider>,
    )
    expect(page.text()).toBe('wait')
    await seconds(0)
    expect(page.text()).toBe('<main><p>page</p></main>')
    expect(lastProps()).toMatchObject({
      businessId: BUSINESS,
      environmentConfigOverride: { environment: 'sandbox', apiUrl: 'https://api.test' },
      usePlaidSandbox: true,
    })
    expect(lastProps()).not.toHaveProperty('source')
    expect(lastProps()).not.toHaveProperty('onSignedOut')
  })

  test('b29_renewals_do_not_render_and_calls_carry_the_living_token', async () => {
    const source = newSource()
    mount(<LayerAuthProvider source={source} />)
    await seconds(0)
    await seconds(190)
    expect(asked).toHaveLength(4)
    expect(recorded).toMatchObject({ mounts: 1, unmounts: 0 })
    expect(recorded.renders).toHaveLength(1)
    expect(lastProps()['businessAccessToken']).toBe(source.stableToken)
    // The effect of the component ran before that of the provider.
    expect(sent).toEqual(['Bearer token-1'])
    await fetch('https://api.test/v1', {
      headers: { authorization: `Bearer ${source.stableToken}` },
    })
    expect(sent).toEqual(['Bearer token-1', 'Bearer token-4'])
  })

  test('b29_provider_that_mounts_with_a_session_has_wrapped_fetch_in_time', async () => {
    const source = newSource()
    listen(source)
    await seconds(0)
    mount(<LayerAuthProvider source={source} />)
    await seconds(0)
    expect(sent).toEqual(['Bearer token-1'])
    expect(asked).toHaveLength(1)
  })

  test('b29_expiry_keeps_the_page_mounted', async () => {
    const source = newSource()
    const page = mount(<LayerAuthProvider source={source}>page</LayerAuthProvider>)
    await seconds(0)
    answer = down
    await seconds(300)
    expect(source.getSnapshot().status).toBe('expired')
    expect(page.text()).toBe('<main>page</main>')
    answer = () => session('late')
    await seconds(30)
    expect(recorded).toMatchObject({ mounts: 1, unmounts: 0 })
    expect(recorded.renders).toHaveLength(1)
  })

  test.each([
    ['sign_out', nobody],
    ['another_user', () => session('b', 'another')],
  ])('b29_%s_removes_the_page_and_calls_on_signed_out_once', async (_, next) => {
    let signedOut = 0
    const source = newSource()
    const page = mount(
      <LayerAuthProvider source={source} fallback="nobody" onSignedOut={() => (signedOut += 1)}>
        page
      </LayerAuthProvider>,
    )
    await seconds(0)
    answer = next
    await seconds(60)
    expect(page.text()).toBe('nobody')
    expect(signedOut).toBe(1)
    const before = lastProps()['businessAccessToken']
    answer = () => session('c', 'another')
    act(source.restart)
    await seconds(0)
    expect(page.text()).toBe('<main>page</main>')
    expect(lastProps()).toMatchObject({ businessId: 'another' })
    // The components know cached answers by the token.
    expect(lastProps()['businessAccessToken']).not.toBe(before)
    expect(sent.at(-1)).toBe('Bearer c')
    expect(signedOut).toBe(1)
  })

  test('b29_page_after_a_sign_in_does_not_begin_signed_out', async () => {
    let signedOut = 0
    const source = newSource()
    const provider = (
      <LayerAuthProvider source={source} onSignedOut={() => (signedOut += 1)}>
        page
      </LayerAuthProvider>
    )
    answer = nobody
    const page = mount(provider)
    await seconds(0)
    expect(signedOut).toBe(1)
    page.render(<p>sign in</p>)
    answer = () => session('a')
    page.render(provider)
    await seconds(0)
    expect(page.text()).toBe('<main>page</main>')
    expect(signedOut).toBe(1)
  })

  test('b29_without_a_stable_token_each_renewal_is_a_new_prop', async () => {
    mount(<LayerAuthProvider source={newSource()} stableToken={false} />)
    expect(fetch).toBe(browserFetch)
    await seconds(0)
    await seconds(60)
    expect(recorded.renders.map((props) => props['businessAccessToken'])).toEqual([
      'token-1',
      'token-2',
    ])
    expect(recorded).toMatchObject({ mounts: 1, unmounts: 0 })
    expect(sent).toEqual(['Bearer token-1', 'Bearer token-2'])
  })

  test('b29_on_error_unauthenticated_refuses_the_token_that_is_the_prop', async () => {
    const errors: unknown[] = []
    mount(
      <LayerAuthProvider
        source={newSource()}
        stableToken={false}
        onError={(error) => errors.push(error.type)}
      />,
    )
    await seconds(0)
    await seconds(5)
    const onError = lastProps()['onError'] as (error: { type: string }) => void
    onError({ type: 'api' })
    await seconds(0)
    expect(asked).toHaveLength(1)
    onError({ type: 'unauthenticated' })
    onError({ type: 'unauthenticated' })
    await seconds(0)
    expect(asked.map(({ refused }) => refused)).toEqual([undefined, 'token-1'])
    expect(lastProps()['businessAccessToken']).toBe('token-2')
    expect(errors).toEqual(['api', 'unauthenticated', 'unauthenticated'])
  })

  test('b29_on_error_does_not_refuse_the_stable_token', async () => {
    const errors: unknown[] = []
    mount(
      <LayerAuthProvider source={newSource()} onError={(error) => errors.push(error.type)} />,
    )
    await seconds(5)
    const onError = lastProps()['onError'] as (error: { type: string }) => void
    onError({ type: 'unauthenticated' })
    await seconds(0)
    expect(errors).toEqual(['unauthenticated'])
    expect(asked).toHaveLength(1)
  })

  test('b29_strict_mode_costs_one_request_and_one_call_of_on_signed_out', async () => {
    let signedOut = 0
    let effects = 0
    function Child() {
      useEffect(() => {
        effects += 1
      })
      return null
    }
    const source = newSource()
    mount(
      <StrictMode>
        <LayerAuthProvider source={source} onSignedOut={() => (signedOut += 1)}>
          <Child />
        </LayerAuthProvider>
      </StrictMode>,
    )
    await seconds(0)
    expect(asked).toHaveLength(1)
    expect(effects).toBe(2)
    expect(new Set(sent)).toEqual(new Set(['Bearer token-1']))
    answer = nobody
    await seconds(60)
    expect(signedOut).toBe(1)
  })

  test('b29_strict_mode_calls_on_signed_out_once_for_a_source_that_is_signed_out', async () => {
    let signedOut = 0
    const source = newSource()
    answer = nobody
    listen(source)
    await seconds(0)
    mount(
      <StrictMode>
        <LayerAuthProvider source={source} onSignedOut={() => (signedOut += 1)} />
      </StrictMode>,
    )
    await seconds(0)
    expect(signedOut).toBe(1)
  })

  test('b29_two_providers_with_two_sources_do_not_know_each_other', async () => {
    const sources = [newSource(), newSource()] as const
    mount(
      <>
        <LayerAuthProvider source={sources[0]} />
        <LayerAuthProvider source={sources[1]} />
      </>,
    )
    await seconds(0)
    expect(sent.sort()).toEqual(['Bearer token-1', 'Bearer token-2'])
  })

  test('b29_another_source_starts_the_components_anew', async () => {
    const sources = [newSource(), newSource()] as const
    listen(sources[0])
    listen(sources[1])
    await seconds(0)
    const page = mount(<LayerAuthProvider source={sources[0]}>page</LayerAuthProvider>)
    await seconds(0)
    page.render(<LayerAuthProvider source={sources[1]}>page</LayerAuthProvider>)
    await seconds(0)
    expect(recorded).toMatchObject({ mounts: 2, unmounts: 1 })
    expect(sent).toEqual(['Bearer token-1', 'Bearer token-2'])
  })

  test('b29_server_renders_the_fallback_and_asks_for_nothing', () => {
    const source = newSource()
    const text = renderToString(<LayerAuthProvider source={source} fallback="wait" />)
    expect(text).toBe('wait')
    expect(asked).toEqual([])
  })
})
