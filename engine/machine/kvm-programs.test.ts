import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmAccess } from '../cpu/kvm/kvm-access.ts';
import * as L from '../cpu/x86/layout.ts';
import { assemble } from '../testing/assembler/assembler.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';

/** Tables that map the first 2 MiB to themselves page by page, for programs; and once more at SYSTEM, not for them. */
const TABLES = 0x10000;
const PAGE_TABLE = TABLES + 0x3000;
const CODE = 0x1000;
const SYSTEM = 0x200000;
const PRESENT_WRITABLE = 3;
const USER = 4;

function mapMemory({ memory }: Machine): void {
  const entry = (table: number, index: number, value: number) => memory.writeU32(table + index * 8, value);
  entry(TABLES, 0, (TABLES + 0x1000) | USER | PRESENT_WRITABLE);
  entry(TABLES + 0x1000, 0, (TABLES + 0x2000) | USER | PRESENT_WRITABLE);
  entry(TABLES + 0x2000, 0, PAGE_TABLE | USER | PRESENT_WRITABLE);
  entry(TABLES + 0x2000, 1, 0x80 | PRESENT_WRITABLE);
  for (let page = 0; page < 512; page++) {
    entry(PAGE_TABLE, page, (page << 12) | USER | PRESENT_WRITABLE);
  }
}

/** A machine about to run 64-bit code in the privilege level of programs. */
function program(kvm: KvmAccess, source: string): Machine {
  const machine = bareMachine({ bios: new Uint8Array(0x10000).fill(0xf4), kvm });
  mapMemory(machine);
  machine.memory.write(CODE, assemble(`bits 64\norg ${CODE}\n${source}`).bytes);
  const [{ state, system } = assert.fail()] = machine.cpus.processors;
  const flat =
    L.ATTR_PRESENT | L.ATTR_S | L.ATTR_GRANULARITY | L.ATTR_ACCESSED | L.ATTR_WRITABLE | (3 << L.ATTR_DPL_SHIFT);
  state.setU64(L.CR0, 0x80010033n);
  state.setU64(L.CR3, BigInt(TABLES));
  state.setU64(L.CR4, 0x620n);
  state.setU64(L.EFER, 0xd01n);
  state.cs.assign(0x33, 0n, 0xffffffff, flat | L.ATTR_CODE | L.ATTR_LONG);
  for (const segment of [state.ss, state.ds, state.es]) {
    segment.assign(0x2b, 0n, 0xffffffff, flat | L.ATTR_DB);
  }
  state.rip = BigInt(CODE);
  state.flags = 0x202;
  system.restoreMode();
  return machine;
}

function runUntil(machine: Machine, done: () => boolean): void {
  const end = performance.now() + 20_000;
  while (!done()) {
    assert.ok(performance.now() < end, 'the program got there in time');
    const turn = machine.turn();
    assert.ok(turn.kind === 'running' || turn.kind === 'idle', turn.kind);
  }
}

test('KVM: page tables that change while the machine is in software hold for programs in KVM afterwards', (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const machine = program(kvm, 'again:\nmov rax, [0x20000]\nmov [0x30000], rax\njmp again');
  const { memory } = machine;
  for (let frame = 0x21; frame < 0x23; frame++) {
    memory.writeU32(frame << 12, frame);
    machine.cpus.moveTo('software');
    memory.writeU32(PAGE_TABLE + 0x20 * 8, (frame << 12) | USER | PRESENT_WRITABLE);
    machine.cpus.moveTo('kvm');
    runUntil(machine, () => memory.readU32(0x30000) === frame);
  }
  machine.dispose();
});

test("KVM: programs' calls of their system arrive there, and nothing else does", (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const [CALLS, ENTRIES, FAULTS, JUMPS] = [0x30000, 0x30008, 0x30010, 0x30018];
  // Every 4096th time around it jumps to where SYSCALL goes, with what SYSCALL would have left in RCX and R11.
  const machine = program(
    kvm,
    `
    mov rsp, 0x40000
    jmp again
    align 32
  again:
    inc qword [${CALLS}]
    syscall
    test qword [${CALLS}], 0xfff
    jnz again
    inc qword [${JUMPS}]
    mov rcx, again
    pushfq
    pop r11
    mov rax, ${SYSTEM + 0x2000}
    jmp rax
  `,
  );
  const { memory } = machine;
  const handlers = assemble(`
    bits 64
    org ${SYSTEM + 0x2000}
    inc qword [${ENTRIES}]
    o64 sysret
    align 64
    inc qword [${FAULTS}]
    add rsp, 8
    mov qword [rsp], ${CODE + 32}
    iretq
  `).bytes;
  memory.write(0x2000, handlers);
  // Interrupt descriptor table and task state segment at 0x50000 and 0x51000, global descriptor table at 0x52000.
  const entry = SYSTEM + 0x2000 + 64;
  memory.writeU32(0x50000 + 14 * 16, (0x10 << 16) | (entry & 0xffff));
  memory.writeU32(0x50000 + 14 * 16 + 4, (entry & 0xffff0000) | 0x8e00);
  memory.writeU32(0x51004, SYSTEM + 0x60000);
  for (const [i, high] of [0, 0, 0x00af9b00, 0x00cf9300, 0x00cffb00, 0x00cff300, 0x00affb00].entries()) {
    memory.writeU32(0x52000 + i * 8, high === 0 ? 0 : 0xffff);
    memory.writeU32(0x52000 + i * 8 + 4, high);
  }
  const [{ state } = assert.fail()] = machine.cpus.processors;
  state.setU64(L.IDTR, BigInt(SYSTEM + 0x50000));
  state.setU32(L.IDTR + 8, 0xfff);
  state.setU64(L.GDTR, BigInt(SYSTEM + 0x52000));
  state.setU32(L.GDTR + 8, 0x37);
  state.tr.assign(0x40, BigInt(SYSTEM + 0x51000), 0x67, L.ATTR_PRESENT | 0xb);
  state.setU64(L.MSR_STAR, 0x0023_0010_0000_0000n);
  state.setU64(L.MSR_LSTAR, BigInt(SYSTEM + 0x2000));
  state.setU64(L.MSR_SFMASK, 0x257fd5n);
  const count = (place: number) => memory.readU32(place);
  // Where KVM does not finish calls, each that is made there takes the machine to software for a while.
  runUntil(machine, () => count(JUMPS) > 3 && (!kvm.syscallsFault || machine.cpus.handedOver.foundEmulating > 6));
  // Looked at any moment: the one that is under way may have been counted on one side only.
  const lost = count(CALLS) - count(ENTRIES);
  assert.ok(lost === 0 || lost === 1, `${count(CALLS)} calls, ${count(ENTRIES)} of them arrived`);
  const missing = count(JUMPS) - count(FAULTS);
  assert.ok(missing === 0 || missing === 1, `${count(JUMPS)} jumps, ${count(FAULTS)} faults`);
  machine.dispose();
});

test('KVM as it is found here: a program that begins finds the same processor throughout', (t) => {
  const kvm = kvmForTests(t, { asFound: true })?.();
  if (kvm === undefined) {
    return;
  }
  const [ROUNDS, CHANGES] = [0x30000, 0x30008];
  // Compares family, features and the state that is switched on with those of the time before, all folded into one.
  const machine = program(
    kvm,
    `
  again:
    mov eax, 1
    cpuid
    and ebx, 0xffffff
    mov esi, eax
    add esi, ebx
    rol esi, 3
    add esi, ecx
    rol esi, 3
    add esi, edx
    mov eax, 7
    xor ecx, ecx
    cpuid
    rol esi, 3
    add esi, ebx
    cmp dword [${ROUNDS}], 0
    jz first
    cmp esi, edi
    jz first
    inc qword [${CHANGES}]
  first:
    mov edi, esi
    inc qword [${ROUNDS}]
    jmp again
  `,
  );
  const { memory } = machine;
  machine.cpus.moveTo('software');
  runUntil(machine, () => memory.readU32(ROUNDS) > 0);
  machine.cpus.moveTo('kvm');
  const before = memory.readU32(ROUNDS);
  runUntil(machine, () => memory.readU32(ROUNDS) - before > 10_000);
  assert.equal(memory.readU32(CHANGES), 0);
  machine.dispose();
});

test("KVM: a program's time-stamp counter goes on from where it was on every move", (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const [ROUNDS, LONGEST] = [0x30000, 0x30008];
  const machine = program(
    kvm,
    `
    xor rbx, rbx
    jmp read
  again:
    mov rdi, rax
    sub rdi, rbx
    cmp rdi, [${LONGEST}]
    jbe shorter
    mov [${LONGEST}], rdi
  shorter:
    mov rbx, rax
    inc qword [${ROUNDS}]
  read:
    rdtsc
    shl rdx, 32
    or rax, rdx
    test rbx, rbx
    jnz again
    mov rbx, rax
    jmp read
  `,
  );
  const { memory } = machine;
  for (const kind of ['software', 'kvm', 'software', 'kvm'] as const) {
    machine.cpus.moveTo(kind);
    const before = memory.readU32(ROUNDS);
    runUntil(machine, () => memory.readU32(ROUNDS) - before > 1000);
  }
  // A step back would be the longest of all. The whole test has no more than these seconds for each move.
  const seconds = (memory.readU32(LONGEST) + memory.readU32(LONGEST + 4) * 2 ** 32) / machine.cpus.tscFrequencyHz;
  assert.ok(seconds < 20, `${seconds} s between two readings`);
  machine.dispose();
});
