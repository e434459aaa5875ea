import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../../base/assert.ts';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import * as L from '../x86/layout.ts';
import type { GuestFault } from '../x86/linear-memory.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { architecture } from './testing/architecture.ts';

const CODE = 0x200000;
const GDT = 0x20000;
const IDT = 0x21000;
const TSS = 0x23000;
const STACK = 0x180000;
const INNER_STACK = 0x190000;
const HANDLER = 0x210000;
const RAX = 0;
const RSP = 4;

/** Descriptors as kernels have them, and everything that is nearly right. */
const DESCRIPTORS = [
  0x00cf9b000000ffffn, // code, level 0
  0x00cf93000000ffffn, // data, level 0
  0x00cffb000000ffffn, // code, level 3
  0x00cff3000000ffffn, // data, level 3
  0x00cf9a000000ffffn, // not accessed
  0x00cf92000000ffffn,
  0x00cfbb000000ffffn, // level 1
  0x00cfb3000000ffffn,
  0x00cf9f000000ffffn, // conforming
  0x00cf1b000000ffffn, // not present
  0x00cf13000000ffffn,
  0x008f9b000000ffffn, // 16-bit
  0x008f93000000ffffn,
  0x00cf91000000ffffn, // read-only
  0x00cf97000000ffffn, // downwards
  0x1240f3567800ffffn, // with a base and a small limit
  0x00cff3000010ffffn, // with a base
  0x0000890000000067n, // a TSS
];

/** Everything from privilege level 0 or 3 in flat 32-bit code, prepared in the same way as often as it is wanted. */
class Scene {
  readonly machine = new TestMachine();
  readonly faults: GuestFault[] = [];
  readonly #start: readonly (readonly [number, bigint, number, number])[];

  constructor() {
    this.machine.enterProtected();
    this.#start = this.machine.state.segments.map(
      ({ selector, base, limit, attributes }) => [selector, base, limit, attributes] as const,
    );
  }

  prepare(setting: Setting): void {
    const { machine } = this;
    const { state, memory } = machine;
    const put = (address: number, value: bigint) => {
      memory.writeU32(address, Number(value & 0xffffffffn));
      memory.writeU32(address + 4, Number(value >> 32n));
    };
    for (const [index, segment] of state.segments.entries()) {
      segment.assign(...defined(this.#start[index], 'segment'));
    }
    for (const segment of [state.ds, state.es, state.fs, state.gs]) {
      segment.attributes = (segment.attributes & ~(3 << L.ATTR_DPL_SHIFT)) | (setting.dataDpl << L.ATTR_DPL_SHIFT);
    }
    state.tr.assign(0x90, BigInt(TSS), setting.tssLimit, L.ATTR_PRESENT | setting.tssType);
    for (const [index, value] of DESCRIPTORS.entries()) {
      put(GDT + 8 + index * 8, value);
    }
    put(IDT + setting.vector * 8, setting.gate);
    put(TSS + 4, setting.inner);
    memory.ram.fill(0, STACK - 64, STACK + 64);
    memory.ram.fill(0, INNER_STACK - 64, INNER_STACK + 64);
    for (const [index, value] of setting.frame.entries()) {
      memory.writeU32(STACK + index * 4, value);
    }
    state.setU64(L.GDTR, BigInt(GDT));
    state.setU32(L.GDTR + 8, setting.gdtLimit);
    state.setU64(L.IDTR, BigInt(IDT));
    state.setU32(L.IDTR + 8, setting.idtLimit);
    state.setU64(L.MSR_SYSENTER_CS, BigInt(setting.sysenterCs));
    state.setU64(L.MSR_SYSENTER_ESP, 0x1_0017_0000n);
    state.setU64(L.MSR_SYSENTER_EIP, 0x1_0021_0000n);
    state.setU64(L.CR2, 0x1234n);
    for (const [index, value] of setting.registers.entries()) {
      state.setGpr(index, BigInt(value));
    }
    state.setGpr(RSP, BigInt(STACK));
    state.setI32(L.NMI_BLOCKED, setting.nmiBlocked);
    state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    state.setI32(L.SHADOW, 0);
    state.flags = setting.flags;
    state.rip = BigInt(CODE);
    machine.setCpl(setting.cpl);
    this.faults.length = 0;
  }

  outcome(): string {
    const { state, memory } = this.machine;
    state.setI32(L.MODE, state.mode & ~L.MODE_SINGLE);
    const raised = this.faults.map(({ vector, errorCode, address }) => `${vector} ${errorCode} ${address}`).join();
    const stacks = [STACK, INNER_STACK].map((at) => Buffer.from(memory.ram.subarray(at - 64, at + 64)).toString('hex'));
    return `${raised} ${stacks} ${architecture(state)}`;
  }
}

type Setting = ReturnType<typeof randomSetting>;

function randomSetting(random: Random) {
  const often = (usual: number, other: number) => (random.chance(15, 16) ? usual : other);
  const selector = () =>
    random.chance(3, 4) ? random.pick([0, 3, 8, 0x10, 0x1b, 0x23, 0x18, 0x20]) : random.below(0xa0);
  const flags = (random.u32() & random.pick([0xcd5, 0x4ed5, 0x264ed5, 0x3f7fd5])) | (random.chance(2, 3) ? 0x202 : 2);
  const [cs, ss] = random.chance(3, 4)
    ? random.pick([
        [8, 0x10],
        [0x1b, 0x23],
      ] as const)
    : ([selector(), selector()] as const);
  const gateType = random.chance(1, 3) ? 0xf : often(0xe, random.below(16));
  return {
    cpl: random.chance(1, 3) ? 3 : 0,
    flags: (random.u32() & 0x240cd5 & ~L.FLAG_TF) | 2,
    frame: [random.u32(), cs, flags, random.u32(), ss],
    registers: [selector(), random.u32(), random.u32(), 0x700000],
    dataDpl: random.chance(1, 4) ? 0 : 3,
    sysenterCs: random.chance(1, 8) ? random.below(4) : 8 + random.below(3),
    nmiBlocked: random.below(2),
    vector: 14,
    gate:
      BigInt(HANDLER & 0xffff) |
      (BigInt(often(8, random.below(0xa0))) << 16n) |
      (BigInt((gateType << 8) | (often(1, 0) << 15) | (random.below(4) << 13)) << 32n) |
      (BigInt(HANDLER >>> 16) << 48n),
    inner: BigInt(often(INNER_STACK, random.pick([16, 0]))) | (BigInt(often(0x10, random.below(0xa0))) << 32n),
    gdtLimit: random.chance(1, 12) ? random.below(0x40) : 0x9f,
    idtLimit: often(0x7ff, random.below(0x90)),
    tssLimit: often(0x67, random.below(0x10)),
    tssType: often(11, random.below(16)),
  };
}

for (const [name, source] of [
  ['IRET', 'iretd'],
  ['SYSENTER', 'sysenter'],
  ['SYSEXIT', 'sysexit'],
  ['MOV to ES', 'mov es, ax'],
  ['MOV to SS', 'mov ss, ax'],
  ['MOV to FS', 'mov fs, ax'],
  ['POP to DS', 'pop ds'],
  ['POP to GS', 'pop gs'],
  ['MOV from CR2', 'mov eax, cr2'],
  ['MOV to CR3', 'mov cr3, ecx'],
] as const) {
  test(`${name} in 32-bit code: the quick way comes to the same as the thorough one`, () => {
    const random = new Random(name.length);
    const scene = new Scene();
    const { machine, faults } = scene;
    const { system } = machine.cpu;
    system.deliverFault = (fault) => {
      faults.push(fault);
      machine.cpus.stopSoon();
    };
    const code = assemble(`bits 32\norg ${CODE}\n${source}`).bytes;
    let clean = 0;
    for (let round = 0; round < 1000; round++) {
      const setting = randomSetting(random);
      if (source.startsWith('pop')) {
        setting.frame[0] = setting.registers[RAX] as number;
      }
      const outcomes = [false, true].map((single) => {
        scene.prepare(setting);
        machine.write(CODE, code);
        machine.state.setI32(L.MODE, single ? machine.state.mode | L.MODE_SINGLE : machine.state.mode);
        machine.run(1);
        clean += faults.length === 0 ? 1 : 0;
        machine.state.setI32(L.SHADOW, 0);
        return scene.outcome();
      });
      assert.equal(outcomes[0], outcomes[1], `round ${round}: ${JSON.stringify(setting, (_, v) => String(v))}`);
    }
    assert.ok(clean > 150, `only ${clean} completed`);
  });
}

test('page faults and interrupts in 32-bit code: the quick delivery comes to the same as the thorough one', () => {
  const random = new Random(7);
  const scene = new Scene();
  const { machine } = scene;
  const { state, memory } = machine;
  // Identity-mapped by 4-MiB pages; from 4 MiB on nothing is there.
  memory.writeU32(0x10000, 0x87);
  state.setU64(L.CR3, 0x10000n);
  state.setU64(L.CR4, state.u64(L.CR4) | BigInt(L.CR4_PSE));
  state.setU64(L.CR0, state.u64(L.CR0) | BigInt(L.CR0_PG));
  const code = {
    fault: assemble(`bits 32\norg ${CODE}\nmov eax, [ebx]\nnop`).bytes,
    interrupt: assemble(`bits 32\norg ${CODE}\nnop\nnop`).bytes,
  };
  let thorough = 0;
  let quick = 0;
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
  for (let round = 0; round < 2000; round++) {
    const kind = random.pick(['fault', 'interrupt'] as const);
    const setting = randomSetting(random);
    setting.vector = kind === 'interrupt' ? 0x20 : 14;
    setting.flags |= L.FLAG_IF;
    setting.dataDpl = 3;
    const outcomes = [false, true].map((single) => {
      scene.prepare(setting);
      machine.write(CODE, code[kind]);
      machine.write(HANDLER, [0x90, 0x90]);
      state.setI32(L.MODE, single ? state.mode | L.MODE_SINGLE : state.mode);
      machine.bus.acknowledge = () => {
        machine.cpus.signals.setInterruptRequest(0, false);
        return setting.vector;
      };
      state.setI32(L.INTR, kind === 'interrupt' ? 1 : 0);
      thorough = 0;
      machine.run(1);
      quick += thorough === 0 && Number(state.rip) === HANDLER ? 1 : 0;
      assert.ok(!single || thorough > 0);
      return scene.outcome();
    });
    assert.equal(outcomes[0], outcomes[1], `round ${round}: ${kind} ${JSON.stringify(setting, (_, v) => String(v))}`);
  }
  assert.ok(quick > 600, `only ${quick} delivered the quick way`);
});
