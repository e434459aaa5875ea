import { fileURLToPath } from 'node:url';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The page is served under a strict Content-Security-Policy: nothing is inlined, nothing comes from elsewhere. */
export default defineConfig({
  root: folder('.'),
  // Relative, so that the same files work over HTTP and from a custom protocol of the desktop shell.
  base: './',
  plugins: [react()],
  build: {
    outDir: folder('../dist/renderer'),
    emptyOutDir: true,
    target: 'es2023',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2000,
  },
  worker: { format: 'es' },
  test: {
    // Generous, for hosts that are busy with other things.
    testTimeout: 30_000,
    environment: 'happy-dom',
    include: ['**/*.test.{ts,tsx}'],
    setupFiles: [folder('./testing/setup.ts')],
  },
});
