import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const source = { 'layerfi-auth-browser': here('layerfi-auth-browser/src/index.ts') }
const react19 = {
  'react-dom': here('react-19/node_modules/react-dom'),
  react: here('react-19/node_modules/react'),
}
// The tests use fake timers. The limit is real time, for a machine that is busy.
const test = {
  environment: 'jsdom',
  restoreMocks: true,
  unstubGlobals: true,
  testTimeout: 60_000,
} as const

export default defineConfig({
  test: {
    projects: [
      {
        test: { ...test, name: 'browser', include: ['layerfi-auth-browser/test/*.test.ts'] },
      },
      {
        resolve: { alias: source },
        test: { ...test, name: 'react-18', include: ['layerfi-auth-react/test/*.test.tsx'] },
      },
      {
        resolve: { alias: { ...source, ...react19 } },
        test: { ...test, name: 'react-19', include: ['layerfi-auth-react/test/*.test.tsx'] },
      },
    ],
  },
})
