import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_INTERRUPTED, type KvmAddon, type KvmSystem, type KvmVcpu, type KvmVm } from '../../../native/index.ts';
import * as K from './kvm-abi.ts';
import { type ProbeClock, probeKvm } from './kvm-probe.ts';

/** What a guest is let do before the timer ends its run, and what passes meanwhile, in milliseconds. */
interface Run {
  readonly loops: number;
  readonly spent: number;
  readonly passed: number;
}

/** A KVM whose runs go as `run` says, and the clock that goes with it. */
function fakeKvm(run: (count: number) => Run): { addon: KvmAddon; clock: ProbeClock; closed: string[] } {
  let [now, spent, runs] = [0, 0, 0];
  const closed: string[] = [];
  let registers = new Uint8Array(K.REGS_BYTES);
  let inProgram = false;
  const vcpu: Partial<KvmVcpu> = {
    setCpuid() {},
    armTimer() {},
    setMsrs: () => 3,
    tscKilohertz: () => 2_000_000,
    get(structure, into) {
      if (structure === 'regs') {
        into.set(registers);
      }
    },
    set(structure, from) {
      if (structure === 'regs') {
        registers = from.slice();
      } else if (structure === 'sregs') {
        inProgram = (from[K.SEGMENT_DPL] ?? 0) === 3;
      }
    },
    run() {
      const { loops, spent: more, passed } = run(runs++);
      spent += more;
      now += passed;
      if (inProgram && loops > 0) {
        return K.KVM_EXIT_IO;
      }
      const view = new DataView(registers.buffer);
      view.setBigUint64(16, view.getBigUint64(16, true) - BigInt(loops), true);
      return EXIT_INTERRUPTED;
    },
    close: () => closed.push('vcpu'),
  };
  const vm: Partial<KvmVm> = {
    borrow() {},
    setAddresses() {},
    setMemory() {},
    createVcpu: () => vcpu as KvmVcpu,
    close: () => closed.push('vm'),
  };
  const system: Partial<KvmSystem> = {
    apiVersion: () => K.KVM_API_VERSION,
    checkExtension: () => 1,
    supportedCpuid: () => 0,
    createVm: () => vm as KvmVm,
    close: () => closed.push('system'),
  };
  // A function and no class: its instances are to be this one.
  function makeSystem() {
    return system;
  }
  const addon: Partial<KvmAddon> = { KvmSystem: makeSystem as unknown as KvmAddon['KvmSystem'] };
  return { addon: addon as KvmAddon, clock: { now: () => now, spent: () => spent }, closed };
}

test('a processor is fast, whoever else wants it meanwhile', () => {
  // An eighth of the processor's time: by the clock on the wall it makes 75 million instructions a second.
  const { addon, clock, closed } = fakeKvm(() => ({ loops: 150_000, spent: 0.5, passed: 4 }));
  const probe = probeKvm(addon, clock);
  assert.ok(probe.usable);
  assert.deepEqual([probe.fast, probe.longModeOnly, probe.syscallsFault, probe.certain], [true, false, false, true]);
  assert.equal(probe.speeds.long, 600);
  assert.deepEqual(closed, ['vcpu', 'vm', 'system']);
});

test('a guest that the timer forestalls is let run again', () => {
  const { addon, clock } = fakeKvm((count) =>
    count % 2 === 0 ? { loops: 0, spent: 0.01, passed: 4 } : { loops: 4_000_000, spent: 4, passed: 4 },
  );
  const probe = probeKvm(addon, clock);
  assert.ok(probe.usable);
  assert.deepEqual([probe.fast, probe.longModeOnly, probe.certain], [true, false, true]);
});

test('emulation is slow, however much time it gets', () => {
  const { addon, clock } = fakeKvm(() => ({ loops: 2000, spent: 4, passed: 4 }));
  const probe = probeKvm(addon, clock);
  assert.ok(probe.usable);
  assert.deepEqual([probe.fast, probe.certain, probe.speeds.real], [false, true, 1]);
});

test('a host that gives guests no time is not judged for good, and not waited for', () => {
  const { addon, clock } = fakeKvm((count) =>
    count === 0 ? { loops: 4_000_000, spent: 4, passed: 4 } : { loops: 100, spent: 0.02, passed: 10 },
  );
  const probe = probeKvm(addon, clock);
  assert.ok(probe.usable && !probe.certain);
  assert.ok(probe.millis <= 150, `${probe.millis} ms`);
});

test('a mode that KVM never gets into is missing', () => {
  let mode = 0;
  const { addon, clock } = fakeKvm(() => {
    // The third of them is paging without long mode.
    const works = mode++ !== 2;
    return { loops: works ? 4_000_000 : 0, spent: 4, passed: 4 };
  });
  const probe = probeKvm(addon, clock);
  assert.ok(probe.usable);
  assert.deepEqual([probe.fast, probe.longModeOnly, probe.certain], [false, true, true]);
});
