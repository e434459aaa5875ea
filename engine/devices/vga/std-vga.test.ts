import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceConformance } from '../../testing/conformance.ts';
import type { Random } from '../../testing/random.ts';
import { EDID_BLOCK_BYTES } from './edid.ts';
import { MODE_3, MODE_12, VgaBench } from './testing.ts';

function poke(bench: VgaBench, random: Random): void {
  const size = random.pick([1, 2, 4] as const);
  const value = size === 4 ? random.u32() : random.below(1 << (size * 8));
  const { vga } = bench;
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
      vga.legacyPorts.writePort(random.below(0x31 - size), size, value);
      break;
    case 3:
      vga.legacyPorts.readPort(random.below(0x31 - size), size);
      break;
    case 4:
      vga.dispiPorts.writePort(0, 2, random.below(12));
      vga.dispiPorts.writePort(random.below(5 - size), size, random.chance(1, 2) ? value & 0x7ff : value);
      break;
    case 5:
      vga.dispiPorts.readPort(random.below(5 - size), size);
      break;
    case 6:
      vga.window.writeMmio(random.below(0x20001 - size), size, value);
      break;
    case 7:
      vga.window.readMmio(random.below(0x20001 - size), size);
      break;
    case 8:
      vga.mmio.writeMmio(random.pick([0x400, 0x500, 0x600, 0, 0xff0]) + random.below(0x20 - size), size, value);
      break;
    case 9:
      vga.mmio.readMmio(random.below(0x1001 - size), size);
      break;
    case 10:
      vga.pci.writeConfig(random.below(0x40) * 4, 4, random.u32());
      break;
    default:
      bench.direct[random.below(bench.direct.length)] = 1;
      bench.directWrites = true;
      vga.refresh();
      vga.render({ width: 64, height: 64, rgba: new Uint8ClampedArray(64 * 64 * 4) });
      vga.screenText();
      vga.describe();
      vga.romWindow.readMmio(random.below(0xfffc), size);
      break;
  }
}

deviceConformance('StdVga', () => {
  const bench = new VgaBench(1 << 20);
  if (bench.clock.now() === 0) {
    bench.setMode(MODE_12);
  }
  return { device: bench.vga, clock: bench.clock, poke: (random) => poke(bench, random) };
});

test('a saved state with a bad field is refused whole', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_3);
  const saved = bench.vga.save() as Record<string, never>;
  for (const bad of [
    { dac: new Uint8Array(3) },
    { dispi: [1, 2] },
    { dispi: [0xb0c9, 0, 0, 0, 0, 0, 0, 0, 0, 0] },
    { crtcIndex: 256 },
    { attributeFlipFlop: 1 },
    { pci: {} },
  ]) {
    assert.throws(() => bench.vga.load({ ...saved, ...bad }), { name: 'HostError', code: 'bad-state' });
    assert.deepEqual(bench.vga.save(), saved);
  }
});

test('PCI identity, and BARs of video memory, registers and ROM', () => {
  const rom = Uint8Array.from({ length: 0x9c00 }, (_, i) => i * 7);
  const bench = new VgaBench(1 << 24, rom);
  const { pci } = bench.vga;
  assert.equal(pci.readU32(0x00), 0x11111234);
  assert.equal(pci.readU32(0x08), 0x03000002);
  assert.equal(pci.readU32(0x2c), 0x11001af4);
  assert.equal(pci.readU32(0x3c), 0);
  for (const [offset, expected] of [
    [0x10, 0xff000008],
    [0x14, 0],
    [0x18, 0xfffff000],
    [0x30, 0xffff0001],
  ] as const) {
    pci.writeConfig(offset, 4, 0xffffffff);
    assert.equal(pci.readU32(offset), expected);
  }
  pci.writeConfig(0x10, 4, 0xfd000000);
  pci.writeConfig(0x18, 4, 0xfebf0000);
  pci.writeConfig(0x30, 4, 0xfebe0001);
  assert.equal(bench.vramBase, undefined);
  pci.writeConfig(4, 2, 3);
  assert.equal(pci.readU16(4), 3, 'the I/O bit can be set');
  assert.equal(bench.vramBase, 0xfd000000);
  assert.deepEqual([...bench.mapped].sort(), [
    [0xfebe0000, 0x10000],
    [0xfebf0000, 0x1000],
  ]);
  assert.equal(bench.vga.romWindow.readMmio(4, 4), 0x312a231c);
  assert.equal(bench.vga.romWindow.readMmio(0xfffc, 4), 0);
  bench.vga.dispose();
  assert.equal(bench.vramBase, undefined);
  assert.equal(bench.mapped.size, 0);
});

test('the register page: EDID, VGA ports, Bochs registers, byte order', () => {
  const { vga } = new VgaBench();
  assert.equal(vga.mmio.readMmio(0, 4), 0xffffff00);
  assert.equal(vga.mmio.readMmio(4, 4), 0x00ffffff);
  let sum = 0;
  for (let i = 0; i < EDID_BLOCK_BYTES; i++) {
    sum += vga.mmio.readMmio(i, 1);
  }
  assert.equal(sum & 0xff, 0);
  assert.equal(vga.mmio.readMmio(EDID_BLOCK_BYTES, 4), 0);
  vga.mmio.writeMmio(0x402, 1, 0x67); // misc output
  assert.equal(vga.mmio.readMmio(0x40c, 1), 0x67);
  vga.mmio.writeMmio(0x414, 2, 0x5513); // CRTC offset
  assert.equal(vga.mmio.readMmio(0x415, 1), 0x55);
  assert.equal(vga.legacyPorts.readPort(0x25, 1), 0x55);
  assert.equal(vga.mmio.readMmio(0x500, 2), 0xb0c5);
  assert.equal(vga.mmio.readMmio(0x514, 2), 0x100);
  vga.mmio.writeMmio(0x502, 2, 1280);
  assert.equal(vga.mmio.readMmio(0x502, 2), 1280);
  assert.equal(vga.mmio.readMmio(0x600, 4), 8);
  assert.equal(vga.mmio.readMmio(0x604, 4), 0x1e1e1e1e);
  assert.equal(vga.mmio.readMmio(0x800, 4), 0xffffffff);
});

test('ports answer in the addressing that misc output selects, and mask what does not exist', () => {
  const bench = new VgaBench();
  assert.equal(bench.in(0x3d4), 0xff);
  assert.equal(bench.in(0x3b4), 0);
  bench.out(0x3c2, 0x67);
  assert.equal(bench.in(0x3b4), 0xff);
  assert.equal(bench.in(0x3cc), 0x67);
  for (const [index, expected] of [
    [0, 0x03],
    [1, 0x3d],
    [2, 0x0f],
    [3, 0x3f],
    [4, 0x0e],
  ] as const) {
    bench.indexed(0x3c4, index, 0xff);
    assert.equal(bench.in(0x3c5), expected);
  }
  for (const [index, expected] of [
    [3, 0x1f],
    [4, 0x03],
    [5, 0x7b],
    [8, 0xff],
  ] as const) {
    bench.indexed(0x3ce, index, 0xff);
    assert.equal(bench.in(0x3cf), expected);
  }
});

test('CRTC registers 0–7 can be protected, except line compare bit 8', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_3); // ends with register 0x11 unprotected only if its table says so: it has the bit set
  bench.out(0x3d4, 0);
  bench.out(0x3d5, 0x12);
  assert.equal(bench.in(0x3d5), 0x5f);
  bench.indexed(0x3d4, 7, 0x00);
  assert.equal(bench.in(0x3d5), 0x0f);
  bench.indexed(0x3d4, 0x11, 0x0e);
  bench.indexed(0x3d4, 0, 0x12);
  assert.equal(bench.in(0x3d5), 0x12);
});

test('attribute controller: one port for index and data, reset by input status 1', () => {
  const bench = new VgaBench();
  bench.out(0x3c2, 0x67);
  bench.in(0x3da);
  bench.out(0x3c0, 0x11);
  bench.out(0x3c0, 0x2a);
  bench.out(0x3c0, 0x31);
  bench.in(0x3da);
  assert.equal(bench.in(0x3c0), 0x31);
  assert.equal(bench.in(0x3c1), 0x2a);
});

test('DAC: read and write indices advance after three components', () => {
  const bench = new VgaBench();
  bench.out(0x3c8, 10);
  for (const value of [1, 2, 3, 4, 5]) {
    bench.out(0x3c9, value);
  }
  assert.equal(bench.in(0x3c8), 11);
  assert.equal(bench.in(0x3c7), 0);
  bench.out(0x3c7, 10);
  assert.equal(bench.in(0x3c7), 3);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => bench.in(0x3c9)),
    [1, 2, 3, 0, 0, 0],
  );
});

test('input status 1 follows the clock: 70 vertical retraces and 31,500 lines a second', () => {
  const bench = new VgaBench();
  bench.setMode(MODE_3);
  let retraces = 0;
  let lines = 0;
  let before = bench.in(0x3da);
  for (let i = 0; i < 100_000; i++) {
    bench.clock.advance(1000);
    const now = bench.in(0x3da);
    retraces += (now & ~before & 8) !== 0 ? 1 : 0;
    lines += (now & ~before & 1) !== 0 ? 1 : 0;
    before = now;
  }
  assert.equal(retraces, 7);
  assert.ok(lines > 2750 && lines < 2850, `${lines} displayed lines in 100 ms`);
});
