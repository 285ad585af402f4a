import { defineConfig } from 'vite'

export default defineConfig({
  root: 'page',
  base: './',
  logLevel: 'error',
  esbuild: { jsx: 'automatic' },
  build: { chunkSizeWarningLimit: 10_000, reportCompressedSize: false, minify: false },
})
