// What the tests of the examples share: a program that runs, the emulator's log, and a page
// whose traffic is recorded.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { endOf, idleRounds, pause, until } from './stack.mjs'

const EXAMPLES = join(dirname(fileURLToPath(import.meta.url)), '../../examples')
const PYTHON = process.env.PYTHON ?? 'python3'
export const CLIENT_SECRET = 'emulator-client-secret-not-a-secret'
const JWT = /eyJ[\w-]+\.[\w-]+\.[\w-]+/g
// A page is quiet when it has had no open API call for this time.
const QUIET_MS = 1_000
// A page is still when it has not changed for so many of its idle rounds.
const STILL_ROUNDS = 40

/** A running example with an emulator, and what they have printed. */
export class Demo {
  /** `demo.py` of an example. */
  static async start(example, ...options) {
    const child = spawn(PYTHON, ['demo.py', '--port', '0', ...options], {
      cwd: join(EXAMPLES, example),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const demo = new Demo(child)
    try {
      demo.page = (await demo.line(/^The page +(http\S+)/m))[1]
      demo.console = (await demo.line(/^The console +(http\S+)/m))[1]
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
    return demo
  }

  /** The emulator's command and uvicorn, as the README of an example starts them. */
  static async startServer(example) {
    const options = ['--demo-data', '--rate-limit', 'none']
    const emulator = spawn(PYTHON, ['-m', 'layerfi_auth', 'emulator', '--json', ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const demo = new Demo(emulator)
    try {
      const started = JSON.parse((await demo.line(/^\{.*\}$/m))[0])
      demo.console = started.control_url
      const server = spawn(PYTHON, ['-m', 'uvicorn', 'main:app', '--port', '0'], {
        cwd: join(EXAMPLES, example),
        env: { ...process.env, ...started.variables, SHOP_KEY: 'signs-the-sessions' },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      demo.children.unshift(server)
      demo.read(server.stderr)
      demo.page = (await demo.line(/running on (http\S+)/))[1]
    } catch (error) {
      for (const child of demo.children) child.kill('SIGKILL')
      throw error
    }
    return demo
  }

  constructor(child) {
    this.children = [child]
    this.child = child
    this.output = ''
    this.read(child.stdout)
  }

  read(stream) {
    createInterface({ input: stream }).on('line', (line) => (this.output += `${line}\n`))
  }

  /** Waits until it has printed something. */
  line(pattern) {
    return until(`demo.py prints ${pattern}`, () => {
      assert.equal(this.child.exitCode, null, `demo.py ended with ${this.child.exitCode}`)
      return this.output.match(pattern)
    })
  }

  /** Presses Ctrl-C, and returns the exit code of the first program. */
  async stop() {
    for (const child of this.children) child.kill('SIGINT')
    const codes = await Promise.all(this.children.map((child) => endOf(child, 'the example')))
    return codes[this.children.indexOf(this.child)]
  }

  async emulator(path, body) {
    const method = body === undefined ? 'GET' : 'POST'
    const url = new URL(path, this.console)
    const answer = await fetch(url, { method, body: body && JSON.stringify(body) })
    assert.equal(answer.status, 200, `${method} ${url}`)
    return await answer.json()
  }

  /** The emulator's log. */
  async log() {
    const entries = []
    for (;;) {
      const after = entries.at(-1)?.number ?? 0
      const part = (await this.emulator(`/log?after=${after}&limit=500`)).entries
      if (part.length === 0) return entries
      entries.push(...part)
    }
  }

  /** The calls of the components. */
  async calls() {
    const log = await this.log()
    return log.filter(({ endpoint }) => ['business', 'business_data'].includes(endpoint))
  }

  async mints() {
    return (await this.log()).filter(({ endpoint }) => endpoint === 'auth_token')
  }

  async tokenRequests() {
    return (await this.log()).filter(({ endpoint }) => endpoint === 'token').length
  }

  /** Waits until all calls of the components are answered and no new ones come. */
  async quiet(after = 0) {
    let seen = -1
    let since = Date.now()
    return await until('the components send no more API calls', async () => {
      const calls = await this.calls()
      const finished = calls.filter(({ done }) => done).length
      if (finished !== seen || finished !== calls.length) since = Date.now()
      seen = finished
      return seen > after && Date.now() - since >= QUIET_MS ? calls : undefined
    })
  }

  async fingerprint(credentials) {
    return (await this.emulator('/fingerprint', { credentials })).fingerprint
  }
}

/** A page of an example, with all that it has sent and received. */
export class Visit {
  static async open(browser, url) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
    const page = await context.newPage()
    page.setDefaultTimeout(90_000)
    const visit = new Visit(context, page)
    await page.goto(url)
    return visit
  }

  constructor(context, page) {
    Object.assign(this, { context, page, texts: [], reading: [], asked: 0, problems: [] })
    page.on('request', (request) => {
      const headers = JSON.stringify(request.headers())
      this.texts.push(`${request.url()} ${headers} ${request.postData() ?? ''}`)
      if (new URL(request.url()).pathname === '/layer-token') this.asked += 1
    })
    page.on('response', (response) => {
      const read = response.text().then(
        (body) =>
          this.texts.push(`${response.url()} ${JSON.stringify(response.headers())} ${body}`),
        () => undefined,
      )
      this.reading.push(read)
    })
    page.on('pageerror', (error) => this.problems.push(String(error)))
    page.on('console', (message) => {
      this.texts.push(message.text())
      if (/Content Security Policy/i.test(message.text())) this.problems.push(message.text())
    })
  }

  async signIn(name) {
    await this.page.fill('input[name=name]', name, { timeout: 90_000 })
    await this.page.fill('input[name=password]', `${name}-demo`)
    await this.page.click('form button')
    await this.page.waitForSelector('main', { timeout: 90_000 })
  }

  async signOut() {
    await this.page.click('header button')
    await this.page.waitForSelector('form', { timeout: 90_000 })
  }

  /** What the page shows, when it shows amounts of money and no longer moves. */
  async figures() {
    return await until('the page shows figures', async () => {
      const before = await this.page.innerHTML('main')
      const shows = /\$[1-9][\d,]*\.\d\d/.test(await this.page.innerText('main'))
      if (!shows) return undefined
      await idleRounds(this.page, STILL_ROUNDS)
      const isStill = (await this.page.innerHTML('main')) === before
      return isStill ? await this.page.innerText('main') : undefined
    })
  }

  /** Everything that looks like a token in what the page has sent, received and stored. */
  async tokens() {
    await Promise.all(this.reading)
    const stored = await this.page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    )
    assert.ok(!JWT.test(stored), 'the page has stored a token')
    const all = this.texts.join('\n')
    assert.ok(!all.includes(CLIENT_SECRET), 'the page has seen the client secret')
    return [...new Set(all.match(JWT) ?? [])]
  }
}

export { pause, until }
