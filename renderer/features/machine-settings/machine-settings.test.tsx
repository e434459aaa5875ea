import { render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, expect, test } from 'vitest';
import { ApiError } from '../../../main/contract/errors.ts';
import { App } from '../../app.tsx';
import { setUpTexts } from '../../i18n/i18n.ts';
import { FakeLodge, fakeMachine } from '../../testing/fake-lodge.ts';

setUpTexts('en');

beforeEach(() => {
  window.location.hash = '';
});

type Dialog = ReturnType<typeof within>;

async function openSettings(lodge: FakeLodge): Promise<Dialog> {
  render(<App shell={lodge.shell()} />);
  await userEvent.click(await screen.findByRole('button', { name: 'Edit settings' }));
  return within(await screen.findByRole('dialog', { name: 'Settings of “One”' }));
}

const tab = (dialog: Dialog, name: string | RegExp) => userEvent.click(dialog.getByRole('tab', { name }));
const save = (dialog: Dialog) => userEvent.click(dialog.getByRole('button', { name: 'Save' }));
const off = () => new FakeLodge([fakeMachine('One', 'powered-off')]);

async function fill(field: HTMLElement, value: string): Promise<void> {
  await userEvent.clear(field);
  await userEvent.type(field, value);
}

test('only what is different is sent', async () => {
  const lodge = off();
  const dialog = await openSettings(lodge);
  await fill(dialog.getByLabelText('Memory (MB)'), '2048');
  await userEvent.click(dialog.getByRole('button', { name: 'Move up: Hard disk' }));
  await tab(dialog, 'Accelerator');
  await userEvent.click(await dialog.findByLabelText('Software'));
  await userEvent.click(dialog.getByLabelText('Hyper-V’s interface'));
  await save(dialog);
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('machines.update')).toEqual([
    {
      id: 'one',
      changes: { memoryMegabytes: 2048, bootOrder: ['disk', 'cdrom'], accelerator: 'software', hyperv: true },
    },
  ]);
});

test('nothing different sends nothing', async () => {
  const lodge = off();
  await save(await openSettings(lodge));
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('machines.update')).toEqual([]);
});

test('disks, network and shares are edited; drives keep their places', async () => {
  const lodge = off();
  const dialog = await openSettings(lodge);
  await tab(dialog, 'Storage');
  const folder = '/home/user/Lodge machines/One';
  await userEvent.click(await dialog.findByRole('button', { name: 'Add a disk' }));
  const second = within(dialog.getByRole('region', { name: 'Hard disk 2' }));
  await userEvent.type(second.getByLabelText('Disk image'), '/images/data.img');
  await userEvent.type(second.getByLabelText('Serial number'), 'DATA');
  await userEvent.selectOptions(
    within(dialog.getByRole('region', { name: 'Hard disk 1' })).getByLabelText('Bus'),
    'scsi',
  );
  await tab(dialog, 'Network');
  await userEvent.click(await dialog.findByRole('button', { name: 'Add a forward' }));
  const forward = within(dialog.getByRole('group', { name: 'Forward 2' }));
  await userEvent.selectOptions(forward.getByLabelText('Protocol'), 'udp');
  await userEvent.type(forward.getByLabelText('Host port'), '5353');
  await userEvent.type(forward.getByLabelText('Guest port'), '53');
  await userEvent.click(dialog.getByLabelText('Nothing outside'));
  await tab(dialog, 'Shared folders');
  await userEvent.click(await dialog.findByRole('button', { name: 'Add a folder' }));
  await userEvent.type(dialog.getByLabelText('Name'), 'docs');
  await userEvent.type(dialog.getByLabelText('Folder'), '/home/user/docs');
  await save(dialog);
  await waitFor(() => expect(lodge.callsOf('machines.update')).toHaveLength(1));
  const [{ changes }] = lodge.callsOf('machines.update') as [{ changes: Record<string, unknown> }];
  expect(changes['disks']).toEqual([
    { path: `${folder}/disk.img`, bus: 'scsi', port: 0, readOnly: false, serial: null },
    { path: '/images/data.img', bus: 'virtio', port: 0, readOnly: false, serial: 'DATA' },
  ]);
  expect(changes['network']).toMatchObject({
    isolated: true,
    mac: '52:54:00:12:34:56',
    forwards: [
      { hostPort: 2222 },
      { protocol: 'udp', hostAddress: '127.0.0.1', hostPort: 5353, guestAddress: null, guestPort: 53 },
    ],
  });
  expect(changes['shares']).toEqual([{ name: 'docs', path: '/home/user/docs', readOnly: false }]);
});

test('what is wrong stands beside its field, and its tab is shown and marked', async () => {
  const lodge = off();
  const dialog = await openSettings(lodge);
  await tab(dialog, 'Network');
  await userEvent.click(await dialog.findByRole('button', { name: 'Add a forward' }));
  const forward = within(dialog.getByRole('group', { name: 'Forward 2' }));
  await userEvent.type(forward.getByLabelText('Host port'), '2222');
  await userEvent.type(forward.getByLabelText('Guest port'), '99999');
  await fill(dialog.getByLabelText('Address of the card (MAC)'), '01:00:00:00:00:00');
  await tab(dialog, 'System');
  await save(dialog);
  expect(await dialog.findByText('This port is forwarded twice.')).toBeTruthy();
  expect(dialog.getByText('From 1 to 65535.')).toBeTruthy();
  expect(dialog.getByText(/Six bytes such as/)).toBeTruthy();
  expect(dialog.getByRole('tab', { name: /Network/ }).getAttribute('aria-selected')).toBe('true');
  expect(dialog.getByRole('tab', { name: /Network.*something is wrong/ })).toBeTruthy();
  await waitFor(() => expect(document.activeElement?.getAttribute('aria-invalid')).toBe('true'));
  expect(lodge.callsOf('machines.update')).toEqual([]);
});

test('what the services refuse stands beside the field that it is about, or on top', async () => {
  let answer = new ApiError({
    code: 'port-in-use',
    message: 'TCP port 2222 of 127.0.0.1: another program listens there already',
    remedy: 'give another host port',
    details: { field: 'network.forwards.0.hostPort' },
  });
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')], {
    'machines.update': () => {
      throw answer;
    },
  });
  const dialog = await openSettings(lodge);
  await fill(dialog.getByLabelText('Processors'), '1');
  await save(dialog);
  expect(await dialog.findByText(/another program listens there already; give another host port/)).toBeTruthy();
  expect(dialog.getByLabelText('Host port').getAttribute('aria-invalid')).toBe('true');
  answer = new ApiError({ code: 'write-failed', message: 'the disk is full' });
  await save(dialog);
  expect(await dialog.findByText('The settings could not be changed')).toBeTruthy();
  expect(dialog.getByText('the disk is full')).toBeTruthy();
});

test('while the machine runs, what cannot be changed is locked with the reason', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'running')]);
  const dialog = await openSettings(lodge);
  expect(dialog.getByText(/The machine is running\. What is greyed out can be changed/)).toBeTruthy();
  const locked = (label: string) => dialog.getByLabelText(label).closest('fieldset')?.disabled ?? false;
  expect([locked('Name'), locked('Memory (MB)'), locked('Processors')]).toEqual([false, true, true]);
  await fill(dialog.getByLabelText('Memory for the guest now (MB)'), '512');
  await tab(dialog, 'Storage');
  expect(await dialog.findByLabelText('Disc in the optical drive')).toBeTruthy();
  expect([locked('Disk image'), locked('Disc in the optical drive')]).toEqual([true, false]);
  await tab(dialog, 'Network');
  await dialog.findByLabelText('Host port');
  expect([locked('Host port'), locked('Network card')]).toEqual([false, true]);
  await fill(dialog.getByLabelText('Host port'), '2022');
  await save(dialog);
  await waitFor(() => expect(lodge.callsOf('machines.setBalloon')).toEqual([{ id: 'one', megabytes: 512 }]));
  const [{ changes }] = lodge.callsOf('machines.update') as [{ changes: object }];
  expect(Object.keys(changes)).toEqual(['network']);
});

test('the details show network and forwards, and a disk’s trouble with a way to go on', async () => {
  const trouble = { code: 'disk-trouble', message: '/a.img: no space left', remedy: 'free some space' };
  const lodge = new FakeLodge([fakeMachine('One', 'paused', { trouble })]);
  render(<App shell={lodge.shell()} />);
  expect(await screen.findByText('TCP 2222 → 22')).toBeTruthy();
  expect(screen.getByText('NAT, virtio')).toBeTruthy();
  const notice = within(screen.getByRole('alert'));
  expect(notice.getByText('The machine waits for its disk')).toBeTruthy();
  expect(notice.getByText('/a.img: no space left; free some space')).toBeTruthy();
  await userEvent.click(notice.getByRole('button', { name: 'Resume' }));
  await waitFor(() => expect(lodge.callsOf('machines.resume')).toEqual([{ id: 'one' }]));
});

test('a new disk is made once everything else is stored; what fails stands at its size', async () => {
  let full = true;
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')], {
    'machines.addDisk': ({ id, bus }) => {
      if (full) {
        throw new ApiError({ code: 'write-failed', message: 'the host’s disk is full' });
      }
      const machine = fakeMachine('One', 'powered-off', { id });
      const { settings } = machine;
      const disk = { path: '/m/disk-2.img', bus: bus ?? 'ide', port: 1, readOnly: false, serial: null };
      return settings === null ? machine : { ...machine, settings: { ...settings, disks: [...settings.disks, disk] } };
    },
  });
  const dialog = await openSettings(lodge);
  await fill(dialog.getByLabelText('Processors'), '1');
  await tab(dialog, 'Storage');
  await userEvent.click(await dialog.findByRole('button', { name: 'New disk' }));
  await fill(dialog.getByLabelText('Size (GB)'), '3');
  await save(dialog);
  expect(await dialog.findByText('the host’s disk is full')).toBeTruthy();
  expect(dialog.getByLabelText('Size (GB)').getAttribute('aria-invalid')).toBe('true');
  full = false;
  await save(dialog);
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('machines.update')).toEqual([{ id: 'one', changes: { processors: 1 } }]);
  expect(lodge.callsOf('machines.addDisk').at(-1)).toEqual({ id: 'one', sizeGigabytes: 3, bus: 'virtio' });
});
