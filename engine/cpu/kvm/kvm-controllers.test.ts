import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../../base/log.ts';
import { silentLog } from '../../base/log.ts';
import * as K from './kvm-abi.ts';
import { placeOfControllers } from './kvm-controllers.ts';

/** Where controllers are on a KVM without some capabilities, and what the log says. */
function without(capabilities: readonly number[], emulates = false) {
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (message) => said.push(message) };
  const system = { checkExtension: (capability: number) => (capabilities.includes(capability) ? 0 : 1) };
  return { place: placeOfControllers({ system, emulates }, log), said };
}

test('KVM has them all; what it lacks is said, and decides what it has', () => {
  assert.deepEqual(without([]), { place: 'kernel', said: [] });
  assert.deepEqual(without([], true), { place: 'machine', said: [] });
  const split = without([K.KVM_CAP_IRQCHIP, K.KVM_CAP_PIT2, K.KVM_CAP_PIT_STATE2]);
  assert.equal(split.place, 'split');
  assert.match(
    split.said.join(),
    /lacks KVM_CAP_IRQCHIP, KVM_CAP_PIT2, KVM_CAP_PIT_STATE2: it has the local APICs only/,
  );
  const none = without([K.KVM_CAP_PIT_STATE2, K.KVM_CAP_SPLIT_IRQCHIP]);
  assert.equal(none.place, 'machine');
  assert.match(none.said.join(), /lacks KVM_CAP_PIT_STATE2: all interrupt controllers/);
  assert.equal(without([K.KVM_CAP_X2APIC_API]).place, 'machine');
});
