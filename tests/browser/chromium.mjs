// What all browser tests share: the browser, and pages that are built only when needed.

import { createHash } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { copyFile, mkdir, readFile, readdir, rename, rm } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))
const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome']
const PACKAGES = ['@layerfi/components', 'esbuild', 'react', 'react-dom']
const LAUNCH_MS = 60_000

/** A reason why no test can run. */
export class SetupError extends Error {}

function findChromium() {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = process.env.CHROMIUM
    ? [process.env.CHROMIUM]
    : CHROMIUM_NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK)
      return candidate
    } catch {
      // The next candidate may exist.
    }
  }
  throw new SetupError(
    `Chromium was not found as ${candidates[0]}; run "make setup-browser", or set CHROMIUM`,
  )
}

async function importInstalled(name) {
  try {
    return await import(name)
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new SetupError(`the npm package ${name} is not installed; run "make setup-browser"`)
  }
}

/** Hash of everything that a built page depends on. */
async function pageVersion(name, mode, modules) {
  const hash = createHash('sha256').update(mode)
  const inputs = ['chromium.mjs', `${name}/index.html`, `${name}/main.jsx`]
  inputs.push(...modules.map((module) => `node_modules/${module}`))
  for (const input of inputs) {
    try {
      hash.update(await readFile(join(HERE, input)))
    } catch {
      throw new SetupError(`${input} is missing; run "make setup-browser"`)
    }
  }
  return hash.digest('hex').slice(0, 16)
}

/**
 * Builds the page in the folder `name`, only if an input has changed. `mode` is React's:
 * `production` or `development`. `modules` are files below node_modules that the page depends
 * on, besides those of `PACKAGES`. Returns the folder of the built page.
 */
export async function buildPage(name, mode, modules = []) {
  const manifests = PACKAGES.map((each) => `${each}/package.json`)
  const version = await pageVersion(name, mode, [...manifests, ...modules])
  const folder = join(HERE, 'build')
  const built = `${name}-${mode}-${version}`
  await mkdir(folder, { recursive: true })
  const present = await readdir(folder)
  if (present.includes(built)) return join(folder, built)

  const { build } = await importInstalled('esbuild')
  // Two builds at the same time do not disturb each other: each has its own folder.
  const unfinished = join(folder, `unfinished-${process.pid}`)
  try {
    await build({
      entryPoints: [join(HERE, name, 'main.jsx')],
      outdir: unfinished,
      bundle: true,
      format: 'esm',
      jsx: 'automatic',
      define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
      logLevel: 'error',
    })
    await copyFile(join(HERE, name, 'index.html'), join(unfinished, 'index.html'))
    for (const old of present.filter((entry) => entry.startsWith(`${name}-${mode}-`))) {
      await rm(join(folder, old), { recursive: true, force: true })
    }
    await rename(unfinished, join(folder, built))
  } catch (error) {
    // Another run has built the same page in the meantime.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
  return join(folder, built)
}

/** Starts Chromium with an empty user-data-dir, which Playwright removes at the end. */
export async function startChromium() {
  const executablePath = findChromium()
  const { chromium } = await importInstalled('playwright-core')
  return await chromium.launch({
    executablePath,
    headless: true,
    chromiumSandbox: false,
    timeout: LAUNCH_MS,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-proxy-server',
      // No request of a component reaches the network.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  })
}
