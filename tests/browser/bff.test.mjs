// The example bff-fastapi: a page whose backend adds the token. Chromium and plain HTTP.
//
//   PYTHON=../../.venv/bin/python node --test bff.test.mjs

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { startChromium } from './chromium.mjs'
import { Demo, until, Visit } from './examples.mjs'

const ADA = '3fa85f64-5717-4562-b3fc-2c963f66afa6'
const GRACE = '9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21'
const TEST_MS = 240_000
const ALL_MS = 600_000

// Chromium and the backends end with this process.
setTimeout(() => {
  console.error(`bff.test.mjs: not finished after ${ALL_MS / 1000} s`)
  process.exit(2)
}, ALL_MS).unref()

describe('a backend for frontend', { timeout: TEST_MS }, () => {
  let demo
  let cookie

  const ask = (path, options = {}) =>
    fetch(`${demo.page}/layer/${path}`, { ...options, headers: { cookie, ...options.headers } })

  before(async () => {
    demo = await Demo.startServer('bff-fastapi')
    const signedIn = await fetch(`${demo.page}/sign-in`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'ada', password: 'ada-demo' }),
    })
    assert.equal(signedIn.status, 204)
    cookie = signedIn.headers.get('set-cookie').split(';')[0]
  })
  after(async () => {
    await demo?.stop()
  })

  test('b29_page_of_a_bff_shows_figures_and_gets_no_token', async () => {
    const browser = await startChromium()
    try {
      const visit = await Visit.open(browser, demo.page)
      await visit.signIn('ada')
      const before = (await demo.quiet()).length
      await visit.figures()
      // What the components write goes through the backend too.
      await visit.page.getByText('Confirm', { exact: true }).first().click()
      const calls = await until('the call of Confirm', async () => {
        const all = await demo.quiet(before)
        return all.some(({ method }) => method === 'PUT') ? all : undefined
      })
      for (const call of calls) {
        assert.equal(call.status, 200, `${call.path} was answered with HTTP ${call.status}`)
        assert.equal(call.business_id, ADA)
      }
      assert.deepEqual(visit.problems, [])
      const tokens = await visit.tokens()
      assert.equal(tokens.length, 0, 'the page has seen a token')
      assert.ok(visit.texts.some((text) => text.includes(`/layer/v1/businesses/${ADA}`)))
      const mints = await demo.mints()
      assert.equal(mints.length, 1)
      const access = mints[0].authorization.fingerprint
      assert.ok(
        calls.every(({ authorization }) => authorization.fingerprint !== access),
        'the backend has sent its access token instead of a business token',
      )
      assert.equal(await demo.tokenRequests(), 1)
    } finally {
      await browser.close()
    }
  })

  test('b29_bff_passes_on_only_paths_of_the_business_of_the_session', async () => {
    const before = (await demo.log()).length
    const refused = [
      `v1/businesses/${GRACE}`,
      `v1/businesses/${GRACE}/bank-accounts`,
      `v1/businesses/${ADA}%2f..%2f${GRACE}`,
      `v1/businesses/${ADA}/%2e%2e/${GRACE}`,
      `v1/businesses/${ADA}/%252e%252e/${GRACE}`,
      `v1/businesses/${ADA}/..%5c${GRACE}`,
      `v1/businesses/${ADA}//bank-accounts`,
      `v1/businesses/${ADA}x`,
      `v1/businesses`,
      `whoami`,
      `http://127.0.0.1:1/`,
    ]
    for (const path of refused) assert.equal((await ask(path)).status, 403, path)
    assert.equal((await demo.log()).length, before, 'a refused call was sent to Layer')

    // Only an administrator's token can do this.
    const path = `v1/businesses/${ADA}/auth-token`
    const minted = await ask(path, { method: 'POST', body: '{}' })
    assert.ok([403, 404].includes(minted.status), `a page mints tokens: HTTP ${minted.status}`)

    const { status } = await fetch(`${demo.page}/layer/v1/businesses/${ADA}`)
    assert.equal(status, 401, 'nobody is signed in')
  })

  test('b29_bff_replaces_a_refused_token_and_asks_once', async () => {
    const path = `v1/businesses/${ADA}/bank-accounts`
    assert.equal((await ask(path)).status, 200)
    const minted = async () =>
      (await demo.mints()).filter(({ status }) => status === 200).length
    const before = await minted()
    await demo.emulator('/revoke', { all: 'business' })
    // The library replaces a token that is at least 10 s old.
    await until('the call is answered', async () => {
      const { status } = await ask(path)
      assert.ok([200, 502].includes(status), `the page got HTTP ${status}`)
      return status === 200
    })
    assert.equal(await minted(), before + 1)
    assert.equal(await demo.tokenRequests(), 1)
  })

  test('b29_bff_streams_and_drops_headers_of_the_connection', async () => {
    // Byte by byte: the whole body would take longer than this test may.
    await demo.emulator('/faults', {
      endpoint: 'business_data',
      pad_body_to: 100_000,
      wire: { drip: { part: 'body', every_ms: 20 } },
      headers: { 'set-cookie': 'session=layer', 'x-ratelimit-limit': '100' },
    })
    const stop = new AbortController()
    const answer = await ask(`v1/businesses/${ADA}/bank-accounts`, { signal: stop.signal })
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    for (const name of ['set-cookie', 'x-ratelimit-limit']) {
      assert.equal(answer.headers.get(name), null, `${name} was passed on`)
    }
    const { value } = await answer.body.getReader().read()
    assert.ok(value.length > 0 && value.length < 100_000, `a part of ${value.length} bytes`)
    const connections = async () => (await demo.emulator('/counters')).open_connections
    const before = await connections()
    stop.abort()
    await until('a page that is gone ends the call to Layer', async () => {
      return (await connections()) < before
    })
  })
})
