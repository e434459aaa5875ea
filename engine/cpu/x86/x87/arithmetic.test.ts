import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../../testing/random.ts';
import { circular, log2, power2Minus1 } from './elementary.ts';
import { bitLength, type Magnitude, round } from './reals.ts';
import * as X from './registers.ts';
import { u64 } from './testing/fpu-cases.ts';
import { EmulatedFpu, type Extended } from './testing/host-fpu.ts';

/** A normal number whose exponent is near that of 1, or near the end of the range. */
function anyNormal(random: Random): Extended {
  const near = [0x3fff - 40, 0x3fff - 40, 2, 0x7ffe - 80][random.u32() & 3] ?? 2;
  return { word: (near + (random.u32() % 80)) | (random.u32() & 0x8000), significand: u64(random) | X.INTEGER_BIT };
}

function magnitude(x: Extended): Magnitude {
  return { m: x.significand, e: (x.word & 0x7fff) - X.EXPONENT_BIAS - 63 };
}

function signed(x: Extended, e: number): bigint {
  const value = magnitude(x);
  const m = value.m << BigInt(value.e - e);
  return x.word & X.SIGN ? -m : m;
}

function squareRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) >> 1) + 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) {
      return root;
    }
    root = next;
  }
}

/** What the instruction gives when computed with integers of any length. */
function reference(name: string, a: Extended, b: Extended, control: number) {
  const opposite = ((a.word ^ b.word) & X.SIGN) !== 0;
  const [x, y] = [magnitude(a), magnitude(b)];
  switch (name) {
    case 'fadd': {
      const e = Math.min(x.e, y.e);
      const sum = signed(a, e) + signed(b, e);
      return round(sum < 0n, { m: sum < 0n ? -sum : sum, e }, control, false);
    }
    case 'fmul':
      return round(opposite, { m: x.m * y.m, e: x.e + y.e }, control, false);
    case 'fdiv': {
      const quotient = (x.m << 160n) / y.m;
      return round(opposite, { m: quotient, e: x.e - y.e - 160 }, control, quotient * y.m !== x.m << 160n);
    }
    default: {
      const shift = 160 + (x.e & 1);
      const target = x.m << BigInt(shift);
      const root = squareRoot(target);
      return round(false, { m: root, e: (x.e - shift) / 2 }, control, root * root !== target);
    }
  }
}

describe('x87 arithmetic', () => {
  it('rounds exact results in every direction', () => {
    const random = new Random(12);
    const fpu = new EmulatedFpu();
    for (const [name, code] of [
      ['fadd', [0xd8, 0xc1]],
      ['fmul', [0xd8, 0xc9]],
      ['fdiv', [0xd8, 0xf1]],
      ['fsqrt', [0xd9, 0xfa]],
    ] as const) {
      for (let i = 0; i < 400; i++) {
        const control = 0x37f | (random.u32() & 0x0c00);
        const first = anyNormal(random);
        const a = name === 'fsqrt' ? { ...first, word: first.word & 0x7fff } : first;
        const near =
          random.u32() & 1 ? { ...anyNormal(random), word: a.word ^ (random.u32() & 0x8001) } : anyNormal(random);
        const b = name === 'fadd' && Math.abs((a.word & 0x7fff) - (near.word & 0x7fff)) > 500 ? a : near;
        const registers = [a, b, ...Array.from({ length: 6 }, () => ({ word: 0, significand: 0n }))];
        const state = { control, status: 0, tags: 0xfff0, registers };
        const got = fpu.run({ code, state, memory: new Uint8Array(16), eax: 0 });
        const want = reference(name, a, b, control);
        const [result] = got.state.registers;
        assert.deepEqual(
          [result?.word, result?.significand, got.state.status],
          [want.significand === 0n ? result?.word : want.word, want.significand, want.raised],
          `${name} of ${a.word.toString(16)}:${a.significand.toString(16)}, ${b.word.toString(16)}:${b.significand.toString(16)}`,
        );
      }
    }
  });
});

describe('elementary functions', () => {
  /** The value as a double. */
  const toNumber = (value: Magnitude) => {
    const drop = Math.max(0, bitLength(value.m) - 60);
    return Number(value.m >> BigInt(drop)) * 2 ** (value.e + drop);
  };
  const close = (value: number, expected: number) =>
    assert.ok(Math.abs(value - expected) <= Math.abs(expected) * 2 ** -50, `${value}, not ${expected}`);

  it('agree with those of the host in double precision', () => {
    const random = new Random(13);
    for (let i = 0; i < 300; i++) {
      const x = (random.u32() / 2 ** 32) * 1.5 + 2 ** -20;
      const value: Magnitude = { m: BigInt(Math.round(x * 2 ** 52)), e: -52 };
      const exact = Number(value.m) * 2 ** -52;
      const { sine, cosine, sineNegative, cosineNegative } = circular(value);
      close((sineNegative ? -1 : 1) * toNumber(sine), Math.sin(exact));
      close((cosineNegative ? -1 : 1) * toNumber(cosine), Math.cos(exact));
      const logarithm = log2(value);
      close((logarithm.negative ? -1 : 1) * toNumber(logarithm.value), Math.log2(exact));
      const half: Magnitude = { m: value.m, e: -53 };
      close(toNumber(power2Minus1(false, half)), Math.expm1((exact / 2) * Math.LN2));
    }
  });
});
