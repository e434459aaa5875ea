import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { ITLB_ENTRIES, ITLB_ENTRY_SIZE, ITLB_PHYSICAL } from './micro-op.ts';

const TABLES = 0x100000;
const TABLE_PAGES = 12;
const TABLE_BYTES = TABLE_PAGES * 4096;
const RAM = 4 << 20;

interface Mode {
  readonly name: string;
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: number;
  /** Bytes of an entry, and address bits that choose it, from the top. */
  readonly entry: 4 | 8;
  readonly shifts: readonly number[];
}

const PAGING = L.CR0_PE | L.CR0_PG | L.CR0_NE | L.CR0_ET;
const MODES: readonly Mode[] = [
  { name: 'long mode', cr0: PAGING, cr4: L.CR4_PAE, efer: L.EFER_LMA | L.EFER_LME, entry: 8, shifts: [39, 30, 21, 12] },
  { name: 'PAE paging', cr0: PAGING, cr4: L.CR4_PAE, efer: 0, entry: 8, shifts: [30, 21, 12] },
  { name: '32-bit paging', cr0: PAGING, cr4: 0, efer: 0, entry: 4, shifts: [22, 12] },
  { name: 'no paging', cr0: L.CR0_PE | L.CR0_NE | L.CR0_ET, cr4: 0, efer: 0, entry: 4, shifts: [] },
];

/** An entry that is mostly good: it leads to a table, to RAM, or astray. */
function randomEntry(random: Random, mode: Mode): bigint {
  // Not the first table: PAE paging's pointers lie there, in which an accessed bit would be wrong.
  const where = random.chance(1, 60)
    ? random.below(0x100000) * 4096
    : random.chance(4, 5)
      ? TABLES + (1 + random.below(TABLE_PAGES - 1)) * 4096
      : random.below(TABLES >> 12) * 4096;
  let value = BigInt(where) | 7n;
  // Now and then not present, read-only, supervisor's, accessed, dirty, large (with its address aligned), global.
  for (const [bit, oneIn] of [
    [0, 40],
    [1, 8],
    [2, 8],
  ] as const) {
    if (random.below(oneIn) === 0) {
      value &= ~(1n << BigInt(bit));
    }
  }
  for (const [bit, oneIn] of [
    [5, 2],
    [6, 2],
    [8, 3],
  ] as const) {
    if (random.below(oneIn) === 0) {
      value |= 1n << BigInt(bit);
    }
  }
  if (random.chance(1, 8)) {
    value |= 1n << 7n;
    if (random.below(6) !== 0) {
      value &= ~(mode.entry === 4 ? 0x3ff000n : random.chance(1, 2) ? 0x1fe000n : 0x3fffe000n);
    }
  }
  if (mode.entry === 8) {
    value |= random.chance(1, 12) ? 1n << 63n : 0n;
    value |= random.chance(1, 60) ? 1n << BigInt(32 + random.below(31)) : 0n;
  }
  return value;
}

function putEntry(machine: TestMachine, at: number, size: number, value: bigint): void {
  machine.memory.writeU32(at, Number(value & 0xffffffffn));
  if (size === 8) {
    machine.memory.writeU32(at + 4, Number(value >> 32n));
  }
}

/** What the instruction TLB says of an address. */
function codePage(machine: TestMachine, address: bigint): number {
  const words = new DataView(machine.memory.arena.buffer);
  const entry = machine.state.i32(L.ITLB) + Number((address >> 12n) & BigInt(ITLB_ENTRIES - 1)) * ITLB_ENTRY_SIZE;
  assert.equal(words.getBigUint64(entry, true), address & ~0xfffn);
  return words.getUint32(entry + ITLB_PHYSICAL, true);
}

function randomAddress(random: Random, mode: Mode): bigint {
  let address = BigInt(random.below(4096));
  for (const shift of mode.shifts) {
    address |= BigInt(random.below(4)) << BigInt(shift);
  }
  if (mode.shifts.length === 0) {
    return BigInt(random.below(RAM));
  }
  if (mode.shifts[0] === 39 && random.below(4) === 0) {
    // The upper half, or no canonical address at all.
    address |= random.below(5) === 0 ? 1n << 50n : 0xffff8000_00000000n;
  }
  return address;
}

for (const mode of MODES) {
  test(`random page tables, ${mode.name}: the quick walk agrees with the thorough one`, () => {
    const random = new Random(mode.shifts.length + 77);
    const machine = new TestMachine({ ramBytes: RAM });
    const { state, cpu, memory, cpus } = machine;
    const { translation } = cpu;
    let mapped = 0;
    let refused = 0;
    const rounds = 120;
    for (let round = 0; round < rounds; round++) {
      // Only the entries that addresses of the test choose are in use.
      for (let page = 0; page < TABLE_PAGES; page++) {
        for (let i = 0; i < 4; i++) {
          const entry = randomEntry(random, mode);
          // A pointer of PAE paging has fewer bits.
          const pointer = mode.shifts[0] === 30 && page === 0 && random.chance(9, 10);
          putEntry(
            machine,
            TABLES + page * 4096 + i * mode.entry,
            mode.entry,
            pointer ? entry & ~(0x1e6n | (1n << 63n)) : entry,
          );
          if (mode.shifts[0] === 39) {
            putEntry(machine, TABLES + page * 4096 + (256 + i) * 8, 8, randomEntry(random, mode));
          }
        }
      }
      const flag = (bit: number) => (random.below(2) === 0 ? bit : 0);
      const paging = mode.shifts.length > 0;
      state.setU64(L.CR0, BigInt((mode.cr0 | flag(L.CR0_WP)) >>> 0));
      state.setU64(L.CR3, BigInt(TABLES));
      state.setU64(
        L.CR4,
        BigInt(mode.cr4 | (paging ? flag(L.CR4_PSE) | flag(L.CR4_PGE) | flag(L.CR4_SMEP) | flag(L.CR4_SMAP) : 0)),
      );
      state.setU64(L.EFER, BigInt(mode.efer | flag(L.EFER_NXE)));
      state.setI32(L.FLAGS_REST, 2 | flag(L.FLAG_AC));
      state.setI32(L.A20_MASK, random.below(8) === 0 ? ~(1 << 20) : -1);
      state.setI32(L.MODE, flag(L.MODE_CPL_MASK));
      translation.select();
      for (let i = 0; i < 60; i++) {
        const address = randomAddress(random, mode);
        const write = random.below(2);
        const size = 1 << random.below(4);
        translation.flush(true);
        state.setI32(L.FAULT, 0);
        const before = memory.ram.slice(TABLES, TABLES + TABLE_BYTES);
        const place = () => {
          state.setU64(L.SCRATCH, address);
          state.setI32(L.SCRATCH + 16, 0);
        };
        place();
        const expected = translation.walkForGenerated(write);
        const physical = state.u32(L.SCRATCH + 16);
        const fault = [state.i32(L.FAULT), state.i32(L.FAULT_ERROR), state.u64(L.FAULT_ADDRESS)];
        const after = memory.ram.slice(TABLES, TABLES + TABLE_BYTES);

        memory.ram.set(before, TABLES);
        state.setI32(L.FAULT, 0);
        place();
        const actual = cpus.generated.fillTlb(state.base, address, write, size);
        const crosses = (Number(address) & 4095) + size > 4096;
        const what = `round ${round}: ${address.toString(16)}, write ${write}, size ${size}`;
        assert.equal(actual, expected === -1 || crosses ? 0 : expected, what);
        assert.equal(state.i32(L.FAULT), 0, what);
        // Whatever the quick one has marked, the thorough one marks too.
        place();
        assert.equal(cpus.generated.translate(state.base, write), expected, what);
        if (expected === -1) {
          assert.deepEqual([state.i32(L.FAULT), state.i32(L.FAULT_ERROR), state.u64(L.FAULT_ADDRESS)], fault, what);
        } else {
          assert.equal(state.i32(L.FAULT), 0, what);
        }
        if (expected !== -1) {
          assert.equal(state.u32(L.SCRATCH + 16), physical, what);
        }
        assert.equal(Buffer.compare(memory.ram.subarray(TABLES, TABLES + TABLE_BYTES), after), 0, what);
        // Code: the same page and the same marks, or a fault that the thorough one is to report.
        memory.ram.set(before, TABLES);
        const page = translation.fetch(Number(address & 0xffffffffn) | 0, Number((address >> 32n) & 0xffffffffn) | 0);
        const fetched = memory.ram.slice(TABLES, TABLES + TABLE_BYTES);
        memory.ram.set(before, TABLES);
        assert.equal(cpus.generated.walkCode(state.base, address), page < 0 ? 0 : 1, what);
        if (page >= 0) {
          assert.equal(Buffer.compare(memory.ram.subarray(TABLES, TABLES + TABLE_BYTES), fetched), 0, what);
          assert.equal(codePage(machine, address), page, what);
        }
        memory.ram.set(after, TABLES);
        if (expected > 0) {
          mapped++;
        } else {
          refused++;
        }
      }
    }
    assert.ok(
      mapped > rounds * 3 && (refused > rounds * 3 || mode.shifts.length === 0),
      `${mapped} mapped, ${refused} refused`,
    );
  });
}

test('what a TLB fill leaves to others: devices, decoded code, watched data, two pages', () => {
  const machine = new TestMachine({ ramBytes: RAM });
  machine.enterLong();
  const { base } = machine.state;
  const fill = (address: number, write: number, size = 4) =>
    machine.cpus.generated.fillTlb(base, BigInt(address), write, size);
  assert.notEqual(fill(0x200ffc, 1), 0);
  assert.equal(fill(0x200ffd, 1), 0);
  assert.equal(fill(0x40000000, 0), 0);
  assert.equal(fill(0x40000000, 1), 0);
  machine.runCode(0x200000, [0x90, 0xf4], 10);
  assert.equal(fill(0x200ffc, 1), 0);
  assert.notEqual(fill(0x200ffc, 0), 0);
  machine.cpu.translation.watching = true;
  assert.equal(fill(0x300000, 0), 0);
  machine.cpu.translation.watching = false;
  assert.notEqual(fill(0x300000, 0), 0);
});

test('flushing forgets what is not global, even where the one has replaced the other', () => {
  const machine = new TestMachine({ ramBytes: RAM });
  machine.enterLong();
  const { memory, state, cpus, cpu } = machine;
  state.setU64(L.CR4, BigInt(state.cr4 | L.CR4_PGE));
  machine.update();
  // 4 MiB apart: the same place in the TLB.
  const entryOf = (address: number) => 0x3000 + (address >>> 21) * 8;
  const near = 0x000000;
  const far = 0x400000;
  const direct = memory.readU32(entryOf(near));
  const makeGlobal = (address: number, global: boolean) =>
    memory.writeU32(entryOf(address), direct | (global ? 0x100 : 0));
  const touch = (address: number) => cpus.generated.fillTlb(state.base, BigInt(address), 0, 4);
  /** Whether the present translation is still the old one after its page-table entry has been cleared. */
  const remembered = (address: number) => {
    const entry = memory.readU32(entryOf(address));
    memory.writeU32(entryOf(address), 0);
    let kept = true;
    try {
      cpu.memory.read32(BigInt(address), 'current');
    } catch {
      kept = false;
    }
    memory.writeU32(entryOf(address), entry);
    return kept;
  };
  for (const order of [[near], [far], [near, far], [far, near], [near, far, near], [far, near, far, near]]) {
    for (const global of [near, far]) {
      makeGlobal(near, global === near);
      makeGlobal(far, global === far);
      cpu.translation.flush(true);
      for (const address of order) {
        touch(address);
      }
      const last = order.at(-1) as number;
      assert.ok(remembered(last));
      cpu.translation.flush(false);
      assert.equal(remembered(last), last === global, `${order} with ${global} global`);
      touch(last);
      cpu.translation.flush(true);
      assert.ok(!remembered(last), `${order} with ${global} global, all flushed`);
    }
  }
});

test('pages of 1 GiB: translation, reserved bits, and INVLPG of any address in them', () => {
  const machine = new TestMachine({ ramBytes: RAM });
  machine.enterLong();
  const { memory, state, cpus, cpu } = machine;
  const base = state.base;
  const pointer = (index: number) => 0x2000 + index * 8;
  const touch = (address: number) => cpus.generated.fillTlb(base, BigInt(address), 0, 4);
  const host = touch(0x200000) - 0x200000;
  // The second GiB is where the first one is.
  memory.writeU32(pointer(1), 0x87);
  cpu.translation.flush(true);
  assert.equal(touch(0x40000000 + 0x200008), host + 0x200008);
  assert.equal(touch(0x40000000 + 0x3ff000), host + 0x3ff000);
  assert.equal(cpu.memory.plainHost(0x40345678n, 4, false), host + 0x345678);
  assert.equal(memory.readU32(pointer(1)), 0xa7, 'accessed');
  cpu.memory.write32(0x40300000n, 1, 'current');
  assert.equal(memory.readU32(pointer(1)), 0xe7, 'dirty');
  // Other pages stay when one of them is forgotten, and it stays when others are.
  memory.writeU32(pointer(1), 0);
  cpu.translation.invalidatePage(0x80200000n);
  assert.equal(touch(0x40000000 + 0x200008), 0, 'a walk, which finds nothing');
  assert.equal(cpu.memory.plainHost(0x403ff000n, 4, false), host + 0x3ff000);
  cpu.translation.invalidatePage(0x7fffe000n);
  assert.throws(() => cpu.memory.plainHost(0x403ff000n, 4, false), { vector: L.VECTOR_PF });
  // Address bits below its size are reserved.
  memory.writeU32(pointer(1), 0x200087);
  cpu.translation.flush(true);
  state.setU64(L.SCRATCH, 0x40000000n);
  assert.equal(cpu.translation.walkForGenerated(0), -1);
  assert.equal(state.i32(L.FAULT_ERROR), 9);
});

test('INVLPG forgets all of a large page, whichever address in it is named', () => {
  const machine = new TestMachine({ ramBytes: RAM });
  machine.enterLong();
  const { memory, state, cpus, cpu } = machine;
  const directory = 0x3000;
  const base = state.base;
  const touch = (address: number) => cpus.generated.fillTlb(base, BigInt(address), 0, 4);
  const host = touch(0x200000);
  assert.equal(touch(0x2ff008), host + 0xff008);
  assert.notEqual(touch(0x100000), 0);
  // 2 MiB from 0x200000 on now lie elsewhere.
  memory.writeU32(directory + 8, 0x87);
  cpu.translation.invalidatePage(0x234567n);
  assert.equal(cpu.memory.plainHost(0x2ff008n, 4, false), host + 0xff008 - 0x200000);
  assert.equal(cpu.memory.plainHost(0x200000n, 4, false), host - 0x200000);
  // Every translation of what is gone is forgotten too.
  memory.writeU32(directory + 8, 0);
  cpu.translation.invalidatePage(0x3ff000n);
  assert.equal(touch(0x200000), 0);
  assert.equal(touch(0x2ff000), 0);
});
