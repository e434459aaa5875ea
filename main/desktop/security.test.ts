import assert from 'node:assert/strict';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { APP_PAGE, isAppPage, isAppUrl, serveApp } from './app-protocol.ts';
import { hardenContents, hardenSession, isTrusted, pagePreferences } from './security.ts';
import { FakeContents, FakeEvent, FakeFrame, FakeSession } from './testing/fake-electron.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-desktop-'));
const root = join(folder, 'renderer');
mkdirSync(join(root, 'assets'), { recursive: true });
writeFileSync(join(root, 'index.html'), '<!doctype html><title>Lodge</title>');
writeFileSync(join(root, 'assets', 'app.js'), 'export {};');
writeFileSync(join(root, 'assets', 'data.bin'), 'x');
writeFileSync(join(folder, 'secret.txt'), 'secret');
mkdirSync(join(folder, 'renderer-2'));
writeFileSync(join(folder, 'renderer-2', 'index.html'), 'another');
after(() => rmSync(folder, { recursive: true }));

const get = (url: string, method = 'GET') => serveApp(root, { method, url });

test('the page and its files are served with a strict policy', async () => {
  const page = await get(`${APP_PAGE}#/console/a`);
  assert.equal(page.status, 200);
  assert.match(await page.text(), /<title>Lodge/);
  assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
  const policy = page.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self';/);
  assert.match(policy, /connect-src 'none'/);
  assert.doesNotMatch(policy, /unsafe-eval|\*|http/);
  assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
  const script = await get('lodge://app/assets/app.js');
  assert.equal(script.headers.get('content-type'), 'text/javascript; charset=utf-8');
  assert.equal(await script.text(), 'export {};');
});

test('nothing else is served', async () => {
  for (const url of [
    'lodge://app/../secret.txt',
    'lodge://app/%2e%2e/secret.txt',
    'lodge://app/..%2fsecret.txt',
    'lodge://app/..%5csecret.txt',
    'lodge://app/%2e%2e/renderer-2/index.html',
    'lodge://app/assets/data.bin',
    'lodge://app/assets/',
    'lodge://app/missing.js',
    'lodge://app/index.html%00.js',
  ]) {
    assert.equal((await get(url)).status, 404, url);
  }
  assert.equal((await get('lodge://other/index.html')).status, 403);
  assert.equal((await get('file:///etc/passwd')).status, 403);
  assert.equal((await get('lodge://app/%zz')).status, 400);
  assert.equal((await get(APP_PAGE, 'POST')).status, 405);
  assert.equal(await (await get(APP_PAGE, 'HEAD')).text(), '');
});

test("the app's own addresses are told from others", () => {
  assert.ok(isAppUrl('lodge://app/'));
  assert.ok(isAppPage(`${APP_PAGE}#/console/x`));
  for (const url of [
    'https://app/index.html',
    'lodge://app.evil/index.html',
    'lodge://evil@app/index.html',
    'lodge://app:1/index.html',
    'lodge://app/other.html',
    'lodge://app/index.html?x',
    'about:blank',
    'data:text/html,x',
    '',
  ]) {
    assert.equal(isAppPage(url), false, url);
  }
});

test('pages stay where they are', () => {
  const contents = new FakeContents();
  hardenContents(contents);
  assert.deepEqual(contents.windowOpen?.(), { action: 'deny' });
  const navigate = (event: string, url: string, isMainFrame = true) => {
    const details = new FakeEvent(url, isMainFrame);
    contents.emit(event, details);
    return !details.prevented;
  };
  assert.equal(navigate('will-frame-navigate', 'https://example.org/'), false);
  assert.equal(navigate('will-frame-navigate', 'file:///etc/passwd'), false);
  assert.equal(navigate('will-frame-navigate', APP_PAGE, false), false, 'no frames');
  assert.equal(navigate('will-frame-navigate', `${APP_PAGE}#/console/a`), true, 'reloading');
  assert.equal(navigate('will-redirect', APP_PAGE), false);
  assert.equal(navigate('will-attach-webview', ''), false);
});

test('pages get the permissions of a console and no others; the network is far away', () => {
  const session = new FakeSession();
  hardenSession(session);
  const contents = new FakeContents();
  const request = (permission: string, requestingUrl = APP_PAGE, isMainFrame = true) => {
    let granted: boolean | undefined;
    session.request?.(
      contents,
      permission,
      (decision) => {
        granted = decision;
      },
      { requestingUrl, isMainFrame },
    );
    return granted;
  };
  for (const permission of ['pointerLock', 'fullscreen', 'keyboardLock', 'clipboard-sanitized-write']) {
    assert.equal(request(permission), true, permission);
    assert.equal(session.check?.(null, permission, 'lodge://app/', { isMainFrame: true }), true);
    assert.equal(request(permission, 'https://example.org/'), false);
    assert.equal(request(permission, APP_PAGE, false), false);
    assert.equal(session.check?.(null, permission, 'https://example.org', { isMainFrame: true }), false);
  }
  for (const permission of ['clipboard-read', 'media', 'geolocation', 'notifications', 'openExternal', 'usb', 'hid']) {
    assert.equal(request(permission), false, permission);
    assert.equal(session.check?.(contents, permission, 'lodge://app/', { isMainFrame: true }), false);
  }
  assert.equal(session.device?.(), false);
  assert.deepEqual(session.blocked, ['http://*/*', 'https://*/*', 'ws://*/*', 'wss://*/*', 'file://*/*']);
});

test('only the top frame of our windows, on our page, is listened to', () => {
  const sender = new FakeContents();
  const ours = (id: number) => id === sender.id;
  assert.equal(isTrusted({ sender, senderFrame: new FakeFrame(sender) }, ours), true);
  assert.equal(isTrusted({ sender, senderFrame: null }, ours), false);
  assert.equal(isTrusted({ sender, senderFrame: new FakeFrame(sender, 'https://example.org/') }, ours), false);
  assert.equal(isTrusted({ sender, senderFrame: new FakeFrame(sender, APP_PAGE, {}) }, ours), false);
  assert.equal(
    isTrusted({ sender, senderFrame: new FakeFrame(sender) }, () => false),
    false,
  );
});

test('pages run sandboxed, without Node', () => {
  const preferences = pagePreferences('/preload.cjs');
  assert.equal(preferences.sandbox, true);
  assert.equal(preferences.contextIsolation, true);
  assert.equal(preferences.webSecurity, true);
  for (const off of [
    'nodeIntegration',
    'nodeIntegrationInWorker',
    'nodeIntegrationInSubFrames',
    'webviewTag',
  ] as const) {
    assert.equal(preferences[off], false, off);
  }
});

test('only the entries reach for Electron itself', () => {
  const found = globSync('*.ts', { cwd: import.meta.dirname }).filter((file) =>
    /^import (?!type )[^;]*from 'electron(?:-store|\/\w+)?';/m.test(
      readFileSync(join(import.meta.dirname, file), 'utf8'),
    ),
  );
  assert.deepEqual(found.sort(), ['main.ts', 'preload.ts']);
});
