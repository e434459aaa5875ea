import { act, fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, expect, test, vi } from 'vitest';
import { App } from '../../app.tsx';
import { setUpTexts } from '../../i18n/i18n.ts';
import { FakeLodge, fakeMachine } from '../../testing/fake-lodge.ts';

setUpTexts('en');

beforeEach(() => {
  window.location.hash = '#/console/one';
});

/** The window of a running machine, with its screen focused. */
async function openConsole(lodge: FakeLodge): Promise<{ surface: HTMLElement; opened: string[] }> {
  const opened: string[] = [];
  render(<App shell={lodge.shell(opened)} />);
  const surface = await screen.findByRole('application', { name: /Screen of One/ });
  await waitFor(() => expect(document.activeElement).toBe(surface));
  return { surface, opened };
}

const running = () => new FakeLodge([fakeMachine('One', 'running')]);

const key = (type: 'keyDown' | 'keyUp', code: string) => fireEvent[type](document.activeElement ?? window, { code });

const sent = (lodge: FakeLodge) =>
  lodge.callsOf('console.sendKey').map((args) => {
    const { code, down } = args as { code: string; down: boolean };
    return `${down ? '+' : '-'}${code}`;
  });

async function choose(menu: string, item: string): Promise<void> {
  await userEvent.click(screen.getByRole('menuitem', { name: menu }));
  await userEvent.click(await screen.findByRole('menuitem', { name: item }));
}

test('pictures are drawn and acknowledged', async () => {
  const lodge = running();
  await openConsole(lodge);
  await waitFor(() => expect(lodge.acknowledged).toContain(1));
  const canvas = document.querySelector('canvas');
  expect([canvas?.width, canvas?.height]).toEqual([640, 400]);
});

test('keys go to the guest by their place, and are released when the window loses the keyboard', async () => {
  const lodge = running();
  await openConsole(lodge);
  key('keyDown', 'ArrowDown');
  key('keyUp', 'ArrowDown');
  key('keyDown', 'AltRight');
  fireEvent.blur(window);
  await waitFor(() => expect(sent(lodge)).toEqual(['+ArrowDown', '-ArrowDown', '+AltRight', '-AltRight']));
  expect(lodge.callsOf('console.releaseKeys').length).toBeGreaterThan(0);
});

test('the host key gives the keyboard back and takes it again', async () => {
  const lodge = running();
  const { surface } = await openConsole(lodge);
  expect(screen.getByRole('button', { name: 'Keyboard: with the guest' })).toBeTruthy();
  act(() => {
    key('keyDown', 'ControlRight');
    key('keyUp', 'ControlRight');
  });
  expect(document.activeElement).toBe(screen.getByRole('menuitem', { name: 'Machine' }));
  expect(screen.getByRole('button', { name: 'Keyboard: with the host' })).toBeTruthy();
  act(() => {
    key('keyDown', 'ControlRight');
    key('keyUp', 'ControlRight');
  });
  expect(document.activeElement).toBe(surface);
  expect(sent(lodge)).toEqual([]);
});

test('the host key with another key is a command of the window', async () => {
  const lodge = running();
  await openConsole(lodge);
  act(() => {
    key('keyDown', 'ControlRight');
    key('keyDown', 'Delete');
    key('keyUp', 'Delete');
    key('keyDown', 'F2');
    key('keyUp', 'F2');
    key('keyUp', 'ControlRight');
  });
  await waitFor(() =>
    expect(lodge.callsOf('console.sendKeys')).toEqual([
      { machine: 'one', codes: ['ControlLeft', 'AltLeft', 'Delete'] },
      { machine: 'one', codes: ['ControlLeft', 'AltLeft', 'F2'] },
    ]),
  );
  expect(sent(lodge)).toEqual([]);
});

test('the first click says how to get the mouse back, and need not say so again', async () => {
  const lodge = running();
  const { surface } = await openConsole(lodge);
  fireEvent.mouseDown(surface, { button: 0 });
  const dialog = within(await screen.findByRole('dialog', { name: 'The guest gets mouse and keyboard' }));
  expect(dialog.getByText(/Press Right Ctrl to get it back/)).toBeTruthy();
  await userEvent.click(dialog.getByRole('checkbox', { name: /again/ }));
  await userEvent.click(dialog.getByRole('button', { name: 'Cancel' }));
  expect(lodge.settings.dismissedWarnings).toEqual([]);
  let locked = 0;
  surface.requestPointerLock = () => {
    locked++;
    return Promise.resolve();
  };
  fireEvent.mouseDown(surface, { button: 0 });
  const again = within(await screen.findByRole('dialog'));
  await userEvent.click(again.getByRole('checkbox', { name: /again/ }));
  await userEvent.click(again.getByRole('button', { name: 'Capture' }));
  await waitFor(() => expect(lodge.settings.dismissedWarnings).toEqual(['capture']));
  expect(locked).toBe(1);
});

test('text is typed into the guest; what no key types is named', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'running')], {
    'console.sendText': ({ text }) => ({ unknown: text.includes('é') ? ['é'] : [] }),
  });
  await openConsole(lodge);
  await choose('Input', 'Send text…');
  const dialog = within(await screen.findByRole('dialog', { name: 'Send text' }));
  await userEvent.type(dialog.getByLabelText('Text'), 'café');
  await userEvent.click(dialog.getByRole('button', { name: 'Send' }));
  expect(await dialog.findByText('No key types these characters: é')).toBeTruthy();
  await userEvent.clear(dialog.getByLabelText('Text'));
  await userEvent.type(dialog.getByLabelText('Text'), 'ls');
  await userEvent.click(dialog.getByRole('button', { name: 'Send' }));
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  expect(lodge.callsOf('console.sendText').at(-1)).toEqual({ machine: 'one', text: 'ls' });
});

test('a CD is inserted and ejected', async () => {
  const lodge = running();
  await openConsole(lodge);
  await choose('Devices', 'Insert CD…');
  const dialog = within(await screen.findByRole('dialog', { name: 'Insert a CD' }));
  await userEvent.type(dialog.getByLabelText('Image file'), '/images/tools.iso');
  await userEvent.click(dialog.getByRole('button', { name: 'Insert' }));
  await waitFor(() =>
    expect(lodge.callsOf('console.insertMedium')).toEqual([
      { machine: 'one', drive: 'cdrom', path: '/images/tools.iso', readOnly: false },
    ]),
  );
  await choose('Devices', 'Eject CD');
  await waitFor(() => expect(lodge.callsOf('console.ejectMedium')).toHaveLength(1));
});

test('the status bar says what runs the guest and why', async () => {
  await openConsole(running());
  const button = screen.getByRole('button', { name: /Accelerator: Software/ });
  expect(button.getAttribute('aria-label')).toContain('/dev/kvm is missing');
  expect(screen.getByRole('button', { name: 'Optical drive: debian-12.5.0-amd64-netinst.iso' })).toBeTruthy();
  expect(screen.getByText('Host key: Right Ctrl')).toBeTruthy();
});

test('closing asks what becomes of the machine and remembers the answer', async () => {
  const lodge = running();
  const { opened } = await openConsole(lodge);
  await choose('Machine', 'Close');
  const dialog = within(await screen.findByRole('alertdialog', { name: 'Close “One”' }));
  await userEvent.click(dialog.getByRole('radio', { name: 'Power off the machine' }));
  await userEvent.click(dialog.getByRole('button', { name: 'OK' }));
  await waitFor(() => expect(opened).toEqual(['closed']));
  expect(lodge.callsOf('machines.powerOff')).toEqual([{ id: 'one' }]);
  expect(lodge.settings.closeAction).toBe('power-off');
});

test('a machine that is off says so and can be started', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'powered-off')]);
  await openConsole(lodge);
  expect(screen.getByText('The machine is off')).toBeTruthy();
  await userEvent.click(screen.getByRole('button', { name: 'Start' }));
  await waitFor(() => expect(screen.queryByText('The machine is off')).toBeNull());
});

test('a machine that dies meanwhile shows its log', async () => {
  const lodge = running();
  await openConsole(lodge);
  act(() =>
    lodge.change(
      fakeMachine('One', 'aborted', { reason: { code: 'killed', message: 'One: its process was killed by SIGKILL' } }),
    ),
  );
  expect(await screen.findByText('This machine ended unexpectedly')).toBeTruthy();
  expect(await screen.findByRole('log', { name: 'Log of One' })).toBeTruthy();
});

test('the Devices menu pulls the network cable and leads to the forwarded ports', async () => {
  const lodge = running();
  await openConsole(lodge);
  expect(screen.getByRole('button', { name: 'Network: NAT, TCP 2222 → 22' })).toBeTruthy();
  await choose('Devices', 'Pull the network cable out');
  await waitFor(() => expect(lodge.callsOf('machines.setLink')).toEqual([{ id: 'one', up: false }]));
  expect(await screen.findByRole('button', { name: 'Network: cable not plugged in' })).toBeTruthy();
  await choose('Devices', 'Forwarded ports…');
  const dialog = within(await screen.findByRole('dialog', { name: 'Settings of “One”' }));
  expect(dialog.getByRole('tab', { name: 'Network' }).getAttribute('aria-selected')).toBe('true');
});

test('a machine that waits for its disk says why, and can be resumed', async () => {
  const trouble = { code: 'disk-trouble', message: '/a.img: no space left', remedy: 'free some space' };
  const lodge = new FakeLodge([fakeMachine('One', 'paused', { trouble })]);
  render(<App shell={lodge.shell()} />);
  expect(await screen.findByText('/a.img: no space left; free some space')).toBeTruthy();
  await userEvent.click(screen.getByRole('button', { name: 'Resume' }));
  await waitFor(() => expect(lodge.callsOf('machines.resume')).toHaveLength(1));
});

test('a tablet is told where on which screen the pointer is, without capturing the mouse', async () => {
  const lodge = running();
  const { surface } = await openConsole(lodge);
  act(() => lodge.publish('console.status', { ...lodge.status(), mouse: 'absolute', heads: 2, resizable: true }));
  await userEvent.click(screen.getByRole('menuitem', { name: 'View' }));
  await userEvent.click(await screen.findByRole('menuitemradio', { name: 'Screen 2' }));
  const place = vi.spyOn(HTMLCanvasElement.prototype, 'getBoundingClientRect');
  place.mockReturnValue(new DOMRect(10, 20, 200, 100));
  fireEvent.mouseMove(surface, { clientX: 60, clientY: 45 });
  await waitFor(() =>
    expect(lodge.callsOf('console.sendMouse').at(-1)).toEqual({
      machine: 'one',
      input: { kind: 'absolute', head: 1, x: 0.25, y: 0.25, wheel: 0, buttons: 0 },
    }),
  );
  place.mockRestore();
  expect(screen.getByRole('button', { name: 'Mouse: moves in and out of the guest freely' })).toBeTruthy();
});

test('the guest is told how large its screen is shown, unless that is switched off', async () => {
  const resized = vi.spyOn(HTMLElement.prototype, 'clientWidth', 'get').mockReturnValue(801);
  const heights = vi.spyOn(HTMLElement.prototype, 'clientHeight', 'get').mockReturnValue(602);
  const lodge = running();
  await openConsole(lodge);
  await waitFor(() =>
    expect(lodge.callsOf('console.resizeScreen')).toEqual([{ machine: 'one', head: 0, width: 801, height: 602 }]),
  );
  await userEvent.click(screen.getByRole('menuitem', { name: 'View' }));
  await userEvent.click(await screen.findByRole('menuitemcheckbox', { name: 'Resize the guest with the window' }));
  expect(lodge.callsOf('settings.set')).toEqual([{ resizeGuest: false }]);
  resized.mockRestore();
  heights.mockRestore();
});

test('a running machine is moved to another accelerator', async () => {
  const lodge = new FakeLodge([fakeMachine('One', 'running')], {
    'machines.accelerate': ({ id }) => fakeMachine('One', 'running', { id }),
  });
  await openConsole(lodge);
  await choose('Machine', 'Move to KVM');
  await waitFor(() => expect(lodge.callsOf('machines.accelerate')).toEqual([{ id: 'one', accelerator: 'kvm' }]));
});
