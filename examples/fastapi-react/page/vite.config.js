import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

const backend = 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [react()],
  build: { chunkSizeWarningLimit: 8_000 },
  // For `npm run dev`: the page's own origin passes these calls on, so cookies work.
  server: {
    proxy: {
      '/layer-token': backend,
      '/me': backend,
      '/sign-in': backend,
      '/sign-out': backend,
    },
  },
})
