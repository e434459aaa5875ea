#!/usr/bin/env node
// Starts the lodge command. Lodge needs Node 24; under an older one (18 or later) this file starts the Node that npm
// installed with the project and passes everything through. So it is plain JavaScript.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED_MAJOR = 24;

function installedNode() {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve('node/package.json'));
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

if (Number.parseInt(process.versions.node, 10) >= NEEDED_MAJOR) {
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
