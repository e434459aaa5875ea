import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { I8042 } from './i8042.ts';
import { KeyTyper } from './key-typer.ts';
import { KEY_NAMES, scanSequence } from './keys.ts';
import { typeText } from './us-keymap.ts';

const STEP = 50_000; // drivers poll every 50 µs

function build() {
  const clock = new ManualClock();
  const irq1 = new FakeLine();
  const irq12 = new FakeLine();
  const a20: boolean[] = [];
  let resets = 0;
  const leds: number[] = [];
  const device = new I8042('i8042', {
    keyboardLine: irq1,
    mouseLine: irq12,
    clock,
    log: silentLog,
    setA20: (enabled) => a20.push(enabled),
    reset: () => {
      resets++;
    },
    onLeds: (mask) => leds.push(mask),
  });
  const data = () => device.dataPort.readPort(0, 1);
  const status = () => device.commandPort.readPort(0, 1);
  const writeData = (value: number) => device.dataPort.writePort(0, 1, value);
  const writeCommand = (value: number) => device.commandPort.writePort(0, 1, value);
  /** Polls for a byte as a driver does; returns [byte, from the mouse], or undefined after `limitMillis`. */
  const poll = (limitMillis = 20): [number, boolean] | undefined => {
    for (let waited = 0; waited <= limitMillis * 1_000_000; waited += STEP) {
      const now = status();
      if ((now & 1) !== 0) {
        return [data(), (now & 0x20) !== 0];
      }
      clock.advance(STEP);
    }
    return undefined;
  };
  const drain = (): number[] => {
    const bytes: number[] = [];
    for (let next = poll(); next !== undefined; next = poll()) {
      bytes.push(next[0]);
    }
    return bytes;
  };
  const keyboard = (...bytes: number[]): number[] =>
    bytes.flatMap((byte) => {
      writeData(byte);
      return drain();
    });
  const mouse = (...bytes: number[]): number[] =>
    bytes.flatMap((byte) => {
      writeCommand(0xd4);
      writeData(byte);
      const got: number[] = [];
      for (let next = poll(); next !== undefined; next = poll()) {
        assert.ok(next[1], 'the byte is marked as the mouse’s');
        got.push(next[0]);
      }
      return got;
    });
  const setMode = (mode: number) => {
    writeCommand(0x60);
    writeData(mode);
  };
  const press = (code: string): number[] => {
    device.keyboard.key(code, true);
    device.keyboard.key(code, false);
    return drain();
  };
  return {
    device,
    clock,
    irq1,
    irq12,
    a20,
    leds,
    resets: () => resets,
    data,
    status,
    writeData,
    writeCommand,
    poll,
    drain,
    keyboard,
    mouse,
    setMode,
    press,
  };
}

deviceConformance('i8042', () => {
  const bench = build();
  return {
    device: bench.device,
    clock: bench.clock,
    poke(random) {
      switch (random.below(8)) {
        case 0:
          bench.device.keyboard.key(random.pick(KEY_NAMES), random.chance(1, 2));
          break;
        case 1:
          bench.device.mouse.move(
            random.below(2000) - 1000,
            random.below(2000) - 1000,
            random.below(40) - 20,
            random.u32(),
          );
          break;
        case 2:
          bench.device.dataPort.readPort(0, random.pick([1, 2, 4]));
          break;
        case 3:
          bench.device.commandPort.readPort(0, random.pick([1, 2, 4]));
          break;
        case 4:
          bench.writeCommand(random.pick([0xd4, 0x60, 0xae, 0xa8, 0xd2, 0xd3]));
          break;
        case 5:
          bench.writeData(random.pick([0xf4, 0xf0, 0xf3, 0xed, 0xe9, 0xeb, 0xff, 0x03, 0x47, random.below(256)]));
          break;
        default:
          random.pick([bench.device.dataPort, bench.device.commandPort]).writePort(0, 1, random.u32());
      }
    },
  };
});

test('SeaBIOS: self test, port test, keyboard reset, scan code set, translation', () => {
  const bench = build();
  assert.deepEqual(bench.drain(), [], 'nothing waits at power-on');
  bench.setMode(0x30);
  bench.writeCommand(0xaa);
  assert.equal(bench.status() & 1, 1);
  assert.equal(bench.data(), 0x55);
  assert.ok((bench.status() & 4) !== 0, 'system flag');
  bench.writeCommand(0xab);
  assert.equal(bench.data(), 0);
  assert.deepEqual(bench.keyboard(0xff), [0xfa, 0xaa]);
  assert.deepEqual(bench.keyboard(0xf5), [0xfa]);
  assert.deepEqual(bench.keyboard(0xf0, 0x02), [0xfa, 0xfa]);
  bench.setMode(0x61);
  assert.deepEqual(bench.keyboard(0xf4), [0xfa]);
  assert.deepEqual(bench.press('KeyA'), [0x1e, 0x9e]);
  assert.deepEqual(bench.press('F12'), [0x58, 0xd8]);
});

test('Linux i8042: controller check, loopback, auxiliary interrupt test', () => {
  const bench = build();
  const { writeCommand, writeData, data, status, irq12, irq1 } = bench;
  writeCommand(0x20);
  const mode = data();
  writeCommand(0x20);
  assert.equal(data(), mode);
  bench.setMode((mode | 0x30) & ~3);
  // AUX loop
  for (const value of [0x5a, 0xf0, 0x56, 0xa4]) {
    writeCommand(0xd3);
    writeData(value);
    assert.equal(status() & 0x21, 0x21);
    assert.equal(data(), value);
  }
  writeCommand(0xa9);
  assert.equal(data(), 0);
  writeCommand(0xa7);
  writeCommand(0x20);
  assert.equal(data() & 0x20, 0x20);
  writeCommand(0xa8);
  writeCommand(0x20);
  assert.equal(data() & 0x20, 0);
  // Interrupt delivery
  bench.setMode(0x46);
  const edges = irq12.edges;
  writeCommand(0xd3);
  writeData(0xa5);
  assert.equal(irq12.edges, edges + 1);
  assert.equal(irq1.asserted, false);
  assert.equal(data(), 0xa5);
  assert.equal(irq12.asserted, false);
});

test('Linux atkbd: identify, LEDs, set 3 probing, enable', () => {
  const bench = build();
  bench.setMode(0x41);
  assert.deepEqual(bench.keyboard(0xf5), [0xfa]);
  assert.deepEqual(bench.keyboard(0xf2), [0xfa, 0xab, 0x41], 'the id passes through translation');
  assert.deepEqual(bench.keyboard(0xed, 0x02), [0xfa, 0xfa]);
  assert.deepEqual(bench.leds, [2]);
  assert.deepEqual(bench.keyboard(0xf3, 0x00), [0xfa, 0xfa]);
  assert.deepEqual(bench.keyboard(0xf4), [0xfa]);
  assert.deepEqual(bench.keyboard(0xea), [0xfe], 'an unknown command');
  assert.deepEqual(bench.keyboard(0xee), [0xee]);
  assert.deepEqual(bench.keyboard(0xf0, 0x00), [0xfa, 0xfa, 0x41]);
  bench.setMode(0x01);
  assert.deepEqual(bench.keyboard(0xf2), [0xfa, 0xab, 0x83]);
  assert.deepEqual(bench.keyboard(0xf0, 0x03, 0xf0, 0x00), [0xfa, 0xfa, 0xfa, 0xfa, 3]);
  assert.deepEqual(bench.keyboard(0xf8, 0xf4), [0xfa, 0xfa]);
  assert.deepEqual(bench.press('KeyA'), [0x1c, 0xf0, 0x1c]);
  assert.deepEqual(bench.press('ArrowUp'), [0x63, 0xf0, 0x63]);
  assert.deepEqual(bench.keyboard(0xfd, 0x1c, 0xf4), [0xfa, 0xfa, 0xfa], 'KeyA make only');
  assert.deepEqual(bench.press('KeyA'), [0x1c]);
  assert.deepEqual(bench.keyboard(0xf0, 0x09), [0xfa, 0xfe]);
  assert.deepEqual(bench.keyboard(0xed, 0xf2), [0xfa, 0xfa, 0xab, 0x83], 'a command ends the wait for an argument');
});

test('GRUB reads answers of the controller without waiting, and the keyboard’s until they change', () => {
  const bench = build();
  bench.writeCommand(0x20);
  assert.equal(bench.data(), 3);
  bench.writeData(0xf0);
  let ack = 0;
  for (let i = 0; i < 400 && ack !== 0xfa; i++) {
    ack = bench.data();
    bench.clock.advance(STEP);
  }
  assert.equal(ack, 0xfa);
  bench.writeData(0);
  assert.equal(bench.data(), 0xfa, 'the last byte stays readable');
});

test('scan codes in all sets and through translation', () => {
  const none = { control: false, shift: false, alt: false };
  const both = (name: string, set: 1 | 2 | 3) => [
    ...scanSequence(name, set, true, none),
    ...scanSequence(name, set, false, none),
  ];
  assert.deepEqual(both('Escape', 1), [0x01, 0x81]);
  assert.deepEqual(both('ArrowUp', 1), [0xe0, 0x48, 0xe0, 0xc8]);
  assert.deepEqual(both('ArrowUp', 2), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
  assert.deepEqual(both('F7', 1), [0x41, 0xc1]);
  assert.deepEqual(both('F7', 2), [0x83, 0xf0, 0x83]);
  assert.deepEqual(both('Pause', 1), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
  assert.deepEqual(both('PrintScreen', 1), [0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa]);
  assert.deepEqual(both('PrintScreen', 2), [0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12]);
  assert.deepEqual(scanSequence('PrintScreen', 1, true, { ...none, alt: true }), [0x54]);
  assert.deepEqual(scanSequence('Pause', 1, true, { ...none, control: true }), [0xe0, 0x46, 0xe0, 0xc6]);
  // Korean and Japanese keys.
  assert.deepEqual([both('Lang1', 1), both('Lang1', 2)], [[0xf2], [0xf2]]);
  assert.deepEqual([both('Lang2', 1), both('Lang2', 2)], [[0xf1], [0xf1]]);
  assert.deepEqual(both('Lang3', 1), [0x78, 0xf8]);
  assert.deepEqual(both('Lang4', 1), [0x77, 0xf7]);
  assert.deepEqual(both('Lang5', 2), [0x5f, 0xf0, 0x5f]);
  // What a PC keyboard sends in set 1, for one key of each corner.
  const set1: Record<string, number> = {
    Backquote: 0x29,
    Digit1: 0x02,
    Equal: 0x0d,
    Backspace: 0x0e,
    Tab: 0x0f,
    KeyP: 0x19,
    CapsLock: 0x3a,
    Quote: 0x28,
    Enter: 0x1c,
    ShiftLeft: 0x2a,
    ShiftRight: 0x36,
    KeyM: 0x32,
    ControlLeft: 0x1d,
    AltLeft: 0x38,
    Space: 0x39,
    F1: 0x3b,
    F10: 0x44,
    F11: 0x57,
    NumLock: 0x45,
    ScrollLock: 0x46,
    Numpad7: 0x47,
    Numpad0: 0x52,
    NumpadDecimal: 0x53,
    NumpadSubtract: 0x4a,
    NumpadAdd: 0x4e,
    NumpadMultiply: 0x37,
    IntlBackslash: 0x56,
    Backslash: 0x2b,
    IntlRo: 0x73,
    IntlYen: 0x7d,
  };
  for (const [name, code] of Object.entries(set1)) {
    assert.deepEqual(scanSequence(name, 1, true, none), [code], name);
  }
  const extended: Record<string, number> = {
    ControlRight: 0x1d,
    AltRight: 0x38,
    MetaLeft: 0x5b,
    MetaRight: 0x5c,
    ContextMenu: 0x5d,
    Insert: 0x52,
    Delete: 0x53,
    Home: 0x47,
    End: 0x4f,
    PageUp: 0x49,
    PageDown: 0x51,
    NumpadDivide: 0x35,
    NumpadEnter: 0x1c,
    Power: 0x5e,
  };
  for (const [name, code] of Object.entries(extended)) {
    assert.deepEqual(scanSequence(name, 1, true, none), [0xe0, code], name);
  }
  // The controller's translation of set 2 gives the same bytes as the keyboard's own set 1.
  const translating = build();
  translating.setMode(0x41);
  const native = build();
  native.setMode(0x01);
  native.keyboard(0xf0, 1);
  for (const name of KEY_NAMES) {
    assert.deepEqual(translating.press(name), native.press(name), name);
  }
  // No two keys send the same make code in a set.
  for (const set of [1, 2] as const) {
    const codes = KEY_NAMES.map((name) => scanSequence(name, set, true, none).join());
    assert.equal(new Set(codes).size, codes.length);
  }
});

test('an interrupt per byte, and a byte stays readable for a chain of handlers', () => {
  const bench = build();
  const { device, irq1, clock, data, status } = bench;
  bench.setMode(0x41);
  device.keyboard.key('ArrowLeft', true);
  assert.ok(irq1.asserted);
  assert.equal(data(), 0xe0);
  assert.ok(!irq1.asserted);
  assert.equal(data(), 0xe0);
  assert.equal(status() & 1, 0);
  clock.advance(1_000_000);
  assert.equal(irq1.edges, 2);
  assert.equal(data(), 0x4b);
});

test('a disabled keyboard port holds its bytes back, and a command enables it', () => {
  const bench = build();
  bench.setMode(0x51);
  bench.device.keyboard.key('KeyA', true);
  assert.equal(bench.poll(), undefined);
  bench.writeCommand(0xae);
  assert.deepEqual(bench.drain(), [0x1e]);
  bench.writeCommand(0xad);
  bench.device.keyboard.key('KeyA', false);
  assert.equal(bench.poll(), undefined);
  bench.writeData(0xee);
  assert.deepEqual(bench.drain(), [0xee, 0x9e], 'the reply overtakes scan codes');
});

test('an answer of the controller waits for an unread byte and overtakes the next ones', () => {
  const bench = build();
  bench.setMode(0x41);
  bench.device.keyboard.key('KeyA', true);
  bench.device.keyboard.key('KeyA', false);
  bench.writeCommand(0xd0);
  assert.equal(bench.data(), 0x1e);
  assert.equal(bench.status() & 1, 1);
  assert.equal(bench.data() & 0x03, 0x03);
  assert.deepEqual(bench.drain(), [0x9e]);
});

test('typematic repetition, at the programmed rate, of the last key only', () => {
  const bench = build();
  const { device, clock } = bench;
  bench.setMode(0x41);
  bench.keyboard(0xf3, 0x00); // 250 ms, 30 a second
  device.keyboard.key('KeyA', true);
  assert.deepEqual(bench.drain(), [0x1e]);
  device.keyboard.key('KeyA', true);
  assert.deepEqual(bench.drain(), [], 'the host’s own repetition is ignored');
  clock.advance(210_000_000);
  assert.deepEqual(bench.poll()?.[0], 0x1e);
  clock.advance(33_400_000);
  assert.deepEqual(bench.poll()?.[0], 0x1e);
  // Unread, at most one repetition waits.
  clock.advance(2_000_000_000);
  assert.deepEqual(bench.poll()?.[0], 0x1e);
  device.keyboard.key('KeyB', true);
  device.keyboard.key('KeyB', false);
  bench.drain();
  clock.advance(1_000_000_000);
  assert.deepEqual(bench.drain(), [], 'the key that was pressed last is released: nothing repeats');
  device.keyboard.key('KeyA', false);
  assert.deepEqual(bench.drain(), [0x9e]);
});

test('an overrun is marked, and no key sticks after it', () => {
  const bench = build();
  bench.setMode(0x01);
  bench.device.keyboard.key('ShiftLeft', true);
  for (let i = 0; i < 60; i++) {
    bench.device.keyboard.key('KeyX', true);
    bench.device.keyboard.key('KeyX', false);
  }
  bench.device.keyboard.key('ShiftLeft', false);
  const bytes = bench.drain();
  assert.equal(bytes.filter((byte) => byte === 0).length, 1);
  const down = new Set<number>();
  let release = false;
  for (const byte of bytes) {
    if (byte === 0xf0) {
      release = true;
    } else if (byte !== 0) {
      release ? down.delete(byte) : down.add(byte);
      release = false;
    }
  }
  assert.deepEqual([...down], []);
  assert.ok(bench.device.keyboardDrained);
});

test('resend, reset and disabled scanning', () => {
  const bench = build();
  bench.setMode(0x01);
  assert.deepEqual(bench.press('KeyA'), [0x1c, 0xf0, 0x1c]);
  assert.deepEqual(bench.keyboard(0xfe), [0x1c]);
  assert.deepEqual(bench.keyboard(0xf5), [0xfa]);
  assert.deepEqual(bench.press('KeyA'), []);
  assert.deepEqual(bench.keyboard(0xff), [0xfa, 0xaa]);
  assert.deepEqual(bench.press('KeyA'), [0x1c, 0xf0, 0x1c]);
});

test('A20, output port and reset', () => {
  const bench = build();
  const { writeCommand, writeData, a20 } = bench;
  a20.length = 0;
  writeCommand(0xd1);
  writeData(0xdd);
  assert.deepEqual(a20, [false]);
  writeCommand(0xd0);
  assert.equal(bench.data() & 2, 0);
  writeCommand(0xd1);
  writeData(0xdf);
  writeCommand(0xff);
  writeCommand(0xdd);
  writeCommand(0xdf);
  assert.deepEqual(a20, [false, true, false, true]);
  assert.equal(bench.resets(), 0);
  bench.device.noteA20(false);
  writeCommand(0xd0);
  assert.equal(bench.data() & 2, 0);
  writeCommand(0xfe);
  assert.equal(bench.resets(), 1);
  writeCommand(0xd1);
  writeData(0x02);
  assert.equal(bench.resets(), 2);
});

test('Linux psmouse: reset, probing, IntelliMouse, Explorer', () => {
  const bench = build();
  const { mouse } = bench;
  bench.setMode(0x03);
  assert.deepEqual(mouse(0xff), [0xfa, 0xaa, 0x00]);
  assert.deepEqual(mouse(0xf2), [0xfa, 0x00]);
  // Synaptics probing: four resolutions and a status request, whose middle byte is not 47h.
  assert.deepEqual(mouse(0xe8, 0, 0xe8, 0, 0xe8, 0, 0xe8, 0), new Array(8).fill(0xfa));
  assert.deepEqual(mouse(0xe9), [0xfa, 0x00, 0x00, 100]);
  assert.deepEqual(mouse(0xe1), [0xfe], 'TrackPoint probing');
  assert.deepEqual(mouse(0xf3, 200, 0xf3, 100, 0xf3, 80), new Array(6).fill(0xfa));
  assert.deepEqual(mouse(0xf2), [0xfa, 3]);
  assert.deepEqual(mouse(0xf3, 200, 0xf3, 200, 0xf3, 80), new Array(6).fill(0xfa));
  assert.deepEqual(mouse(0xf2), [0xfa, 4]);
  assert.deepEqual(mouse(0xf3, 100, 0xe8, 3, 0xe6, 0xf4), new Array(6).fill(0xfa));
  assert.deepEqual(mouse(0xe9), [0xfa, 0x20, 3, 100]);
  bench.device.mouse.move(5, 3, -1, 1 | 16);
  assert.deepEqual(bench.drain(), [0x29, 5, 0xfd, 0x0f | 0x20]);
  assert.deepEqual(mouse(0xf6, 0xf2), [0xfa, 0xfa, 4], 'defaults keep the protocol');
  assert.deepEqual(mouse(0xff, 0xf2), [0xfa, 0xaa, 0, 0xfa, 0]);
});

test('mouse motion is split into packets, and clicks keep their place', () => {
  const bench = build();
  const { mouse, device } = bench;
  bench.setMode(0x03);
  device.mouse.move(10, 10, 0, 0);
  assert.deepEqual(bench.drain(), [], 'not enabled yet');
  mouse(0xf4);
  device.mouse.move(600, -300, 0, 0);
  device.mouse.move(0, 0, 0, 2);
  device.mouse.move(0, 0, 0, 0);
  device.mouse.move(-1, 0, 0, 0);
  assert.deepEqual(bench.drain(), [
    ...[0x08, 0xff, 0xff],
    ...[0x08, 0xff, 45],
    ...[0x08, 90, 0],
    ...[0x0a, 0, 0],
    ...[0x18, 0xff, 0],
  ]);
  assert.ok(device.mouse.drained);
  // 2:1 scaling
  mouse(0xe7);
  for (const [counts, reported] of [
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 6],
    [5, 9],
    [10, 20],
  ] as const) {
    device.mouse.move(counts, 0, 0, 0);
    assert.deepEqual(bench.drain(), [0x08, reported, 0]);
  }
  device.mouse.move(-300, 0, 0, 0);
  assert.deepEqual(bench.drain(), [0x18, 2, 0, 0x18, 2, 0, 0x18, 0xa4, 0]);
});

test('mouse packets come at the sample rate', () => {
  const bench = build();
  const { mouse, device, clock, irq12 } = bench;
  bench.setMode(0x03);
  mouse(0xf3, 10, 0xf4);
  device.mouse.move(1, 0, 0, 0);
  assert.equal(bench.drain().length, 3);
  device.mouse.move(1, 0, 0, 0);
  clock.advance(30_000_000);
  device.mouse.move(1, 0, 0, 0);
  const edges = irq12.edges;
  assert.equal(bench.status() & 1, 0);
  clock.advance(50_000_000);
  assert.equal(irq12.edges, edges + 1);
  assert.deepEqual(bench.drain(), [0x08, 2, 0]);
});

test('mouse remote mode, wrap mode and resend', () => {
  const bench = build();
  const { mouse, device } = bench;
  bench.setMode(0x03);
  assert.deepEqual(mouse(0xf0), [0xfa]);
  device.mouse.move(7, 0, 0, 1);
  assert.deepEqual(bench.drain(), []);
  assert.deepEqual(mouse(0xeb), [0xfa, 0x09, 7, 0]);
  assert.deepEqual(mouse(0xeb), [0xfa, 0x09, 0, 0]);
  assert.deepEqual(mouse(0xe9), [0xfa, 0x44, 2, 100]);
  assert.deepEqual(mouse(0xfe), [0xfa, 0x44, 2, 100]);
  assert.deepEqual(mouse(0xee, 0x12, 0xf4, 0xec), [0xfa, 0x12, 0xf4, 0xfa]);
  assert.deepEqual(mouse(0xea, 0xf5), [0xfa, 0xfa]);
});

test('keyboard and mouse share the buffer without losing or mixing bytes', () => {
  const bench = build();
  const { device, mouse } = bench;
  bench.setMode(0x43);
  mouse(0xf4);
  device.mouse.move(1, 2, 0, 0);
  device.keyboard.key('KeyA', true);
  device.mouse.move(3, 0, 0, 0);
  device.keyboard.key('KeyA', false);
  const keys: number[] = [];
  const packets: number[] = [];
  for (let next = bench.poll(); next !== undefined; next = bench.poll()) {
    (next[1] ? packets : keys).push(next[0]);
  }
  assert.deepEqual(keys, [0x1e, 0x9e]);
  assert.deepEqual(packets, [0x28, 1, 0xfe, 0x08, 3, 0]);
});

test('the typer types text, named keys and chords at the pace of the guest', () => {
  const bench = build();
  const { device, clock } = bench;
  bench.setMode(0x41);
  const typer = new KeyTyper(clock, {
    key: (code, down) => device.keyboard.key(code, down),
    get drained() {
      return device.keyboardDrained;
    },
  });
  assert.deepEqual(typer.type('A1€\n{Up}'), ['€']);
  clock.advance(1_000_000_000);
  assert.ok(typer.busy, 'the guest has not read anything');
  const bytes: number[] = [];
  while (typer.busy) {
    bytes.push(...bench.drain());
    clock.advance(20_000_000);
  }
  bytes.push(...bench.drain());
  assert.deepEqual(bytes, [...[0x2a, 0x1e, 0x9e, 0xaa], ...[0x02, 0x82], ...[0x1c, 0x9c], ...[0xe0, 0x48, 0xe0, 0xc8]]);
  const codes = (text: string) =>
    typeText(text).strokes.map((stroke) =>
      stroke
        .filter((event) => event.down)
        .map((event) => event.code)
        .join('+'),
    );
  assert.deepEqual(codes('{Ctrl+Alt+Delete}{F12}{ctrl+c}'), ['ControlLeft+AltLeft+Delete', 'F12', 'ControlLeft+KeyC']);
  assert.deepEqual(codes('{no}'), ['ShiftLeft+BracketLeft', 'KeyN', 'KeyO', 'ShiftLeft+BracketRight']);
  assert.deepEqual(codes('{{F1}'), ['ShiftLeft+BracketLeft', 'ShiftLeft+KeyF', 'Digit1', 'ShiftLeft+BracketRight']);
  assert.deepEqual(codes('a\r\n\x03'), ['KeyA', 'Enter', 'ControlLeft+KeyC']);
  typer.dispose();
});
