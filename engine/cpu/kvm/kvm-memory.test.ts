import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmVm } from '../../../native/index.ts';
import { createArena } from '../../memory/arena.ts';
import { MachineMemory } from '../../memory/machine-memory.ts';
import { KvmMemory } from './kvm-memory.ts';

const BYTES = 4 << 20;

/** What the addon throws. */
function kvmError(call: string): Error {
  return Object.assign(new Error(`${call}: EIO`), { call, errno: 5, code: 'EIO', meaning: 'Input/output error' });
}

function create(setMemory: KvmVm['setMemory']): KvmMemory {
  const vm: Partial<KvmVm> = { borrow() {}, adviseHugePages() {}, memoryAddress: () => 0, setMemory };
  const memory = new MachineMemory(createArena(BYTES), BYTES);
  memory.mapRam(0, BYTES);
  return new KvmMemory(vm as KvmVm, memory);
}

test('all slots are taken away, by their numbers, when a machine ends', () => {
  const sizes = new Map<number, number>();
  const memory = create((slot, _flags, _address, size) => sizes.set(slot, size));
  memory.update();
  assert.equal(
    [...sizes.values()].reduce((sum, size) => sum + size, 0),
    BYTES,
  );
  memory.dispose();
  assert.ok([...sizes.values()].every((size) => size === 0));
});

test('a machine that KVM has given up ends all the same', () => {
  let isDead = false;
  const memory = create(() => {
    if (isDead) {
      throw kvmError('KVM_SET_USER_MEMORY_REGION');
    }
  });
  memory.update();
  isDead = true;
  memory.dispose();
});

test('a mistake of our own is not taken for that', () => {
  let isWrong = false;
  const memory = create(() => {
    if (isWrong) {
      throw new TypeError('a slot that cannot be');
    }
  });
  memory.update();
  isWrong = true;
  assert.throws(() => memory.dispose(), TypeError);
});
