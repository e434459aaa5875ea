import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../base/host-error.ts';
import { acceleratorNow, chooseAccelerator, type KvmFinding, kvmFinding } from './accelerator.ts';

const facts = { tscKilohertz: 2_000_000, longModeOnly: false, emulates: false, syscallsFault: false };
const fast: KvmFinding = { state: 'fast', detail: 'fast', why: 'fast', facts };
const slow: KvmFinding = { state: 'slow', detail: 'KVM emulates', why: 'kvm-slow', facts };
const forbidden: KvmFinding = {
  state: 'unusable',
  detail: '/dev/kvm may not be opened',
  why: 'kvm-forbidden',
  remedy: 'join the group',
};
const choose = (accel: 'auto' | 'kvm' | 'software', finding: KvmFinding, virtualTime = false) =>
  chooseAccelerator({ accel, virtualTime }, () => finding);

test('auto takes a fast KVM, and software where KVM emulates or may not be used', () => {
  assert.deepEqual(choose('auto', fast).kvm, facts);
  const { name, kvm, why } = choose('auto', slow);
  assert.deepEqual([name, kvm, why], ['software', undefined, 'kvm-slow']);
  assert.equal(choose('auto', forbidden).reason, "Lodge's own processor: /dev/kvm may not be opened; join the group");
});

test('who asks for KVM gets it though it is slow, or hears why not', () => {
  assert.equal(choose('kvm', slow).name, 'kvm');
  assert.throws(
    () => choose('kvm', forbidden),
    (error: unknown) => error instanceof HostError && error.code === 'no-kvm' && error.remedy === 'join the group',
  );
});

test('who asks for software is not asked about KVM', () => {
  const unasked = () => assert.fail('nobody wants to know');
  assert.equal(chooseAccelerator({ accel: 'software', virtualTime: false }, unasked).name, 'software');
  assert.equal(chooseAccelerator({ accel: 'auto', virtualTime: true }, unasked).why, 'virtual-time');
  assert.throws(() => chooseAccelerator({ accel: 'kvm', virtualTime: true }, unasked), { code: 'no-kvm' });
});

test('this host is looked at, and the answer is remembered', () => {
  const first = kvmFinding();
  assert.ok(first.detail.length > 0 && !first.detail.includes('\n'));
  assert.equal(first.facts === undefined, first.state === 'unusable');
  assert.deepEqual(kvmFinding(), first);
});

test('a machine that was moved says so', () => {
  assert.equal(acceleratorNow('kvm', 'moved').label, 'KVM');
  assert.match(acceleratorNow('software', 'kvm-failed').reason, /KVM failed/);
});
