import { beforeEach, expect, test, vi } from 'vitest';
import { chord, type HostPlatform, KeyCapture, type KeyChange } from './key-capture.ts';

let sent: string[];
let commands: string[];

function capture(platform: HostPlatform = 'other'): KeyCapture {
  return new KeyCapture({
    hostKey: 'ControlRight',
    platform,
    send: (keys: readonly KeyChange[]) => sent.push(...keys.map(({ code, down }) => `${down ? '+' : '-'}${code}`)),
    hostKeyTapped: () => commands.push('tap'),
    hostCommand: (code) => commands.push(code),
  });
}

const down = (keys: KeyCapture, code: string, repeat = false) => keys.keyDown({ code, repeat });
const up = (keys: KeyCapture, code: string) => keys.keyUp({ code, repeat: false });

beforeEach(() => {
  sent = [];
  commands = [];
});

test('keys go to the guest once, repeats do not', () => {
  const keys = capture();
  down(keys, 'KeyA');
  down(keys, 'KeyA', true);
  up(keys, 'KeyA');
  expect(sent).toEqual(['+KeyA', '-KeyA']);
});

test('the host key alone is a tap and never reaches the guest', () => {
  const keys = capture();
  down(keys, 'ControlRight');
  up(keys, 'ControlRight');
  expect(sent).toEqual([]);
  expect(commands).toEqual(['tap']);
});

test('the host key with another key is a command, not a tap', () => {
  const keys = capture();
  down(keys, 'ControlRight');
  down(keys, 'KeyF');
  up(keys, 'KeyF');
  up(keys, 'ControlRight');
  expect(sent).toEqual([]);
  expect(commands).toEqual(['KeyF']);
});

test('everything is released when the window loses the keyboard, last pressed first', () => {
  const keys = capture();
  down(keys, 'ShiftLeft');
  down(keys, 'KeyA');
  keys.releaseAll();
  up(keys, 'KeyA');
  expect(sent).toEqual(['+ShiftLeft', '+KeyA', '-KeyA', '-ShiftLeft']);
});

test('AltGr of Windows comes without its artificial left Ctrl', () => {
  const keys = capture('windows');
  down(keys, 'ControlLeft');
  down(keys, 'AltRight');
  down(keys, 'KeyQ');
  up(keys, 'KeyQ');
  up(keys, 'ControlLeft');
  up(keys, 'AltRight');
  expect(sent).toEqual(['+AltRight', '+KeyQ', '-KeyQ', '-AltRight']);
});

test('a left Ctrl of its own arrives on Windows too', () => {
  vi.useFakeTimers();
  try {
    const keys = capture('windows');
    down(keys, 'ControlLeft');
    vi.advanceTimersByTime(100);
    expect(sent).toEqual(['+ControlLeft']);
    up(keys, 'ControlLeft');
    down(keys, 'ControlLeft');
    down(keys, 'KeyC');
    expect(sent).toEqual(['+ControlLeft', '-ControlLeft', '+ControlLeft', '+KeyC']);
  } finally {
    vi.useRealTimers();
  }
});

test('PrintScreen that only reports its release is pressed as well', () => {
  const keys = capture('windows');
  up(keys, 'PrintScreen');
  expect(sent).toEqual(['+PrintScreen', '-PrintScreen']);
});

test('macOS: Command releases what was held with it, CapsLock is a whole press', () => {
  const keys = capture('mac');
  down(keys, 'MetaLeft');
  down(keys, 'KeyC');
  up(keys, 'MetaLeft');
  down(keys, 'CapsLock');
  expect(sent).toEqual(['+MetaLeft', '+KeyC', '-KeyC', '-MetaLeft', '+CapsLock', '-CapsLock']);
});

test('Hangul and Hanja are whole presses', () => {
  const keys = capture();
  down(keys, 'Lang1');
  down(keys, 'Lang1', true);
  up(keys, 'Lang1');
  down(keys, 'Lang2');
  expect(sent).toEqual(['+Lang1', '-Lang1', '+Lang2', '-Lang2']);
});

test('a chord is released in reverse order', () => {
  expect(chord('ControlLeft', 'AltLeft', 'Delete').map(({ code, down }) => (down ? code : `-${code}`))).toEqual([
    'ControlLeft',
    'AltLeft',
    'Delete',
    '-Delete',
    '-AltLeft',
    '-ControlLeft',
  ]);
});
