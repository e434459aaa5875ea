#!/usr/bin/env node
// Starts the lodge command. Lodge needs Node 24; under an older one (18 or later) this file starts the Node that npm
// installed with the project and passes everything through. So it is plain JavaScript.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED_MAJOR = 24;

function installedNode() {
  try {
    const folder = dirname(nodeModule.createRequire(import.meta.url).resolve('node/package.json'));
    return ['bin/node', 'bin/node.exe'].map((name) => join(folder, name)).find((path) => existsSync(path));
  } catch {
    return undefined;
  }
}

function startWith(node) {
  const child = spawn(node, [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, LODGE_LAUNCHED: '1' },
  });
  const forward = (signal) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) {
    process.on(signal, forward);
  }
  child.on('error', (error) => {
    process.stderr.write(`lodge: cannot start ${node} (${error.code ?? error.message}); run npm ci again\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exit(code ?? 1);
    }
    for (const name of signals) {
      process.off(name, forward);
    }
    // Ends the way the child did, so that whoever waits sees the same; where that has no effect, by its number.
    process.kill(process.pid, signal);
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 100);
  });
}

/** Where what Node makes of the sources is kept, so that the next start need not compile them again. */
function compileCache() {
  const { LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  const base =
    process.platform === 'win32' && LOCALAPPDATA
      ? LOCALAPPDATA
      : process.platform === 'darwin'
        ? join(homedir(), 'Library', 'Caches')
        : XDG_CACHE_HOME || join(homedir(), '.cache');
  const folders = [base, join(base, 'lodge'), join(base, 'lodge', 'node')];
  for (const folder of folders) {
    // One by one: Node's own way to make parents never ends where none can be made, as in /proc.
    if (!existsSync(folder)) {
      mkdirSync(folder, { mode: 0o700 });
    }
  }
  return folders.at(-1);
}

if (Number.parseInt(process.versions.node, 10) >= NEEDED_MAJOR) {
  try {
    const folder = process.env.NODE_COMPILE_CACHE ?? compileCache();
    // In the environment as well: threads and processes of this one find it there.
    process.env.NODE_COMPILE_CACHE = folder;
    nodeModule.enableCompileCache(folder);
  } catch {
    // No place to keep it: everything is compiled anew each time, which takes a few tenths of a second.
  }
  const { main } = await import('../main/cli/main.ts');
  await main();
} else {
  const node = installedNode();
  if (node === undefined || process.env.LODGE_LAUNCHED === '1') {
    process.stderr.write(
      `lodge: needs Node ${NEEDED_MAJOR} or newer, and this is ${process.version}; run npm ci, which installs one\n`,
    );
    process.exit(1);
  }
  startWith(node);
}
