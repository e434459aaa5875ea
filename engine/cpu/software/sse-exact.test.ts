/** Packed arithmetic on doubles while no inexact result has been seen: exact results leave PE clear, others set it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import { MXCSR_DE, MXCSR_MASKS, MXCSR_OE, MXCSR_PE, MXCSR_UE } from '../x86/mxcsr.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const RBX = 3;
const CASES = 3000;
const SMALLEST_NORMAL = 2 ** -1022;
const LARGEST = Number.MAX_VALUE;

function randomDouble(random: Random): number {
  const sign = random.chance(1, 2) ? -1 : 1;
  switch (random.below(8)) {
    case 0:
      return sign * 0;
    case 1:
    case 2:
    case 3:
      return sign * random.below(100);
    case 4:
      return sign * random.below(1 << 30) * 2 ** -random.below(40);
    case 5:
      return sign * SMALLEST_NORMAL * (random.chance(1, 2) ? 1 + random.below(64) : random.below(64) / 64);
    case 6:
      return sign * LARGEST * 2 ** -random.below(3);
    default:
      return sign * (1 + random.u32() / 2 ** 32) * 2 ** (random.below(120) - 60);
  }
}

/** A double as significand and power of two. */
function parts(value: number): { significand: bigint; exponent: number } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  const significand = biased === 0 ? fraction : fraction | (1n << 52n);
  return { significand: bits >> 63n ? -significand : significand, exponent: Math.max(biased, 1) - 1075 };
}

/** Whether `result` is what the operation comes to, to the last bit. */
function isExact(name: string, a: number, b: number, result: number): boolean {
  const [x, y, z] = [parts(a), parts(b), parts(result)];
  const [left, exponent] =
    name === 'mul'
      ? [x.significand * y.significand, x.exponent + y.exponent]
      : (() => {
          const least = Math.min(x.exponent, y.exponent);
          const one = x.significand << BigInt(x.exponent - least);
          const two = y.significand << BigInt(y.exponent - least);
          return [name === 'add' ? one + two : one - two, least] as const;
        })();
  const least = Math.min(exponent, z.exponent);
  return left << BigInt(exponent - least) === z.significand << BigInt(z.exponent - least);
}

function flagsOf(name: string, a: number, b: number, result: number): number {
  const isDenormal = (value: number) => value !== 0 && Math.abs(value) < SMALLEST_NORMAL;
  const denormal = isDenormal(a) || isDenormal(b) ? MXCSR_DE : 0;
  if (!Number.isFinite(result)) {
    return denormal | MXCSR_OE | MXCSR_PE;
  }
  if (isExact(name, a, b, result)) {
    return denormal;
  }
  // Tiny results are rounded as if the exponent were unbounded before that is asked: not where it can matter here.
  return denormal | MXCSR_PE | (Math.abs(result) < SMALLEST_NORMAL ? MXCSR_UE : 0);
}

for (const name of ['add', 'sub', 'mul'] as const) {
  test(`${name}pd`, () => {
    const machine = new TestMachine();
    machine.enterLong();
    const random = new Random(3);
    const source = `movups xmm0, [rbx]
      movups xmm1, [rbx + 16]
      ldmxcsr [rbx + 48]
      ${name}pd xmm0, xmm1
      movups [rbx + 32], xmm0
      stmxcsr [rbx + 52]`;
    const { bytes } = assemble(`bits 64\norg ${CODE}\n${source}`);
    let exact = 0;
    for (let i = 0; i < CASES; i++) {
      const values = Array.from({ length: 4 }, () => randomDouble(random));
      const [a0 = 0, a1 = 0, b0 = 0, b1 = 0] = values;
      const image = new DataView(new ArrayBuffer(56));
      values.forEach((value, index) => {
        image.setFloat64(index * 8, value, true);
      });
      image.setUint32(48, MXCSR_MASKS, true);
      machine.write(DATA, new Uint8Array(image.buffer));
      machine.state.setGpr(RBX, BigInt(DATA));
      machine.runCode(CODE, bytes, 6);
      const after = new DataView(machine.read(DATA, 56).buffer);
      const compute = (a: number, b: number) => (name === 'add' ? a + b : name === 'sub' ? a - b : a * b);
      const results = [compute(a0, b0), compute(a1, b1)];
      const text = `${a0} ${a1} ${name} ${b0} ${b1}`;
      assert.ok(
        Object.is(after.getFloat64(32, true), results[0]) && Object.is(after.getFloat64(40, true), results[1]),
        text,
      );
      const flags = flagsOf(name, a0, b0, results[0] as number) | flagsOf(name, a1, b1, results[1] as number);
      const wrong = (after.getUint32(52, true) ^ (MXCSR_MASKS | flags)) & ~MXCSR_UE;
      assert.equal(wrong, 0, `${text}: ${after.getUint32(52, true).toString(16)}, wanted ${flags.toString(16)}`);
      exact += flags === 0 ? 1 : 0;
    }
    assert.ok(exact > CASES / 10 && exact < CASES * 0.9, `${exact} of ${CASES} exact`);
  });
}
