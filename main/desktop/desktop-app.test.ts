import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { MenuItemConstructorOptions } from 'electron';
import { createApiClient } from '../contract/client.ts';
import { ApiError } from '../contract/errors.ts';
import { failureData } from '../contract/failures.ts';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { type Backend, openBackend } from './backend.ts';
import { DesktopApp, rendererFolder, unpacked } from './desktop-app.ts';
import { createBridge } from './page-bridge.ts';
import { FakeElectron, pageIpc } from './testing/fake-electron.ts';
import { failureText } from './texts.ts';

const root = mkdtempSync(join(tmpdir(), 'lodge-app-'));
const renderer = join(root, 'renderer');
mkdirSync(renderer);
writeFileSync(join(renderer, 'index.html'), '<!doctype html><title>Lodge</title>');
const backends: Backend[] = [];
after(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  rmSync(root, { recursive: true, force: true });
});

let folders = 0;
const newFolder = () => join(root, `data-${++folders}`);

async function start(options: { dataFolder?: string; platform?: string; open?: () => Promise<Backend> } = {}) {
  const { dataFolder = newFolder(), platform = 'linux' } = options;
  const electron = new FakeElectron();
  const processHost = new FakeProcessHost();
  const log: string[] = [];
  const desktop = new DesktopApp(electron, {
    platform,
    preload: '/preload.cjs',
    rendererFolder: renderer,
    openBackend:
      options.open ??
      (async () => {
        const backend = await openBackend({ dataFolder, processHost, log: (line) => log.push(line) });
        backends.push(backend);
        return backend;
      }),
    log: (line) => log.push(line),
  });
  await desktop.run();
  /** The user interface in one of the windows. */
  const page = (index = 0) => {
    const window = electron.windows[index];
    assert.ok(window !== undefined);
    const bridge = createBridge(pageIpc(electron.ipcMain, window.webContents), () => `c${index}-${Math.random()}`);
    return { window, bridge, client: createApiClient(bridge.connect()) };
  };
  return { electron, processHost, log, page, dataFolder };
}

/** Waits until something has come about, for what happens in other turns. */
async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(condition());
}

test('the app comes up with the manager, hardened, and serves its page', async () => {
  const { electron, page } = await start();
  assert.equal(electron.app.sandboxed, true);
  assert.deepEqual(electron.schemes, [
    { scheme: 'lodge', privileges: { standard: true, secure: true, supportFetchAPI: true, codeCache: true } },
  ]);
  assert.equal(electron.windows[0]?.url, 'lodge://app/index.html');
  assert.deepEqual(electron.windows[0]?.webContents.windowOpen?.(), { action: 'deny' });
  assert.equal(electron.session.device?.(), false);
  const answer = await electron.serve?.(new Request('lodge://app/index.html'));
  assert.equal(answer?.status, 200);
  assert.equal((await page().client.call('app.info')).shell, 'desktop');
  electron.app.quit();
  await until(() => electron.app.quits === 1);
});

test('a second instance leaves, and the first one shows itself', async () => {
  const second = new FakeElectron();
  second.app.locked = false;
  await new DesktopApp(second, {
    platform: 'linux',
    preload: '',
    rendererFolder: '',
    openBackend: () => Promise.reject(new Error('is not to be opened')),
    log: () => {},
  }).run();
  assert.equal(second.app.quits, 1);
  assert.equal(second.windows.length, 0);

  const { electron } = await start();
  electron.app.emit('second-instance');
  assert.equal(electron.windows.length, 1);
  assert.equal(electron.windows[0]?.focused, 1);
  electron.app.quit();
});

test('what prevents the start is said, with what to do', async () => {
  const { electron } = await start({
    open: () => Promise.reject(new ApiError({ code: 'data-folder', message: '/x: cannot be used', remedy: 'mend it' })),
  });
  assert.deepEqual(electron.errorBoxes, ['/x: cannot be used\n\nmend it']);
  assert.equal(electron.app.exitCode, 1);
  assert.equal(electron.windows.length, 0);
});

test('failures are told in the language of the system', () => {
  const failed = failureData('data-folder', { folder: '/x', cause: 'EACCES' });
  assert.equal(failureText(failed, ['ko-KR']).split('\n')[0], '/x: 사용할 수 없습니다(권한이 없습니다)');
  assert.equal(failureText(failed, ['fr']).split('\n')[0], '/x: cannot be used (no permission)');
  assert.equal(failureText({ code: 'new', message: 'something else' }, ['ko']), 'something else');
});

test('consoles open for machines that there are; their logs are shown in the file manager', async () => {
  const { electron, page } = await start();
  const { bridge, client } = page();
  bridge.openConsole('nobody');
  assert.equal(electron.windows.length, 1);
  const { id } = await client.call('machines.createDemo');
  bridge.openConsole(id);
  assert.equal(electron.windows[1]?.url, `lodge://app/index.html#/console/${id}`);
  bridge.showLog(id);
  assert.deepEqual(electron.shownInFolder, [], 'it never ran');
  const { logPath } = await client.call('machines.start', { id });
  bridge.showLog(id);
  assert.deepEqual(electron.shownInFolder, [logPath]);
  await client.call('machines.powerOff', { id });
  electron.app.quit();
});

test('file dialogs begin where the field stands', async () => {
  const { electron, page } = await start();
  const { bridge } = page();
  electron.picked = ['/isos/debian.iso'];
  assert.equal(await bridge.pickPath({ want: 'file', title: 'Install media', start: '/isos' }), '/isos/debian.iso');
  electron.picked = [];
  assert.equal(await bridge.pickPath({ want: 'folder', title: 'Folder', start: 'deb' }), undefined);
  assert.deepEqual(electron.opened, [
    { title: 'Install media', defaultPath: '/isos', properties: ['openFile'] },
    { title: 'Folder', properties: ['openDirectory', 'createDirectory'] },
  ]);
  electron.app.quit();
});

test('closing the last window ends the app, and gives the data folder back', async () => {
  const { electron, dataFolder } = await start();
  assert.ok(existsSync(join(dataFolder, 'owner.lock')));
  electron.windows[0]?.close();
  await until(() => electron.app.quits === 1);
  assert.equal(existsSync(join(dataFolder, 'owner.lock')), false);
  assert.deepEqual(electron.questions, []);
  assert.ok(electron.stored.has('manager'));
});

test('on macOS the app stays without windows, and comes back', async () => {
  const { electron } = await start({ platform: 'darwin' });
  electron.windows[0]?.close();
  assert.equal(electron.app.quits, 0);
  electron.app.emit('activate');
  assert.equal(electron.windows.length, 2);
  electron.app.quit();
  await until(() => electron.app.quits === 1);
});

test('running machines go on in the background when people want that, and the app ends with the last one', async () => {
  const { electron, page, processHost } = await start();
  const { client } = page();
  const { id } = await client.call('machines.createDemo');
  await client.call('machines.start', { id });
  electron.answer = async () => 0;
  electron.windows[0]?.close();
  await until(() => electron.questions.length === 1);
  assert.match(electron.questions[0]?.message ?? '', /Tour/);
  assert.deepEqual(electron.questions[0]?.buttons, ['Keep running in the background', 'Power off and quit']);
  assert.equal(electron.app.quits, 0);
  assert.equal(processHost.last.killed, false);
  await new Promise((resolve) => setImmediate(resolve));
  // Started again, it shows the manager; closed again, it asks again.
  electron.app.emit('second-instance');
  assert.equal(electron.windows.length, 2);
  electron.windows[1]?.close();
  await until(() => electron.questions.length === 2);
  processHost.last.say({ kind: 'finished', outcome: { kind: 'powered-off' } });
  processHost.last.end({ code: 0, signal: null });
  await until(() => electron.app.quits === 1);
});

test('quitting with machines running asks, powers them off and closes consoles without asking their pages', async () => {
  const { electron, page, processHost } = await start();
  const { client, bridge } = page();
  const { id } = await client.call('machines.createDemo');
  await client.call('machines.start', { id });
  bridge.openConsole(id);
  page(1).bridge.onCloseRequest(() => {});
  electron.answer = async () => 0;
  electron.app.quit();
  await until(() => electron.questions.length === 1);
  assert.deepEqual(electron.questions[0]?.buttons, ['Cancel', 'Power off and quit']);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(electron.app.quits, 0);
  assert.equal(electron.windows[1]?.gone, false);

  let answer = (_choice: number) => {};
  electron.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  electron.app.quit();
  electron.app.quit();
  assert.equal(electron.questions.length, 2, 'it is asked once');
  answer(1);
  await until(() => electron.app.quits === 1);
  assert.equal(electron.windows[0]?.gone, true);
  assert.equal(electron.windows[1]?.gone, true);
  assert.ok(processHost.last.commands.includes('stop'));
});

test('beside another owner of the machines the app is a front end of that one', async () => {
  const dataFolder = newFolder();
  const processHost = new FakeProcessHost();
  const first = await openBackend({ dataFolder, processHost, log: () => {} });
  // The lock is this process's own, so the one that finds it taken is told by hand.
  const { joinOwner } = await import('../cli/owner.ts');
  const { proxyHandlers } = await import('../services/proxy-handlers.ts');
  const { ownerOf } = await import('../services/owner-lock.ts');
  const owner = ownerOf(dataFolder);
  assert.ok(owner !== undefined);
  const session = await joinOwner(dataFolder, owner, { shell: 'desktop', compressFrames: false });
  const { electron, page } = await start({
    open: async () => ({
      handlers: proxyHandlers(session.client, 'desktop'),
      client: session.client,
      isOwner: false,
      close: () => session.close(),
    }),
  });
  const { client } = page();
  const { id } = await client.call('machines.createDemo');
  await client.call('machines.start', { id });
  assert.equal(processHost.processes.length, 1);
  assert.equal((await client.call('app.info')).shell, 'desktop');
  // Its machines are not ours to end.
  await first.close();
  await until(() => electron.app.quits === 1);
  assert.equal(electron.errorBoxes.length, 1);
  assert.equal(electron.windows[0]?.gone, true);
});

test('menus follow the language and the system', async () => {
  const { electron, page } = await start();
  const labels = () => electron.menu?.map(({ label }) => label);
  assert.deepEqual(labels(), ['File', 'Edit', 'View', 'Window']);
  const { bridge, client } = page();
  bridge.openConsole((await client.call('machines.createDemo')).id);
  await client.call('settings.set', { language: 'ko' });
  assert.deepEqual(labels(), ['파일', '편집', '보기', '창']);
  assert.deepEqual(
    electron.windows.map(({ menu }) => menu),
    [true, false],
    'consoles stay without a menu',
  );
  const window = electron.menu?.[3]?.submenu as MenuItemConstructorOptions[];
  electron.windows[0]?.emit('ready-to-show');
  window[0]?.click?.(...([] as unknown as Parameters<NonNullable<MenuItemConstructorOptions['click']>>));
  assert.equal(electron.windows[0]?.focused, 1);
  electron.app.quit();

  const mac = await start({ platform: 'darwin' });
  assert.deepEqual(
    mac.electron.menu?.map(({ label }) => label),
    ['Lodge', 'File', 'Edit', 'View', 'Window'],
  );
  mac.electron.app.quit();
});

test('programs of other processes stand beside the archive of a packaged app', () => {
  assert.equal(unpacked('/opt/Lodge/app.asar/dist/vm.js'), '/opt/Lodge/app.asar.unpacked/dist/vm.js');
  assert.equal(unpacked('C:\\Lodge\\app.asar\\dist\\vm.js'), 'C:\\Lodge\\app.asar.unpacked\\dist\\vm.js');
  assert.equal(unpacked('/home/me/lodge/dist/vm.js'), '/home/me/lodge/dist/vm.js');
  assert.equal(rendererFolder('/opt/app/dist/desktop'), '/opt/app/dist/renderer');
});
