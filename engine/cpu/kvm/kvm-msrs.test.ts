import assert from 'node:assert/strict';
import { test } from 'node:test';
import { archCapabilities, msrsOfKvm } from './kvm-msrs.ts';

/** Whether KVM keeps a register by itself. */
function isKvms(ranges: Uint32Array, msr: number): boolean {
  for (let i = 0; i < ranges.length; i += 2) {
    const first = ranges[i] as number;
    if (msr >= first && msr < first + (ranges[i + 1] as number)) {
      return true;
    }
  }
  return false;
}

test('KVM keeps what the processor needs, and the machine answers for the rest', () => {
  const ranges = msrsOfKvm([0x1b]);
  // KVM's filter has 16 ranges.
  assert.ok(ranges.length / 2 <= 16);
  for (const msr of [
    0x48, 0x49, 0x10b, 0x174, 0x176, 0x1a0, 0x200, 0x277, 0x2ff, 0xc0000080, 0xc0000084, 0xc0000103, 0x1b,
  ]) {
    assert.ok(isKvms(ranges, msr), msr.toString(16));
  }
  // The counter, machine checks, weaknesses, debug control, performance counters, hypervisors' own, AMD's.
  for (const msr of [0x10, 0x3b, 0x179, 0x10a, 0x1d9, 0xc1, 0x38f, 0x4b564d01, 0x40000000, 0xc0010015]) {
    assert.ok(!isKvms(ranges, msr), msr.toString(16));
  }
});

test('capabilities that speak of registers which the machine has not are left out', () => {
  // RDCL_NO, IBRS_ALL, SSB_NO, MDS_NO, TSX_CTRL, TAA_NO, DOITM, FB_CLEAR_CTRL.
  const offered = 0x1n | 0x2n | 0x10n | 0x20n | 0x80n | 0x100n | (1n << 12n) | (1n << 18n);
  assert.equal(archCapabilities(offered, true), 0x133n);
  assert.equal(archCapabilities(offered, false), 0x131n);
});
