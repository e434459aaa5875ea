import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DISPLAY, FakeElectron } from './testing/fake-electron.ts';
import { WindowPlacements } from './window-placement.ts';
import { Windows } from './windows.ts';

function setUp() {
  const electron = new FakeElectron();
  const placements = new WindowPlacements(electron.placements(), electron.screen());
  const gone: { reason: string; reload: () => void }[] = [];
  const windows = new Windows({
    create: electron.createWindow,
    placements,
    preload: '/preload.cjs',
    isDark: () => true,
    pageGone: (reason, reload) => gone.push({ reason, reload }),
  });
  const opened = (index: number) => {
    const window = electron.windows[index];
    assert.ok(window !== undefined);
    return window;
  };
  return { electron, placements, windows, opened, gone };
}

test('one manager and one window for each machine; a second wish brings it to the front', () => {
  const { windows, opened, electron } = setUp();
  windows.openManager();
  windows.openConsole('a/b?');
  windows.openConsole('other');
  assert.deepEqual(
    electron.windows.map(({ url }) => url),
    ['lodge://app/index.html', 'lodge://app/index.html#/console/a%2Fb%3F', 'lodge://app/index.html#/console/other'],
  );
  opened(1).minimized = true;
  windows.openConsole('a/b?');
  assert.equal(electron.windows.length, 3);
  assert.equal(opened(1).minimized, false);
  assert.equal(opened(1).focused, 1);
  opened(1).close();
  windows.openConsole('a/b?');
  assert.equal(electron.windows.length, 4);
  assert.equal(windows.count, 3);
});

test('consoles have no menu that could take keys from the guest', () => {
  const { windows, opened } = setUp();
  windows.openManager();
  windows.openConsole('m');
  assert.equal(opened(0).menu, true);
  assert.equal(opened(0).webContents.ignoresMenu, false);
  assert.equal(opened(1).menu, false);
  assert.equal(opened(1).webContents.ignoresMenu, true);
});

test('windows are shown once they have something to show, on the page preferences of the app', () => {
  const { windows, opened } = setUp();
  windows.openManager();
  assert.equal(opened(0).options.show, false);
  assert.equal(opened(0).options.webPreferences?.sandbox, true);
  assert.equal(opened(0).options.webPreferences?.preload, '/preload.cjs');
  assert.equal(opened(0).shown, 0);
  opened(0).emit('ready-to-show');
  assert.equal(opened(0).shown, 1);
});

test('a page that wants to be asked is asked before its window closes, unless it hangs or is gone', () => {
  const { windows, opened, gone } = setUp();
  windows.openConsole('m');
  const window = opened(0);
  const { id, sent } = window.webContents;
  windows.guard(id, true);
  window.close();
  assert.equal(window.gone, false);
  assert.deepEqual(sent, [{ kind: 'close-request' }]);
  window.emit('unresponsive');
  window.emit('responsive');
  window.close();
  assert.equal(window.gone, false);
  windows.close(id);
  assert.equal(window.gone, true);

  windows.openConsole('m');
  windows.guard(opened(1).webContents.id, true);
  opened(1).emit('unresponsive');
  opened(1).close();
  assert.equal(opened(1).gone, true);

  windows.openConsole('m');
  windows.guard(opened(2).webContents.id, true);
  opened(2).webContents.emit('render-process-gone', {}, { reason: 'crashed', exitCode: 11 });
  assert.equal(gone[0]?.reason, 'crashed, exit code 11');
  gone[0]?.reload();
  assert.equal(opened(2).webContents.reloads, 1);
  opened(2).close();
  assert.equal(opened(2).gone, true);
});

test('a window opens where it was closed', () => {
  const { windows, opened } = setUp();
  windows.openConsole('my.machine');
  assert.equal(opened(0).options.x, undefined);
  opened(0).bounds = { x: 100, y: 50, width: 900, height: 700 };
  opened(0).maximized = true;
  opened(0).close();
  windows.openConsole('my.machine');
  const { x, y, width, height } = opened(1).options;
  assert.deepEqual({ x, y, width, height }, { x: 100, y: 50, width: 900, height: 700 });
  opened(1).emit('ready-to-show');
  assert.equal(opened(1).maximized, true);
});

test('a window that would be off every screen, or whose record is nonsense, opens in the middle', () => {
  const { placements, electron } = setUp();
  const size = { width: 800, height: 600 };
  const record = { x: 100, y: 100, width: 640, height: 480, maximized: false };
  electron.stored.set('on', record);
  assert.deepEqual(placements.opening('on', size), record);
  for (const away of [{ x: 5000 }, { x: -600 }, { y: 1030 }, { y: -300 }]) {
    electron.stored.set('off', { ...record, ...away });
    assert.deepEqual(placements.opening('off', size), { width: 640, height: 480, maximized: false }, `${away}`);
  }
  electron.displays = [DISPLAY, { x: 1920, y: -200, width: 1280, height: 1024 }];
  electron.stored.set('second', { ...record, x: 2000, y: -150, width: 3000, height: 3000 });
  assert.deepEqual(placements.opening('second', size), {
    x: 2000,
    y: -150,
    width: 1280,
    height: 1024,
    maximized: false,
  });
  for (const nonsense of [null, 7, {}, { ...record, width: -1 }, { ...record, x: 'left' }, { ...record, y: 1e9 }]) {
    electron.stored.set('bad', nonsense);
    assert.deepEqual(placements.opening('bad', size), { ...size, maximized: false });
  }
  assert.deepEqual(placements.opening('new', { width: 9000, height: 9000 }), {
    width: 1920,
    height: 1040,
    maximized: false,
  });
});
