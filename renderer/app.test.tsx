import { fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, expect, test } from 'vitest';
import { App, routeOf } from './app.tsx';
import { chooseLanguage, setUpTexts } from './i18n/i18n.ts';
import { FakeLodge, fakeMachine } from './testing/fake-lodge.ts';

setUpTexts('en');

beforeEach(() => {
  window.location.hash = '';
});

/** The app on fake services, and what it asked its shell for. */
function open(lodge: FakeLodge): string[] {
  const opened: string[] = [];
  render(<App shell={lodge.shell(opened)} />);
  return opened;
}

test('the empty list offers the demonstration guest, which starts in its window', async () => {
  const lodge = new FakeLodge();
  const opened = open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Try it now' }));
  expect(await screen.findByRole('option', { name: 'Lodge tour Running' })).toBeTruthy();
  expect(opened).toEqual(['a machine to come', 'lodge-tour']);
});

test('machines stand in a list with name and state; arrows move in it', async () => {
  open(new FakeLodge([fakeMachine('One', 'running'), fakeMachine('Two', 'powered-off')]));
  const list = await screen.findByRole('listbox', { name: 'Machines' });
  const one = within(list).getByRole('option', { name: 'One Running' });
  const two = within(list).getByRole('option', { name: 'Two Powered Off' });
  expect(one.getAttribute('aria-selected')).toBe('true');
  one.focus();
  await userEvent.keyboard('{ArrowDown}');
  expect(two.getAttribute('aria-selected')).toBe('true');
  expect(document.activeElement).toBe(two);
});

test('a machine is started, paused, resumed and powered off', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')]);
  const opened = open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Start' }));
  expect(opened).toEqual(['one']);
  await userEvent.click(await screen.findByRole('button', { name: 'Pause' }));
  await userEvent.click(await screen.findByRole('button', { name: 'Resume' }));
  await screen.findByRole('button', { name: 'Pause' });
  await userEvent.click(screen.getByRole('button', { name: 'Stop' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: 'Power off' }));
  const question = await screen.findByRole('alertdialog', { name: 'Power off “One”?' });
  await userEvent.click(within(question).getByRole('button', { name: 'Power off' }));
  await screen.findByRole('option', { name: 'One Powered Off' });
  expect(lodge.callsOf('machines.powerOff')).toEqual([{ id: 'one' }]);
});

test('deleting names the files and says which stay', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')]);
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Delete' }));
  const dialog = await screen.findByRole('alertdialog', { name: 'Delete “One”?' });
  await userEvent.click(within(dialog).getByRole('radio', { name: 'Delete all files' }));
  expect(within(dialog).getByText(/One\/disk\.img/)).toBeTruthy();
  expect(within(dialog).getByText(/notes\.txt/)).toBeTruthy();
  await userEvent.click(within(dialog).getByRole('button', { name: 'Delete files' }));
  await screen.findByRole('button', { name: 'Try it now' });
  expect(lodge.callsOf('machines.remove')).toEqual([{ id: 'one', deleteFiles: true }]);
});

test('a machine that cannot be read says why and can only leave the list', async () => {
  const reason = { code: 'bad-machine-file', message: 'machine.json: is not JSON', remedy: 'mend it' };
  open(new FakeLodge([fakeMachine('Broken', 'inaccessible', { settings: null, reason })]));
  expect(await screen.findByText('machine.json: is not JSON; mend it')).toBeTruthy();
  expect(screen.getByRole('button', { name: 'Start' })).toHaveProperty('disabled', true);
  await userEvent.click(screen.getByRole('button', { name: 'Delete' }));
  expect(await screen.findByRole('radio', { name: 'Delete all files' })).toHaveProperty('disabled', true);
});

test('an aborted machine shows its log', async () => {
  const reason = { code: 'killed', message: 'One: its process was killed by SIGKILL' };
  open(new FakeLodge([fakeMachine('One', 'aborted', { reason })]));
  expect((await screen.findByRole('log', { name: 'Log of One' })).textContent).toContain('killed by SIGKILL');
  expect(screen.getByRole('button', { name: 'Start' })).toHaveProperty('disabled', false);
});

test('a failure is told with what to do about it', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')], {
    'machines.start': () => {
      throw Object.assign(new Error('no firmware was found'), {});
    },
  });
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Start' }));
  expect((await screen.findAllByText(/no firmware was found/)).length).toBeGreaterThan(0);
});

test('the language changes at once, and Korean says everything', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'running')]);
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Settings' }));
  await userEvent.selectOptions(await screen.findByLabelText('Language'), '한국어');
  expect(await screen.findByRole('dialog', { name: '설정' })).toBeTruthy();
  expect(document.documentElement.lang).toBe('ko');
  await userEvent.selectOptions(screen.getByLabelText('언어'), 'English');
  await screen.findByRole('dialog', { name: 'Settings' });
});

test('the theme follows the setting', async () => {
  const lodge = new FakeLodge();
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Settings' }));
  await userEvent.selectOptions(await screen.findByLabelText('Appearance'), 'Dark');
  await waitFor(() => expect(document.documentElement.dataset['theme']).toBe('dark'));
});

test('another host key is chosen by pressing it', async () => {
  const lodge = new FakeLodge();
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Settings' }));
  await userEvent.click(await screen.findByRole('button', { name: 'Change…' }));
  fireEvent.keyDown(document.activeElement ?? window, { code: 'ScrollLock' });
  await waitFor(() => expect(lodge.settings.hostKey).toBe('ScrollLock'));
});

test('warnings that were switched off come back', async () => {
  const lodge = new FakeLodge();
  lodge.settings = { ...lodge.settings, dismissedWarnings: ['capture'] };
  open(lodge);
  await userEvent.click(await screen.findByRole('button', { name: 'Settings' }));
  await userEvent.click(await screen.findByRole('button', { name: 'Reset warnings' }));
  await waitFor(() => expect(lodge.settings.dismissedWarnings).toEqual([]));
});

test('what a window shows is read from its address', () => {
  expect(routeOf('')).toEqual({ kind: 'manager' });
  expect(routeOf('#/console/My%20machine')).toEqual({ kind: 'console', machine: 'My machine' });
  expect(routeOf('#/console/%')).toEqual({ kind: 'manager' });
});

test('the first known language of the browser is taken unless one is set', () => {
  expect(chooseLanguage(undefined, ['de-DE', 'ko-KR', 'en'])).toBe('ko');
  expect(chooseLanguage(undefined, ['de'])).toBe('en');
  expect(chooseLanguage('ko', ['en'])).toBe('ko');
});
