/** A virtio display adapter and input devices with the drivers of a Debian kernel. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { CursorMessage, MachineStatus } from '../../engine/process/machine-messages.ts';
import { startMachine } from '../../engine/process/start-machine.ts';
import { LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { needs } from './needs.ts';
import { decodePng, type Picture } from './png.ts';
import { screenInitramfs } from './screen-program.ts';
import { screenText } from './screen-text.ts';

const SECONDS = 400;

const pixel = ({ width, rgb }: Picture, x: number, y: number): number[] => [
  ...rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];

test('Linux on virtio-gpu and virtio-input: text, several monitors that follow windows, pointer, tablet and keyboard', async (t) => {
  const kernel = needs(t, () => linuxKernel('generic'));
  const initrd = kernel && needs(t, screenInitramfs);
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const config = validateMachineConfig({
    memoryMegabytes: 256,
    vga: 'virtio',
    heads: 2,
    boot: { kernel, initrd, append: 'console=ttyS0 panic=-1' },
    serial: { kind: 'stdio' },
  });
  let said = '';
  let read = 0;
  let status: MachineStatus | undefined;
  const cursors: CursorMessage[] = [];
  const machine = await startMachine(config, {
    serialOutput: (bytes) => {
      said += Buffer.from(bytes).toString('latin1');
    },
    log: () => {},
    screenshot() {},
    status: (present) => {
      status = present;
    },
    cursor: (message) => cursors.push(message),
    frame: (viewer, packet) => {
      const sequence = new DataView(packet.buffer, packet.byteOffset).getUint32(4, true);
      machine.tell({ kind: 'ack', viewer, sequence });
    },
  });
  const until = async <T>(
    what: string,
    look: () => T | undefined | false | Promise<T | undefined | false>,
  ): Promise<T> => {
    for (const end = Date.now() + SECONDS * 1000; ; await sleep(100)) {
      const found = await look();
      if (found !== undefined && found !== false) {
        return found;
      }
      assert.ok(Date.now() < end, `${what}: not within ${SECONDS} s\n${said.slice(-3000)}`);
    }
  };
  const hears = (pattern: RegExp) =>
    until(`${pattern}`, () => {
      const match = pattern.exec(said.slice(read));
      read += match === null ? 0 : match.index + match[0].length;
      return match ?? undefined;
    });
  const run = async (command: string, answer: RegExp) => {
    machine.sendSerial(Buffer.from(`${command}\n`));
    return await hears(answer);
  };
  const picture = async (head: number) =>
    decodePng(Buffer.from((await machine.perform({ kind: 'screenshot', head })).png));
  try {
    await hears(/guest# /);
    assert.deepEqual([status?.mouse, status?.resizable, status?.heads], ['relative', false, 2]);
    await run(`${LOAD_MODULES}; echo loaded-$((6*7))`, /loaded-42/);
    await until('drivers that are ready', () => status?.mouse === 'absolute' && status.resizable);

    // The kernel's own text screen, and the keyboard.
    await machine.perform({ kind: 'type', text: 'echo typed-$((6*7))\n' });
    await until('what was typed, on the screen', async () => /typed-42/.test(screenText(await picture(0))));
    assert.equal((await machine.perform({ kind: 'screen-text' })).lines, null, 'it is no text mode of the VGA');

    // A window that is resized: the monitor is another one, and the kernel's screen follows as far as it has pixels.
    const modes = 'cat /sys/class/drm/card*-Virtual-1/modes | head -n 1';
    await run(modes, /\n1024x768\r/);
    await machine.perform({ kind: 'resize-screen', width: 903, height: 700 });
    await until('the mode of the window', async () => (await picture(0)).width === 903);
    await run(modes, /\n903x700\r/);
    assert.equal((await picture(0)).height, 700);
    await machine.perform({ kind: 'resize-screen', width: 1117, height: 723 });
    // The first detailed timing of its EDID, at 54: low bytes of width and blanking, then their high ones; height as well.
    await until('the EDID of the window', async () => {
      const [, line = ''] = await run(
        'hexdump -C /sys/class/drm/card*-Virtual-1/edid',
        /00000030 {2}((?:[0-9a-f]{2} {1,2}){16})/,
      );
      const timing = line
        .trim()
        .split(/ +/)
        .slice(6)
        .map((byte) => Number.parseInt(byte, 16));
      const size = (low: number, high: number) => (timing[low] ?? 0) | (((timing[high] ?? 0) >> 4) << 8);
      return size(2, 4) === 1117 && size(5, 7) === 723;
    });

    // A program that shows pictures in what monitors prefer, and follows.
    await run('screen &', /2 monitors, \d+ input devices/);
    await hears(/screen 0 1117x723\r/);
    await hears(/screen 1 1024x768\r/);
    await hears(/pointer\r/);
    for (const [head, width, height, colour] of [
      [0, 1117, 723, [0x20, 0x40, 0x80]],
      [1, 1024, 768, [0x80, 0x30, 0x20]],
    ] as const) {
      const shown = await picture(head);
      assert.deepEqual([shown.width, shown.height], [width, height]);
      assert.deepEqual(pixel(shown, width - 2, height - 2), colour);
      assert.deepEqual(pixel(shown, width - 1, height - 1), [255, 255, 255]);
    }
    await machine.perform({ kind: 'attach', viewer: 1, framesPerSecond: 30, compress: false });
    const { cursor } = await until('the pointer', () =>
      cursors.find(({ head, cursor: shown }) => head === 0 && shown?.image),
    );
    assert.deepEqual([cursor?.visible, cursor?.x, cursor?.y], [true, 100, 50]);
    assert.deepEqual([cursor?.image?.hotX, cursor?.image?.hotY], [8, 8]);
    assert.deepEqual([...(cursor?.image?.rgba.subarray(60, 68) ?? [])], [255, 0, 0, 255, 0, 0, 0, 0]);
    await machine.perform({ kind: 'resize-screen', head: 1, width: 800, height: 600 });
    await hears(/screen 1 800x600\r/);
    await until('its picture', async () => (await picture(1)).width === 800);
    await machine.perform({ kind: 'resize-screen', head: 0, width: 1600, height: 900 });
    await hears(/screen 0 1600x900\r/);
    await until('its picture', async () => (await picture(0)).width === 1600);

    // The tablet points over both monitors, which stand side by side: 1600 of 2400 pixels are the first one's.
    await machine.perform({ kind: 'pointer', x: 0.75, y: 1, wheel: 0, buttons: 0 });
    await hears(/event Lodge Virtio Tablet 3 0 (16383|16384)\r/);
    await hears(/event Lodge Virtio Tablet 3 1 32767\r/);
    await machine.perform({ kind: 'pointer', head: 1, x: 0.5, y: 0, wheel: 1, buttons: 1 });
    await hears(/event Lodge Virtio Tablet 3 0 27306\r/);
    await hears(/event Lodge Virtio Tablet 1 272 1\r/);
    await hears(/event Lodge Virtio Tablet 2 8 -1\r/);
    await machine.perform({ kind: 'mouse', dx: -7, dy: 3, wheel: 0, buttons: 0 });
    await hears(/event Lodge Virtio Mouse 2 0 -7\r/);
    await machine.perform({ kind: 'keys', codes: ['ShiftLeft', 'F5'] });
    await hears(/event Lodge Virtio Keyboard 1 63 1\r/);
    await hears(/event Lodge Virtio Keyboard 1 42 0\r/);

    // The guest starts anew: the first screen is a VGA's again.
    await machine.perform({ kind: 'reset' });
    await hears(/guest# /);
    await until('the PC’s mouse', () => status?.mouse === 'relative');
  } finally {
    machine.stop();
    await machine.finished;
  }
});
