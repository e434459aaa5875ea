import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Threads are started by the addresses of their sources; bundled, they stand beside the program that starts them. */
const bundledThread: Plugin = {
  name: 'lodge:bundled-thread',
  enforce: 'pre',
  transform(code, id) {
    return /\/engine\/process\/(start-machine|thread-compiler)\.ts$/.test(id)
      ? { code: code.replace(/'\.\/(machine-thread|compiler-thread)\.ts'/, "'./$1.js'"), map: null }
      : null;
  },
};

/**
 * The programs of the desktop app, each one file (and what they share) without packages beside it:
 * `--mode main` makes the main process, the machine's process and its thread, `--mode preload` the preload script,
 * which is CommonJS because it runs sandboxed. Both go to dist/desktop, as deep below the root as the sources are.
 */
export default defineConfig(({ mode }) => ({
  root: file('.'),
  logLevel: 'warn',
  plugins: [bundledThread],
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
              'machine-thread': file('../../engine/process/machine-thread.ts'),
              'compiler-thread': file('../../engine/process/compiler-thread.ts'),
            },
            output: { format: 'es', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' },
          }
        : {
            input: { preload: file('./preload.ts') },
            output: { format: 'cjs', entryFileNames: '[name].cjs', codeSplitting: false },
          },
  },
}));
