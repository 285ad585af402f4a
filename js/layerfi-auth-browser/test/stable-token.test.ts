import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createLayerTokenSource, installStableToken, LayerTokenError } from '../src/index.js'
import type { LayerTokenSource } from '../src/index.js'
import {
  API,
  Backend,
  moveWallClock,
  readySource,
  seconds,
  session,
  useFakePage,
} from './support.js'

useFakePage()

interface Call {
  url: string
  token: string | null
  body: string
  headers: Headers
}

let calls: Call[]
let statuses: number[]
let browserFetch: typeof fetch
const undo: (() => void)[] = []

beforeEach(() => {
  calls = []
  statuses = []
  browserFetch = async (input, init) => {
    // The requests of this test have absolute addresses, as the browser would make them.
    const request = new Request(
      new URL(input instanceof Request ? input.url : input, 'https://page.test'),
      {
        ...(input instanceof Request
          ? { method: input.method, headers: input.headers, body: await bodyOf(input) }
          : {}),
        ...init,
      },
    )
    calls.push({
      url: request.url,
      token: request.headers.get('authorization')?.replace('Bearer ', '') ?? null,
      body: await request.text(),
      headers: request.headers,
    })
    return new Response('{}', { status: statuses.shift() ?? 200 })
  }
  vi.stubGlobal('fetch', browserFetch)
})

afterEach(() => {
  for (const each of undo.splice(0)) each()
})

async function bodyOf(request: Request): Promise<string | null> {
  return request.method === 'GET' ? null : await request.text()
}

function install(source: LayerTokenSource): () => void {
  const uninstall = installStableToken(source)
  undo.push(uninstall)
  return uninstall
}

function call(
  source: LayerTokenSource,
  url: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = { authorization: `Bearer ${source.stableToken}`, 'x-other': 'kept' }
  return fetch(url, { ...init, headers })
}

function tokens(): (string | null)[] {
  return calls.map(({ token }) => token)
}

describe('9: the stable token', () => {
  test('b29_call_to_the_api_carries_the_living_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    const constant = source.stableToken
    await call(source, `${API}/v1/a`, { method: 'POST', body: 'text' })
    await seconds(60)
    await call(source, `${API}/v1/b`)
    expect(tokens()).toEqual(['token-1', 'token-2'])
    expect(calls[0]).toMatchObject({ url: `${API}/v1/a`, body: 'text' })
    expect(calls[0]?.headers.get('x-other')).toBe('kept')
    expect(source.stableToken).toBe(constant)
  })

  test('b29_request_object_carries_the_living_token', async () => {
    const source = await readySource(new Backend())
    install(source)
    statuses = [401]
    const headers = { authorization: `Bearer ${source.stableToken}` }
    await seconds(5)
    await fetch(new Request(`${API}/v1/a`, { method: 'POST', body: 'text', headers }))
    expect(calls.map(({ token, body }) => [token, body])).toEqual([
      ['token-1', 'text'],
      ['token-2', 'text'],
    ])
  })

  test.each([
    ['another_origin', 'https://other.test/v1'],
    ['a_longer_host', 'https://api.test.evil.test/v1'],
    ['another_port', 'https://api.test:8443/v1'],
    ['another_scheme', 'http://api.test/v1'],
    ['the_page_itself', '/layer-token'],
  ])('b29_call_to_%s_passes_without_the_living_token', async (_, url) => {
    const source = await readySource(new Backend())
    install(source)
    await call(source, url)
    expect(tokens()).toEqual([source.stableToken])
  })

  test.each([
    ['another_token', { authorization: 'Bearer of-the-application' }, 'of-the-application'],
    ['no_token', {}, null],
  ])('b29_call_to_the_api_with_%s_passes_unchanged', async (_, headers, expected) => {
    const source = await readySource(new Backend())
    install(source)
    statuses = [401]
    const response = await fetch(`${API}/v1/a`, { headers: headers as HeadersInit })
    expect(response.status).toBe(401)
    expect(tokens()).toEqual([expected])
  })

  test('b29_api_below_a_path_of_the_page_is_told_apart', async () => {
    const backend = new Backend()
    const props = { environmentConfigOverride: { environment: 'sandbox', apiUrl: '/layer/' } }
    backend.answer = () =>
      session('a', {
        layer_provider_props: {
          ...session('a').layer_provider_props,
          ...props,
        } as never,
      })
    const source = await readySource(backend)
    install(source)
    await call(source, '/layer/v1/a')
    await call(source, '/layer-token')
    expect(tokens()).toEqual(['a', source.stableToken])
  })

  test('b29_named_environment_is_known', async () => {
    const backend = new Backend()
    backend.answer = () => {
      const { businessId, businessAccessToken } = session('a').layer_provider_props
      return session('a', {
        layer_provider_props: { businessId, businessAccessToken, environment: 'production-ca' },
      })
    }
    const source = await readySource(backend)
    install(source)
    await call(source, 'https://api-ca.layerfi.com/v1')
    await call(source, 'https://api.layerfi.com/v1')
    expect(tokens()).toEqual(['a', source.stableToken])
  })

  test('b29_one_401_is_retried_with_a_new_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    await seconds(5)
    statuses = [401]
    const response = await call(source, `${API}/v1/a`, { method: 'PUT', body: 'text' })
    expect(response.status).toBe(200)
    expect(calls.map(({ token, body }) => [token, body])).toEqual([
      ['token-1', 'text'],
      ['token-2', 'text'],
    ])
    expect(backend.refused).toEqual([undefined, 'token-1'])
  })

  test('b29_second_401_reaches_the_caller_and_refuses_the_second_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    await seconds(5)
    statuses = [401, 401, 401]
    expect((await call(source, `${API}/v1/a`)).status).toBe(401)
    // No third attempt, and no request for a token before 10 s have passed.
    expect((await call(source, `${API}/v1/b`)).status).toBe(401)
    expect(tokens()).toEqual(['token-1', 'token-2', 'token-2'])
    expect(backend.times).toEqual([0, 5])
    await seconds(10)
    expect(backend.refused).toEqual([undefined, 'token-1', 'token-2'])
  })

  test('b29_second_401_alone_refuses_the_second_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    await seconds(5)
    statuses = [401, 401]
    expect((await call(source, `${API}/v1/a`)).status).toBe(401)
    await seconds(10)
    expect(backend.refused).toEqual([undefined, 'token-1', 'token-2'])
  })

  test('b29_body_that_can_be_read_once_is_not_sent_twice', async () => {
    const source = await readySource(new Backend())
    install(source)
    await seconds(5)
    statuses = [401]
    const { body } = new Response('text')
    const response = await call(source, `${API}/v1/a`, {
      method: 'POST',
      body,
      duplex: 'half',
    } as RequestInit)
    expect(response.status).toBe(401)
    expect(tokens()).toEqual(['token-1'])
  })

  test('b29_call_with_a_dead_token_waits_for_a_living_one', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    moveWallClock(3_600)
    await call(source, `${API}/v1/a`)
    expect(tokens()).toEqual(['token-2'])
  })

  test('b29_call_fails_without_being_sent_if_there_is_no_living_token', async () => {
    const backend = new Backend()
    const source = await readySource(backend)
    install(source)
    backend.answer = () =>
      Promise.reject(new LayerTokenError('status', 'down', { status: 503 }))
    await seconds(99)
    const failed = call(source, `${API}/v1/a`).catch((error: unknown) => error)
    await seconds(60)
    expect(await failed).toBeInstanceOf(LayerTokenError)
    expect(calls).toEqual([])
  })

  test('b29_fetch_is_restored_when_the_last_one_ends', async () => {
    const [first, second] = [await readySource(new Backend()), await readySource(new Backend())]
    const ends = [install(first), install(first), install(second)]
    const wrapped = fetch
    expect(wrapped).not.toBe(browserFetch)
    ends[0]?.()
    ends[0]?.()
    await call(first, `${API}/v1/a`)
    ends[1]?.()
    await call(first, `${API}/v1/b`)
    await call(second, `${API}/v1/c`)
    expect(tokens()).toEqual(['token-1', first.stableToken, 'token-1'])
    expect(fetch).toBe(wrapped)
    ends[2]?.()
    expect(fetch).toBe(browserFetch)
  })

  test('b29_wrapper_of_another_library_survives', async () => {
    const source = await readySource(new Backend())
    const uninstall = install(source)
    const ours = fetch
    let seen = 0
    const theirs: typeof fetch = (input, init) => {
      seen += 1
      return ours(input, init)
    }
    globalThis.fetch = theirs
    uninstall()
    expect(fetch).toBe(theirs)
    await call(source, `${API}/v1/a`)
    // Installed again, on top of theirs, on top of the first wrapper.
    install(source)
    await call(source, `${API}/v1/b`)
    expect(tokens()).toEqual([source.stableToken, 'token-1'])
    expect(seen).toBe(2)
  })

  test('b29_two_sources_use_their_own_tokens', async () => {
    const other = new Backend()
    other.answer = () => session('other')
    const [first, second] = [await readySource(new Backend()), await readySource(other)]
    install(first)
    install(second)
    await Promise.all([call(first, `${API}/v1/a`), call(second, `${API}/v1/b`)])
    expect(tokens().sort()).toEqual(['other', 'token-1'])
  })

  test('b29_call_before_the_first_session_is_not_held', async () => {
    const source = createLayerTokenSource(() => new Promise(() => undefined))
    install(source)
    await call(source, `${API}/v1/a`)
    expect(tokens()).toEqual([source.stableToken])
  })
})
