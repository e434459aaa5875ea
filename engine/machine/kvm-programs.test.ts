import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmAccess } from '../cpu/kvm/kvm-access.ts';
import * as L from '../cpu/x86/layout.ts';
import { assemble } from '../testing/assembler/assembler.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';

/** Tables that map the first 2 MiB to themselves page by page, for programs. */
const TABLES = 0x10000;
const PAGE_TABLE = TABLES + 0x3000;
const CODE = 0x1000;
const PRESENT_WRITABLE = 3;
const USER = 4;

function mapMemory({ memory }: Machine): void {
  const entry = (table: number, index: number, value: number) => memory.writeU32(table + index * 8, value);
  entry(TABLES, 0, (TABLES + 0x1000) | USER | PRESENT_WRITABLE);
  entry(TABLES + 0x1000, 0, (TABLES + 0x2000) | USER | PRESENT_WRITABLE);
  entry(TABLES + 0x2000, 0, PAGE_TABLE | USER | PRESENT_WRITABLE);
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
