import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import { MXCSR_DE, MXCSR_IE, MXCSR_OE, MXCSR_PE, MXCSR_UE, MXCSR_ZE } from '../x86/mxcsr.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const RBX = 3;
const MASKED = 0x1f80;

const machine = new TestMachine();
machine.enterLong();
const { state } = machine;

interface Outcome {
  readonly xmm0: string;
  readonly mxcsr: number;
  readonly vector: number | undefined;
  readonly errorCode: number | undefined;
}

const vectorOf = (hex: string) => BigInt(`0x${hex.replaceAll('_', '')}`);

/** Runs code with vectors (hexadecimal, highest digit first) in XMM0 and XMM1, and the second at [rbx]. */
function run(source: string, first = '0', second = '0', mxcsr = MASKED): Outcome {
  const values = [vectorOf(first), vectorOf(second)];
  for (const [i, value] of values.entries()) {
    state.setU64(L.XMM + i * L.XMM_STRIDE, BigInt.asUintN(64, value));
    state.setU64(L.XMM + i * L.XMM_STRIDE + 8, value >> 64n);
  }
  const memory = new DataView(new ArrayBuffer(16));
  memory.setBigUint64(0, state.u64(L.XMM + L.XMM_STRIDE), true);
  memory.setBigUint64(8, state.u64(L.XMM + L.XMM_STRIDE + 8), true);
  machine.write(DATA, new Uint8Array(memory.buffer));
  state.setGpr(RBX, BigInt(DATA));
  state.setI32(L.MXCSR, mxcsr);
  let fault: { vector: number; errorCode: number | undefined } | undefined;
  machine.cpu.system.deliverFault = ({ vector, errorCode }) => {
    fault = { vector, errorCode };
    machine.cpus.stopSoon();
  };
  const { bytes } = assemble(`bits 64\norg ${CODE}\n${source}\nhlt\n`);
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.runCode(CODE, bytes, 100);
  const half = (offset: number) =>
    state
      .u64(L.XMM + offset)
      .toString(16)
      .padStart(16, '0');
  return {
    xmm0: `${half(8)}_${half(0)}`,
    mxcsr: state.i32(L.MXCSR),
    vector: fault?.vector,
    errorCode: fault?.errorCode,
  };
}

const low = (outcome: Outcome) => outcome.xmm0.slice(17);
const bits = (value: number) => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
};

test('of NaNs the first results, made quiet; without one the default is negative', () => {
  const cases: [string, string, string, string][] = [
    ['addsd', '7ff4000000000001', '7ff8000000000002', '7ffc000000000001'],
    ['addsd', '3ff0000000000000', '7ff0000000000003', '7ff8000000000003'],
    ['addsd', '7ff0000000000000', 'fff0000000000000', 'fff8000000000000'],
    ['mulsd', '0000000000000000', '7ff0000000000000', 'fff8000000000000'],
    ['divsd', '0000000000000000', '0000000000000000', 'fff8000000000000'],
    ['sqrtsd', '0000000000000000', bits(-1), 'fff8000000000000'],
    ['subsd', '7ff8000000000001', 'fff8000000000002', '7ff8000000000001'],
  ];
  for (const [name, a, b, result] of cases) {
    assert.equal(low(run(`${name} xmm0, xmm1`, a, b)), result, `${name} ${a} ${b}`);
  }
});

test('minimum and maximum return the second operand unless the first truly is less or greater', () => {
  assert.equal(low(run('minsd xmm0, xmm1', '0', '8000000000000000')), '8000000000000000');
  assert.equal(low(run('maxsd xmm0, xmm1', '8000000000000000', '0')), '0000000000000000');
  const withNan = run('minsd xmm0, xmm1', '7ff8000000000001', bits(2));
  assert.equal(low(withNan), bits(2));
  assert.equal(withNan.mxcsr, MASKED | MXCSR_IE);
});

test('exceptions are noted exactly', () => {
  const cases: [string, string, string, number][] = [
    ['addsd', bits(1), bits(2), 0],
    ['addsd', bits(1), bits(1e-20), MXCSR_PE],
    ['mulsd', bits(3), bits(5), 0],
    ['mulsd', bits(1.1), bits(1.1), MXCSR_PE],
    ['mulsd', bits(1e200), bits(1e200), MXCSR_OE | MXCSR_PE],
    ['mulsd', bits(1e-200), bits(1e-200), MXCSR_UE | MXCSR_PE],
    ['mulsd', '0010000000000000', bits(0.5), 0],
    ['divsd', bits(1), bits(3), MXCSR_PE],
    ['divsd', bits(6), bits(3), 0],
    ['divsd', bits(1), bits(0), MXCSR_ZE],
    ['addsd', '0000000000000001', bits(0), MXCSR_DE],
    ['sqrtsd', bits(0), bits(2), MXCSR_PE],
    ['sqrtsd', bits(0), bits(9), 0],
    ['ucomisd', '7ff8000000000000', bits(1), 0],
    ['comisd', '7ff8000000000000', bits(1), MXCSR_IE],
    ['cvtsd2ss', bits(0), bits(1e300), MXCSR_OE | MXCSR_PE],
  ];
  for (const [name, a, b, flags] of cases) {
    const { mxcsr, vector } = run(`${name} xmm0, xmm1`, a, b);
    assert.equal(vector, undefined);
    assert.equal(mxcsr, MASKED | flags, `${name} ${a} ${b}`);
  }
});

test('rounding control, denormals as zeros, flush to zero', () => {
  const third = [bits(1 / 3), '3fd5555555555555', '3fd5555555555556', '3fd5555555555555'];
  for (const [rounding, expected] of third.entries()) {
    assert.equal(low(run('divsd xmm0, xmm1', bits(1), bits(3), MASKED | (rounding << 13))), expected);
  }
  assert.equal(low(run('addsd xmm0, xmm1', '1', '1', MASKED | 0x40)), '0000000000000000');
  const flushed = run('mulsd xmm0, xmm1', bits(-1e-200), bits(1e-110), MASKED | 0x8000);
  assert.equal(low(flushed), '8000000000000000');
  assert.equal(flushed.mxcsr, MASKED | 0x8000 | MXCSR_UE | MXCSR_PE);
});

test('an unmasked exception raises #XM and changes no operand', () => {
  const outcome = run('divsd xmm0, xmm1', bits(1), bits(0), MASKED & ~(MXCSR_ZE << 7));
  assert.equal(outcome.vector, L.VECTOR_XM);
  assert.equal(low(outcome), bits(1));
  assert.equal(outcome.mxcsr, (MASKED & ~(MXCSR_ZE << 7)) | MXCSR_ZE);
});

test('without CR4.OSXMMEXCPT it is #UD', () => {
  const before = state.u64(L.CR4);
  state.setU64(L.CR4, before & ~BigInt(L.CR4_OSXMMEXCPT));
  machine.update();
  assert.equal(run('divsd xmm0, xmm1', bits(1), bits(0), 0).vector, L.VECTOR_UD);
  state.setU64(L.CR4, before);
  machine.update();
});

test('availability: #NM with CR0.TS, #UD without CR4.OSFXSR or with CR0.EM', () => {
  const cr0 = state.u64(L.CR0);
  const cr4 = state.u64(L.CR4);
  const attempt = (clear0: number, set0: number, clear4: number) => {
    state.setU64(L.CR0, (cr0 & ~BigInt(clear0)) | BigInt(set0));
    state.setU64(L.CR4, cr4 & ~BigInt(clear4));
    machine.update();
    const { vector } = run('addps xmm0, xmm1');
    state.setU64(L.CR0, cr0);
    state.setU64(L.CR4, cr4);
    machine.update();
    return vector;
  };
  assert.equal(attempt(0, L.CR0_TS, 0), L.VECTOR_NM);
  assert.equal(attempt(0, L.CR0_EM, 0), L.VECTOR_UD);
  assert.equal(attempt(0, 0, L.CR4_OSFXSR), L.VECTOR_UD);
  assert.equal(attempt(0, 0, 0), undefined);
});

test('16-byte operands in memory are aligned, unless the instruction says otherwise', () => {
  const faulting = run('addps xmm0, [rbx + 8]');
  assert.deepEqual([faulting.vector, faulting.errorCode], [L.VECTOR_GP, 0]);
  assert.equal(run('movaps [rbx + 1], xmm0').vector, L.VECTOR_GP);
  for (const free of ['movups xmm0, [rbx + 8]', 'movdqu [rbx + 3], xmm0', 'addsd xmm0, [rbx + 1]']) {
    assert.equal(run(free).vector, undefined, free);
  }
  const page = DATA + 0x1000 - 5;
  machine.write(page, [...Array(16).keys()]);
  assert.equal(run('movups xmm0, [rbx + 4091]').xmm0, '0f0e0d0c0b0a0908_0706050403020100');
});

test('scalars leave the rest of a register, loads of them clear it', () => {
  const rest = '1111111111111111';
  assert.equal(run('movsd xmm0, xmm1', `${rest}_0000000000000000`, bits(2)).xmm0, `${rest}_${bits(2)}`);
  assert.equal(run('movsd xmm0, [rbx]', `${rest}_0000000000000000`, bits(2)).xmm0, `0000000000000000_${bits(2)}`);
  assert.equal(run('addsd xmm0, xmm1', `${rest}_${bits(1)}`, bits(2)).xmm0, `${rest}_${bits(3)}`);
  assert.equal(run('movss xmm0, xmm1', `${rest}_${rest}`, '3f800000').xmm0, `${rest}_111111113f800000`);
});

test('AES rounds and carry-less multiplication', () => {
  const block = '7b5b546573745665_63746f725d53475d';
  const key = '4869285368617929_5b477565726f6e5d';
  const cases: [string, string, string, string][] = [
    ['aesenc xmm0, xmm1', block, key, 'a8311c2f9fdba3c5_8b104b58ded7e595'],
    ['aesenclast xmm0, xmm1', block, key, 'c7fb881e938c5964_177ec42553fdc611'],
    ['aesdec xmm0, xmm1', block, key, '138ac342faea2787_b58eb95eb730392a'],
    ['aesdeclast xmm0, xmm1', block, key, 'c5a391ef6b317f95_d410637b72a593d0'],
    ['aesimc xmm0, xmm1', block, key, '597f8df109efaa15_f39bc5a119d859b6'],
    ['aeskeygenassist xmm0, xmm1, 1', block, '3c4fcf098815f7ab_a6d2ae2816157e2b', '01eb848beb848a01_3424b5e524b5e434'],
    ['pclmulqdq xmm0, xmm1, 0', block, key, '1d4d84c85c3440c0_929633d5d36f0451'],
  ];
  for (const [source, first, second, expected] of cases) {
    assert.equal(run(source, first, second).xmm0, expected, source);
  }
});

test('string comparison finds the first difference and the end of a string', () => {
  // "hello world" and "hello there", each ended by a zero; equal each, negated within the strings.
  const text = (value: string) => Buffer.from(value.padEnd(16, '\0')).reverse().toString('hex');
  run('pcmpistri xmm0, xmm1, 0x18', text('hello world'), text('hello there'));
  assert.equal(state.gpr(1), 6n);
  assert.equal(state.flags & (L.FLAG_CF | L.FLAG_ZF | L.FLAG_SF), L.FLAG_CF | L.FLAG_ZF | L.FLAG_SF);
  // The set "aeiou" in a text: its first vowel.
  run('pcmpistri xmm0, xmm1, 0', text('aeiou'), text('rhythm and'));
  assert.equal(state.gpr(1), 7n);
});
