// The example fastapi-react, as `make demo-web` runs it, with a person in Chromium.
//
//   PYTHON=../../.venv/bin/python node --test demo-web.test.mjs
//
// DEMO_WEB_SHOT=file.png saves a picture of the page.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startChromium } from './chromium.mjs'
import { Demo, pause, until, Visit } from './examples.mjs'

const ADA = '3fa85f64-5717-4562-b3fc-2c963f66afa6'
const GRACE = '9b2d7f0e-58c1-4e0a-8f1d-3c6a5b4e7d21'
const RENEWALS = 3
const ALL_MS = 900_000

// Chromium and the demo end with this process.
setTimeout(() => {
  console.error(`demo-web.test.mjs: not finished after ${ALL_MS / 1000} s`)
  process.exit(2)
}, ALL_MS).unref()

test('b29_demo_page_shows_figures_and_nothing_of_the_renewals', async () => {
  const demo = await Demo.start('fastapi-react', '--token-lifetime', '12')
  const browser = await startChromium()
  try {
    const nobody = await fetch(new URL('/layer-token', demo.page), { method: 'POST' })
    assert.equal(nobody.status, 401)
    assert.equal(nobody.headers.get('cache-control'), 'no-store')

    const visit = await Visit.open(browser, demo.page)
    const { page } = visit
    assert.equal(visit.asked, 0, 'nobody is signed in, and the page asks for a token')
    await visit.signIn('ada')
    await page.mouse.move(5, 5) // Away from the chart, which shows more under the mouse.
    await demo.quiet()
    const figures = await visit.figures()
    const before = (await demo.quiet()).length
    if (process.env.DEMO_WEB_SHOT) {
      await page.screenshot({ path: process.env.DEMO_WEB_SHOT })
    }
    await page.evaluate(() => {
      window.changes = []
      const note = (records) => window.changes.push(...records.map(({ type }) => type))
      const what = { childList: true, subtree: true, characterData: true }
      new MutationObserver(note).observe(document.querySelector('main'), what)
      window.scrollTo(0, 300)
    })

    const minted = (await demo.mints()).length
    await until(`${RENEWALS} renewals`, async () => {
      return (await demo.mints()).length >= minted + RENEWALS
    })
    await demo.line(/^\d\d:\d\d:\d\d {2}business token for \S+ \(renewed\)$/m)

    assert.equal(await visit.figures(), figures, 'a renewal changed the page')
    assert.deepEqual(await page.evaluate(() => window.changes), [], 'the page was changed')
    assert.equal(await page.evaluate(() => window.scrollY), 300)
    assert.equal((await demo.calls()).length, before, 'a renewal made components fetch again')

    // The components go on with the current token.
    await page.getByText('Categorized', { exact: true }).first().click()
    const calls = await demo.quiet(before)
    assert.notEqual(
      calls.at(-1).authorization.fingerprint,
      calls[0].authorization.fingerprint,
      'a new call has the first token',
    )
    for (const call of calls) {
      assert.equal(call.status, 200, `${call.path} was answered with HTTP ${call.status}`)
      assert.equal(call.business_id, ADA)
    }

    await visit.signOut()
    const asked = visit.asked
    await page.evaluate(() => {
      window.dispatchEvent(new Event('focus'))
      window.dispatchEvent(new Event('online'))
    })
    await pause(1_500)
    assert.equal(visit.asked, asked, 'the page asks for tokens after the sign-out')

    const ended = (await demo.calls()).length
    await visit.signIn('grace')
    const others = (await demo.quiet(ended)).slice(ended)
    assert.notEqual(await visit.figures(), figures, "Grace sees Ada's figures")
    assert.equal(await page.innerText('h1'), "Grace's Garage")
    for (const { path, business_id } of others) {
      assert.equal(business_id, GRACE, `Grace's page asked ${path}`)
    }

    assert.deepEqual(visit.problems, [])
    assert.equal(await demo.tokenRequests(), 1)
    const access = new Set((await demo.mints()).map((mint) => mint.authorization.fingerprint))
    const seen = await Promise.all((await visit.tokens()).map((one) => demo.fingerprint(one)))
    const used = new Set((await demo.calls()).map((call) => call.authorization.fingerprint))
    assert.ok(
      [...used].every((one) => seen.includes(one)),
      'this test sees the tokens of the page',
    )
    assert.equal(access.size, 1)
    assert.ok(!seen.some((one) => access.has(one)), 'the page has seen an access token')
  } finally {
    await browser.close()
    assert.equal(await demo.stop(), 0, 'Ctrl-C did not end the demo as it should')
  }
  assert.match(demo.output, /^Stopped\.$/m)
  await assert.rejects(fetch(demo.page), 'the page is still served')
  await assert.rejects(fetch(demo.console), 'the emulator still runs')
})
