import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import { buildInstructionTable } from '../x86/instructions/table.ts';
import * as L from '../x86/layout.ts';
import { candidates, generateInstance } from '../x86/testing/random-instructions.ts';
import { specialInteger } from '../x86/testing/special-values.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const STACK = 0x180000;
const GDT = 0x20000;
const IDT = 0x21000;
const HANDLERS = 0x22000;
const LOG = 0x30000;
const RBX = 3;
const RSP = 4;

/**
 * 64-bit mode at CPL 0 with a GDT and an IDT whose handlers append the interrupted RIP to a list and return. Handler n
 * starts at HANDLERS + 64 n.
 */
function withHandlers(): TestMachine {
  const machine = new TestMachine();
  machine.enterLong();
  const { memory, state } = machine;
  memory.writeU32(GDT + 8, 0);
  memory.writeU32(GDT + 12, 0x00209b00); // 64-bit code
  memory.writeU32(GDT + 16, 0x0000ffff);
  memory.writeU32(GDT + 20, 0x00cf9300); // data
  state.setU64(L.GDTR, BigInt(GDT));
  state.setU32(L.GDTR + 8, 0x17);
  state.setU64(L.IDTR, BigInt(IDT));
  state.setU32(L.IDTR + 8, 0xfff);
  for (let vector = 0; vector < 64; vector++) {
    const at = HANDLERS + vector * 64;
    memory.writeU32(IDT + vector * 16, (at & 0xffff) | (8 << 16));
    memory.writeU32(IDT + vector * 16 + 4, (at & 0xffff0000) | 0x8e00);
    memory.writeU32(IDT + vector * 16 + 8, 0);
    memory.writeU32(IDT + vector * 16 + 12, 0);
    const pops = vector === 13 || vector === 14 || vector === 8 ? 'add rsp, 8\n' : '';
    machine.write(
      at,
      assemble(`bits 64
org ${at}
${pops}push rax
push rbx
mov rbx, [abs ${LOG}]
mov rax, [rsp + 16]
mov [rbx], rax
add qword [abs ${LOG}], 8
pop rbx
pop rax
iretq`).bytes,
    );
  }
  memory.writeU32(LOG, LOG + 8);
  state.setGpr(RSP, BigInt(STACK));
  return machine;
}

/** RIPs at which handlers found the program. */
function interrupted(machine: TestMachine): number[] {
  const result: number[] = [];
  for (let at = LOG + 8; at < machine.memory.readU32(LOG); at += 8) {
    result.push(machine.memory.readU32(at));
  }
  return result;
}

const code64 = (source: string, at = CODE) => assemble(`bits 64\norg ${at}\n${source}`);

function run(machine: TestMachine, source: string, instructions = 1000): ReadonlyMap<string, bigint> {
  const { bytes, symbols } = code64(source);
  machine.runCode(CODE, bytes, instructions);
  return symbols;
}

test('an interrupt waits for the instruction after STI', () => {
  const machine = withHandlers();
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'nop\nsti\ninc rbx\nhere: inc rbx\ncli\nhlt');
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
  assert.equal(machine.state.gpr(RBX), 2n);
});

test('STI with CLI behind it lets nothing through, a second STI opens no new shadow', () => {
  const machine = withHandlers();
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'sti\ncli\nnop\nsti\nsti\nhere: nop\ncli\nhlt');
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
});

test('a slice that ends behind STI still holds an interrupt off for one instruction', () => {
  const machine = withHandlers();
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'nop\nsti\ninc rbx\nhere: inc rbx\ncli\nhlt', 2);
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.run(100);
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
  assert.equal(machine.state.gpr(RBX), 2n);
});

test('coming back to behind an STI opens no shadow', () => {
  const machine = withHandlers();
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'sti\nhere: inc rbx\njmp out\nout: jmp here', 3);
  machine.run(1);
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.run(10);
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
});

test('a loop of one instruction behind STI is interrupted, every time', () => {
  const machine = withHandlers();
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'sti\nhere: jmp here', 1);
  for (let i = 0; i < 3; i++) {
    machine.cpus.signals.setInterruptRequest(0, true);
    machine.run(30);
  }
  assert.deepEqual(interrupted(machine), Array(3).fill(Number(symbols.get('here'))));
});

test('POPF that sets IF lets a waiting interrupt in at once', () => {
  const machine = withHandlers();
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'pushfq\nor dword [rsp], 0x200\npopfq\nhere: inc rbx\npushfq\npop rcx\ncli\nhlt');
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.equal(machine.state.gpr(1) & 0x200n, 0x200n);
});

test('POPF restores what the privilege level allows', () => {
  // All flags that are defined but TF, VM, RF, VIF and VIP; then none.
  const all = 0x247ed5n;
  for (const cpl of [0, 3]) {
    const machine = withHandlers();
    machine.setCpl(cpl);
    run(machine, `push ${all}\npopfq\npushfq\npop rcx\npush 0\npopfq\npushfq\npop rdx\nnop`, 9);
    assert.equal(machine.state.gpr(1), cpl === 0 ? all | 2n : (all & ~0x3200n) | 2n);
    assert.equal(machine.state.gpr(2), 2n);
  }
});

test('STAC, CLAC and POPF open and close user pages to the supervisor', () => {
  const machine = withHandlers();
  // Code, stack and tables lie in supervisor pages, and 0x300000 in a user page.
  for (let i = 0; i < 512; i++) {
    machine.memory.writeU32(0x3000 + i * 8, ((i << 21) | 0x83) >>> 0);
  }
  const table = 0x40000;
  for (let i = 0; i < 512; i++) {
    machine.memory.writeU32(table + i * 8, ((1 << 21) + (i << 12)) | (i === 256 ? 7 : 3));
    machine.memory.writeU32(table + i * 8 + 4, 0);
  }
  machine.memory.writeU32(0x3000 + 8, table | 7);
  machine.state.setU64(L.CR4, BigInt(machine.state.cr4 | L.CR4_SMAP));
  machine.update();
  const symbols = run(
    machine,
    `stac
mov eax, [0x300000]
clac
a: mov eax, [0x300000]
pushfq
or dword [rsp], 0x40000
popfq
mov eax, [0x300000]
pushfq
and dword [rsp], ~0x40000
popfq
b: mov eax, [0x300000]
hlt`,
    14,
  );
  // The handler returns to the instruction that faulted.
  assert.deepEqual([...new Set(interrupted(machine))], [Number(symbols.get('a'))]);
  machine.memory.writeU32(LOG, LOG + 8);
  machine.state.rip = symbols.get('a') as bigint;
  machine.state.rip += 7n;
  machine.run(20);
  assert.deepEqual([...new Set(interrupted(machine))], [Number(symbols.get('b'))]);
});

test('loading SS holds interrupts off for one instruction', () => {
  const machine = withHandlers();
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  // The interrupt is requested while the selector is read.
  machine.bus.readMmio = () => {
    machine.cpus.signals.setInterruptRequest(0, true);
    return 16;
  };
  const symbols = run(machine, 'mov rcx, rsp\nsti\nnop\nmov ss, [0x40000000]\nmov rsp, rcx\nhere: nop\ncli\nhlt');
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
});

test('HLT wakes with an interrupt', () => {
  const machine = withHandlers();
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  const symbols = run(machine, 'sti\nhlt\nhere: inc rbx\ncli\nhlt');
  assert.equal(machine.state.gpr(RBX), 0n);
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.run(100);
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
});

test('single step traps after every instruction', () => {
  const machine = withHandlers();
  const symbols = run(
    machine,
    `pushfq
or dword [rsp], 0x100
popfq
a: inc rbx
b: mov rax, 5
c: jmp d
nop
d: pushfq
e: and dword [rsp], ~0x100
f: popfq
g: inc rbx
hlt`,
  );
  const at = (name: string) => Number(symbols.get(name));
  // The trap comes after the instruction that follows the POPF that set TF, and last after the one that clears it.
  assert.deepEqual(interrupted(machine), [at('b'), at('c'), at('d'), at('e'), at('f'), at('g')]);
  assert.equal(machine.state.gpr(RBX), 2n);
  assert.equal(Number(machine.state.u64(L.DR6) & 0x4000n), 0x4000);
});

test('single step traps after every element of a repeated string instruction', () => {
  const machine = withHandlers();
  const symbols = run(
    machine,
    `mov ecx, 3
mov edi, 0x40000
pushfq
or dword [rsp], 0x100
popfq
a: rep stosb
b: pushfq
c: and dword [rsp], ~0x100
d: popfq
e: hlt`,
  );
  const at = (name: string) => Number(symbols.get(name));
  assert.deepEqual(interrupted(machine), [at('a'), at('a'), at('b'), at('c'), at('d'), at('e')]);
});

test('a long repeated store lets interrupts in between', () => {
  const machine = withHandlers();
  machine.cpus.signals.setInterruptRequest(0, true);
  machine.bus.acknowledge = () => {
    machine.cpus.signals.setInterruptRequest(0, false);
    return 0x20;
  };
  machine.state.flags = 2 | L.FLAG_IF | L.FLAG_DF;
  machine.state.setGpr(1, 0x10000n);
  machine.state.setGpr(7, 0x16fff8n);
  const symbols = run(machine, 'here: rep stosq\ncli\nhlt', 10000);
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
  assert.equal(machine.state.gpr(1), 0n);
});

test('faults and traps arrive in the order of the instructions', () => {
  const machine = withHandlers();
  const { symbols, bytes } = code64('a: ud2\nnop\nb: int3\nc: int 0x30\nd: hlt');
  // The #UD handler returns to the same instruction: step over it.
  machine.write(
    HANDLERS + 6 * 64,
    assemble(`bits 64
org ${HANDLERS + 6 * 64}
add qword [rsp], 2
iretq`).bytes,
  );
  machine.runCode(CODE, bytes, 1000);
  assert.deepEqual(interrupted(machine), [Number(symbols.get('c')), Number(symbols.get('d'))]);
});

test('a code breakpoint and RF', () => {
  const machine = withHandlers();
  const { symbols, bytes } = code64(`mov rax, here
mov dr0, rax
mov eax, 0x402
mov dr7, rax
inc rbx
here: inc rbx
inc rbx
hlt`);
  // The #DB handler sets RF in the frame, as debuggers do.
  machine.write(
    HANDLERS + 64,
    assemble(`bits 64
org ${HANDLERS + 64}
inc rdx
or dword [rsp + 16], 0x10000
iretq`).bytes,
  );
  machine.runCode(CODE, bytes, 1000);
  assert.equal(machine.state.gpr(2), 1n);
  assert.equal(machine.state.gpr(RBX), 3n);
  assert.notEqual(symbols.get('here'), undefined);
});

test('a data breakpoint traps after the access', () => {
  const machine = withHandlers();
  const symbols = run(
    machine,
    `mov eax, 0x50000
mov dr0, rax
mov eax, 0x000d0402
mov dr7, rax
mov [0x50004], eax
mov [0x50000], eax
here: inc rbx
hlt`,
  );
  assert.deepEqual(interrupted(machine), [Number(symbols.get('here'))]);
});

test('programs end in the same state however the run is sliced', () => {
  const random = new Random(7);
  const table = buildInstructionTable();
  const pool = candidates(table.definitions, 64);
  const pointers = new Map(
    [3, 4, 5, 6, 7, 12, 13].map((register) => [register, BigInt(WINDOW_BASE + register * 0x100)]),
  );
  for (let round = 0; round < 60; round++) {
    // A loop of random instructions, closed by a counter in memory.
    const bytes: number[] = [];
    for (let tries = 0; bytes.length < 120 && tries < 400; tries++) {
      const instance = generateInstance(random, random.pick(pool), {
        bits: 64,
        address: CODE + bytes.length,
        jumpRoom: 0,
        pointers,
      });
      if (instance !== undefined && !instance.bytes.includes(0xf0)) {
        bytes.push(...instance.bytes);
      }
    }
    const counter = assemble(`bits 64\nlea rsp, [abs ${WINDOW_BASE + 0x400}]\ndec qword [abs 0x60000]`).bytes;
    const length = bytes.length + counter.length + 6;
    const loop = [...bytes, ...counter, 0x0f, 0x85, ...int32(-length), 0xf4];
    const registers = Array.from({ length: 16 }, () => specialInteger(random));
    const memory = Uint8Array.from({ length: 0x2000 }, () => random.below(256));
    const outcomes = [() => 100_000, () => 1, () => 7, () => random.below(40) + 1].map((slice) => {
      const machine = withHandlers();
      machine.memory.writeU32(0x60000, 50);
      machine.write(WINDOW_BASE - 0x800, memory);
      for (const [register, value] of registers.entries()) {
        machine.state.setGpr(register, pointers.get(register) ?? value);
      }
      machine.state.setI32(L.MXCSR, 0x1f80);
      machine.state.setI32(L.FPU_CONTROL, 0x37f);
      machine.write(CODE, loop);
      machine.state.rip = BigInt(CODE);
      // A faulting instruction ends the program.
      machine.cpu.system.deliverFault = () => machine.state.setI32(L.ACTIVITY, L.ACTIVITY_HALTED);
      while (machine.state.i32(L.ACTIVITY) === L.ACTIVITY_RUNNING && machine.cpus.executed < 100_000) {
        machine.run(slice());
      }
      return {
        executed: machine.cpus.executed,
        rip: machine.state.rip,
        flags: machine.state.flags,
        registers: Array.from({ length: 16 }, (_, i) => machine.state.gpr(i)),
        vectors: Buffer.from(machine.memory.arena.buffer, machine.cpu.record + L.XMM, 16 * L.XMM_STRIDE).toString(
          'hex',
        ),
        x87: Buffer.from(machine.memory.arena.buffer, machine.cpu.record + L.FPR, 0x90).toString('hex'),
        memory: Buffer.from(machine.read(WINDOW_BASE - 0x800, 0x2000)).toString('hex'),
      };
    });
    for (const outcome of outcomes.slice(1)) {
      assert.deepEqual(outcome, outcomes[0]);
    }
  }
});

const WINDOW_BASE = 0x140000;

function int32(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
}
