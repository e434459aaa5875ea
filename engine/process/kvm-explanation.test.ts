import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainKvm, type KvmSurroundings, virtualizationOf } from './kvm-explanation.ts';

const INTEL = 'processor\t: 0\nflags\t\t: fpu vmx sse\n';
const plain: KvmSurroundings = { platform: 'linux', cpuinfo: INTEL, container: false, device: undefined };
const failure = (call: string, code: string) =>
  ({ usable: false, problem: `${call}: ${code}, as it is`, call, code }) as const;
const opening = (code: string, around: Partial<KvmSurroundings> = {}) =>
  explainKvm(failure('open /dev/kvm', code), { ...plain, ...around });

test('a device that may not be opened: whose it is decides what helps', () => {
  const kvm = { mode: 0o20660, group: 'kvm', permitted: false };
  assert.deepEqual(opening('EACCES', { device: kvm }).details, { group: 'kvm' });
  assert.match(opening('EACCES', { device: kvm }).remedy ?? '', /usermod -aG kvm /);
  for (const device of [
    { ...kvm, group: 'root' },
    { ...kvm, group: undefined },
    { ...kvm, mode: 0o20600 },
  ]) {
    const { why, remedy } = opening('EACCES', { device });
    assert.equal(why, 'kvm-closed');
    assert.match(remedy ?? '', /setfacl/);
  }
});

test('a policy is not mended by joining a group', () => {
  const device = { mode: 0o20660, group: 'kvm', permitted: true };
  assert.match(opening('EACCES', { device }).remedy ?? '', /policy is set/);
  assert.match(opening('EPERM', { device: { ...device, permitted: false } }).remedy ?? '', /policy is set/);
  assert.match(opening('EPERM', { device, container: true }).remedy ?? '', /--device \/dev\/kvm/);
});

test('a device that is missing: module, firmware or container', () => {
  assert.match(opening('ENOENT').remedy ?? '', /modprobe kvm_intel; if that fails, switch on Intel VT-x/);
  assert.equal(opening('ENOENT', { cpuinfo: '' }).why, 'kvm-missing');
  assert.equal(opening('ENOENT', { container: true }).why, 'kvm-container');
  const device = { mode: 0o20660, group: 'kvm', permitted: true };
  assert.match(opening('ENODEV', { device }).detail, /^nothing answers at \/dev\/kvm/);
});

test('something else in its place, another hypervisor, a host that is short of something', () => {
  assert.equal(opening('EISDIR').why, 'kvm-foreign');
  assert.equal(explainKvm(failure('KVM_GET_API_VERSION', 'ENOTTY'), plain).why, 'kvm-foreign');
  assert.match(explainKvm(failure('KVM_CREATE_VM', 'EBUSY'), plain).remedy ?? '', /VirtualBox/);
  const short = explainKvm(failure('KVM_CREATE_VM', 'ENOMEM'), plain);
  assert.deepEqual([short.why, short.remedy], ['kvm-failing', 'end programs that use much memory']);
  assert.match(short.detail, /KVM_CREATE_VM: ENOMEM, as it is/);
  assert.match(opening('EMFILE').remedy ?? '', /ulimit/);
  assert.match(explainKvm(failure('KVM_RUN', 'EIO'), plain).remedy ?? '', /dmesg/);
});

test('a KVM that lacks something needs a newer kernel', () => {
  const { why, detail, remedy } = explainKvm({ usable: false, problem: 'it lacks KVM_CAP_X' }, plain);
  assert.deepEqual([why, remedy], ['kvm-unfit', 'run a newer Linux kernel']);
  assert.match(detail, /lacks KVM_CAP_X/);
});

test('an addon that is missing, on Linux and elsewhere', () => {
  const missing = { usable: false, addon: 'missing', problem: 'it is not built; install a compiler' } as const;
  assert.deepEqual(explainKvm(missing, plain), {
    detail: 'it is not built',
    why: 'kvm-addon',
    remedy: 'install a compiler',
  });
  const elsewhere = { ...missing, problem: 'KVM exists only on Linux, and this is darwin' };
  assert.deepEqual(explainKvm(elsewhere, { ...plain, platform: 'darwin' }), {
    detail: elsewhere.problem,
    why: 'kvm-elsewhere',
  });
});

test('what a processor calls its virtualization', () => {
  assert.equal(virtualizationOf('flags\t\t: fpu vmx sse\n')?.module, 'kvm_intel');
  assert.equal(virtualizationOf('processor : 0\nflags : fpu svm\n')?.setting, 'SVM');
  assert.equal(virtualizationOf('flags : fpu svmfoo\n'), undefined);
});
