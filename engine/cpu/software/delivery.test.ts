import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { architecture } from './testing/architecture.ts';

const CODE = 0x200000;
const GDT = 0x20000;
const IDT = 0x21000;
const TSS = 0x23000;
const STACK = 0x180000;
const INNER_STACK = 0x190000;
const IST = 0x1a0000;
const HANDLER = 0x210000;
const MISSING = 0x30_0000_0000n;
const RSP = 4;
const RBX = 3;

/** Descriptors of handlers' code segments: mostly the kernel's. */
const HANDLER_CODE = [
  0x00af9b000000ffffn, // 64-bit, level 0
  0x00af9a000000ffffn, // not accessed yet
  0x00affb000000ffffn, // level 3
  0x00af9f000000ffffn, // conforming
  0x00cf9b000000ffffn, // 32-bit
  0x00af1b000000ffffn, // not present
  0x00cf93000000ffffn, // data
];

test('page faults and interrupts: the quick delivery comes to the same as the thorough one', () => {
  const random = new Random(5);
  const machine = new TestMachine();
  machine.enterLong();
  const { state, memory } = machine;
  const put = (address: number, value: bigint) => {
    memory.writeU32(address, Number(value & 0xffffffffn));
    memory.writeU32(address + 4, Number((value >> 32n) & 0xffffffffn));
  };
  const segments = state.segments.map(({ selector, base, limit, attributes }) => ({
    selector,
    base,
    limit,
    attributes,
  }));
  const code = {
    fault: assemble(`bits 64\norg ${CODE}\nmov eax, [rbx]\nnop`).bytes,
    fetch: assemble(`bits 64\norg ${CODE}\njmp rbx`).bytes,
    interrupt: assemble(`bits 64\norg ${CODE}\nnop\nnop`).bytes,
  };
  let delivered = 0;
  /** Deliveries by the part in TypeScript. */
  let thorough = 0;
  const { system } = machine.cpu;
  const deliverFault = system.deliverFault.bind(system);
  const acceptInterrupt = system.acceptInterrupt.bind(system);
  system.deliverFault = (fault) => {
    thorough++;
    deliverFault(fault);
  };
  system.acceptInterrupt = (vector) => {
    thorough++;
    acceptInterrupt(vector);
  };
  for (let round = 0; round < 3000; round++) {
    const kind = random.pick(['fault', 'fault', 'fetch', 'interrupt'] as const);
    const often = (usual: number, other: number) => (random.chance(15, 16) ? usual : other);
    const vector = kind === 'interrupt' ? 0x20 : 14;
    const handler = often(HANDLER, 0) === HANDLER ? BigInt(HANDLER) : random.pick([0x8000_0000_0000n, 1n << 63n]);
    const ist = random.chance(1, 3) ? random.below(8) : 0;
    const gateType = random.chance(1, 3) ? 0xf : often(0xe, random.below(16));
    const gate =
      (handler & 0xffffn) |
      (BigInt(often(8, random.below(0x40))) << 16n) |
      (BigInt(ist | (gateType << 8) | (often(1, 0) << 15) | (random.below(4) << 13)) << 32n) |
      (((handler >> 16n) & 0xffffn) << 48n);
    const setting = {
      cpl: random.chance(1, 2) ? 3 : 0,
      flags: (random.u32() & 0x240cd5 & ~L.FLAG_TF) | 0x202,
      descriptor: random.chance(7, 8) ? (HANDLER_CODE[0] as bigint) : random.pick(HANDLER_CODE),
      idtLimit: often(0xfff, random.below(0x210)),
      gdtLimit: often(0x3f, random.below(16)),
      tssLimit: often(0x67, random.below(0x68)),
      stack: random.chance(1, 6) ? BigInt(STACK + random.below(0x1000)) : BigInt(STACK),
      inner: [BigInt(INNER_STACK), BigInt(INNER_STACK + 0x18), 0x8000_0000_0000n, MISSING, 8n][
        often(0, random.below(5))
      ] as bigint,
      smap: random.below(2),
      system: random.chance(1, 8) ? 0x87 : 0x83,
      shadow: random.chance(1, 8) ? 1 : 0,
    };
    const outcomes = [false, true].map((single) => {
      for (const [index, segment] of state.segments.entries()) {
        const { selector, base, limit, attributes } = segments[index] as (typeof segments)[number];
        segment.assign(selector, base, limit, attributes);
      }
      // The first 2 MiB, with all tables and stacks, belong to the supervisor.
      put(0x3000, BigInt(setting.cpl === 3 && setting.stack !== BigInt(STACK) ? 0x87 : setting.system));
      memory.ram.fill(0, STACK - 0x200, STACK + 0x1200);
      memory.ram.fill(0, INNER_STACK - 0x200, INNER_STACK + 0x200);
      memory.ram.fill(0, IST - 0x200, IST + 0x1000);
      put(GDT + 8, setting.descriptor);
      put(GDT + 16, 0x00cf93000000ffffn);
      put(IDT + vector * 16, gate);
      put(IDT + vector * 16 + 8, handler >> 32n);
      put(TSS + 4, setting.inner);
      for (let i = 1; i < 8; i++) {
        put(TSS + 28 + i * 8, BigInt(IST + i * 0x100));
      }
      state.setU64(L.GDTR, BigInt(GDT));
      state.setU32(L.GDTR + 8, setting.gdtLimit);
      state.setU64(L.IDTR, BigInt(IDT));
      state.setU32(L.IDTR + 8, setting.idtLimit);
      state.tr.assign(0x28, BigInt(TSS), setting.tssLimit, L.ATTR_PRESENT | 11);
      state.setU64(L.CR4, BigInt(L.CR4_PAE | L.CR4_OSFXSR | (setting.smap ? L.CR4_SMAP : 0)));
      state.setU64(L.CR2, 0n);
      state.flags = setting.flags;
      state.setGpr(RSP, setting.stack);
      state.setGpr(RBX, MISSING + 0x123n);
      state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
      state.setI32(L.SHADOW, 0);
      machine.write(CODE, code[kind]);
      machine.write(HANDLER, [0x90, 0x90]);
      state.rip = BigInt(CODE);
      machine.setCpl(setting.cpl);
      state.setI32(L.MODE, single ? state.mode | L.MODE_SINGLE : state.mode);
      machine.bus.acknowledge = () => {
        machine.cpus.signals.setInterruptRequest(0, false);
        return vector;
      };
      state.setI32(L.INTR, kind === 'interrupt' ? 1 : 0);
      // A jump to a missing page is an instruction, the fault comes with the next.
      const before = machine.cpus.executed;
      machine.run(kind === 'fetch' ? 2 : 1);
      state.setI32(L.MODE, state.mode & ~L.MODE_SINGLE);
      delivered += Number(state.rip) === HANDLER && thorough === 0 ? 1 : 0;
      assert.ok(!single || thorough > 0);
      thorough = 0;
      const stacks = [
        memory.ram.subarray(STACK - 0x200, STACK + 0x1200),
        memory.ram.subarray(INNER_STACK - 0x200, INNER_STACK + 0x200),
        memory.ram.subarray(IST - 0x200, IST + 0x1000),
      ].map((bytes) => Buffer.from(bytes).toString('latin1'));
      return { text: `${machine.cpus.executed - before} ${architecture(state)}`, stacks, fault: state.i32(L.FAULT) };
    });
    assert.equal(outcomes[0]?.text, outcomes[1]?.text, `round ${round}: ${kind}`);
    assert.deepEqual(outcomes[0], outcomes[1], `round ${round}: ${kind}`);
  }
  assert.ok(delivered > 600, `only ${delivered} delivered the quick way`);
});
