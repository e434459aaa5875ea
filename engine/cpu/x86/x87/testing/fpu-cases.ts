import type { Random } from '../../../../testing/random.ts';
import * as X from '../registers.ts';
import type { Extended, FpuCase, FpuState } from './host-fpu.ts';

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

/** A control word: half the time one that programs have, else with all exceptions masked, most of the time. */
export function anyControl(random: Random): number {
  if (random.u32() % 2 === 0) {
    return [X.CONTROL_INITIAL, X.CONTROL_INITIAL, 0x27f, 0x07f][random.u32() & 3] ?? X.CONTROL_INITIAL;
  }
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

/** An instruction to compare: what [RDI] holds, if anything, and how many registers it reads. */
export interface FpuInstruction {
  readonly name: string;
  readonly code: readonly number[];
  readonly depth: number;
  readonly memory?: 'single' | 'double' | 'extended' | 'decimal' | 'integer' | 'control';
  /** What ST(0) or ST(1) is chosen to be most of the time, for results that are not extremes. */
  readonly prefer?: 'storable' | 'remainder' | 'scale' | 'below-one' | 'near-one' | 'angle' | 'small';
}

const ARITHMETIC = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'];

/** Every instruction whose result is exactly defined. */
export function exactInstructions(): FpuInstruction[] {
  const list: FpuInstruction[] = [];
  const add = (name: string, code: readonly number[], depth = 3, more: Partial<FpuInstruction> = {}) =>
    list.push({ name, code, depth, ...more });
  for (const [kind, name] of ARITHMETIC.entries()) {
    const modrm = (kind << 3) | 7;
    add(`${name} m32`, [0xd8, modrm], 2, { memory: 'single' });
    add(`${name} m64`, [0xdc, modrm], 2, { memory: 'double' });
    add(`${name} m32int`, [0xda, modrm], 2, { memory: 'integer' });
    add(`${name} m16int`, [0xde, modrm], 2, { memory: 'integer' });
    add(`${name} st0,st1`, [0xd8, 0xc1 + kind * 8]);
    add(`${name} st2,st0`, [0xdc, 0xc2 + kind * 8]);
    if (name !== 'fcomp') {
      add(`${name}p st1`, [0xde, 0xc1 + kind * 8]);
    }
  }
  add('fld m32', [0xd9, 0x07], 2, { memory: 'single' });
  add('fld m64', [0xdd, 0x07], 2, { memory: 'double' });
  add('fld m80', [0xdb, 0x2f], 2, { memory: 'extended' });
  add('fbld', [0xdf, 0x27], 2, { memory: 'decimal' });
  for (const [name, code] of [
    ['fild m16', [0xdf, 0x07]],
    ['fild m32', [0xdb, 0x07]],
    ['fild m64', [0xdf, 0x2f]],
  ] as const) {
    add(name, code, 2, { memory: 'integer' });
  }
  for (const [name, code] of [
    ['fst m32', [0xd9, 0x17]],
    ['fstp m32', [0xd9, 0x1f]],
    ['fst m64', [0xdd, 0x17]],
    ['fstp m64', [0xdd, 0x1f]],
    ['fist m16', [0xdf, 0x17]],
    ['fistp m16', [0xdf, 0x1f]],
    ['fist m32', [0xdb, 0x17]],
    ['fistp m32', [0xdb, 0x1f]],
    ['fistp m64', [0xdf, 0x3f]],
    ['fisttp m16', [0xdf, 0x0f]],
    ['fisttp m32', [0xdb, 0x0f]],
    ['fisttp m64', [0xdd, 0x0f]],
    ['fbstp', [0xdf, 0x37]],
    ['fstp m80', [0xdb, 0x3f]],
    ['frndint', [0xd9, 0xfc]],
  ] as const) {
    add(name, code, 2, { prefer: 'storable' });
  }
  for (const [name, code] of [
    ['fst st2', [0xdd, 0xd2]],
    ['fstp st2', [0xdd, 0xda]],
    ['fstpnce st2', [0xd9, 0xda]],
    ['fstp8 st2', [0xdf, 0xd2]],
    ['fstp9 st2', [0xdf, 0xda]],
    ['fxch st2', [0xd9, 0xca]],
    ['fxch4 st2', [0xdd, 0xca]],
    ['fxch7 st2', [0xdf, 0xca]],
    ['fcomp3 st1', [0xdc, 0xd9]],
    ['fcomp5 st1', [0xde, 0xd1]],
    ['fucom st1', [0xdd, 0xe1]],
    ['fucomp st1', [0xdd, 0xe9]],
    ['fcompp', [0xde, 0xd9]],
    ['fucompp', [0xda, 0xe9]],
    ['fcomi st1', [0xdb, 0xf1]],
    ['fucomi st1', [0xdb, 0xe9]],
    ['fcomip st1', [0xdf, 0xf1]],
    ['fucomip st1', [0xdf, 0xe9]],
    ['ftst', [0xd9, 0xe4]],
    ['fxam', [0xd9, 0xe5]],
    ['fchs', [0xd9, 0xe0]],
    ['fabs', [0xd9, 0xe1]],
    ['fxtract', [0xd9, 0xf4]],
    ['fsqrt', [0xd9, 0xfa]],
    ['fdecstp', [0xd9, 0xf6]],
    ['fincstp', [0xd9, 0xf7]],
    ['ffree st1', [0xdd, 0xc1]],
    ['ffreep st1', [0xdf, 0xc1]],
    ['fld st1', [0xd9, 0xc1]],
    ['fnop', [0xd9, 0xd0]],
    ['fnclex', [0xdb, 0xe2]],
    ['fninit', [0xdb, 0xe3]],
    ['fnstsw ax', [0xdf, 0xe0]],
    ['fnstcw', [0xd9, 0x3f]],
    ['fnstsw m16', [0xdd, 0x3f]],
  ] as const) {
    add(name, code);
  }
  add('fprem', [0xd9, 0xf8], 3, { prefer: 'remainder' });
  add('fprem1', [0xd9, 0xf5], 3, { prefer: 'remainder' });
  add('fscale', [0xd9, 0xfd], 3, { prefer: 'scale' });
  add('fldcw', [0xd9, 0x2f], 3, { memory: 'control' });
  for (let byte = 0xe8; byte <= 0xee; byte++) {
    add(`fld constant ${byte.toString(16)}`, [0xd9, byte], 2);
  }
  // Conditions with carry set, with zero and parity set, and with none: STC; CMP AL,AL; OR EAX,EAX.
  for (const before of [[0xf9], [0x38, 0xc0], [0x09, 0xc0]]) {
    for (let i = 0; i < 8; i++) {
      const code = [...before, 0xda + (i >> 2), 0xc1 + (i & 3) * 8];
      add(`fcmov ${code.map((byte) => byte.toString(16)).join(' ')}`, code);
    }
  }
  return list;
}

/** The transcendental functions: right to a unit in the last place. */
export const TRANSCENDENTAL: readonly FpuInstruction[] = [
  { name: 'f2xm1', code: [0xd9, 0xf0], depth: 1, prefer: 'below-one' },
  { name: 'fyl2x', code: [0xd9, 0xf1], depth: 2, prefer: 'near-one' },
  { name: 'fptan', code: [0xd9, 0xf2], depth: 1, prefer: 'angle' },
  { name: 'fpatan', code: [0xd9, 0xf3], depth: 2 },
  { name: 'fyl2xp1', code: [0xd9, 0xf9], depth: 2, prefer: 'small' },
  { name: 'fsincos', code: [0xd9, 0xfb], depth: 1, prefer: 'angle' },
  { name: 'fsin', code: [0xd9, 0xfe], depth: 1, prefer: 'angle' },
  { name: 'fcos', code: [0xd9, 0xff], depth: 1, prefer: 'angle' },
];

function pick<T>(random: Random, values: readonly [T, ...T[]]): T {
  return values[random.u32() % values.length] ?? values[0];
}

const SINGLES = [
  0, 1, 0x7fffff, 0x800000, 0x7f800000, 0x7f7fffff, 0x7fc00000, 0x7f800001, 0x7fffffff, 0x3f800000,
] as const;
const DOUBLES = [
  0n,
  1n,
  0xfffffffffffffn,
  0x10000000000000n,
  0x7ff0000000000000n,
  0x7fefffffffffffffn,
  0x7ff8000000000000n,
  0x7ff0000000000001n,
  0x3ff0000000000000n,
] as const;
const INTEGERS = [0n, 1n, -1n, 0x7fffn, 0x8000n, 0x7fffffffn, 0x80000000n, 1n << 63n, (1n << 63n) - 1n] as const;

function anyMemory(random: Random, kind: FpuInstruction['memory']): Uint8Array {
  const memory = new Uint8Array(16);
  const view = new DataView(memory.buffer);
  view.setBigUint64(0, u64(random), true);
  view.setBigUint64(8, u64(random), true);
  const choice = random.u32() % 4;
  const negative = random.u32() & 1;
  switch (kind) {
    case 'single': {
      const near = ((100 + (random.u32() % 60)) << 23) | (random.u32() & 0x7fffff);
      const bits =
        choice === 0
          ? pick(random, SINGLES)
          : choice === 1
            ? random.u32() & 0x7fffff
            : choice === 2
              ? random.u32()
              : near;
      view.setUint32(0, (bits | (negative << 31)) >>> 0, true);
      break;
    }
    case 'double': {
      const fraction = u64(random) & 0xfffffffffffffn;
      const near = (BigInt(0x3ff - 40 + (random.u32() % 80)) << 52n) | fraction;
      const bits = choice === 0 ? pick(random, DOUBLES) : choice === 1 ? fraction : choice === 2 ? u64(random) : near;
      view.setBigUint64(0, bits | (BigInt(negative) << 63n), true);
      break;
    }
    case 'extended': {
      const { significand, word } = anyExtended(random);
      view.setBigUint64(0, significand, true);
      view.setUint16(8, word, true);
      break;
    }
    case 'decimal':
      for (let i = 0; i < 9; i++) {
        memory[i] = (random.u32() % 10) | ((random.u32() % 10) << 4);
      }
      memory[9] = negative << 7;
      break;
    case 'integer':
      if (choice === 0) {
        view.setBigUint64(0, BigInt.asUintN(64, pick(random, INTEGERS)), true);
      }
      break;
  }
  return memory;
}

/** A random case for an instruction. */
export function anyCase(random: Random, instruction: FpuInstruction): FpuCase {
  const state = anyState(random, instruction.depth);
  const registers = [...state.registers];
  const sign = random.u32() & 0x8000;
  const significand = u64(random) | INTEGER;
  const first = registers[0]?.word ?? 0;
  if (random.u32() % 2 === 0) {
    switch (instruction.prefer) {
      case 'storable':
        registers[0] = x(sign | (0x3fff - 2 + (random.u32() % 68)), significand);
        break;
      case 'remainder':
        registers[1] = x((first - (random.u32() % 200)) & 0xffff, significand);
        break;
      case 'scale':
        registers[1] = x(sign | (0x3ffe + (random.u32() % 18)), significand);
        break;
      case 'below-one':
        registers[0] = x(sign | (0x3ffe - (random.u32() % 12)), significand);
        break;
      case 'near-one':
        registers[0] = x(0x3fff - (random.u32() & 1), (significand >> BigInt(random.u32() % 40)) | INTEGER);
        break;
      case 'angle':
        registers[0] = x(sign | (0x4010 - (random.u32() % 40)), significand);
        break;
      case 'small':
        registers[0] = x(sign | (0x3ffc - (random.u32() % 80)), significand);
        break;
    }
  }
  return {
    code: instruction.code,
    state: { ...state, registers },
    memory: anyMemory(random, instruction.memory),
    eax: random.u32(),
  };
}
