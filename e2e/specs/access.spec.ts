import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '../fixtures/lodge.ts';

/** What becomes of a WebSocket that a page opens: whether it opened, and how it was closed after `messages`. */
interface SocketFate {
  readonly opened: boolean;
  readonly code: number;
}

function socketFate([url, messages]: readonly [string, readonly string[]]): Promise<SocketFate> {
  return new Promise((resolve) => {
    let opened = false;
    const socket = new WebSocket(url);
    socket.addEventListener('open', () => {
      opened = true;
      for (const message of messages) {
        socket.send(message);
      }
    });
    socket.addEventListener('close', ({ code }) => resolve({ opened, code }));
    setTimeout(() => resolve({ opened, code: 0 }), 5000);
  });
}

const POLICY_VIOLATION = 1008;
const MESSAGE_TOO_BIG = 1009;
const ABNORMAL = 1006;

test.describe('who may use the web shell', () => {
  test.skip(({ shell }) => shell !== 'web', 'only the web shell listens');

  test('a wrong token and no token are refused', async ({ lodge }) => {
    const { origin } = new URL(lodge.manager.url());
    // Another context has no cookie.
    const browser = lodge.manager.context().browser();
    if (browser === null) {
      throw new Error('the window has no browser');
    }
    const context = await browser.newContext();
    const page = await context.newPage();
    expect((await page.goto(`${origin}/?token=wrong`))?.status()).toBe(401);
    expect((await page.goto(origin))?.status()).toBe(401);
    await expect(page.getByText('Open the address that lodge serve has printed')).toBeVisible();
    const socket = await page.evaluate(socketFate, [`${origin.replace('http', 'ws')}/api/socket`, []] as const);
    expect(socket).toEqual({ opened: false, code: ABNORMAL });
    await context.close();
  });

  test('the token leaves the address, and the cookie cannot be read', async ({ lodge }) => {
    expect(lodge.manager.url()).not.toContain('token');
    expect(await lodge.manager.evaluate(() => document.cookie)).toBe('');
    const cookies = await lodge.manager.context().cookies();
    expect(cookies).toHaveLength(1);
    expect(cookies[0]).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
  });

  test('pages of other origins get no socket, even with the cookie', async ({ lodge, complaints }) => {
    const foreign = createServer((_request, response) => {
      response.setHeader('Content-Type', 'text/html');
      response.end('<!doctype html><title>elsewhere</title>');
    }).listen(0, '127.0.0.1');
    try {
      const page = await lodge.manager.context().newPage();
      await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}/`);
      const { origin } = new URL(lodge.manager.url());
      const fate = await page.evaluate(socketFate, [`${origin.replace('http', 'ws')}/api/socket`, []] as const);
      expect(fate).toEqual({ opened: false, code: ABNORMAL });
      await page.close();
      // The browser says in that page's console that it was refused.
      expect(complaints.splice(0)).toEqual([expect.stringContaining('403')]);
    } finally {
      foreign.close();
    }
  });

  test('malformed and oversized messages end their connection and nothing else', async ({ lodge, manager }) => {
    const url = `${new URL(lodge.manager.url()).origin.replace('http', 'ws')}/api/socket`;
    const fateOf = (message: string) => lodge.manager.evaluate(socketFate, [url, [message]] as const);
    expect(await fateOf('{ not json')).toEqual({ opened: true, code: POLICY_VIOLATION });
    expect(await fateOf('{"kind":"shout"}')).toEqual({ opened: true, code: POLICY_VIOLATION });
    expect(await fateOf('x'.repeat(2 << 20))).toEqual({ opened: true, code: MESSAGE_TOO_BIG });
    // Unknown calls and bad arguments are answered with an error; the window's own connection goes on.
    await expect(manager.tryIt).toBeVisible();
    await manager.button('Settings').click();
    await manager.page.getByLabel('Appearance').selectOption('dark');
    await expect(manager.page.locator('html')).toHaveAttribute('data-theme', 'dark');
  });
});
