/**
 * `npm start [-- --web]`: builds what is stale and opens Lodge: the desktop shell, or where that cannot be, the web
 * shell, with one line that says why. Arguments of `lodge serve` go to the web shell.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildFailed, buildStale } from './build.ts';
import { findCommand, NotAvailable } from './debian.ts';
import { provideFirmware } from './firmware.ts';
import { cacheFolder, projectRoot } from './project.ts';
import { planStart } from './start-plan.ts';

const electronFolder = join(projectRoot, 'node_modules/electron');
/** Remembers that Electron's program could not be fetched, so that not every start waits for that. */
const unavailableMark = join(cacheFolder, 'electron-unavailable');
const RETRY_FETCH_MILLIS = 24 * 3600_000;
const FETCH_MILLIS = 180_000;
/** A desktop shell that fails so soon never came up. */
const COMES_UP_MILLIS = 5000;

const ELECTRON_NAMES: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  win32: 'electron.exe',
  darwin: 'Electron.app/Contents/MacOS/Electron',
};

/** Electron's program, where it is installed. Its folder can be named in ELECTRON_OVERRIDE_DIST_PATH. */
function electronProgram(): string | undefined {
  const named = join(electronFolder, 'path.txt');
  const folder = process.env['ELECTRON_OVERRIDE_DIST_PATH'];
  if (folder === undefined && !existsSync(named)) {
    return undefined;
  }
  const name = existsSync(named)
    ? readFileSync(named, 'utf8').trim()
    : (ELECTRON_NAMES[process.platform] ?? 'electron');
  const path = join(folder ?? join(electronFolder, 'dist'), name);
  return existsSync(path) ? path : undefined;
}

function isFetchable(): boolean {
  const failed = statSync(unavailableMark, { throwIfNoEntry: false })?.mtimeMs;
  return (
    process.env['ELECTRON_SKIP_BINARY_DOWNLOAD'] === undefined &&
    existsSync(join(electronFolder, 'install.js')) &&
    (failed === undefined || Date.now() - failed > RETRY_FETCH_MILLIS)
  );
}

/** Has Electron's own package fetch its program, as it does by itself where install scripts run. */
function fetchElectron(): string | undefined {
  console.log('Fetching the program of Electron, once…');
  spawnSync(process.execPath, [join(electronFolder, 'install.js')], { stdio: 'ignore', timeout: FETCH_MILLIS });
  const program = electronProgram();
  if (program === undefined) {
    mkdirSync(cacheFolder, { recursive: true });
    writeFileSync(unavailableMark, '');
  }
  return program;
}

function findBrowser(): string | undefined {
  const programFiles = process.env['ProgramFiles(x86)'] ?? 'C:\\Program Files (x86)';
  const installed = [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    join(programFiles, 'Microsoft\\Edge\\Application\\msedge.exe'),
  ].filter((path) => existsSync(path));
  const commands = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'microsoft-edge'];
  return installed[0] ?? commands.map(findCommand).find((path) => path !== undefined);
}

/** Passes signals on and settles with the exit code of a child. */
function finished(child: ChildProcess): Promise<number> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // The terminal's Ctrl-C reaches the child by itself.
    process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
  }
  return new Promise((resolve) => {
    child.on('error', () => resolve(1));
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** Undefined when the shell did not come up. */
async function openDesktop(program: string): Promise<number | undefined> {
  buildStale(['desktop']);
  const started = Date.now();
  // With this variable, which terminals inside of Electron apps set, it would be a mere Node.
  const { ELECTRON_RUN_AS_NODE: _, ...environment } = process.env;
  const code = await finished(spawn(program, [projectRoot], { stdio: 'inherit', env: environment }));
  return code !== 0 && Date.now() - started < COMES_UP_MILLIS ? undefined : code;
}

async function openWeb(browser: string | undefined, args: readonly string[]): Promise<number> {
  const port = args.some((argument) => argument.startsWith('--port')) ? [] : ['--port', '0'];
  const child = spawn(process.execPath, [join(projectRoot, 'bin/lodge.js'), 'serve', ...port, ...args], {
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  let heard = '';
  let opened = false;
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    process.stdout.write(text);
    heard += text;
    const url = /\bhttp:\S+(?=\s)/.exec(heard)?.[0];
    if (url !== undefined && !opened) {
      opened = true;
      if (browser !== undefined) {
        spawn(browser, [`--app=${url}`], { stdio: 'ignore', detached: true })
          .on('error', () => {})
          .unref();
      }
    }
  });
  return finished(child);
}

try {
  const args = process.argv.slice(2);
  try {
    provideFirmware();
  } catch (error) {
    if (!(error instanceof NotAvailable)) {
      throw error;
    }
    // Lodge comes up without, and says the same where machines are started.
    console.error(error.message);
  }
  buildStale(['renderer', 'guests']);
  const isLinux = process.platform === 'linux';
  const surroundings = {
    display: !isLinux || Boolean(process.env['DISPLAY']) || Boolean(process.env['WAYLAND_DISPLAY']),
    superuser: isLinux && process.getuid?.() === 0,
    browser: findBrowser(),
    wantsWeb: args.includes('--web'),
  };
  let program = electronProgram();
  let plan = planStart({
    ...surroundings,
    electron: program !== undefined ? 'installed' : isFetchable() ? 'fetchable' : 'missing',
  });
  if (plan.shell === 'desktop') {
    program ??= fetchElectron();
    const code = program === undefined ? undefined : await openDesktop(program);
    if (code === undefined) {
      plan = planStart({ ...surroundings, electron: program === undefined ? 'missing' : 'broken' });
    } else {
      process.exitCode = code;
    }
  }
  if (plan.shell === 'web') {
    if (plan.why !== undefined) {
      console.log(plan.why);
    }
    process.exitCode = await openWeb(
      plan.browser,
      args.filter((argument) => argument !== '--web'),
    );
  }
} catch (error) {
  if (!(error instanceof BuildFailed)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
