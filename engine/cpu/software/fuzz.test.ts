import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { buildInstructionTable } from '../x86/instructions/table.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const SEED = Number(process.env['LODGE_SEED'] ?? 1);
const RAM = 4 << 20;

/** Opcodes of the table with random bytes behind them: more of them are instructions than plain noise has. */
function plausibleCode(random: Random, bytes: Uint8Array): void {
  const encodings = buildInstructionTable().definitions.flatMap((definition) => definition.encodings);
  for (let at = 0; at < bytes.length - 16; ) {
    const encoding = random.pick(encodings);
    if (random.chance(1, 6)) {
      bytes[at++] = random.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x41]);
    }
    if (encoding.vex !== undefined) {
      const pp = ['none', '66', 'f3', 'f2'].indexOf(encoding.prefix);
      bytes[at++] = 0xc4;
      bytes[at++] = (random.below(8) << 5) | encoding.map;
      bytes[at++] = (random.below(64) << 2) | pp;
    } else if (encoding.prefix !== 'any' && encoding.prefix !== 'none') {
      bytes[at++] = Number.parseInt(encoding.prefix, 16);
    }
    if (encoding.map > 0 && encoding.vex === undefined) {
      bytes[at++] = 0x0f;
    }
    if (encoding.map > 1 && encoding.vex === undefined) {
      bytes[at++] = encoding.map === 2 ? 0x38 : 0x3a;
    }
    bytes[at++] = encoding.opcode;
    if (encoding.modrm) {
      bytes[at++] =
        encoding.exact ??
        (encoding.reg === undefined ? random.below(256) : (random.below(256) & 0xc7) | (encoding.reg << 3));
    }
    at += random.below(5);
  }
}

/** Runs rubbish; only an error in the processor itself throws. */
function run(name: string, enter: (machine: TestMachine, random: Random) => void): void {
  test(`rubbish in ${name} never breaks the processor`, () => {
    const random = new Random(SEED + name.length);
    const machine = new TestMachine({ ramBytes: RAM });
    const { memory, state } = machine;
    for (let i = 0; i < RAM; i += 4) {
      memory.ram[i] = random.below(256);
      memory.ram[i + 1] = random.chance(1, 2) ? random.below(256) : 0;
      memory.ram[i + 3] = random.chance(1, 4) ? random.below(256) : 0;
    }
    plausibleCode(random, memory.ram.subarray(0x20000, 0x300000));
    const pristine = Uint8Array.from(memory.ram);
    machine.bus.readMmio = () => random.below(256);
    machine.bus.readPort = () => random.below(256);
    machine.bus.writeMmio = () => {};
    machine.bus.writePort = () => {};
    let executed = 0;
    for (let round = 0; round < 400; round++) {
      if (round % 40 === 0) {
        memory.ram.set(pristine);
        machine.cpus.code.flush();
      }
      machine.cpus.reset();
      machine.enterReal();
      enter(machine, random);
      for (let i = 0; i < 16; i++) {
        state.setGpr(i, random.chance(1, 2) ? BigInt(random.below(RAM)) : random.u64());
      }
      state.rip = BigInt(0x20000 + random.below(0x2c0000));
      if (random.chance(1, 3)) {
        state.flags = random.u32() & 0x3f7fd5 & ~L.FLAG_VM;
      }
      machine.update();
      const before = machine.cpus.executed;
      for (let slice = 0; slice < 10; slice++) {
        const exit = machine.run(1 + random.below(400));
        if (exit.reason === 'shutdown') {
          break;
        }
        if (random.chance(1, 4)) {
          machine.cpus.signals.setInterruptRequest(0, true);
          machine.bus.vector = random.below(256);
          machine.bus.acknowledge = () => {
            machine.cpus.signals.setInterruptRequest(0, false);
            return machine.bus.vector;
          };
        }
        if (exit.reason === 'halted') {
          machine.cpus.signals.nmi(0);
        }
      }
      executed += machine.cpus.executed - before;
    }
    assert.ok(executed > 500, `${executed} instructions`);
  });
}

run('real mode', (machine, random) => {
  machine.state.cs.base = BigInt(random.below(0x20000) & ~15);
});
run('protected mode', (machine, random) => {
  machine.enterProtected();
  machine.state.setU64(L.GDTR, BigInt(random.below(RAM)));
  machine.state.setU32(L.GDTR + 8, 0xffff);
  machine.state.setU64(L.IDTR, BigInt(random.below(RAM)));
  machine.state.setU32(L.IDTR + 8, 0xfff);
});
run('16-bit protected mode', (machine, random) => {
  machine.enterProtected();
  machine.state.cs.attributes &= ~L.ATTR_DB;
  machine.state.ss.attributes &= ~L.ATTR_DB;
  machine.state.ds.limit = random.u32();
  machine.state.setU64(L.IDTR, BigInt(random.below(RAM)));
  machine.state.setU32(L.IDTR + 8, 0xfff);
});
run('long mode', (machine, random) => {
  machine.enterLong(0x310000);
  machine.state.setU64(L.GDTR, BigInt(random.below(RAM)));
  machine.state.setU32(L.GDTR + 8, 0xffff);
  machine.state.setU64(L.IDTR, BigInt(random.below(RAM)));
  machine.state.setU32(L.IDTR + 8, 0xfff);
});
run('user mode', (machine, random) => {
  machine.enterLong(0x310000);
  machine.state.setU64(L.CR4, machine.state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
  machine.state.setU64(L.XCR0, 7n);
  machine.setCpl(3);
  // Faults lead somewhere else.
  machine.cpu.system.deliverFault = () => {
    machine.state.rip = BigInt(0x20000 + random.below(0x2c0000));
  };
});
