import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../../../base/assert.ts';
import { Random } from '../../../testing/random.ts';
import * as L from '../layout.ts';
import * as C from './hyperv-calls.ts';
import { FakeHypervisorHost } from './testing/fake-host.ts';

const INPUT = 0x6000;
const FAST = 1n << 16n;
const extra = (words: number) => BigInt(words) << 17n;
const reps = (count: number, start = 0) => (BigInt(count) << 32n) | (BigInt(start) << 48n);
const RCX = 1;
const RDX = 2;
const R8 = 8;

function guest(cpus = 4) {
  const host = new FakeHypervisorHost(cpus);
  const calls = new C.HypervCalls(host);
  const state = defined(host.processors[0], 'processor');
  state.setI32(L.MODE, L.MODE_CODE64);
  const memory = new DataView(host.memory.bytes.buffer);
  const answer = () => ({ status: Number(state.gpr(0) & 0xffffn), done: Number((state.gpr(0) >> 32n) & 0xfffn) });
  /** With the input in memory. */
  const slow = (control: bigint, words: readonly bigint[], at = INPUT) => {
    for (const [i, word] of words.entries()) {
      memory.setBigUint64(at + i * 8, word, true);
    }
    state.setGpr(RCX, control);
    state.setGpr(RDX, BigInt(at));
    calls.call(state);
    return answer();
  };
  /** In registers. */
  const fast = (control: bigint, words: readonly bigint[]) => {
    state.setGpr(RCX, control | FAST);
    for (const [i, word] of words.entries()) {
      if (i < 2) {
        state.setGpr(i === 0 ? RDX : R8, word);
      } else {
        state.setU64(L.XMM + ((i - 2) >> 1) * L.XMM_STRIDE + ((i - 2) & 1) * 8, word);
      }
    }
    calls.call(state);
    return answer();
  };
  return { host, calls, state, slow, fast };
}

const SUCCESS = { status: C.HV_STATUS_SUCCESS, done: 0 };

test('processors forget all translations, in both ways to pass the input', () => {
  const { host, slow, fast } = guest();
  for (const call of [slow, fast]) {
    host.flushes.length = 0;
    assert.deepEqual(call(0x2n, [0x1000n, 0n, 0b1010n]), SUCCESS);
    assert.deepEqual(call(0x2n, [0x1000n, 1n, 0n]), SUCCESS);
    assert.deepEqual(call(0x2n, [0x1000n, 4n | 2n, 0xffff_ffff_ffff_fff1n]), SUCCESS);
    assert.deepEqual(host.flushes, [
      { cpus: [1, 3], pages: undefined, includingGlobal: true },
      { cpus: [0, 1, 2, 3], pages: undefined, includingGlobal: true },
      { cpus: [0], pages: undefined, includingGlobal: false },
    ]);
    assert.equal(call(0x2n, [0x1000n, 0x10n, 1n]).status, C.HV_STATUS_INVALID_PARAMETER);
  }
});

test('lists of pages are forgotten one by one, or all where they are many', () => {
  const { host, slow, fast } = guest();
  assert.deepEqual(slow(0x3n | reps(2), [0n, 2n, 1n, 0xffff_8000_0000_1002n, 0x7000n]), { status: 0, done: 2 });
  assert.deepEqual(host.flushes.pop()?.pages, [
    0xffff_8000_0000_1000n,
    0xffff_8000_0000_2000n,
    0xffff_8000_0000_3000n,
    0x7000n,
  ]);
  // From where the last call had come.
  assert.deepEqual(slow(0x3n | reps(2, 1), [0n, 2n, 1n, 0x1002n, 0x7000n]), { status: 0, done: 2 });
  assert.deepEqual(host.flushes.pop()?.pages, [0x7000n]);
  assert.deepEqual(fast(0x3n | reps(1), [0n, 2n, 1n, 0x9000n]), { status: 0, done: 1 });
  assert.deepEqual(host.flushes.pop()?.pages, [0x9000n]);
  assert.equal(slow(0x3n | reps(1), [0n, 2n, 1n, 0x1fffn]).status, 0);
  assert.equal(host.flushes.pop()?.pages, undefined);
  // The top of the address space.
  assert.equal(slow(0x3n | reps(1), [0n, 2n, 1n, 0xffff_ffff_ffff_f001n]).status, 0);
  assert.deepEqual(host.flushes.pop()?.pages, [0xffff_ffff_ffff_f000n, 0n]);
  assert.equal(slow(0x3n | reps(1), [0n, 4n, 1n, 0n]).status, C.HV_STATUS_INVALID_PARAMETER);
});

test('sets of processors', () => {
  const { host, slow, fast } = guest();
  const SPARSE = 0n;
  const ALL = 1n;
  assert.equal(slow(0x13n | extra(1), [0n, 0n, SPARSE, 1n, 0b101n]).status, 0);
  assert.deepEqual(host.flushes.pop()?.cpus, [0, 2]);
  // Banks of processors that do not exist.
  assert.equal(slow(0x13n | extra(3), [0n, 0n, SPARSE, 0b1101n, 0b10n, 0xffn, 0xffn]).status, 0);
  assert.deepEqual(host.flushes.pop()?.cpus, [1]);
  assert.equal(slow(0x13n, [0n, 0n, ALL, 0n]).status, 0);
  assert.deepEqual(host.flushes.pop()?.cpus, [0, 1, 2, 3]);
  assert.equal(slow(0x14n | extra(1) | reps(1), [0n, 0n, SPARSE, 1n, 0b1000n, 0x3000n]).status, 0);
  assert.deepEqual(host.flushes.pop(), { cpus: [3], pages: [0x3000n], includingGlobal: true });
  assert.equal(fast(0x15n | extra(1), [0x41n, SPARSE, 1n, 0b11n]).status, 0);
  assert.deepEqual(host.interrupts, ['0:41', '1:41']);
  for (const wrong of [
    [0n, 0n, 2n, 1n, 1n],
    [0n, 0n, SPARSE, 3n, 1n],
    [0n, 0n, SPARSE, 0n, 1n],
    [0n, 0n, SPARSE, 0xffff_ffff_ffff_ffffn, 1n],
  ]) {
    assert.equal(slow(0x13n | extra(1), wrong).status, C.HV_STATUS_INVALID_PARAMETER);
  }
  assert.equal(host.flushes.length, 0);
});

test('processors are interrupted', () => {
  const { host, slow, fast } = guest(3);
  assert.deepEqual(slow(0xbn, [0xfbn, 0b110n]), SUCCESS);
  assert.deepEqual(fast(0xbn, [0xfcn, 0b1001n]), SUCCESS);
  assert.deepEqual(host.interrupts, ['1:fb', '2:fb', '0:fc']);
  for (const first of [15n, 0x100n, 0xffff_ffffn, 0x1_0000_0041n]) {
    assert.equal(fast(0xbn, [first, 1n]).status, C.HV_STATUS_INVALID_PARAMETER);
  }
  assert.equal(host.interrupts.length, 3);
});

test('there is nobody to send messages and events to', () => {
  const { slow, fast } = guest();
  assert.equal(slow(0x5cn, [1n, 1n, 0n]).status, C.HV_STATUS_ACCESS_DENIED);
  assert.equal(fast(0x5dn, [1n]).status, C.HV_STATUS_ACCESS_DENIED);
});

test('what is wrong with a call comes back as a status', () => {
  const { host, state, slow, fast, calls } = guest();
  const status = (control: bigint, words: bigint[] = [0n, 0n, 1n], at = INPUT) => slow(control, words, at).status;
  assert.equal(status(0x7777n), C.HV_STATUS_INVALID_HYPERCALL_CODE);
  assert.equal(status(0x1n), C.HV_STATUS_INVALID_HYPERCALL_CODE);
  for (const control of [
    0x2n | reps(1),
    0x2n | reps(0, 1),
    0x3n,
    0x3n | reps(2, 2),
    0x2n | extra(1),
    0x2n | (1n << 27n),
    0x2n | (1n << 44n),
    0x2n | (1n << 63n),
  ]) {
    assert.equal(status(control), C.HV_STATUS_INVALID_HYPERCALL_INPUT, control.toString(16));
  }
  // Alignment, ends of pages, addresses that cannot be; and addresses without memory, which read as ones.
  assert.equal(status(0x2n, [0n, 0n, 1n], INPUT + 4), C.HV_STATUS_INVALID_ALIGNMENT);
  assert.equal(status(0x2n, [0n, 0n, 1n], INPUT + 4096 - 16), C.HV_STATUS_INVALID_ALIGNMENT);
  assert.equal(status(0x2n, [0n, 0n, 1n], INPUT + 4096 - 24), C.HV_STATUS_SUCCESS);
  for (const address of [1n << 40n, 0xffff_ffff_ffff_fff8n, 0x7fff_ffff_ffff_f000n]) {
    state.setGpr(RCX, 0x2n);
    state.setGpr(RDX, address);
    calls.call(state);
    assert.equal(state.gpr(0), BigInt(C.HV_STATUS_INVALID_ALIGNMENT));
  }
  state.setGpr(RDX, 0xf_0000_0000n);
  calls.call(state);
  assert.equal(state.gpr(0), BigInt(C.HV_STATUS_INVALID_PARAMETER));
  // Lists that no page and no registers hold.
  assert.equal(status(0x3n | reps(4095)), C.HV_STATUS_INVALID_ALIGNMENT);
  assert.equal(fast(0x3n | reps(12), [0n, 0n, 1n]).status, C.HV_STATUS_INVALID_HYPERCALL_INPUT);
  assert.equal(fast(0x3n | reps(11), [0n, 0n, 1n]).status, C.HV_STATUS_SUCCESS);
  assert.deepEqual(slow(0x3n | reps(3, 1), [0n, 0x80n, 1n]), { status: C.HV_STATUS_INVALID_PARAMETER, done: 1 });
  assert.equal(host.flushes.length, 2);
});

test('32-bit systems have input and answer in pairs of registers', () => {
  const { host, calls, state } = guest();
  state.setI32(L.MODE, L.MODE_CODE32);
  const pair = (high: number, low: number, value: bigint) => {
    state.setGpr32(high, Number(value >> 32n));
    state.setGpr32(low, Number(value & 0xffffffffn));
  };
  pair(2, 0, 0xbn | FAST);
  pair(3, 1, 0x61n);
  pair(7, 6, 0b10n);
  calls.call(state);
  assert.deepEqual([state.gpr32(0), state.gpr32(2)], [0, 0]);
  assert.deepEqual(host.interrupts, ['1:61']);
});

test('no call throws, whatever it is given', () => {
  const { host, calls, state } = guest();
  const random = new Random(11);
  const word = () => (BigInt(random.u32()) << 32n) | BigInt(random.u32());
  const codes = [0x2n, 0x3n, 0x8n, 0xbn, 0x13n, 0x14n, 0x15n, 0x5cn, 0x5dn];
  for (let i = 0; i < 20_000; i++) {
    const code = random.pick(codes);
    const sparse = word() & word() & word();
    state.setGpr(RCX, code | (random.chance(1, 2) ? sparse & ~0xf000f000f800ffffn : sparse & 0x3ff_0000_0000n));
    state.setGpr(RDX, random.chance(1, 2) ? BigInt(random.below(0x10000) & ~7) : word());
    state.setGpr(R8, word());
    for (let byte = 0; byte < 96; byte += 8) {
      state.setU64(L.XMM + byte, random.chance(1, 2) ? BigInt(random.below(8)) : word());
    }
    for (let at = 0; at < 16; at++) {
      host.memory.bytes[random.below(0x10000)] = random.below(random.pick([3, 256]));
    }
    calls.call(state);
    host.flushes.length = 0;
    host.interrupts.length = 0;
  }
});
