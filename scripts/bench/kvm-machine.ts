/**
 * Runs one machine with firmware of its own on KVM and nothing but KVM: what `lodge run` hands to the software processor
 * on a KVM that emulates stays on KVM here, so that KVM is what is measured. Usage: node kvm-machine.ts FIRMWARE
 */
import { readFileSync, writeSync } from 'node:fs';
import { defined } from '../../engine/base/assert.ts';
import { silentLog } from '../../engine/base/log.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { openKvm } from '../../engine/cpu/kvm/kvm-host.ts';
import { Machine } from '../../engine/machine/machine.ts';
import { kvmFinding } from '../../engine/process/accelerator.ts';

const bios = readFileSync(defined(process.argv[2], 'the firmware'));
const { facts } = kvmFinding();
const vgaBios = new Uint8Array();
const machine = new Machine({
  config: validateMachineConfig({ memoryMegabytes: 64, serial: { kind: 'none' } }),
  firmware: { bios, vgaBios, from: { bios: 'benchmark', vgaBios: 'none' } },
  vgaBios,
  kernel: undefined,
  openMedia: () => ({ disks: [], floppy: undefined }),
  serialOutput: { write: (byte) => writeSync(1, Uint8Array.of(byte)) },
  log: silentLog,
  kvm: openKvm({ ...defined(facts, 'KVM'), longModeOnly: false, emulates: false }),
});
const bell = new Int32Array(new SharedArrayBuffer(4));
for (;;) {
  const turn = machine.turn();
  if (turn.kind === 'idle') {
    Atomics.wait(bell, 0, 0, 100);
  }
}
