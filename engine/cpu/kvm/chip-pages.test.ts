import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoApic, type IoApicState } from '../../irq/io-apic.ts';
import { Pic, type PicState } from '../../irq/pic.ts';
import { Random } from '../../testing/random.ts';
import {
  ioApicPage,
  ioApicState,
  ioApicTimerMasked,
  picPage,
  picRequests,
  picState,
  picTimerMasked,
} from './chip-pages.ts';

function throughKvm(state: PicState): PicState {
  return picState(picPage(state.master, true), picPage(state.slave, false), state);
}

/** What KVM has no place for: see picPage. A level that is asserted has no edge to remember. */
function known({ master, slave }: PicState): PicState {
  const of = (chip: PicState['master']) => ({
    ...chip,
    latched: chip.latched & ~chip.elcr,
    single: false,
    levelMode: false,
  });
  // The cascade's bits follow from the slave.
  const known = of(master);
  return {
    master: { ...known, lines: known.lines & ~4, seen: known.seen & ~4, latched: known.latched & ~4 },
    slave: of(slave),
  };
}

test('8259s: whatever a guest has made of them survives, requests, levels and half a set-up', () => {
  const random = new Random(8259);
  for (let round = 0; round < 300; round++) {
    const pic = new Pic('pic', { intr: { set() {} } });
    for (let i = 0; i < 40; i++) {
      const action = random.below(4);
      if (action === 0) {
        pic.line(random.below(16)).set(random.chance(1, 2));
      } else if (action === 1) {
        pic.elcr.writePort(random.below(2), 1, random.u32());
      } else if (action === 2 && pic.output) {
        pic.acknowledge();
      } else {
        random.pick([pic.master, pic.slave]).writePort(random.below(2), 1, random.u32() & ~8);
      }
    }
    const before = pic.save();
    const after = throughKvm(before);
    assert.deepEqual(after, known(before));
    // They go on alike: the same output, and the same vectors.
    const other = new Pic('other', { intr: { set() {} } });
    other.load(after);
    assert.equal(other.output, pic.output);
    for (let i = 0; i < 16 && pic.output && !before.master.levelMode && !before.slave.levelMode; i++) {
      assert.equal(other.acknowledge(), pic.acknowledge());
    }
  }
});

test('8259s: the page has what KVM reads at its places', () => {
  const pic = new Pic('pic', { intr: { set() {} } });
  for (const [offset, value] of [
    [0, 0x11],
    [1, 0x20],
    [1, 4],
    [1, 1],
    [1, 0xb8],
  ] as const) {
    pic.master.writePort(offset, 1, value);
  }
  pic.elcr.writePort(0, 1, 0x20);
  pic.line(0).set(true);
  pic.line(5).set(true);
  const page = picPage(pic.save().master, true);
  assert.equal(page.length, 520);
  // last_irr, irr, imr, isr, priority_add, irq_base; elcr and its mask at the end.
  assert.deepEqual([...page.subarray(0, 14)], [0, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x21, 0xb8, 0, 0, 0x20]);
  assert.deepEqual([...page.subarray(22, 24)], [0x20, 0xf8]);
  assert.equal(picRequests(page), true);
  assert.equal(picTimerMasked(page), false);
  pic.acknowledge();
  assert.equal(picRequests(picPage(pic.save().master, true)), false, 'input 5 is masked');
});

test('8259s: what no 8259 can hold is bounded', () => {
  const random = new Random(1);
  const pic = new Pic('pic', { intr: { set() {} } });
  const before = pic.save();
  for (let i = 0; i < 200; i++) {
    const [master, slave] = [new Uint8Array(520), new Uint8Array(520)];
    for (const page of [master, slave]) {
      page.forEach((_, at) => {
        page[at] = random.u32();
      });
    }
    pic.load(picState(master, slave, before));
    while (pic.output && random.chance(7, 8)) {
      assert.ok(pic.acknowledge() < 256);
    }
  }
});

test('the I/O APIC: entries, select and id survive; levels are asserted in KVM, edges are not', () => {
  const sent: unknown[] = [];
  const ioApic = new IoApic('ioapic', { messages: { deliver: (...message) => sent.push(message) } });
  const write = (index: number, value: number) => {
    ioApic.mmio.writeMmio(0, 4, index);
    ioApic.mmio.writeMmio(0x10, 4, value);
  };
  write(0, 0x05000000);
  write(0x10 + 2 * 2, 0x0031);
  write(0x11 + 2 * 2, 0x03000000);
  write(0x10 + 2 * 11, 0xa955);
  write(0x10 + 2 * 20, 0x1a966);
  for (const pin of [2, 11, 20]) {
    ioApic.line(pin).set(true);
  }
  const before = ioApic.save();
  const page = ioApicPage(before);
  const view = new DataView(page.buffer);
  assert.equal(view.getUint32(0, true), 2);
  assert.equal(view.getBigUint64(8, true), 0xfec00000n);
  assert.equal(view.getUint32(20, true), 5);
  assert.equal(view.getUint32(24, true), (1 << 11) | (1 << 20), 'requests');
  assert.equal(view.getUint32(32 + 2 * 8 + 4, true), 0x03000000);
  assert.equal(view.getUint32(32 + 11 * 8, true), 0xe955, 'remote IRR');
  assert.equal(ioApicTimerMasked(page), false);
  assert.deepEqual(ioApicState(page, before.levels), before);
});

test('the I/O APIC: what its guest cannot have written is bounded', () => {
  const random = new Random(2);
  const ioApic = new IoApic('ioapic', { messages: { deliver() {} } });
  for (let i = 0; i < 100; i++) {
    const page = new Uint8Array(520);
    page.forEach((_, at) => {
      page[at] = random.u32();
    });
    const state: IoApicState = ioApicState(page, random.below(1 << 24));
    ioApic.load(state);
    assert.deepEqual(ioApic.save(), state);
  }
});
