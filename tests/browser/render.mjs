// Renders the published `<LayerProvider>` in headless Chromium, once per test case.
//
//   node render.mjs < cases.json
//
// `cases.json` is a list of {name, props, components, expect, texts}. `texts` is optional: a
// text that each of its components must show. `props` are the props of
// `<LayerProvider>`, with `environmentConfigOverride.apiUrl` on loopback. `expect` is
// "renders" or "crashes". The script prints one line per case. It exits with 1 if a case
// ends differently than expected, and with 2 if it cannot run the cases.

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize, sep } from 'node:path'

import { buildPage, SetupError, startChromium } from './chromium.mjs'

const ALL_CASES_MS = 240_000
const ONE_CASE_MS = 60_000
// A page is finished when it has had no open API call for this time.
const QUIET_MS = 500

const CONTENT_TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
}

/** Serves a folder on a free loopback port. */
async function serve(folder) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://127.0.0.1')
    const file = normalize(join(folder, pathname === '/' ? 'index.html' : pathname))
    try {
      if (!file.startsWith(folder + sep)) throw new Error('outside of the folder')
      const body = await readFile(file)
      const type = CONTENT_TYPES[extname(file)] ?? 'application/octet-stream'
      response.writeHead(200, { 'content-type': type }).end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return { server, origin: `http://127.0.0.1:${server.address().port}` }
}

/** Loads the page with the props of one case and returns what happened. */
async function observe(browser, origin, { props, components, texts = {} }) {
  const api = new URL(props.environmentConfigOverride.apiUrl).origin
  const seen = { pageErrors: [], consoleErrors: [], layerErrors: [], calls: [], otherHosts: [] }
  const context = await browser.newContext()
  try {
    const page = await context.newPage()
    // The stylesheet of the components imports a font from another host. Chromium cannot
    // reach it (see startChromium), and the page works without it.
    const isOtherHost = (url) =>
      URL.canParse(url) &&
      new URL(url).protocol.startsWith('http') &&
      ![origin, api].includes(new URL(url).origin)
    let open = 0
    let lastActivity = Date.now()

    page.on('pageerror', (error) => seen.pageErrors.push(String(error)))
    page.on('console', (message) => {
      if (message.type() === 'error' && !isOtherHost(message.location().url)) {
        seen.consoleErrors.push(message.text())
      }
    })
    const calls = new Map()
    page.on('request', (request) => {
      const url = new URL(request.url())
      const isExpected = ['stylesheet', 'font'].includes(request.resourceType())
      // Components that link bank accounts load Plaid's script.
      if (isOtherHost(url) && !isExpected && url.hostname !== 'cdn.plaid.com') {
        seen.otherHosts.push(url.origin)
      }
      if (url.origin !== api) return
      const call = {
        path: url.pathname,
        authorization: request.headers().authorization ?? '',
        status: 'no answer',
      }
      calls.set(request, call)
      seen.calls.push(call)
      open += 1
      lastActivity = Date.now()
    })
    const finish = (request) => {
      if (!calls.has(request)) return
      open -= 1
      lastActivity = Date.now()
    }
    page.on('response', (response) => {
      const call = calls.get(response.request())
      if (call) call.status = response.status()
    })
    page.on('requestfinished', finish)
    page.on('requestfailed', finish)

    await page.addInitScript(
      (testCase) => {
        window.testCase = testCase
        window.layerErrors = []
      },
      { props, components },
    )

    const deadline = Date.now() + ONE_CASE_MS
    await page.goto(`${origin}/`, { timeout: ONE_CASE_MS })
    const isFinished = () =>
      (seen.calls.length > 0 || seen.pageErrors.length > 0) &&
      open === 0 &&
      Date.now() - lastActivity >= QUIET_MS
    while (!isFinished() && Date.now() < deadline) await page.waitForTimeout(50)

    seen.timedOut = !isFinished()
    seen.layerErrors = await page.evaluate(() => window.layerErrors)
    // A component is on the page if it has elements with text that take up space.
    const readTexts = () =>
      page.evaluate(() =>
        Object.fromEntries(
          [...document.querySelectorAll('[data-component]')]
            .filter((section) => section.getBoundingClientRect().height > 0)
            .map((section) => [section.dataset.component, section.innerText.trim()]),
        ),
      )
    const isSilent = (name) => !seen.texts[name]?.includes(texts[name])
    seen.texts = await readTexts()
    // A component may still render a response after the last call has ended.
    while (Object.keys(texts).some(isSilent) && Date.now() < deadline) {
      await page.waitForTimeout(50)
      seen.texts = await readTexts()
    }
    seen.isWhite = await page.evaluate(
      () => document.getElementById('root').childElementCount === 0,
    )
    return seen
  } finally {
    await context.close()
  }
}

/** The first reason why the page did not render as it should, or undefined. */
function whyNotRendered({ props, components, texts = {} }, seen) {
  if (seen.pageErrors.length > 0) {
    const page = seen.isWhite ? 'the page is white' : 'the page still has content'
    return `uncaught error "${seen.pageErrors[0]}"; ${page}`
  }
  if (seen.isWhite) return 'the page is white'
  const missing = components.find((name) => !seen.texts[name])
  if (missing) return `the component ${missing} is not on the page`
  const silent = Object.keys(texts).find((name) => !seen.texts[name].includes(texts[name]))
  if (silent) return `the component ${silent} does not show "${texts[silent]}"`
  if (seen.otherHosts.length > 0) return `the page asked another host: ${seen.otherHosts[0]}`
  if (seen.calls.length === 0) return 'the components sent no API call'
  const stray = seen.calls.find(
    (call) => call.authorization !== `Bearer ${props.businessAccessToken}`,
  )
  if (stray) return `the call to ${stray.path} did not carry the business token`
  const refused = seen.calls.find((call) => call.status !== 200)
  if (refused) return `the call to ${refused.path} ended with status: ${refused.status}`
  if (seen.timedOut) return `the API calls were not finished after ${ONE_CASE_MS / 1000} s`
  if (seen.layerErrors.length > 0) return `onError was called: ${seen.layerErrors[0]}`
  if (seen.consoleErrors.length > 0) return `error on the console: ${seen.consoleErrors[0]}`
  return undefined
}

/** The first reason why the page did not crash, or undefined. */
function whyNotCrashed(_, seen) {
  if (seen.pageErrors.length === 0) return 'there was no uncaught error'
  if (!seen.isWhite) return 'the page still has content'
  return undefined
}

function report(testCase, seen) {
  const names = testCase.components.join(', ')
  if (testCase.expect === 'renders') {
    return `${names} rendered; ${seen.calls.length} API calls, all with the business token`
  }
  return `white page; uncaught error "${seen.pageErrors[0]}"`
}

async function readCases() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const cases = JSON.parse(Buffer.concat(chunks).toString())
  for (const { name, props, expect } of cases) {
    if (expect !== 'renders' && expect !== 'crashes') {
      throw new SetupError(`case ${name}: expect must be "renders" or "crashes", got ${expect}`)
    }
    if (!props.environmentConfigOverride) {
      throw new SetupError(`case ${name}: props need environmentConfigOverride with an apiUrl`)
    }
  }
  return cases
}

async function main() {
  const cases = await readCases()
  const redact = (text) =>
    cases.reduce(
      (all, { props }) => all.replaceAll(props.businessAccessToken, '[redacted]'),
      text,
    )
  const folder = await buildPage('page', 'production')
  const { server, origin } = await serve(folder)
  let browser
  let failures = 0
  try {
    browser = await startChromium()
    for (const testCase of cases) {
      const seen = await observe(browser, origin, testCase)
      const why = (testCase.expect === 'renders' ? whyNotRendered : whyNotCrashed)(
        testCase,
        seen,
      )
      failures += why ? 1 : 0
      const line = why
        ? `FAILED ${testCase.name}: expected a page that ${testCase.expect}, but ${why}`
        : `ok ${testCase.name}: ${report(testCase, seen)}`
      console.log(redact(line).replaceAll(/\s+/g, ' '))
    }
  } finally {
    await browser?.close()
    server.closeAllConnections()
    server.close()
  }
  if (failures > 0) {
    console.error(`render.mjs: ${failures} of ${cases.length} cases did not end as expected`)
    process.exitCode = 1
  }
}

// Chromium ends with this process: it is controlled through a pipe and stops when it closes.
setTimeout(() => {
  console.error(`render.mjs: not finished after ${ALL_CASES_MS / 1000} s`)
  process.exit(2)
}, ALL_CASES_MS).unref()

main().catch((error) => {
  console.error(`render.mjs: ${error instanceof SetupError ? error.message : error.stack}`)
  process.exitCode = 2
})
