// Uses the emulator's console in headless Chromium, as a person with a keyboard would.
//
//   node console.mjs < setup.json
//
// `setup.json` is {control_url, secret, tokens, shots}. The console must show neither the
// secret nor the tokens. With `shots`, a folder, it saves pictures of the page there. The
// script prints one line per check, and exits with 1 if one fails.

import { createServer } from 'node:http'
import { join } from 'node:path'

import { startChromium } from './chromium.mjs'

const WAIT_MS = 60_000
const ALL_MS = 240_000

let failures = 0

async function check(name, run) {
  try {
    await run()
    console.log(`ok ${name}`)
  } catch (error) {
    failures += 1
    console.log(`FAILED ${name}: ${String(error.message).replaceAll(/\s+/g, ' ')}`)
  }
}

function expect(condition, text) {
  if (!condition) throw new Error(text)
}

/** Waits until `condition` returns something, and returns it. */
async function until(what, condition) {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS / 1000} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Runs in the page: the lowest contrast between a text and what is behind it. */
function lowestContrast() {
  const numbers = (color) => color.match(/[\d.]+/g).map(Number)
  const luminance = (color) => {
    const [r, g, b] = numbers(color).map((value) => {
      const share = value / 255
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const background = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor
      if ((numbers(color)[3] ?? 1) > 0) return color
    }
    return 'rgb(255, 255, 255)'
  }
  let lowest = { ratio: 21, text: '' }
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].find((child) => child.nodeType === 3 && child.data.trim())
    if (!text || node.disabled || node.offsetParent === null) continue
    const [one, two] = [getComputedStyle(node).color, background(node)].map(luminance)
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)
    if (ratio < lowest.ratio) lowest = { ratio, text: text.data.trim() }
  }
  return lowest
}

async function readSetup() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks).toString())
}

async function main() {
  const { control_url: control, secret, tokens, shots } = await readSetup()
  const command = async (method, path, body) => {
    const response = await fetch(control + path, { method, body: body && JSON.stringify(body) })
    return await response.json()
  }
  const browser = await startChromium()
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
    const problems = []
    const otherHosts = []
    page.on('pageerror', (error) => problems.push(String(error)))
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text())
    })
    page.on('request', (request) => {
      if (!request.url().startsWith(control) && !request.url().startsWith('data:')) {
        otherHosts.push(request.url())
      }
    })
    await page.goto(`${control}/`)
    const bodyText = () => page.evaluate(() => document.body.innerText)
    /** Presses a key until the element with this accessible name has the focus. */
    const tabTo = async (name) => {
      for (let presses = 0; presses < 200; presses += 1) {
        await page.keyboard.press('Tab')
        const focused = await page.evaluate(() => {
          const { activeElement: node } = document
          const text = node.labels?.[0]?.innerText.split('\n')[0] ?? node.innerText
          return node.getAttribute('aria-label') ?? text
        })
        if (focused?.trim() === name) return
      }
      throw new Error(`the Tab key does not reach ${name}`)
    }

    await check('requests and tokens appear', async () => {
      await until('a row per request', async () => (await page.locator('#log tr').count()) >= 3)
      await until(
        'a row per token',
        async () => (await page.locator('#tokens tr').count()) === 2,
      )
      const text = await bodyText()
      expect(text.includes('live'), 'the page does not say that it is live')
      expect(/#2 business/.test(text), 'the business token is not listed')
      expect(/whoami/.test(text), 'the request is not listed')
      // The endpoint and the number of the token that was used.
      const row = await page.locator('#log tr', { hasText: '/whoami' }).first().innerText()
      expect(row.includes('200') && row.includes('#1 access'), `wrong row: ${row}`)
    })

    await check('a new request appears by itself', async () => {
      const before = await page.locator('#log tr').count()
      const { api_url: api } = await command('GET', '/')
      await fetch(`${api}/nothing/here`)
      await until('the new row', async () => (await page.locator('#log tr').count()) > before)
      expect((await page.locator('#log tr').first().innerText()).includes('401'), 'no status')
    })

    await check('a token is revoked with the keyboard, and the focus stays', async () => {
      await page.locator('#h-tokens').click()
      await tabTo('Revoke token 2')
      await page.waitForTimeout(2500)
      const focused = await page.evaluate(() =>
        document.activeElement.getAttribute('aria-label'),
      )
      expect(focused === 'Revoke token 2', `the focus moved to ${focused}`)
      await page.keyboard.press('Enter')
      await until(
        'the token is revoked',
        async () =>
          (await command('GET', '/tokens')).tokens.find(({ number }) => number === 2).revoked,
      )
      await until('the page says so', async () =>
        (await bodyText()).includes('Token 2 revoked'),
      )
    })

    await check('a fault is added and cleared with the keyboard', async () => {
      await page.locator('#h-faults').click()
      await tabTo('Where')
      await page.keyboard.type('reports/balance-sheet')
      await tabTo('until removed')
      await page.keyboard.press('Space')
      await tabTo('Add fault')
      await page.keyboard.press('Enter')
      const { fault } = await until(
        'the fault',
        async () => (await command('GET', '/faults')).faults[0],
      )
      expect(
        fault.resource === 'reports/balance-sheet' &&
          fault.status === 503 &&
          fault.times === 'forever',
        `wrong fault: ${JSON.stringify(fault)}`,
      )
      await until('it is listed', async () => (await page.locator('#faults li').count()) === 1)
      await page.getByRole('button', { name: 'Clear all faults' }).press('Enter')
      await until('no fault', async () => (await command('GET', '/faults')).faults.length === 0)
    })

    await check('an invalid fault is refused with its reason', async () => {
      await page.getByText('Add a fault as JSON').click()
      await page.locator('#f-json').fill('{"statsu": 503}')
      await page.getByRole('button', { name: 'Add fault from JSON' }).press('Enter')
      await until('the reason', async () =>
        (await bodyText()).includes('unknown field `statsu`'),
      )
    })

    await check('the clock is moved, and tokens expire', async () => {
      const before = (await command('GET', '/clock')).now_ms
      await page.getByRole('button', { name: '+1 day' }).press('Enter')
      await until(
        'the clock',
        async () => (await command('GET', '/clock')).now_ms >= before + 86_400_000,
      )
      await until('the token', async () =>
        (await page.locator('#tokens').innerText()).includes('expired'),
      )
      await page.getByRole('button', { name: 'Stop the clock' }).press('Enter')
      await until('a stopped clock', async () => (await command('GET', '/clock')).stopped)
    })

    await check('a secret is rotated and not shown', async () => {
      await page.getByLabel('New secret').fill(`${secret}-new`)
      await page.getByRole('button', { name: 'Rotate secret' }).press('Enter')
      await until(
        'the new secret',
        async () =>
          (await command('GET', '/credentials')).clients[0].client_secret === `${secret}-new`,
      )
      expect(
        (await page.getByLabel('New secret').inputValue()) === '',
        'the field is not empty',
      )
    })

    await check('the filter and the pause work', async () => {
      await page.getByLabel('Show only').fill('whoami')
      await until('only such rows', async () => {
        const rows = await page.locator('#log tr').allInnerTexts()
        return rows.length > 0 && rows.every((row) => row.includes('whoami'))
      })
      await page.getByLabel('Show only').fill('')
      await page.getByRole('button', { name: 'Pause' }).press('Enter')
      await until('the state', async () => (await bodyText()).includes('paused'))
      await page.getByRole('button', { name: 'Continue' }).press('Enter')
      await until('the state', async () => (await bodyText()).includes('live'))
    })

    await check('no secret and no token is in the page', async () => {
      const html = await page.content()
      for (const text of [secret, ...tokens]) expect(!html.includes(text), 'the page shows one')
    })

    await check(
      'the texts can be read in light and dark, on a desktop and on a phone',
      async () => {
        const backgrounds = new Set()
        for (const colorScheme of ['light', 'dark']) {
          for (const [device, width, height] of [
            ['desktop', 1280, 900],
            ['phone', 360, 740],
          ]) {
            await page.emulateMedia({ colorScheme })
            await page.setViewportSize({ width, height })
            if (shots) {
              const path = join(shots, `console-${device}-${colorScheme}.png`)
              await page.screenshot({ path, fullPage: device === 'phone' })
            }
            const { ratio, text } = await page.evaluate(lowestContrast)
            expect(
              ratio >= 4.5,
              `contrast ${ratio.toFixed(2)} of "${text}", ${colorScheme}, ${device}`,
            )
            const overflow = await page.evaluate(
              () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
            )
            expect(overflow <= 0, `the page is ${overflow} px wider than the ${device}`)
            backgrounds.add(
              await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
            )
          }
        }
        expect(backgrounds.size === 2, 'light and dark are the same')
      },
    )

    await check('the page asked no other host and had no error', async () => {
      expect(otherHosts.length === 0, `another host: ${otherHosts[0]}`)
      expect(
        problems.filter((text) => !text.includes('400')).length === 0,
        `error: ${problems}`,
      )
    })

    await check('a page of another origin cannot use the control API', async () => {
      const server = createServer((_, response) => {
        response.writeHead(200, { 'content-type': 'text/html' }).end('<p>another page</p>')
      })
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      try {
        await command('POST', '/faults', { status: 500, times: 'forever' })
        const other = await browser.newPage()
        await other.goto(`http://127.0.0.1:${server.address().port}/`)
        const read = await other.evaluate(async (url) => {
          const attempts = [
            ['/reset', { method: 'POST', mode: 'no-cors', body: '{}' }],
            ['/faults', { method: 'DELETE' }],
            ['/shutdown', { method: 'POST', mode: 'no-cors' }],
            ['/snapshot', {}],
            ['/credentials', {}],
          ]
          const results = []
          for (const [path, options] of attempts) {
            results.push(
              await fetch(url + path, options).then(
                (done) => done.text(),
                () => '',
              ),
            )
          }
          return results.join('')
        }, control)
        expect(read === '', `the other page could read: ${read}`)
        const { faults } = await command('GET', '/faults')
        expect(faults.length === 1, 'the other page removed the fault')
        await other.goto(`data:text/html,<iframe src="${control}/"></iframe>`)
        await other.waitForTimeout(1000)
        const framed = await Promise.all(
          other
            .frames()
            .slice(1)
            .map((frame) => frame.content()),
        )
        expect(
          !framed.join('').includes('Layer emulator'),
          'another page can frame the console',
        )
      } finally {
        server.closeAllConnections()
        server.close()
      }
    })

    await check('a stopped emulator is shown as such', async () => {
      await command('POST', '/shutdown')
      await until('the state', async () => (await bodyText()).includes('not reachable'))
    })
  } finally {
    await browser.close()
  }
  if (failures > 0) process.exitCode = 1
}

// Chromium ends with this process: it is controlled through a pipe and stops when it closes.
setTimeout(() => {
  console.error(`console.mjs: not finished after ${ALL_MS / 1000} s`)
  process.exit(2)
}, ALL_MS).unref()

main().catch((error) => {
  console.error(`console.mjs: ${error.stack}`)
  process.exitCode = 2
})
