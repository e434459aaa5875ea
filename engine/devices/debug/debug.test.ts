import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { DebugConsole } from './debug-console.ts';
import { DebugExit, debugExitCode } from './debug-exit.ts';

test('debug exit gives value × 2 + 1', () => {
  const codes: number[] = [];
  const exit = new DebugExit('debug-exit', { onExit: (value) => codes.push(debugExitCode(value)) });
  exit.ports.writePort(0, 1, 0);
  exit.ports.writePort(0, 4, 0x10);
  exit.ports.writePort(0, 4, 0xffffffff);
  assert.deepEqual(codes, [1, 33, 255]);
});

test('the debug console announces itself and passes on whole lines', () => {
  const lines: string[] = [];
  const device = new DebugConsole('debug-console', { onLine: (line) => lines.push(line) });
  assert.equal(device.ports.readPort(0, 1), 0xe9);
  for (const byte of Buffer.from('SeaBIOS\r\n\nnext \x1b')) {
    device.ports.writePort(0, 1, byte);
  }
  assert.deepEqual(lines, ['SeaBIOS', '']);
  device.dispose();
  assert.deepEqual(lines, ['SeaBIOS', '', 'next ']);
});

deviceConformance('debug exit', () => {
  const device = new DebugExit('debug-exit', { onExit() {} });
  return { device, clock: new ManualClock(), poke: (random) => device.ports.writePort(0, 1, random.below(256)) };
});

deviceConformance('debug console', () => {
  const device = new DebugConsole('debug-console', { onLine() {} });
  return { device, clock: new ManualClock(), poke: (random) => device.ports.writePort(0, 1, random.below(256)) };
});
