import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import * as L from '../x86/layout.ts';
import type { GuestFault } from '../x86/linear-memory.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { architecture } from './testing/architecture.ts';

const CODE = 0x200000;
const GDT = 0x20000;
const STACK = 0x180000;
const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const R11 = 11;
const NOT_CANONICAL = 0x0000_8000_0000_0000n;

const code64 = (source: string) => assemble(`bits 64\norg ${CODE}\n${source}`).bytes;

/** A 64-bit machine whose faults are recorded instead of being delivered. */
function long(): { machine: TestMachine; faults: GuestFault[] } {
  const machine = new TestMachine();
  machine.enterLong();
  const faults: GuestFault[] = [];
  machine.cpu.system.deliverFault = (fault) => {
    faults.push(fault);
    machine.cpus.stopSoon();
  };
  return { machine, faults };
}

/** Descriptors as kernels have them, and everything that is nearly right. */
const DESCRIPTORS = [
  0x00af9b000000ffffn, // 64-bit code, level 0
  0x00cf93000000ffffn, // data, level 0
  0x00affb000000ffffn, // 64-bit code, level 3
  0x00cff3000000ffffn, // data, level 3
  0x00cffb000000ffffn, // 32-bit code, level 3
  0x00af9a000000ffffn, // not accessed
  0x00cf92000000ffffn,
  0x00afbb000000ffffn, // level 1
  0x00cfb3000000ffffn,
  0x00af9f000000ffffn, // conforming
  0x00af1b000000ffffn, // not present
  0x00cf13000000ffffn,
  0x00ef9b000000ffffn, // L and D
  0x00cf91000000ffffn, // read-only
  0x1240f3567800ffffn, // with a base and a small limit
  0x0000890000000067n, // a TSS
];

/** Selectors of CS and SS as they belong together. */
const PAIRS = [
  [8, 0x10],
  [8, 0],
  [0x1b, 0x23],
] as const;

for (const [name, source] of [
  ['IRET', 'iretq'],
  ['SYSRET', 'db 0x48, 0x0f, 0x07'],
  ['SYSCALL', 'syscall'],
  ['POPF', 'popfq'],
  ['PUSHF', 'pushfq'],
  ['STI', 'sti'],
  ['CLI', 'cli'],
] as const) {
  test(`${name}: the quick way comes to the same as the thorough one`, () => {
    const random = new Random(name.length);
    const { machine, faults } = long();
    const { state, memory } = machine;
    const start = state.segments.map((segment) => ({ ...copyOf(segment) }));
    let clean = 0;
    for (let round = 0; round < 1500; round++) {
      const outcomes: string[] = [];
      // What both ways start from.
      const selector = () =>
        random.chance(3, 4) ? random.pick([0, 8, 0x10, 0x1b, 0x23, 0x18, 0x20]) : random.below(0x98);
      const flags =
        (random.u32() & random.pick([0xcd5, 0x4ed5, 0x244ed5, 0x3f7fd5])) | (random.chance(2, 3) ? 0x202 : 2);
      const address = () =>
        random.chance(7, 8) ? BigInt(random.u32()) : random.pick([NOT_CANONICAL, ~0n & 0xffff_ffff_ffff_f000n]);
      const [cs, ss] = random.chance(3, 4) ? random.pick(PAIRS) : [selector(), selector()];
      const frame = [address(), BigInt(cs), BigInt(flags), address(), BigInt(ss)];
      const setting = {
        cpl: random.chance(1, 6) ? 3 : 0,
        flags: (random.u32() & (random.chance(1, 8) ? 0x247ed5 : 0x240ed5)) | 2,
        rsp: random.chance(1, 20) ? NOT_CANONICAL - 16n : BigInt(STACK),
        rcx: address(),
        star: (BigInt(random.u32()) << 32n) | BigInt(random.u32()),
        mask: random.u32(),
        efer: L.EFER_LME | L.EFER_LMA | L.EFER_NXE | (random.chance(1, 10) ? 0 : L.EFER_SCE),
        intr: random.chance(1, 8) ? 1 : 0,
        nmiBlocked: random.below(2),
        limit: random.chance(1, 10) ? random.below(0x40) : 0x7f,
        dataDpl: random.chance(1, 4) ? 0 : 3,
        smap: random.below(2),
      };
      for (const single of [false, true]) {
        for (const [index, segment] of state.segments.entries()) {
          segment.assign(...(start[index] as Copy).values);
        }
        for (const segment of [state.ds, state.es, state.fs, state.gs]) {
          segment.attributes = (segment.attributes & ~(3 << L.ATTR_DPL_SHIFT)) | (setting.dataDpl << L.ATTR_DPL_SHIFT);
        }
        for (const [index, value] of DESCRIPTORS.entries()) {
          memory.writeU32(GDT + 8 + index * 8, Number(value & 0xffffffffn));
          memory.writeU32(GDT + 12 + index * 8, Number(value >> 32n));
        }
        for (const [index, value] of frame.entries()) {
          memory.writeU32(STACK + index * 8, Number(value & 0xffffffffn));
          memory.writeU32(STACK + index * 8 + 4, Number((value >> 32n) & 0xffffffffn));
        }
        state.setU64(L.GDTR, BigInt(GDT));
        state.setU32(L.GDTR + 8, setting.limit);
        state.setU64(L.EFER, BigInt(setting.efer));
        state.setU64(L.CR4, BigInt(L.CR4_PAE | L.CR4_OSFXSR | (setting.smap ? L.CR4_SMAP : 0)));
        state.setU64(L.MSR_STAR, setting.star);
        state.setU64(L.MSR_LSTAR, 0x210000n);
        state.setU64(L.MSR_SFMASK, BigInt(setting.mask));
        state.flags = setting.flags & ~L.FLAG_TF;
        state.setGpr(RSP, setting.rsp);
        state.setGpr(RCX, setting.rcx);
        state.setGpr(R11, BigInt(flags));
        state.setI32(L.INTR, 0);
        state.setI32(L.NMI_BLOCKED, setting.nmiBlocked);
        state.setI32(L.SHADOW, 0);
        machine.write(CODE, code64(source));
        state.rip = BigInt(CODE);
        machine.setCpl(setting.cpl);
        // An interrupt that waits is looked at behind the instruction only.
        state.flags &= setting.intr ? ~L.FLAG_IF : -1;
        if (single) {
          state.setI32(L.MODE, state.mode | L.MODE_SINGLE);
        }
        faults.length = 0;
        let taken = 0;
        machine.bus.acknowledge = () => {
          taken++;
          machine.cpus.signals.setInterruptRequest(0, false);
          return 0x20;
        };
        machine.cpu.system.acceptInterrupt = () => machine.cpus.stopSoon();
        state.setI32(L.INTR, setting.intr);
        machine.run(1);
        state.setI32(L.MODE, state.mode & ~L.MODE_SINGLE);
        // STI's shadow is kept in two ways.
        state.setI32(L.SHADOW, 0);
        const raised = faults.map(({ vector, errorCode, address: at }) => `${vector} ${errorCode} ${at}`).join();
        const stack = Buffer.from(memory.ram.subarray(STACK - 64, STACK + 64)).toString('hex');
        outcomes.push(`${raised} ${taken} ${stack} ${architecture(state)}`);
        clean += faults.length === 0 ? 1 : 0;
      }
      assert.equal(outcomes[0], outcomes[1], `round ${round}`);
    }
    assert.ok(clean > 600, `only ${clean} completed`);
  });
}

interface Copy {
  readonly values: [number, bigint, number, number];
}

function copyOf(segment: { selector: number; base: bigint; limit: number; attributes: number }): Copy {
  return { values: [segment.selector, segment.base, segment.limit, segment.attributes] };
}

test('SWAPGS and the bases of FS and GS', () => {
  const { machine, faults } = long();
  const { state } = machine;
  const high = 0xffff_8888_0000_0000n;
  state.gs.base = 0x1111n;
  state.setU64(L.MSR_KERNEL_GS_BASE, high);
  machine.runCode(CODE, code64('swapgs\nhlt'), 10);
  assert.equal(state.gs.base, high);
  assert.equal(state.u64(L.MSR_KERNEL_GS_BASE), 0x1111n);
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.runCode(CODE, code64('rdgsbase rax'), 1);
  assert.deepEqual([faults.pop()?.vector, faults.length], [L.VECTOR_UD, 0]);
  state.setU64(L.CR4, BigInt(state.cr4 | L.CR4_FSGSBASE));
  state.setGpr(RBX, 0xffff_ffff_1234_5678n);
  machine.runCode(CODE, code64('rdgsbase rax\nrdgsbase ecx\nwrfsbase ebx\nrdfsbase rdx\nwrgsbase rbx\nhlt'), 10);
  assert.deepEqual([state.gpr(RAX), state.gpr(RCX), state.gpr(RDX)], [high, 0n, 0x12345678n]);
  assert.equal(state.gs.base, 0xffff_ffff_1234_5678n);
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  state.setGpr(RBX, NOT_CANONICAL);
  machine.runCode(CODE, code64('wrfsbase rbx'), 1);
  assert.deepEqual([faults[0]?.vector, faults[0]?.errorCode], [L.VECTOR_GP, 0]);
  assert.equal(state.fs.base, 0x12345678n);
  faults.length = 0;
  machine.setCpl(3);
  for (const source of ['swapgs', 'invlpg [rax]', 'mov rax, cr3', 'mov cr3, rax', 'rdmsr', 'wrmsr']) {
    machine.runCode(CODE, code64(source), 1);
    assert.deepEqual([faults.at(-1)?.vector, faults.at(-1)?.errorCode], [L.VECTOR_GP, 0], source);
  }
});

test('model-specific registers that hold bases, and others', () => {
  const { machine, faults } = long();
  const { state } = machine;
  const write = (msr: number, value: bigint) => {
    state.setGpr(RCX, BigInt(msr));
    state.setGpr(RAX, value & 0xffffffffn);
    state.setGpr(RDX, value >> 32n);
    machine.runCode(CODE, code64('wrmsr'), 1);
  };
  const read = (msr: number) => {
    state.setGpr(RCX, BigInt(msr));
    state.setGpr(RAX, ~0n & 0xffff_ffff_ffff_ffffn);
    machine.runCode(CODE, code64('rdmsr'), 1);
    return (state.gpr(RDX) << 32n) | state.gpr(RAX);
  };
  for (const [i, msr] of [0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000103].entries()) {
    write(msr, BigInt(i + 1));
    assert.equal(read(msr), BigInt(i + 1));
  }
  assert.deepEqual([state.fs.base, state.gs.base, state.u64(L.MSR_KERNEL_GS_BASE)], [1n, 2n, 3n]);
  assert.equal(faults.length, 0);
  write(0xc0000101, NOT_CANONICAL);
  assert.deepEqual([faults[0]?.vector, faults[0]?.errorCode], [L.VECTOR_GP, 0]);
  assert.equal(state.gs.base, 2n);
});

test('control registers are read in place, and CR3 switches page tables at once', () => {
  const { machine, faults } = long();
  const { state, memory } = machine;
  state.setU64(L.CR2, 0x1234_5678_9abcn);
  machine.runCode(CODE, code64('mov rax, cr0\nmov rbx, cr2\nmov rcx, cr3\nmov rdx, cr4\nhlt'), 10);
  assert.deepEqual(
    [state.gpr(RAX), state.gpr(RBX), state.gpr(RCX), state.gpr(RDX)],
    [state.u64(L.CR0), 0x1234_5678_9abcn, 0x1000n, state.u64(L.CR4)],
  );
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  // Other tables, in which the code's own 2 MiB lie elsewhere: the instruction behind MOV CR3 comes from there.
  const tables = 0x40000;
  for (let page = 0; page < 6; page++) {
    memory.write(tables + page * 4096, memory.ram.slice(0x1000 + page * 4096, 0x2000 + page * 4096));
  }
  memory.writeU32(tables, (tables + 0x1000) | 7);
  memory.writeU32(tables + 0x1000, (tables + 0x2000) | 7);
  memory.writeU32(tables + 0x2000 + 8, 0x000000 | 0x87);
  const before = code64('mov cr3, rax\nmov ebx, 1\nhlt');
  const after = code64('mov cr3, rax\nmov ebx, 2\nhlt');
  machine.write(CODE - 0x200000 + 0x80000, after);
  state.setGpr(RAX, BigInt(tables));
  machine.runCode(CODE + 0x80000, before, 3);
  assert.equal(state.gpr(RBX), 2n);
  assert.equal(state.cr3, BigInt(tables));
  // Bits beyond the physical addresses are refused; with PCIDs, bit 63 only asks for less flushing.
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  state.setGpr(RAX, (1n << 63n) | BigInt(tables));
  state.rip = BigInt(CODE + 0x80000);
  machine.run(1);
  assert.deepEqual([faults[0]?.vector, faults[0]?.errorCode], [L.VECTOR_GP, 0]);
  state.setU64(L.CR4, BigInt(state.cr4 | L.CR4_PCIDE));
  machine.run(1);
  assert.equal(faults.length, 1);
  assert.equal(state.cr3, BigInt(tables));
});

test('SERIALIZE does nothing and is announced', () => {
  const { machine, faults } = long();
  const { state } = machine;
  machine.runCode(CODE, code64('db 0x0f, 0x01, 0xe8\nmov eax, 7\nxor ecx, ecx\ncpuid\nhlt'), 10);
  assert.equal(faults.length, 0);
  assert.equal((state.gpr32(RDX) >>> 14) & 1, 1);
});
