import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { documentScreen, expect, expectAccessible, keepScreen, test } from '../fixtures/lodge.ts';
import { MachineSettingsPage } from '../pages/machine-settings-page.ts';
import type { ManagerPage } from '../pages/manager-page.ts';

/** What is in a machine's machine.json. */
function stored(home: string, name: string) {
  return JSON.parse(readFileSync(join(home, 'machines', name, 'machine.json'), 'utf8'));
}

async function makeDebian(manager: ManagerPage): Promise<void> {
  const wizard = await manager.newMachine();
  await wizard.field('Name').fill('Server');
  await wizard.field('Guest system').selectOption({ label: 'Debian' });
  await wizard.next();
  await expect(wizard.field('Network')).toHaveValue('nat');
  await wizard.next();
  await wizard.field('Size (GB)').fill('0.01');
  await wizard.next();
  await expect(wizard.dialog.getByText('NAT, virtio')).toBeVisible();
  await wizard.create();
}

async function openSettings(manager: ManagerPage): Promise<MachineSettingsPage> {
  await manager.button('Edit settings').click();
  return new MachineSettingsPage(manager.page);
}

test('disks, network and shared folders of a machine are changed, and shown in its details', async ({
  manager,
  home,
}) => {
  const { page } = manager;
  await makeDebian(manager);
  const folder = join(home, 'docs');
  mkdirSync(folder);
  const image = join(home, 'data.img');
  writeFileSync(image, new Uint8Array(1 << 20));

  const settings = await openSettings(manager);
  await settings.show('Storage');
  await settings.button('Add a disk').click();
  await settings.field('Disk image').last().fill(join(home, 'missing.img'));
  await settings.field('Bus').nth(1).selectOption('scsi');
  await settings.show('Network');
  await settings.button('Add a forward').click();
  await settings.field('Host port').fill('2222');
  await settings.field('Guest port').fill('22');
  await settings.show('Shared folders');
  await settings.button('Add a folder').click();
  await settings.field('Name').fill('docs');
  await settings.field('Folder').fill(folder);
  await settings.show('System');

  // What the services refuse is shown on its tab, beside its field.
  await settings.button('Save').click();
  await expect(settings.tab('Storage')).toHaveAttribute('aria-selected', 'true');
  await expect(settings.field('Disk image').last()).toBeFocused();
  await expect(settings.dialog.getByText(/missing\.img: there is no such file/)).toBeVisible();
  await expectAccessible(page);
  expect(stored(home, 'Server').disks).toHaveLength(1);

  await settings.field('Disk image').last().fill(image);
  await settings.button('Save').click();
  await settings.dialog.waitFor({ state: 'hidden' });
  const { disks, network, shares } = stored(home, 'Server');
  expect(disks.map(({ bus, path }: { bus: string; path: string }) => [bus, path])).toEqual([
    ['virtio', 'disk.img'],
    ['scsi', image],
  ]);
  expect(network.forwards).toHaveLength(1);
  expect(shares).toEqual([{ name: 'docs', path: folder, readOnly: false }]);
  await expect(page.getByText('TCP 2222 → 22')).toBeVisible();
  await expect(page.getByText('SCSI (virtio)')).toBeVisible();
  await expectAccessible(page);
  await documentScreen(page, 'manager-details');
  await keepScreen(page, 'details');

  await manager.button('Edit settings').click();
  await settings.show('Storage');
  await settings.button('New disk').click();
  await settings.field('Size (GB)').fill('0.02');
  await keepScreen(page, 'new-disk');
  await settings.button('Save').click();
  await settings.dialog.waitFor({ state: 'hidden' });
  expect(stored(home, 'Server').disks.at(-1)).toMatchObject({ path: 'disk-2.img', bus: 'virtio', port: 1 });
  await expect(page.getByText('disk-2.img')).toBeVisible();
});

test('the dialog is used by keyboard alone', async ({ manager, home }) => {
  const { page } = manager;
  await makeDebian(manager);
  await manager.button('Edit settings').focus();
  await page.keyboard.press('Enter');
  const settings = new MachineSettingsPage(page);
  await settings.tab('System').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(settings.tab('Network')).toHaveAttribute('aria-selected', 'true');
  // Into the panel, over the choice of networks, to the cable.
  await settings.dialog.getByRole('radio', { name: 'NAT' }).focus();
  await page.keyboard.press('Tab');
  await expect(settings.field('The network cable is plugged in')).toBeFocused();
  await page.keyboard.press('Space');
  await page.keyboard.press('Tab');
  await expect(settings.button('Add a forward')).toBeFocused();
  await page.keyboard.press('Enter');
  await settings.field('Host port').focus();
  await page.keyboard.type('8080');
  await page.keyboard.press('Tab');
  await page.keyboard.type('80');
  await page.keyboard.press('Enter');
  await settings.dialog.waitFor({ state: 'hidden' });
  await expect(manager.button('Edit settings')).toBeFocused();
  const { connected, forwards } = stored(home, 'Server').network;
  expect([connected, forwards[0].hostPort]).toEqual([false, 8080]);
  await manager.button('Edit settings').click();
  await page.keyboard.press('Escape');
  await settings.dialog.waitFor({ state: 'hidden' });
});

test('while the machine runs, forwards are added, the cable is pulled, and the rest is locked', async ({
  manager,
  home,
}) => {
  const { page } = manager;
  await makeDebian(manager);
  const console = await manager.start('Server');
  await expect(manager.machine('Server', 'Running')).toBeVisible();

  const occupied = await listen();
  const { port } = occupied.address() as { port: number };
  await console.choose('Devices', 'Forwarded ports…');
  const settings = new MachineSettingsPage(console.page);
  await expect(settings.dialog.getByText(/The machine is running\. What is greyed out/)).toBeVisible();
  await expect(settings.field('Network card')).toBeDisabled();
  await settings.button('Add a forward').click();
  await settings.field('Host port').fill(String(port));
  await settings.field('Guest port').fill('22');
  await settings.button('Save').click();
  await expect(settings.dialog.getByText(/another program listens there already/)).toBeVisible();
  await expectAccessible(console.page);
  expect(stored(home, 'Server').network.forwards).toEqual([]);
  await new Promise<void>((resolve) => {
    occupied.close(() => resolve());
  });
  await settings.button('Save').click();
  await settings.dialog.waitFor({ state: 'hidden' });
  expect(stored(home, 'Server').network.forwards).toHaveLength(1);
  await expect(console.page.getByRole('button', { name: `Network: NAT, TCP ${port} → 22` })).toBeVisible();

  await console.choose('Devices', 'Pull the network cable out');
  await expect(console.page.getByRole('button', { name: 'Network: cable not plugged in' })).toBeVisible();
  await keepScreen(console.page, 'console-unplugged');
  expect(stored(home, 'Server').network.connected).toBe(false);
  await expectAccessible(console.page);

  await page.bringToFront();
  await manager.button('Edit settings').click();
  const again = new MachineSettingsPage(page);
  await expect(again.field('Memory (MB)')).toBeDisabled();
  await keepScreen(page, 'running');
  await expect(again.field('Memory for the guest now (MB)')).toBeEnabled();
  await again.field('Memory for the guest now (MB)').fill('99999');
  await again.button('Save').click();
  await expect(again.field('Memory for the guest now (MB)')).toHaveAttribute('aria-invalid', 'true');
  await again.field('Memory for the guest now (MB)').fill('256');
  await again.button('Save').click();
  await again.dialog.waitFor({ state: 'hidden' });
  await manager.powerOff('Server');
});

test('a machine whose disk is full says so in both windows, and can be resumed', async ({ manager, lodge }) => {
  test.skip(lodge.kind !== 'web', 'the connection of the desktop shell cannot be tampered with');
  const { page } = manager;
  await makeDebian(manager);
  // Nothing fills a disk without privileges, so what the services say is changed on its way.
  let asked = '';
  const tamper = async (target: typeof page) =>
    target.routeWebSocket(/./, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((message) => {
        asked = String(message).includes('machines.resume') ? 'resume' : asked;
        server.send(message);
      });
      server.onMessage((message) => socket.send(typeof message === 'string' ? withTrouble(message) : message));
    });
  await tamper(page);
  await page.reload();
  await expect(page.getByText('The machine waits for its disk')).toBeVisible();
  await expectAccessible(page);
  await keepScreen(page, 'trouble-manager');
  await page.getByRole('alert').getByRole('button', { name: 'Resume' }).click();
  await expect.poll(() => asked).toBe('resume');
});

/** A message about machines, all of which now wait for their disks. */
function withTrouble(message: string): string {
  return message.replaceAll(
    '"trouble":null',
    `"trouble":${JSON.stringify({
      code: 'disk-trouble',
      message: '/machines/Server/disk.img: cannot be written because the host has no space left',
      remedy: 'free some space; the machine then goes on by itself',
      details: { reason: 'no-space', path: '/machines/Server/disk.img' },
    })}`,
  );
}

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

for (const [locale, colorScheme] of [
  ['en-US', 'light'],
  ['en-US', 'dark'],
  ['ko-KR', 'light'],
] as const) {
  test.describe(`${locale}, ${colorScheme}`, () => {
    test.use({ locale, colorScheme });

    test('every tab of a machine’s settings is accessible and fits', async ({ manager }) => {
      const { page } = manager;
      const korean = locale === 'ko-KR';
      const say = (en: string, ko: string) => (korean ? ko : en);
      await page.getByRole('button', { name: say('New machine', '새 가상 머신') }).click();
      const wizard = page.getByRole('dialog');
      await wizard.getByLabel(say('Name', '이름'), { exact: true }).fill('Server');
      await wizard.getByLabel(say('Guest system', '게스트 운영 체제')).selectOption({ label: 'Debian' });
      for (let step = 0; step < 3; step++) {
        await wizard.getByRole('button', { name: say('Next', '다음') }).click();
      }
      await expectAccessible(page);
      await wizard.getByRole('button', { name: say('Create', '만들기'), exact: true }).click();
      await wizard.waitFor({ state: 'hidden' });
      await page.getByRole('button', { name: say('Edit settings', '설정 편집') }).click();
      const settings = new MachineSettingsPage(page);
      for (const [tab, name, add] of [
        ['system', say('System', '시스템'), undefined],
        ['display', say('Display and sound', '화면 및 소리'), undefined],
        ['storage', say('Storage', '저장소'), say('Add a disk', '디스크 추가')],
        ['network', say('Network', '네트워크'), say('Add a forward', '포트 전달 추가')],
        ['shares', say('Shared folders', '공유 폴더'), say('Add a folder', '폴더 추가')],
        ['accelerator', say('Accelerator', '가속기'), undefined],
      ] as const) {
        await settings.show(name);
        if (add !== undefined) {
          await settings.button(add).click();
        }
        await expectAccessible(page);
        const body = settings.dialog.locator('.machine-settings__panels');
        expect(await body.evaluate((element) => element.scrollWidth - element.clientWidth), name).toBeLessThanOrEqual(
          0,
        );
        await keepScreen(page, `${locale}-${colorScheme}-${tab}`);
      }
      await settings.button(say('Save', '저장')).click();
      await expect(settings.tab(say('Storage', '저장소'))).toHaveAttribute('aria-selected', 'true');
      await expectAccessible(page);
      await keepScreen(page, `${locale}-${colorScheme}-errors`);
    });
  });
}
