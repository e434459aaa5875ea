import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import type { GuestFault } from '../x86/linear-memory.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { AT_ONCE } from './testing/at-once.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const RBP = 5;

test('a compiled block whose first operand is a non-canonical stack address raises #SS', () => {
  const machine = new TestMachine({ jit: AT_ONCE });
  machine.enterLong();
  const faults: GuestFault[] = [];
  machine.cpu.system.deliverFault = (fault) => {
    faults.push(fault);
    machine.cpus.stopSoon();
  };
  machine.state.setGpr(RBP, BigInt(DATA));
  const source = 'again: mov rax, [rbp + 8]\nmov rbp, 0x8000000000000000\njmp again';
  machine.runCode(CODE, assemble(`bits 64\norg ${CODE}\n${source}`).bytes, 100);
  assert.ok((machine.cpus.jit?.compiled ?? 0) > 0);
  assert.equal(faults[0]?.vector, L.VECTOR_SS);
  assert.equal(machine.state.rip, BigInt(CODE));
});
