import assert from 'node:assert/strict';
import type { Nanos } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { Machine } from '../machine.ts';

/** Everything of a machine but the contents of its disks. */
export interface SavedMachine {
  readonly now: Nanos;
  readonly processors: StateValue;
  readonly devices: readonly (readonly [id: string, state: StateValue])[];
  readonly ram: Uint8Array;
  readonly vram: Uint8Array;
}

export function saveMachine(machine: Machine): SavedMachine {
  // Processors first: what KVM has begun of a device access is finished by that.
  const processors = machine.cpus.save();
  return {
    now: machine.clock.now(),
    processors,
    devices: machine.board.devices.map((device) => [device.id, device.save()] as const),
    ram: machine.memory.ram.slice(),
    vram: machine.memory.vram.slice(),
  };
}

/** Makes a machine of the same configuration what the other one was. */
export function loadMachine(machine: Machine, saved: SavedMachine): void {
  machine.clock.startAt(saved.now);
  machine.memory.ram.set(saved.ram);
  machine.memory.vram.set(saved.vram);
  for (const [i, [id, state]] of saved.devices.entries()) {
    const device = machine.board.devices[i];
    assert.equal(device?.id, id);
    device?.load(state);
  }
  machine.cpus.load(saved.processors);
}
