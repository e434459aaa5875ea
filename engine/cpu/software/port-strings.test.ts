import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { assemble } from '../../testing/assembler/assembler.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

/** Runs one 16-bit program whose port reads give 1, 2, 3 …; returns the machine and how often the port was read. */
function run(source: string, setUp: (machine: TestMachine) => void = () => {}) {
  const machine = new TestMachine();
  let reads = 0;
  const written: number[] = [];
  machine.bus.readPort = (_port: number, size: AccessSize) => (++reads & (size === 1 ? 0xff : 0xffff)) >>> 0;
  machine.bus.writePort = (_port: number, _size: AccessSize, value: number) => void written.push(value);
  machine.enterReal();
  setUp(machine);
  machine.runCode(0x8000, assemble(`bits 16\norg 0x8000\n${source}\nhlt`).bytes, 100_000);
  return { machine, reads, written };
}

test('REP INSW fills memory across pages, with the registers as after single elements', () => {
  const { machine, reads } = run('mov dx, 0x1f0\nmov di, 0x2fc1\nmov cx, 3000\ncld\nrep insw');
  assert.equal(reads, 3000);
  assert.equal(machine.state.gpr16(1), 0);
  assert.equal(machine.state.gpr16(7), 0x2fc1 + 6000);
  for (const i of [0, 1, 31, 32, 1000, 2999]) {
    assert.equal(machine.memory.readU16(0x2fc1 + i * 2), i + 1);
  }
});

test('REP INSB downwards, and REP OUTSW from a segment that is not DS', () => {
  const down = run('mov dx, 0x1f0\nmov di, 0x3010\nmov cx, 32\nstd\nrep insb');
  assert.equal(down.machine.memory.readU8(0x3010), 1);
  assert.equal(down.machine.memory.readU8(0x3010 - 31), 32);
  assert.equal(down.machine.state.gpr16(7), 0x3010 - 32);

  const out = run('mov ax, 0x300\nmov es, ax\nmov dx, 0x1f0\nmov si, 4\nmov cx, 3\ncld\nrep es outsw', (machine) => {
    machine.write(0x3004, [1, 0, 2, 0, 3, 0]);
  });
  assert.deepEqual(out.written, [1, 2, 3]);
});

test('INS over code that has run is seen by the next execution', () => {
  // The port gives 0x9090 …: the routine at 0x9000 is executed, overwritten with NOPs, and executed again.
  const machine = new TestMachine();
  machine.bus.readPort = () => 0x9090;
  machine.enterReal();
  machine.write(0x9000, assemble('bits 16\ninc bx\ninc bx\nret').bytes);
  const source = 'call 0x9000\nmov dx, 0x1f0\nmov di, 0x9000\nmov cx, 1\ncld\nrep insw\ncall 0x9000\nhlt';
  machine.runCode(0x8000, assemble(`bits 16\norg 0x8000\n${source}`).bytes, 1000);
  assert.equal(machine.state.gpr16(3), 2);
});

test('REP INS wraps at the end of a 16-bit segment', () => {
  const { machine, reads } = run('mov dx, 0x1f0\nmov di, 0xfffe\nmov cx, 8\ncld\nrep insw');
  // The word at 0xfffe fits; then DI wraps to 0, as real-mode code may rely on.
  assert.equal(reads, 8);
  assert.equal(machine.memory.readU16(0xfffe), 1);
  assert.equal(machine.memory.readU16(0), 2);
});
