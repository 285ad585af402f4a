// What one end-to-end test uses: a backend with its emulator, and pages that are watched.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))
const PYTHON = process.env.PYTHON ?? 'python3'
// Reached only by a test that fails, also on a busy machine.
const LIMIT_MS = 90_000
// A page is quiet when it has had no open API call for so many of its idle rounds.
const QUIET_ROUNDS = 15
const ROUND_MS = 50

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds))

/** Waits until `condition` gives a true value, and returns that value. */
export async function until(what, condition) {
  const deadline = Date.now() + LIMIT_MS
  while (Date.now() < deadline) {
    const value = await condition()
    if (value) return value
    await pause(50)
  }
  assert.fail(`not within ${LIMIT_MS / 1000} s: ${what}`)
}

/**
 * Waits until the page has had nothing to do so many times, with pauses in between. On a busy
 * machine it takes as much longer as the page's own work does.
 */
export function idleRounds(page, rounds) {
  const wait = async ([rounds, milliseconds]) => {
    for (let round = 0; round < rounds; round += 1) {
      await new Promise((done) => setTimeout(done, milliseconds))
      await new Promise((done) => requestIdleCallback(done, { timeout: 10_000 }))
    }
  }
  return page.evaluate(wait, [rounds, ROUND_MS])
}

/** Waits for the end of a process, and kills it if it does not end. */
export async function endOf(child, what) {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const timer = setTimeout(() => {
    console.error(`${what} did not end within ${LIMIT_MS / 1000} s, and is killed`)
    child.kill('SIGKILL')
  }, LIMIT_MS)
  try {
    return await ended
  } finally {
    clearTimeout(timer)
  }
}

async function post(url, body) {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
  assert.equal(response.status, 200, `POST ${url}: ${await response.clone().text()}`)
  return await response.json()
}

/** A backend of its own, with an emulator of its own, for one test. */
export class Stack {
  static async start(browser, folder) {
    const child = spawn(PYTHON, [join(HERE, 'backend.py'), folder], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })
    const line = await new Promise((resolve, reject) => {
      lines.once('line', resolve)
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`backend.py ended with ${code}`)))
    })
    return new Stack(browser, child, JSON.parse(line))
  }

  constructor(browser, child, addresses) {
    Object.assign(this, { browser, child, ...addresses, contexts: [], pages: [] })
  }

  async stop() {
    for (const context of this.contexts) await context.close().catch(() => undefined)
    this.child.stdin.end()
    await endOf(this.child, 'backend.py')
  }

  /** Changes what the backend does, and returns what it has seen. */
  backend(order = {}) {
    return post(this.control, order)
  }

  /** Sends a command to the emulator. */
  emulator(command, body) {
    return post(`${this.layer}/${command}`, body)
  }

  /** All calls of the components that the emulator has received. */
  async calls() {
    const entries = []
    let after = 0
    for (;;) {
      // The log ends with an empty part.
      const response = await fetch(`${this.layer}/log?after=${after}&limit=500`)
      const page = (await response.json()).entries
      if (page.length === 0) break
      entries.push(...page)
      after = page.at(-1).number
    }
    return entries.filter(({ endpoint }) => ['business', 'business_data'].includes(endpoint))
  }

  /** Fails if a page has sent a call without a valid token of this backend. */
  async assertNoDeadCalls(opened) {
    const left = await opened.run(() => app.sent.map((milliseconds) => milliseconds ?? NaN))
    assert.ok(left.length > 0, 'the page sent no API call')
    const dead = left.filter((milliseconds) => !(milliseconds > 0))
    assert.equal(dead.length, 0, `of ${left.length} calls with an expired token`)
    const calls = await this.calls()
    // After the calls, because the page may go on with a newer token.
    const { fingerprints } = await this.backend()
    assert.ok(calls.length > 0, 'the components sent no API call')
    for (const { path, status, authorization } of calls) {
      assert.equal(status, 200, `${path} was answered with HTTP ${status}`)
      assert.ok(fingerprints.includes(authorization?.fingerprint), `${path} had another token`)
    }
  }

  /** Waits until all open API calls are answered and no new ones come. */
  async quiet() {
    const open = (opened) => opened.run(() => window.app?.open ?? 0)
    return await until('the components send no more API calls', async () => {
      const before = await this.calls()
      await pause(QUIET_ROUNDS * ROUND_MS)
      for (const { page } of this.pages) await idleRounds(page, QUIET_ROUNDS)
      const calls = await this.calls()
      const isQuiet = calls.length === before.length && before.every(({ done }) => done)
      const waiting = await Promise.all(this.pages.map(open))
      return calls.length > 0 && isQuiet && waiting.every((count) => count === 0)
        ? calls
        : undefined
    })
  }

  /** Opens the page in a new window, or in a new tab of a window. */
  async open(query = '', context = undefined) {
    if (!context) {
      context = await this.browser.newContext({ viewport: { width: 1200, height: 700 } })
      this.contexts.push(context)
    }
    const page = await context.newPage()
    page.setDefaultTimeout(LIMIT_MS)
    const opened = new OpenPage(page, this)
    this.pages.push(opened)
    await page.goto(`${this.page}/${query}`, { timeout: LIMIT_MS })
    return opened
  }
}

/** A tab that Chromium really hides. Playwright makes all of its own pages visible. */
export class Tab {
  static async open(browser, url) {
    const root = await browser.newBrowserCDPSession()
    const { browserContextId } = await root.send('Target.createBrowserContext')
    return await new Tab(root, browserContextId).load(url)
  }

  constructor(root, browserContextId) {
    Object.assign(this, { root, browserContextId, answers: new Map(), last: 0 })
  }

  async load(url) {
    const { root, browserContextId, answers } = this
    const { targetId } = await root.send('Target.createTarget', { url, browserContextId })
    const { sessionId } = await root.send('Target.attachToTarget', { targetId, flatten: false })
    Object.assign(this, { targetId, sessionId })
    root.on('Target.receivedMessageFromTarget', (event) => {
      const message = JSON.parse(event.message)
      if (event.sessionId === sessionId) answers.get(message.id)?.(message)
    })
    return this
  }

  /** Opens another tab in front of this one. */
  cover() {
    return new Tab(this.root, this.browserContextId).load('about:blank')
  }

  show() {
    return this.root.send('Target.activateTarget', { targetId: this.targetId })
  }

  close() {
    const { root, browserContextId } = this
    return root.send('Target.disposeBrowserContext', { browserContextId })
  }

  /** Runs a function in the tab. */
  async run(action) {
    const id = (this.last += 1)
    const message = JSON.stringify({
      id,
      method: 'Runtime.evaluate',
      params: { expression: `(${action})()`, awaitPromise: true, returnByValue: true },
    })
    const answer = new Promise((resolve) => this.answers.set(id, resolve))
    await this.root.send('Target.sendMessageToTarget', { sessionId: this.sessionId, message })
    const { result, error } = await answer
    assert.ok(
      !error && !result.exceptionDetails,
      `in the tab: ${JSON.stringify(error ?? result)}`,
    )
    return result.result.value
  }
}

/** A page with everything that it has sent and received. */
class OpenPage {
  constructor(page, stack) {
    this.page = page
    this.stack = stack
    this.texts = []
    this.reading = []
    page.on('request', (request) => {
      const { method, url, headers, body } = {
        method: request.method(),
        url: request.url(),
        headers: JSON.stringify(request.headers()),
        body: request.postData() ?? '',
      }
      this.texts.push(`${method} ${url} ${headers} ${body}`)
    })
    page.on('response', (response) => {
      const text = response.text().catch(() => '')
      const read = text.then((body) => {
        this.texts.push(`${response.url()} ${JSON.stringify(response.headers())} ${body}`)
      })
      this.reading.push(read)
    })
    page.on('console', (message) => this.texts.push(message.text()))
  }

  /** Runs a function in the page. */
  run(action, argument) {
    return this.page.evaluate(action, argument)
  }

  status(expected) {
    return until(`the page's status is ${expected}`, async () => {
      return (await this.page.textContent('#status')) === expected
    })
  }

  /**
   * Waits until the token has expired and the last request failed in this way. The first one
   * can fail in another way: on a busy machine, an answer can come too late to be used.
   */
  expired(kind) {
    return until(`the page's token has expired after a failure of kind ${kind}`, () => {
      return this.run((kind) => {
        const { status, error } = app.source.getSnapshot()
        return status === 'expired' && error?.kind === kind
      }, kind)
    })
  }

  /** Fails if the page has seen a secret or an access token. */
  async assertNoSecrets() {
    await Promise.all(this.reading)
    const { secrets, tokens } = await this.stack.backend()
    const all = this.texts.join('\n')
    assert.ok(
      tokens.some((token) => all.includes(token)),
      'the page has seen a business token',
    )
    for (const secret of secrets) {
      assert.ok(secret.length > 20, 'the backend tells its secrets to this test')
      assert.ok(!all.includes(secret), 'the page has seen a secret or an access token')
    }
    const stored = await this.run(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    )
    assert.ok(!tokens.some((token) => stored.includes(token)), 'the page has stored a token')
  }
}
