// End-to-end tests of layerfi-auth-browser and layerfi-auth-react: the packed packages and
// Layer's published components in Chromium, a backend with the Python package, the emulator.
//
//   PYTHON=../../.venv/bin/python node --test stay-signed-in.test.mjs

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { buildPage, startChromium } from './chromium.mjs'
import { pause, Stack, Tab, until } from './stack.mjs'

const MODULES = [
  'browser/dist/source.js',
  'browser/dist/stable-token.js',
  'react/dist/provider.js',
]
const modules = MODULES.map((name) => `layerfi-auth-${name}`)
// A busy machine needs five times as long as an idle one, which needs 20 s and a minute.
const TEST_MS = 240_000
const ALL_MS = 900_000

let browser
let folder

before(async () => {
  folder = await buildPage('app', 'production', modules)
  browser = await startChromium()
})
after(async () => {
  await browser?.close()
})

// Chromium and the backends end with this process.
setTimeout(() => {
  console.error(`stay-signed-in.test.mjs: not finished after ${ALL_MS / 1000} s`)
  process.exit(2)
}, ALL_MS).unref()

/** One test with a backend and an emulator of its own. */
function scenario(name, steps) {
  test(name, { timeout: TEST_MS }, async () => {
    const stack = await Stack.start(browser, folder)
    try {
      await steps(stack)
    } finally {
      await stack.stop()
    }
  })
}

/** Opens a transaction row, types a description into it, and scrolls down a little. */
async function typeIntoRow({ page }) {
  const row = page.locator('.Layer__bank-transaction-row').first()
  await row.locator('td').nth(1).click({ timeout: TEST_MS })
  const memo = page.locator('textarea[name=memo]')
  await memo.fill('not yet saved', { timeout: TEST_MS })
  await page.evaluate(() => window.scrollTo(0, 150))
  return memo
}

const tokenCount = async (stack) => (await stack.backend()).tokens.length

/** Waits until the backend replaces a refused token: it does so for tokens of 10 s or more. */
const untilRenewable = () => pause(10_500)

async function renewals(stack, count) {
  const before = await tokenCount(stack)
  await until(`${count} renewals`, async () => (await tokenCount(stack)) >= before + count)
}

describe('a page with a token that is renewed', { concurrency: 4 }, () => {
  scenario('b29_renewals_refetch_nothing_and_lose_nothing_that_was_typed', async (stack) => {
    const opened = await stack.open('?show=BankTransactions,AccountingOverview')
    const memo = await typeIntoRow(opened)
    const before = (await stack.quiet()).length
    await opened.run(() => document.querySelector('section').setAttribute('data-same', ''))

    await renewals(stack, 3)

    assert.equal((await stack.calls()).length, before, 'a renewal made components fetch again')
    assert.equal(await memo.inputValue(), 'not yet saved')
    assert.equal(await opened.run(() => window.scrollY), 150)
    assert.ok(await opened.page.$('section[data-same]'), 'the components were mounted anew')
    assert.deepEqual(await opened.run(() => app.errors), [])
    // The components go on with the current token.
    await opened.run(() => app.show(['ProfitAndLoss']))
    const calls = await until('new calls', async () => {
      const all = await stack.quiet()
      return all.length > before ? all.slice(before) : undefined
    })
    const { fingerprints } = await stack.backend()
    assert.ok(calls.every((call) => call.authorization.fingerprint !== fingerprints[0]))
    await stack.assertNoDeadCalls(opened)
    await opened.assertNoSecrets()
  })

  scenario(
    'b29_control_case_token_as_a_prop_refetches_and_loses_what_was_typed',
    async (stack) => {
      await stack.backend({ life: 600 })
      const opened = await stack.open('?prop&show=BankTransactions')
      await typeIntoRow(opened)
      const typed = () => document.querySelector('textarea[name=memo]')?.value
      const before = (await stack.quiet()).length
      assert.equal(await opened.run(typed), 'not yet saved')
      await untilRenewable()
      await opened.run(() => app.source.refused(app.source.getSnapshot().session.access_token))
      await until('the components fetch again', async () => {
        return (await stack.calls()).length >= before + 5
      })
      // The row is closed or empty, depending on how soon the answers come.
      await until('what was typed is lost', async () => {
        return (await opened.run(typed)) !== 'not yet saved'
      })
      assert.ok(await opened.run(() => window.fetch === app.browserFetch), 'fetch is wrapped')
    },
  )

  scenario('b29_outage_past_expiry_keeps_the_page_and_sends_nothing_dead', async (stack) => {
    const opened = await stack.open('?show=BankTransactions')
    const memo = await typeIntoRow(opened)
    await stack.quiet()
    await stack.backend({ status: 503, headers: { 'retry-after': '1' } })
    await opened.expired('status')
    assert.equal(await opened.run(() => app.call()), 'LayerTokenError')
    await opened.run(() => app.show(['BankTransactions', 'ProfitAndLoss']))
    await pause(1_000)
    await stack.backend({ status: null, life: 60 })
    await opened.status('ready')
    assert.equal(await opened.run(() => app.call()), 200)
    assert.equal(await memo.inputValue(), 'not yet saved')
    await stack.assertNoDeadCalls(opened)
    // Of the page's own times, because how long a request takes to the backend varies.
    const { asked } = await stack.backend()
    const times = await opened.run(() => app.asked)
    const gaps = times.slice(1).map((time, index) => time - times[index])
    const after503 = gaps.filter((_, index) => asked[index].status === 503)
    assert.ok(after503.length > 0, '503 was never answered')
    const shortest = Math.min(...after503)
    assert.ok(shortest > 900, `the backend was asked ${shortest} ms after HTTP 503`)
  })

  scenario('b29_backend_that_is_gone_comes_back', async (stack) => {
    const opened = await stack.open('?show=ProfitAndLoss')
    await stack.quiet()
    await stack.backend({ listen: false })
    await opened.expired('network')
    assert.ok(await opened.page.$('[data-component=ProfitAndLoss]'), 'the page is still there')
    await stack.backend({ listen: true, life: 60 })
    await opened.status('ready')
    assert.equal(await opened.run(() => app.call()), 200)
    await stack.assertNoDeadCalls(opened)
  })

  scenario('b29_one_401_reaches_no_component', async (stack) => {
    await stack.backend({ life: 600 })
    const opened = await stack.open('?show=AccountingOverview')
    await stack.quiet()
    await untilRenewable()
    await stack.emulator('revoke', { all: 'business' })
    await opened.run(() => app.show(['ProfitAndLoss', 'BankTransactions']))
    await until('a new token', async () => (await tokenCount(stack)) === 2)
    const { asked, fingerprints } = await stack.backend()
    assert.deepEqual(
      asked.map(({ refused }) => refused),
      [false, true],
    )
    // Each call that was refused is sent once more.
    await until('all calls have an answer with the new token', async () => {
      const calls = await stack.quiet()
      const isGood = (call) =>
        call.status === 200 && call.authorization.fingerprint === fingerprints[1]
      const refused = calls.filter(({ status }) => status === 401)
      const isHealed = ({ path }) => calls.some((call) => call.path === path && isGood(call))
      return refused.length > 0 && refused.every(isHealed)
    })
    assert.deepEqual(await opened.run(() => app.errors), [])
    await opened.assertNoSecrets()
  })

  scenario('b29_401_for_ever_is_told_and_costs_few_tokens', async (stack) => {
    await stack.backend({ life: 600 })
    await stack.emulator('faults', { endpoint: 'business_data', status: 401, times: 'forever' })
    const opened = await stack.open('?show=ProfitAndLoss')
    await until(
      'onError was called',
      async () => (await opened.run(() => app.errors)).length > 0,
    )
    // The components repeat nothing. The page calls as fast as it can.
    const asked = await until('the third refused token', async () => {
      await opened.run(() => app.call())
      await opened.run(() => app.show([]))
      await opened.run(() => app.show(['ProfitAndLoss']))
      const { asked } = await stack.backend()
      return asked.filter(({ refused }) => refused).length >= 2 ? asked : undefined
    })
    assert.equal(asked.length, 3)
    // The page's own times: how long a request takes to the backend varies.
    const [, first, second] = await opened.run(() => app.asked)
    assert.ok(second - first > 9_500, `asked again after ${second - first} ms`)
    assert.ok((await opened.run(() => app.errors)).every((type) => type === 'unauthenticated'))
  })

  scenario(
    'b29_hidden_tab_asks_for_nothing_and_has_a_token_when_it_is_shown',
    async (stack) => {
      await stack.backend({ life: 5 })
      const tab = await Tab.open(browser, `${stack.page}/?show=ProfitAndLoss`)
      try {
        const isReady = () => window.app?.source.getSnapshot().status === 'ready'
        await until('the tab has a token', () => tab.run(isReady))
        await stack.quiet()
        await tab.cover()
        await until('the tab is hidden', () => tab.run(() => document.hidden))
        const before = await tab.run(() => app.asked.length)
        const hasExpired = () => app.source.getSnapshot().status === 'expired'
        await until('the token has expired', () => tab.run(hasExpired))
        await pause(1_000)
        const asked = await tab.run(() => app.asked.length)
        assert.equal(asked, before, 'a hidden tab asked for a token')
        await tab.show()
        await until('the tab has a token again', () => tab.run(isReady))
        assert.equal(await tab.run(() => app.call()), 200)
        await stack.assertNoDeadCalls(tab)
      } finally {
        await tab.close()
      }
    },
  )

  scenario('b29_sleep_past_expiry_sends_nothing_dead', async (stack) => {
    await stack.backend({ life: 5 })
    // A browser of its own, because all of its renderers are stopped.
    stack.browser = await startChromium()
    try {
      const opened = await stack.open('?show=ProfitAndLoss')
      await stack.quiet()
      await opened.run(() => {
        app.results = []
        setInterval(() => void app.call().then((result) => app.results.push(result)), 50)
      })
      const root = await stack.browser.newBrowserCDPSession()
      const { processInfo } = await root.send('SystemInfo.getProcessInfo')
      const renderers = processInfo
        .filter(({ type }) => type === 'renderer')
        .map(({ id }) => id)
      assert.ok(renderers.length > 0, 'Chromium has a renderer')
      const before = (await stack.backend()).asked.length
      for (const id of renderers) process.kill(id, 'SIGSTOP')
      try {
        await pause(6_500)
      } finally {
        for (const id of renderers) process.kill(id, 'SIGCONT')
      }
      const seen = await opened.run(() => app.results.length)
      await until('calls after the sleep', async () => {
        return (await opened.run(() => app.results.length)) > seen + 10
      })
      assert.ok((await stack.backend()).asked.length > before, 'no new token after the sleep')
      // On a busy machine, an answer can come too late to be used.
      const results = await opened.run(() => [...new Set(app.results)])
      assert.deepEqual(
        results.filter((result) => ![200, 'LayerTokenError'].includes(result)),
        [],
      )
      await until(
        'calls with an answer',
        async () => (await opened.run(() => app.results.at(-1))) === 200,
      )
      await stack.assertNoDeadCalls(opened)
    } finally {
      await stack.browser.close()
    }
  })

  scenario('b29_sign_out_removes_the_components', async (stack) => {
    await stack.backend({ life: 6 })
    const opened = await stack.open('?show=ProfitAndLoss')
    await stack.quiet()
    await stack.backend({ business: null })
    await opened.status('signed-out')
    await opened.page.waitForSelector('#fallback', { timeout: TEST_MS })
    assert.equal(await opened.page.$('#page'), null)
    const before = (await stack.backend()).asked.length
    await opened.run(() => {
      window.dispatchEvent(new Event('focus'))
      window.dispatchEvent(new Event('online'))
    })
    await pause(2_000)
    assert.equal((await stack.backend()).asked.length, before, 'a page that is signed out asks')
    assert.equal(await opened.run(() => app.signedOut), 1)
    const held = await opened.run(() => JSON.stringify(app.source.getSnapshot()))
    assert.ok(!held.includes((await stack.backend()).tokens[0]), 'the token was kept')
    // The user signs in again, without a new page.
    await stack.backend({ business: stack.business, life: 60 })
    await opened.run(() => app.source.restart())
    await opened.page.waitForSelector('#page', { timeout: TEST_MS })
    await stack.assertNoDeadCalls(opened)
  })

  scenario('b29_another_user_is_a_sign_out', async (stack) => {
    await stack.backend({ life: 6 })
    const opened = await stack.open('?show=ProfitAndLoss')
    await stack.quiet()
    await stack.backend({ business: stack.otherBusiness })
    await opened.status('signed-out')
    await opened.page.waitForSelector('#fallback', { timeout: TEST_MS })
    await until('onSignedOut was called', () => opened.run(() => app.signedOut === 1))
    const { fingerprints } = await stack.backend()
    for (const call of await stack.calls()) {
      assert.equal(call.business_id, stack.business)
      assert.notEqual(call.authorization.fingerprint, fingerprints.at(-1))
    }
  })

  scenario('b29_two_tabs_share_nothing_and_both_heal', async (stack) => {
    await stack.backend({ life: 600 })
    const first = await stack.open('?show=ProfitAndLoss')
    const second = await stack.open('?show=ProfitAndLoss', stack.contexts[0])
    await stack.quiet()
    assert.equal(await tokenCount(stack), 1)
    await untilRenewable()
    await stack.emulator('revoke', { all: 'business' })
    const call = () => app.call()
    assert.deepEqual(await Promise.all([first.run(call), second.run(call)]), [200, 200])
    // The second tab's refused token was already replaced.
    assert.equal(await tokenCount(stack), 2)
    await first.run(() => app.unmount())
    assert.equal(await second.run(call), 200)
    assert.ok(
      await first.run(() => window.fetch === app.browserFetch),
      'fetch is still wrapped',
    )
    await second.assertNoSecrets()
  })

  test('b29_strict_mode_costs_one_token_and_restores_fetch', { timeout: TEST_MS }, async () => {
    // Only React's development build runs effects twice.
    const development = await buildPage('app', 'development', modules)
    const stack = await Stack.start(browser, development)
    try {
      await stack.backend({ life: 600 })
      const opened = await stack.open('?strict&show=ProfitAndLoss')
      await stack.quiet()
      assert.equal((await stack.backend()).asked.length, 1)
      assert.ok(
        await opened.run(() => window.fetch !== app.browserFetch),
        'fetch is not wrapped',
      )
      await stack.assertNoDeadCalls(opened)
      await opened.run(() => app.unmount())
      await until('fetch is restored', () =>
        opened.run(() => window.fetch === app.browserFetch),
      )
    } finally {
      await stack.stop()
    }
  })
})
