import type { Random } from '../../../../testing/random.ts';
import type { Extended, FpuState } from './host-fpu.ts';

const INTEGER = 1n << 63n;

function x(word: number, significand: bigint): Extended {
  return { word, significand };
}

/** Numbers at the edges of everything, positive; and encodings that are no numbers. */
export const SPECIALS: readonly Extended[] = [
  x(0, 0n),
  x(0, 1n),
  x(0, 0x7fffffffffffffffn),
  x(0, INTEGER), // pseudo-denormal
  x(0, INTEGER | 5n),
  x(1, INTEGER),
  x(1, 0xffffffffffffffffn),
  x(2, INTEGER),
  x(64, INTEGER | 1n),
  x(0x3fff, INTEGER),
  x(0x3fff, INTEGER | 1n),
  x(0x3ffe, 0xffffffffffffffffn),
  x(0x3ffe, INTEGER),
  x(0x3fff, 0xc000000000000000n),
  x(0x4000, 0xa000000000000000n),
  x(0x403e, 0xffffffffffffffffn),
  x(0x403e, INTEGER),
  x(0x403d, 0xffffffffffffffffn),
  x(0x401e, INTEGER),
  x(0x401d, 0xfffffffe00000000n),
  x(0x400e, INTEGER),
  x(0x400d, 0xffff000000000000n),
  x(0x7ffe, 0xffffffffffffffffn),
  x(0x7ffe, INTEGER),
  x(0x7fff, INTEGER), // infinity
  x(0x7fff, 0xc000000000000000n), // quiet NaNs
  x(0x7fff, 0xc000000000000001n),
  x(0x7fff, 0xffffffffffffffffn),
  x(0x7fff, 0x8000000000000001n), // signaling NaNs
  x(0x7fff, 0xa000000000000000n),
  x(0x7fff, 0n), // pseudo-infinity
  x(0x7fff, 1n), // pseudo-NaN
  x(0x4000, 0x7fffffffffffffffn), // unnormal
  x(0x4000, 0n),
];

export function u64(random: Random): bigint {
  return (BigInt(random.u32()) << 32n) | BigInt(random.u32());
}

/** A number of any kind; most are normal, with exponents close enough together to interact. */
export function anyExtended(random: Random): Extended {
  const sign = random.u32() & 0x8000;
  const kind = random.u32() % 16;
  if (kind < 4) {
    const special = SPECIALS[random.u32() % SPECIALS.length] ?? x(0, 0n);
    return { word: special.word | sign, significand: special.significand };
  }
  let significand = u64(random) | INTEGER;
  if ((random.u32() & 3) === 0) {
    // Few bits: exact results and ties.
    significand &= -1n << BigInt(random.u32() % 64);
    significand = BigInt.asUintN(64, significand) | INTEGER;
  }
  if (kind < 10) {
    return x(sign | (0x3fff + (random.u32() % 140) - 70), significand);
  }
  if (kind < 12) {
    return x(sign | (0x3fff + (random.u32() % 2400) - 1200), significand);
  }
  if (kind === 12) {
    return x(sign | (random.u32() % 80), significand);
  }
  if (kind === 13) {
    return x(sign | (0x7ffe - (random.u32() % 80)), significand);
  }
  if (kind === 14) {
    return x(sign, u64(random) >> BigInt(random.u32() % 64));
  }
  return x(sign | (random.u32() % 0x7fff), significand);
}

/** A control word: all exceptions masked, most of the time. */
export function anyControl(random: Random): number {
  const fields = random.u32() & 0x0c00;
  const precision = [0x300, 0x300, 0x200, 0x000][random.u32() & 3] ?? 0x300;
  const masks = random.u32() % 4 === 0 ? random.u32() & 0x3f : 0x3f;
  return 0x40 | fields | precision | masks;
}

/** A state whose register stack is full enough for most instructions, and now and then is not. */
export function anyState(random: Random, depth: number, control = anyControl(random)): FpuState {
  const top = random.u32() & 7;
  const registers = Array.from({ length: 8 }, () => anyExtended(random));
  let tags = 0xffff;
  const filled = random.u32() % 16 === 0 ? random.u32() % 9 : depth;
  for (let i = 0; i < filled; i++) {
    tags &= ~(3 << (((top + i) & 7) * 2));
  }
  if (random.u32() % 16 === 0) {
    tags ^= 3 << ((random.u32() & 7) * 2);
  }
  return { control, status: (top << 11) | (random.u32() & 0x4700), tags: tags & 0xffff, registers };
}
