import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const IDT = 0x21000;
const GDT = 0x20000;
const HANDLER = 0x22000;
/** The handler of #DB leaves the interrupted RIP and DR6 here. */
const SEEN = 0x30000;

/** 64-bit mode with a handler of #DB that records and halts. */
function machineWithDebugger(): TestMachine {
  const machine = new TestMachine();
  machine.enterLong();
  const { memory, state } = machine;
  memory.writeU32(GDT + 12, 0x00209b00);
  state.setU64(L.GDTR, BigInt(GDT));
  state.setU32(L.GDTR + 8, 0x17);
  state.setU64(L.IDTR, BigInt(IDT));
  state.setU32(L.IDTR + 8, 0xfff);
  memory.writeU32(IDT + 16, (HANDLER & 0xffff) | (8 << 16));
  memory.writeU32(IDT + 20, (HANDLER & 0xffff0000) | 0x8e00);
  const handler = `bits 64
    org ${HANDLER}
    mov rax, [rsp]
    mov [abs ${SEEN}], rax
    mov rax, dr6
    mov [abs ${SEEN + 8}], rax
    hlt`;
  machine.write(HANDLER, assemble(handler).bytes);
  state.setGpr(4, 0x180000n);
  return machine;
}

function run(source: string): { rip: number; dr6: number; symbols: ReadonlyMap<string, bigint>; machine: TestMachine } {
  const machine = machineWithDebugger();
  const { bytes, symbols } = assemble(`bits 64\norg ${CODE}\n${source}`);
  machine.runCode(CODE, bytes, 200);
  return { rip: machine.memory.readU32(SEEN), dr6: machine.memory.readU32(SEEN + 8), symbols, machine };
}

const at = (symbols: ReadonlyMap<string, bigint>, name: string) => Number(symbols.get(name));

test('a watchpoint on writes traps after the instruction that wrote', () => {
  const { rip, dr6, symbols } = run(`
    mov eax, 0x40004
    mov dr0, rax
    mov eax, 0xd0001          ; write, 4 bytes, local
    mov dr7, rax
    mov ebx, [abs 0x40004]    ; a read is none of its business
    mov dword [abs 0x40000], 1
    mov byte [abs 0x40006], 2
  after:
    nop
    hlt`);
  assert.equal(rip, at(symbols, 'after'));
  assert.equal(dr6 & 15, 1);
});

test('a watchpoint on accesses sees reads, of pages that were in use before it was set', () => {
  const { rip, dr6, symbols } = run(`
    mov dword [abs 0x40008], 7
    mov eax, 0x40008
    mov dr1, rax
    mov eax, 0x00f00004       ; read or write, 4 bytes, DR1
    mov dr7, rax
    add ecx, 1
    add ecx, [abs 0x40008]
  after:
    nop
    hlt`);
  assert.equal(rip, at(symbols, 'after'));
  assert.equal(dr6 & 15, 2);
});

test('a watchpoint that its own delivery hits does not hold the machine', () => {
  // The vector of #DB is watched: each delivery raises the next one, on a stack without end, and no instruction is
  // executed any more.
  const machine = new TestMachine();
  const { bytes } = assemble(`bits 16\norg 0x7000
    mov eax, 4
    mov dr0, eax
    mov eax, 0xf0001          ; read or write, 4 bytes, local
    mov dr7, eax
    mov ebx, [4]
    hlt`);
  machine.enterReal();
  machine.state.setGpr(4, 0x7000n);
  machine.memory.writeU32(4, 0x7000);
  machine.write(0x7000, bytes);
  machine.state.rip = 0x7000n;
  const done = machine.cpu.runSlice(1000);
  assert.ok(done >= 1000, `${done}`);
  assert.notEqual(machine.state.i32(L.TRAP_PENDING), 0);
});

test('an instruction breakpoint faults before its instruction', () => {
  const { rip, dr6, symbols, machine } = run(`
    mov eax, target
    mov dr2, rax
    mov eax, 0x10
    mov dr7, rax
    mov ecx, 5
  target:
    mov ecx, 6
    hlt`);
  assert.equal(rip, at(symbols, 'target'));
  assert.equal(dr6 & 15, 4);
  assert.equal(machine.state.gpr32(1), 5);
});

test('a port breakpoint traps after the access, with CR4.DE', () => {
  const { rip, dr6, symbols } = run(`
    mov rax, cr4
    or eax, 8
    mov cr4, rax
    mov eax, 0x80
    mov dr3, rax
    mov eax, 0x20000040       ; I/O, 1 byte, DR3
    mov dr7, rax
    out 0x81, al
    out 0x80, al
  after:
    nop
    hlt`);
  assert.equal(rip, at(symbols, 'after'));
  assert.equal(dr6 & 15, 8);
});

test('single step traps after every instruction while TF is set', () => {
  const { rip, dr6, symbols } = run(`
    pushfq
    or dword [rsp], 0x100
    popfq
    nop
  after:
    nop
    hlt`);
  assert.equal(rip, at(symbols, 'after'));
  assert.equal(dr6 & 0x4000, 0x4000);
});
