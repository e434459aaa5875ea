import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { DEFAULT_JIT } from './jit/jit.ts';

const CODE = 0x8000;
const RAX = 0;
const RBX = 3;
const READ = 'rdtsc\nshl rdx, 32\nor rax, rdx\n';

function run(source: string, options: { hostTime: boolean; time: number }): TestMachine {
  const machine = new TestMachine({ jit: DEFAULT_JIT, hostTime: options.hostTime });
  machine.enterLong();
  machine.time = options.time;
  machine.runCode(CODE, assemble(`bits 64\norg ${CODE}\n${source}\nhlt`).bytes, 1000);
  return machine;
}

test('the time-stamp counter goes up with every reading, across 32 bits too', () => {
  const machine = run(`${READ}mov rbx, rax\n${READ}mov rsi, rax\nrdtscp\nshl rdx, 32\nor rax, rdx`, {
    hostTime: true,
    time: 0x1_ffff_fffe,
  });
  const { state } = machine;
  assert.deepEqual([state.gpr(RBX), state.gpr(6), state.gpr(RAX)], [0x1_ffff_fffen, 0x2_0000_0002n, 0x2_0000_0006n]);
});

test('behind an access to a device the time-stamp counter is that of the clock', () => {
  for (const access of ['in al, 0x80', 'out 0x80, al', 'mov ecx, [0xfee00020]']) {
    const machine = run(`${READ}mov rbx, rax\n${access}\n${READ}`, { hostTime: true, time: 5000 });
    assert.equal(machine.state.gpr(RBX), 5000n, access);
    assert.equal(machine.state.gpr(RAX), 5000n, access);
  }
});

test('in virtual time every reading is that of its instruction', () => {
  const machine = run(`${READ}mov rbx, rax\n${READ}`, { hostTime: false, time: 7000 });
  assert.deepEqual([machine.state.gpr(RBX), machine.state.gpr(RAX)], [7000n, 7000n]);
});

test('under CR4.TSD every reading is checked', () => {
  const machine = new TestMachine({ jit: DEFAULT_JIT, hostTime: true });
  machine.enterLong();
  machine.time = 5000;
  machine.state.setU64(L.CR4, machine.state.u64(L.CR4) | BigInt(L.CR4_TSD));
  machine.runCode(CODE, assemble(`bits 64\norg ${CODE}\nrdtsc\nmov ebx, eax\nrdtsc\nhlt`).bytes, 1000);
  assert.equal(machine.state.gpr(RBX), 5000n);
  assert.equal(machine.state.gpr(RAX), 5000n);
});
