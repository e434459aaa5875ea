import { afterEach, expect, test, vi } from 'vitest';
import { currentShell } from './shell.ts';

afterEach(() => {
  vi.restoreAllMocks();
  window.location.hash = '';
});

/** A window that a script has opened, as far as it is used. */
function fakeWindow() {
  const places: string[] = [];
  const opened = {
    name: '',
    closed: false,
    location: { replace: (url: URL) => places.push(url.href) },
    close() {
      opened.closed = true;
    },
  };
  return { opened: opened as unknown as Window, places };
}

test('the window of a machine that is still being made opens at the click, and shows it once it is there', async () => {
  const { opened, places } = fakeWindow();
  const open = vi.spyOn(window, 'open').mockReturnValue(opened);
  let made: (id: string) => void = () => {};
  currentShell().openConsoleOfNew(
    new Promise((resolve) => {
      made = resolve;
    }),
  );
  expect(open).toHaveBeenCalledOnce();
  expect(places).toEqual([]);
  made('my tour');
  await vi.waitFor(() => expect(places).toEqual([new URL('#/console/my%20tour', window.location.href).href]));
  expect(opened.name).toBe('lodge-my tour');
});

test('a machine that cannot be made leaves no window', async () => {
  const { opened, places } = fakeWindow();
  vi.spyOn(window, 'open').mockReturnValue(opened);
  currentShell().openConsoleOfNew(Promise.reject(new Error('the disk is full')));
  await vi.waitFor(() => expect(opened.closed).toBe(true));
  expect(places).toEqual([]);
});

test('where the browser opens no windows, the machine is shown in this one', async () => {
  vi.spyOn(window, 'open').mockReturnValue(null);
  currentShell().openConsoleOfNew(Promise.resolve('tour'));
  await vi.waitFor(() => expect(window.location.hash).toBe('#/console/tour'));
});
