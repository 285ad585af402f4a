import { expect, test, vi } from 'vitest'
import { createLayerTokenSource } from '../src/index.js'
import type { LayerTokenSource } from '../src/index.js'
import { seconds, session, useFakePage, watch } from './support.js'

useFakePage()

/** Replaces `fetch` by a function that records the requests. */
function stubFetch(...answers: (() => Response)[]) {
  const calls: { url: string; init: RequestInit; headers: Headers }[] = []
  vi.stubGlobal('fetch', (url: string | URL, init: RequestInit) => {
    calls.push({ url: String(url), init, headers: new Headers(init.headers) })
    const answer = answers[Math.min(calls.length, answers.length) - 1]
    return Promise.resolve(answer?.())
  })
  return calls
}

async function started(source: LayerTokenSource): Promise<LayerTokenSource> {
  watch(source)
  await seconds(0)
  return source
}

test('b29_endpoint_is_asked_with_post_and_json', async () => {
  const calls = stubFetch(
    () => Response.json(session('a')),
    () => Response.json(session('b')),
  )
  const source = await started(createLayerTokenSource('/layer-token'))
  expect(source.getSnapshot().session?.access_token).toBe('a')
  await seconds(5)
  void source.refused('a')
  await seconds(0)
  expect(calls.map(({ url, init }) => [url, init.method, init.body])).toEqual([
    ['/layer-token', 'POST', '{}'],
    ['/layer-token', 'POST', '{"refused":"a"}'],
  ])
  expect(calls[0]?.headers.get('content-type')).toBe('application/json')
  expect(calls[0]?.init).toMatchObject({
    cache: 'no-store',
    credentials: 'same-origin',
    redirect: 'manual',
  })
})

test('b29_headers_are_made_for_each_request', async () => {
  let count = 0
  const calls = stubFetch(() => Response.json(session(`a${count}`)))
  await started(
    createLayerTokenSource(new URL('https://backend.test/token'), {
      credentials: 'include',
      headers: () => ({ 'x-csrf-token': String((count += 1)) }),
    }),
  )
  await seconds(60)
  expect(calls.map(({ url, headers }) => [url, headers.get('x-csrf-token')])).toEqual([
    ['https://backend.test/token', '1'],
    ['https://backend.test/token', '2'],
  ])
  expect(calls[0]?.init.credentials).toBe('include')
})

test.each([401, 403])('b29_http_%d_from_the_endpoint_means_signed_out', async (status) => {
  stubFetch(() => new Response('{}', { status }))
  const source = await started(createLayerTokenSource('/layer-token'))
  expect(source.getSnapshot()).toMatchObject({ status: 'signed-out', error: { status } })
})

test.each([
  ['a_number', '7'],
  ['a_date', () => new Date(Date.now() + 7_000).toUTCString()],
])('b29_retry_after_as_%s_is_obeyed', async (_, value) => {
  vi.setSystemTime(new Date('2026-11-27T00:00:00Z'))
  vi.spyOn(Math, 'random').mockReturnValue(0)
  const header = typeof value === 'string' ? value : value()
  const calls = stubFetch(
    () => new Response('busy', { status: 503, headers: { 'retry-after': header } }),
    () => Response.json(session('a')),
  )
  const source = await started(createLayerTokenSource('/layer-token'))
  expect(source.getSnapshot().error).toMatchObject({ kind: 'status', status: 503 })
  await seconds(6.9)
  expect(calls).toHaveLength(1)
  await seconds(0.1)
  expect(source.getSnapshot().status).toBe('ready')
})

test('b29_redirect_of_the_endpoint_is_an_error_that_says_so', async () => {
  const redirect = { ok: false, type: 'opaqueredirect', status: 0, headers: new Headers() }
  stubFetch(() => redirect as Response)
  const source = await started(createLayerTokenSource('/layer-token'))
  expect(source.getSnapshot().error?.kind).toBe('redirect')
})

test('b29_answer_that_is_not_json_is_not_quoted', async () => {
  stubFetch(() => new Response('{"access_token": "secret-token", oops'))
  const source = await started(createLayerTokenSource('/layer-token'))
  const { error } = source.getSnapshot()
  expect(error).toMatchObject({ kind: 'invalid_session', status: 200 })
  expect(`${error?.message} ${String(error?.cause)}`).not.toContain('secret')
})
