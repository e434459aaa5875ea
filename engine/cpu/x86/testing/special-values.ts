import type { Random } from '../../../testing/random.ts';
import { POINTERS_END, POINTERS_START, STOP_ADDRESS, WINDOW_BYTES } from './case-records.ts';

/** A 64-bit value of the kinds at which arithmetic goes wrong: limits, powers of two, runs of bits, small numbers. */
export function specialInteger(random: Random): bigint {
  switch (random.below(12)) {
    case 0:
      return 0n;
    case 1:
      return 0xffffffffffffffffn;
    case 2:
      return BigInt(random.below(256));
    case 3:
      return BigInt.asUintN(64, -BigInt(random.below(256)));
    case 4:
      return BigInt.asUintN(64, (1n << BigInt(random.below(64))) + BigInt(random.below(3)) - 1n);
    case 5: {
      // A limit of a narrower size, with other things above it.
      const width = random.pick([8n, 16n, 32n, 64n]);
      const limit = random.pick([0n, (1n << width) - 1n, 1n << (width - 1n), (1n << (width - 1n)) - 1n]);
      const above = random.chance(1, 2) ? 0n : random.u64();
      return BigInt.asUintN(64, ((above >> width) << width) | limit);
    }
    case 6: {
      const from = random.below(64);
      const length = random.below(64 - from) + 1;
      return BigInt.asUintN(64, ((1n << BigInt(length)) - 1n) << BigInt(from));
    }
    case 7:
      return BigInt(random.u32());
    case 8:
      return 0x0101010101010101n * BigInt(random.below(256));
    default:
      return random.u64();
  }
}

/** Bits of a single-precision number, often a special one. */
export function specialSingle(random: Random): number {
  const sign = random.chance(1, 2) ? 0x80000000 : 0;
  switch (random.below(12)) {
    case 0:
      return sign;
    case 1:
      return (sign | 0x7f800000) >>> 0;
    case 2:
      return (sign | 0x7fc00000 | random.below(0x400000)) >>> 0; // quiet NaN
    case 3:
      return (sign | 0x7f800001 | random.below(0x3fffff)) >>> 0; // signalling NaN
    case 4:
      return (sign | random.below(0x800000)) >>> 0; // denormal
    case 5:
      return (sign | 0x3f800000) >>> 0;
    case 6:
      return (sign | 0x7f7fffff) >>> 0;
    case 7:
      return (sign | 0x00800000) >>> 0;
    case 8:
      return (sign | ((127 + random.below(64)) << 23) | (random.chance(1, 2) ? 0 : random.below(0x800000))) >>> 0;
    case 9:
      return (sign | ((120 + random.below(16)) << 23) | (random.below(256) << 15)) >>> 0;
    default:
      return random.u32();
  }
}

/** Bits of a double-precision number, often a special one. */
export function specialDouble(random: Random): bigint {
  const sign = random.chance(1, 2) ? 1n << 63n : 0n;
  const fraction = random.u64() >> 12n;
  switch (random.below(12)) {
    case 0:
      return sign;
    case 1:
      return sign | 0x7ff0000000000000n;
    case 2:
      return sign | 0x7ff8000000000000n | fraction;
    case 3:
      return sign | 0x7ff0000000000001n | (fraction & 0x7ffffffffffffn);
    case 4:
      return sign | fraction;
    case 5:
      return sign | 0x3ff0000000000000n;
    case 6:
      return sign | 0x7fefffffffffffffn;
    case 7:
      return sign | 0x0010000000000000n;
    case 8:
      return sign | (BigInt(1023 + random.below(70)) << 52n) | (random.chance(1, 2) ? 0n : fraction);
    case 9:
      return sign | (BigInt(1010 + random.below(30)) << 52n) | ((fraction >> 44n) << 44n);
    case 10:
      // Near the limits of single precision, for conversions.
      return sign | (BigInt(1023 + random.pick([-150, -149, -127, -126, 127, 128])) << 52n) | fraction;
    default:
      return random.u64();
  }
}

/** An 80-bit number: significand, and sign with exponent. Includes encodings that the x87 calls unsupported. */
export function specialExtended(random: Random): { significand: bigint; exponent: number } {
  const sign = random.chance(1, 2) ? 0x8000 : 0;
  const fraction = random.u64() >> 1n;
  const integer = 1n << 63n;
  switch (random.below(14)) {
    case 0:
      return { significand: 0n, exponent: sign };
    case 1:
      return { significand: integer, exponent: sign | 0x7fff };
    case 2:
      return { significand: integer | (1n << 62n) | fraction, exponent: sign | 0x7fff };
    case 3:
      return { significand: integer | (fraction & ((1n << 62n) - 1n)) | 1n, exponent: sign | 0x7fff };
    case 4:
      return { significand: fraction, exponent: sign }; // denormal
    case 5:
      return { significand: integer, exponent: sign | 0x3fff };
    case 6:
      return { significand: integer | fraction, exponent: sign | 0x7ffe };
    case 7:
      return { significand: integer | fraction, exponent: sign | 1 };
    case 8:
      return random.chance(1, 3)
        ? { significand: fraction, exponent: sign | random.below(0x8000) } // unnormal, pseudo-infinity, pseudo-NaN
        : { significand: integer | fraction, exponent: sign }; // pseudo-denormal
    case 9:
    case 10:
      // Integers and halves: rounding cases.
      return {
        significand: integer | ((fraction >> 40n) << 40n),
        exponent: sign | (0x3fff + random.below(70) - 2),
      };
    case 11:
      return { significand: integer | fraction, exponent: sign | (0x3fff + random.below(130) - 65) };
    case 12:
      return {
        significand: integer | fraction,
        exponent: sign | (0x3fff + random.pick([-1075, -1074, -1023, -1022, 1023, 1024, -150, -127, -126, 127, 128])),
      };
    default:
      return { significand: integer | fraction, exponent: sign | random.below(0x7fff) };
  }
}

/** An 80-bit number as programs compute with: a normal one of middling size, or now and then a zero. */
export function ordinaryExtended(random: Random): { significand: bigint; exponent: number } {
  const sign = random.chance(1, 2) ? 0x8000 : 0;
  if (random.chance(1, 8)) {
    return { significand: 0n, exponent: sign };
  }
  // Often of few bits: exact results.
  const fraction = random.u64() & (random.chance(1, 2) ? -1n : -1n << BigInt(random.below(64)));
  return {
    significand: BigInt.asUintN(64, fraction) | (1n << 63n),
    exponent: sign | (0x3fff + random.below(80) - 40),
  };
}

/** Writes 16 bytes for a vector register: integers, singles or doubles. */
export function specialVector(random: Random, view: DataView, at: number): void {
  switch (random.below(4)) {
    case 0:
      view.setBigUint64(at, specialInteger(random), true);
      view.setBigUint64(at + 8, specialInteger(random), true);
      return;
    case 1:
      for (let i = 0; i < 16; i += 4) {
        view.setUint32(at + i, specialSingle(random), true);
      }
      return;
    case 2:
      view.setBigUint64(at, specialDouble(random), true);
      view.setBigUint64(at + 8, specialDouble(random), true);
      return;
    default:
      view.setBigUint64(at, random.u64(), true);
      view.setBigUint64(at + 8, random.u64(), true);
  }
}

/** Contents of the memory window: all kinds of values, and a stretch of addresses at which cases stop. */
export function windowTemplates(random: Random, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => {
    const bytes = new Uint8Array(WINDOW_BYTES);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < WINDOW_BYTES; at += 16) {
      if (random.chance(1, 8)) {
        const { significand, exponent } = specialExtended(random);
        view.setBigUint64(at, significand, true);
        view.setUint16(at + 8, exponent, true);
      } else {
        specialVector(random, view, at);
      }
    }
    for (let at = POINTERS_START; at < POINTERS_END; at += 8) {
      view.setBigUint64(at, BigInt(STOP_ADDRESS), true);
    }
    return bytes;
  });
}
