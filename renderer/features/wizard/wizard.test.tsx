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

async function openWizard(lodge: FakeLodge): Promise<ReturnType<typeof within>> {
  render(<App shell={lodge.shell()} />);
  await userEvent.click(await screen.findByRole('button', { name: 'New machine' }));
  return within(await screen.findByRole('dialog', { name: 'New virtual machine' }));
}

const next = () => userEvent.click(screen.getByRole('button', { name: 'Next' }));

test('an image is recognised, and Next, Next, Next, Create makes a machine that fits it', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')]);
  const wizard = await openWizard(lodge);
  await userEvent.type(wizard.getByLabelText('Install media'), '/images/debian.iso');
  expect(await wizard.findByText('Recognised: Debian 12.5.0 amd64, Linux 6.1.0-18-amd64, bootable CD')).toBeTruthy();
  expect(wizard.getByLabelText('Name')).toHaveProperty('value', 'Debian 12');
  expect(wizard.getByLabelText('Guest system')).toHaveProperty('value', 'debian-12');
  await next();
  expect(await wizard.findByLabelText('Memory (MB)')).toHaveProperty('value', '1024');
  expect(wizard.getByText('The host has 16000 MB, 9000 MB of them free.')).toBeTruthy();
  await next();
  expect(await wizard.findByLabelText('Size (GB)')).toHaveProperty('value', '10');
  expect(await wizard.findByText('120.0 GB are free in the chosen folder.')).toBeTruthy();
  await next();
  await userEvent.click(await wizard.findByRole('button', { name: 'Create' }));
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('machines.create')).toEqual([
    {
      name: 'Debian 12',
      folder: '/home/user/Lodge machines',
      guestSystem: 'debian-12',
      memoryMegabytes: 1024,
      processors: 2,
      firmware: 'bios',
      accelerator: 'auto',
      installMedia: { path: '/images/debian.iso', kind: 'cdrom' },
      hardDisk: { kind: 'new', sizeGigabytes: 10 },
      network: {},
      shares: [],
      sound: null,
    },
  ]);
  expect(screen.getByRole('option', { name: /Debian 12/ }).getAttribute('aria-selected')).toBe('true');
});

test('a disk to start from needs no second one, an installer does', async () => {
  const wizard = await openWizard(new FakeLodge([fakeMachine('One', 'powered-off')]));
  const media = wizard.getByLabelText('Install media');
  await userEvent.type(wizard.getByLabelText('Name'), 'Disk');
  const toDisks = async () => {
    await next();
    await wizard.findByLabelText('Memory (MB)');
    await next();
    await wizard.findByRole('radio', { checked: true });
  };
  await userEvent.type(media, '/images/system.img');
  expect(await wizard.findByText(/^Hard disk, raw, with a boot sector/)).toBeTruthy();
  await toDisks();
  expect(wizard.getByRole('radio', { name: 'None', checked: true })).toBeTruthy();
  await userEvent.click(wizard.getByRole('button', { name: 'Back' }));
  await userEvent.click(await wizard.findByRole('button', { name: 'Back' }));
  const again = await wizard.findByLabelText('Install media');
  await userEvent.clear(again);
  await userEvent.type(again, '/images/debian.iso');
  expect(await wizard.findByText(/^Recognised: Debian/)).toBeTruthy();
  await toDisks();
  expect(wizard.getByRole('radio', { name: 'New', checked: true })).toBeTruthy();
});

test('what is wrong is said beside its field, and the step is not left', async () => {
  const wizard = await openWizard(new FakeLodge([fakeMachine('One', 'powered-off')]));
  await next();
  const name = wizard.getByLabelText('Name');
  await waitFor(() => expect(name.getAttribute('aria-invalid')).toBe('true'));
  expect(wizard.getByText('Give the machine a name.')).toBeTruthy();
  await userEvent.type(name, 'one');
  expect(await wizard.findByText('There is a machine of this name already.')).toBeTruthy();
  await userEvent.clear(name);
  await userEvent.type(name, 'Two');
  await userEvent.type(wizard.getByLabelText('Install media'), '/images/nothing');
  await next();
  expect(await wizard.findByText('/images/nothing: there is no such file')).toBeTruthy();
  await userEvent.clear(wizard.getByLabelText('Install media'));
  await next();
  await userEvent.clear(await wizard.findByLabelText('Memory (MB)'));
  await userEvent.type(wizard.getByLabelText('Memory (MB)'), '9999');
  await next();
  expect(await wizard.findByText('From 16 to 3584.')).toBeTruthy();
});

test('what the user has chosen is not overwritten by suggestions', async () => {
  const wizard = await openWizard(new FakeLodge());
  await userEvent.type(wizard.getByLabelText('Name'), 'Mine');
  await next();
  await userEvent.clear(await wizard.findByLabelText('Memory (MB)'));
  await userEvent.type(wizard.getByLabelText('Memory (MB)'), '777');
  await userEvent.click(wizard.getByRole('button', { name: 'Back' }));
  await userEvent.selectOptions(await wizard.findByLabelText('Guest system'), 'Windows 10 (64-bit)');
  await next();
  expect(await wizard.findByLabelText('Memory (MB)')).toHaveProperty('value', '777');
  expect(wizard.getByText('Windows 10 (64-bit) wants at least 2048 MB.')).toBeTruthy();
  await next();
  expect(await wizard.findByLabelText('Size (GB)')).toHaveProperty('value', '40');
});

test('no disk, and an existing one', async () => {
  const lodge = new FakeLodge();
  const wizard = await openWizard(lodge);
  await userEvent.type(wizard.getByLabelText('Name'), 'Live');
  await next();
  await wizard.findByLabelText('Memory (MB)');
  await next();
  const kinds = within(await wizard.findByRole('radiogroup', { name: 'Hard disk' }));
  await userEvent.click(kinds.getByRole('radio', { name: 'Existing' }));
  await next();
  expect(await wizard.findByText('Give the path of a disk image.')).toBeTruthy();
  await userEvent.click(kinds.getByRole('radio', { name: 'None' }));
  expect(wizard.queryByLabelText('Size (GB)')).toBeNull();
  await next();
  await userEvent.click(await wizard.findByRole('button', { name: 'Create' }));
  await waitFor(() => expect(lodge.callsOf('machines.create')).toMatchObject([{ hardDisk: { kind: 'none' } }]));
});

test('what the services refuse stands beside the field that it is about', async () => {
  const lodge = new FakeLodge([], {
    'machines.create': () => {
      throw new ApiError({
        code: 'no-permission',
        message: '/root: no permission to write there',
        details: { field: 'folder' },
      });
    },
  });
  const wizard = await openWizard(lodge);
  await userEvent.type(wizard.getByLabelText('Name'), 'Mine');
  for (const label of ['Memory (MB)', 'Size (GB)']) {
    await next();
    await wizard.findByLabelText(label);
  }
  await next();
  await userEvent.click(await wizard.findByRole('button', { name: 'Create' }));
  const folder = await wizard.findByLabelText('Folder');
  await waitFor(() => expect(folder.getAttribute('aria-invalid')).toBe('true'));
  expect(wizard.getByText('/root: no permission to write there')).toBeTruthy();
});

test('Cancel makes nothing', async () => {
  const lodge = new FakeLodge();
  const wizard = await openWizard(lodge);
  await userEvent.click(wizard.getByRole('button', { name: 'Cancel' }));
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('machines.create')).toEqual([]);
});
