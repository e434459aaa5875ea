import { globSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The programs of a machine's threads, by their names. */
const threads = Object.fromEntries(
  globSync(['process/*-thread.ts', 'backends/*/*-thread.ts'], { cwd: file('../../engine') }).map((path) => [
    basename(path, '.ts'),
    file(`../../engine/${path}`),
  ]),
);

/**
 * Files that programs find by the address of their source: a thread's program, bundled, stands beside the one that
 * starts it, and the native addon stays where it was built.
 */
const addressesOfFiles: Plugin = {
  name: 'lodge:addresses-of-files',
  enforce: 'pre',
  transform(code, id) {
    if (id.includes('/engine/process/') || id.includes('/engine/backends/')) {
      return { code: code.replace(/(new URL\('\.\/[a-z-]+-thread)\.ts'/g, "$1.js'"), map: null };
    }
    return id.endsWith('/native/index.ts')
      ? { code: code.replace("new URL('build/", "new URL('../../native/build/"), map: null }
      : null;
  },
};

/**
 * The programs of the desktop app, each one file (and what they share) without packages beside it:
 * `--mode main` makes the main process, the machine's process and its threads, `--mode preload` the preload script,
 * which is CommonJS because it runs sandboxed. Both go to dist/desktop, as deep below the root as the sources are.
 */
export default defineConfig(({ mode }) => ({
  root: file('.'),
  logLevel: 'warn',
  plugins: [addressesOfFiles],
  ssr: { noExternal: true, external: ['electron'] },
  build: {
    ssr: true,
    target: 'node24',
    outDir: file('../../dist/desktop'),
    emptyOutDir: mode === 'main',
    minify: false,
    rolldownOptions:
      mode === 'main'
        ? {
            input: {
              main: file('./main.ts'),
              'vm-process': file('../../engine/process/vm-process.ts'),
              ...threads,
            },
            output: { format: 'es', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' },
          }
        : {
            input: { preload: file('./preload.ts') },
            output: { format: 'cjs', entryFileNames: '[name].cjs', codeSplitting: false },
          },
  },
}));
