import { get, type I32, type I64, i32, i64, laneOp, op, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v32, v64 } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';
import {
  allOf,
  areComparable,
  areNormal,
  type Bits,
  commonMode,
  exactLanes,
  fromHelper,
  isComparable,
  isNormal,
  roundingControl,
  toHelper,
} from './sse-float-support.ts';
import { checkMmx, enterMmx, writeMmx } from './sse-moves.ts';
import { withVex, withVex3 } from './vex.ts';

const sse = { unit: 'sse' } as const;
const hot = { unit: 'sse', hot: true } as const;

const TOWARDS_ZERO = 3;
const lowHalf = (value: V128): I64 => laneOp('i64x2.extract_lane', 0, value);
const double = (value: number): I64 => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return i64(view.getBigInt64(0));
};

/** Calls a scalar conversion and leaves the instruction when an exception is not masked. */
function exact(b: InstructionBuilder, name: string, ...operands: (I32 | I64)[]): I64 {
  const value = b.keep(b.f.call(b.helper(name), get(b.cpu), ...operands)) as I64;
  b.leaveOnFault();
  return value;
}

function exactVectors(b: InstructionBuilder, name: string, control: I32, values: readonly V128[]): V128[] {
  const kept = b.keep(control);
  return exactLanes(b, values.length, (i) => b.f.call(b.helper(name), get(b.cpu), kept, values[i] as V128));
}

function exactVector(b: InstructionBuilder, name: string, control: I32, value: V128): V128 {
  return exactVectors(b, name, control, [value])[0] as V128;
}

/** Results in the low halves of vectors that are zero above them, in one vector. */
function joinLow([low, high]: readonly V128[]): V128 {
  return high === undefined ? (low as V128) : shuffleLanes(8, [0, 2], low as V128, high);
}

/** One vector for each lane of the destination, with 8 bytes of the source in its low half. */
function spreadLow(b: InstructionBuilder, source: V128): V128[] {
  return Array.from({ length: b.lanes }, (_, lane) => b.keep(shuffleLanes(8, [lane, lane], source, source)));
}

function defineFromInteger(table: InstructionTable): void {
  for (const [name, prefix, bits] of [
    ['cvtsi2ss', 'F3', 32],
    ['cvtsi2sd', 'F2', 64],
  ] as const) {
    const encodings = withVex3(`${prefix} 0F 2A /r : V${bits === 64 ? 'q' : 'd'} Ey`, 'VEXLIG');
    table.define(name, encodings, { ...sse, hot: bits === 64 }, (b) => {
      const wide = b.operand(b.right).size === 8;
      const source = b.read(b.right);
      const plain = () => {
        const number =
          bits === 64
            ? op('i64.reinterpret_f64', op(wide ? 'f64.convert_i64_s' : 'f64.convert_i32_s', source))
            : op('i32.reinterpret_f32', op(wide ? 'f32.convert_i64_s' : 'f32.convert_i32_s', source));
        b.writeScalar(number);
      };
      if (bits === 64 && !wide) {
        plain();
        return;
      }
      // Integers within the precision are exact in any mode.
      const precision = bits === 64 ? 1n << 53n : 1n << 24n;
      const size = wide ? 8 : 4;
      const small = b.cmp('le_u', b.bin('add', source, b.int(precision, size)), b.int(2n * precision, size));
      b.f.if(op('i32.or', commonMode(b), small), plain, () =>
        b.writeScalar(fromHelper(bits, exact(b, `sse-scalar-from-integer${bits}`, b.signExtend64(source, size)))),
      );
    });
  }
}

function defineToInteger(table: InstructionTable): void {
  for (const [name, prefix, opcode, bits, truncates] of [
    ['cvttss2si', 'F3', '2C', 32, true],
    ['cvttsd2si', 'F2', '2C', 64, true],
    ['cvtss2si', 'F3', '2D', 32, false],
    ['cvtsd2si', 'F2', '2D', 64, false],
  ] as const) {
    const options = { ...sse, hot: truncates && bits === 64 };
    table.define(
      name,
      withVex(`${prefix} 0F ${opcode} /r : Gy W${bits === 64 ? 'q' : 'd'}`, 'VEXLIG'),
      options,
      (b) => {
        const source = b.read(1);
        const wide = b.operand(0).size === 8;
        const read = op(
          'i64.reinterpret_f64',
          bits === 64 ? op('f64.reinterpret_i64', source) : op('f64.promote_f32', op('f32.reinterpret_i32', source)),
        );
        // As an i64 that is a number again where used: locals hold integers here.
        const kept = bits === 64 ? (source as I64) : (b.keep(read) as I64);
        const number = () => op('f64.reinterpret_i64', kept);
        const rounded = truncates ? number() : op('f64.nearest', number());
        const result = b.keep(op(wide ? 'i64.trunc_sat_f64_s' : 'i32.trunc_sat_f64_s', rounded)) as Integer;
        const limit = wide ? 2 ** 63 : truncates ? 2 ** 31 : 2 ** 31 - 1;
        const inRange = op('f64.lt', op('f64.abs', number()), op('f64.reinterpret_i64', double(limit)));
        const back = op('f64.eq', op(wide ? 'f64.convert_i64_s' : 'f64.convert_i32_s', result), number());
        b.f.if(
          allOf(inRange, op('i32.or', commonMode(b), back)),
          () => b.write(0, result),
          () => {
            const control = truncates ? i32(TOWARDS_ZERO) : roundingControl(b);
            const value = exact(b, `sse-scalar-to-integer${bits}`, toHelper(source), control, i32(wide ? 64 : 32));
            b.write(0, wide ? value : op('i32.wrap_i64', value));
          },
        );
      },
    );
  }
}

function defineBetweenFormats(table: InstructionTable): void {
  table.define('cvtss2sd', withVex3('F3 0F 5A /r : Vq Wd', 'VEXLIG'), hot, (b) => {
    const source = b.read(b.right);
    b.f.if(
      isComparable(b, 32, source),
      () => b.writeScalar(op('i64.reinterpret_f64', op('f64.promote_f32', op('f32.reinterpret_i32', source)))),
      () => b.writeScalar(exact(b, 'sse-scalar-widen', toHelper(source))),
    );
  });
  table.define('cvtsd2ss', withVex3('F2 0F 5A /r : Vd Wq', 'VEXLIG'), hot, (b) => {
    const source = b.read(b.right) as I64;
    const result = b.keep(op('i32.reinterpret_f32', op('f32.demote_f64', op('f64.reinterpret_i64', source))));
    b.f.if(
      allOf(commonMode(b), isNormal(b, 64, source), isNormal(b, 32, result)),
      () => b.writeScalar(result),
      () => b.writeScalar(op('i32.wrap_i64', exact(b, 'sse-scalar-narrow', source))),
    );
  });
  table.define('cvtps2pd', ['NP 0F 5A /r : Vx Wq', 'VEX NP 0F 5A /r : Vx Wh'], sse, (b) => {
    const source = spreadLow(b, b.readLanes(1)[0] as V128);
    b.f.if(
      areComparable(32, ...source),
      () =>
        b.writeLanes(
          0,
          source.map((value) => op('f64x2.promote_low_f32x4', value)),
        ),
      () => b.writeLanes(0, exactVectors(b, 'sse-ps2pd', i32(0), source)),
    );
  });
  table.define('cvtpd2ps', ['66 0F 5A /r : Vx Wx', 'VEX 66 0F 5A /r : Vo Wx'], sse, (b) => {
    const source = b.readLanes(1);
    const result = source.map((value) => b.keep(op('f32x4.demote_f64x2_zero', value)));
    const checked = result.map((value) => b.keep(op('i64x2.splat', lowHalf(value))));
    b.f.if(
      allOf(commonMode(b), areNormal(64, ...source), areNormal(32, ...checked)),
      () => b.writeVector(0, joinLow(result)),
      () => b.writeVector(0, joinLow(exactVectors(b, 'sse-pd2ps', i32(0), source))),
    );
  });
}

/** Whether all lanes are below a limit in magnitude; false with NaNs. */
function allBelow(bits: Bits, values: readonly V128[], limit: number): I32 {
  return allOf(...values.map((value) => allOfBelow(bits, value, limit)));
}

function allOfBelow(bits: Bits, value: V128, limit: number): I32 {
  const view = new DataView(new ArrayBuffer(8));
  if (bits === 64) {
    view.setFloat64(0, limit);
    const bound = v64(() => view.getBigUint64(0));
    return op('i64x2.all_true', op('f64x2.lt', op('f64x2.abs', value), bound));
  }
  view.setFloat32(0, limit);
  const bound = v32(() => view.getUint32(0));
  return op('i32x4.all_true', op('f32x4.lt', op('f32x4.abs', value), bound));
}

function definePackedIntegers(table: InstructionTable): void {
  table.define('cvtdq2pd', ['F3 0F E6 /r : Vx Wq', 'VEX F3 0F E6 /r : Vx Wh'], sse, (b) =>
    b.writeLanes(
      0,
      spreadLow(b, b.readLanes(1)[0] as V128).map((value) => op('f64x2.convert_low_i32x4_s', value)),
    ),
  );
  table.define('cvtdq2ps', withVex('NP 0F 5B /r : Vx Wx'), sse, (b) => {
    const source = b.readLanes(1);
    b.f.if(
      commonMode(b),
      () =>
        b.writeLanes(
          0,
          source.map((value) => op('f32x4.convert_i32x4_s', value)),
        ),
      () => b.writeLanes(0, exactVectors(b, 'sse-dq2ps', i32(0), source)),
    );
  });
  for (const [name, prefix, truncates] of [
    ['cvtps2dq', '66', false],
    ['cvttps2dq', 'F3', true],
  ] as const) {
    table.define(name, withVex(`${prefix} 0F 5B /r : Vx Wx`), sse, (b) => {
      const source = b.readLanes(1);
      const convert = (value: V128) => op('i32x4.trunc_sat_f32x4_s', truncates ? value : op('f32x4.nearest', value));
      const control = () => (truncates ? i32(TOWARDS_ZERO) : roundingControl(b));
      b.f.if(
        allOf(commonMode(b), allBelow(32, source, 2 ** 31)),
        () => b.writeLanes(0, source.map(convert)),
        () => b.writeLanes(0, exactVectors(b, 'sse-ps2dq', control(), source)),
      );
    });
  }
  for (const [name, prefix, truncates] of [
    ['cvtpd2dq', 'F2', false],
    ['cvttpd2dq', '66', true],
  ] as const) {
    const encodings = [`${prefix} 0F E6 /r : Vx Wx`, `VEX ${prefix} 0F E6 /r : Vo Wx`];
    table.define(name, encodings, sse, (b) => {
      const source = b.readLanes(1);
      const convert = (value: V128) =>
        op('i32x4.trunc_sat_f64x2_s_zero', truncates ? value : op('f64x2.nearest', value));
      const control = () => (truncates ? i32(TOWARDS_ZERO) : roundingControl(b));
      b.f.if(
        allOf(commonMode(b), allBelow(64, source, 2 ** 31 - 1)),
        () => b.writeVector(0, joinLow(source.map(convert))),
        () => b.writeVector(0, joinLow(exactVectors(b, 'sse-pd2dq', control(), source))),
      );
    });
  }
}

/** To and from MMX registers. */
function defineMmxConversions(table: InstructionTable): void {
  const fromMmx = (name: string, encoding: string, convert: (b: InstructionBuilder, source: V128) => void) =>
    table.define(name, encoding, sse, (b) => {
      const source = b.read(1);
      if (!b.isMemory(1)) {
        checkMmx(b);
        enterMmx(b);
      }
      convert(b, b.keep(op('i64x2.splat', source)));
    });
  fromMmx('cvtpi2ps', 'NP 0F 2A /r : Vq Qq', (b, source) =>
    b.write(0, lowHalf(exactVector(b, 'sse-pi2ps', i32(0), source))),
  );
  fromMmx('cvtpi2pd', '66 0F 2A /r : Vx Qq', (b, source) => b.writeVector(0, op('f64x2.convert_low_i32x4_s', source)));
  for (const [name, encoding, bits, truncates] of [
    ['cvttps2pi', 'NP 0F 2C /r : Pq Wq', 32, true],
    ['cvtps2pi', 'NP 0F 2D /r : Pq Wq', 32, false],
    ['cvttpd2pi', '66 0F 2C /r : Pq Wx', 64, true],
    ['cvtpd2pi', '66 0F 2D /r : Pq Wx', 64, false],
  ] as const) {
    table.define(name, encoding, sse, (b) => {
      checkMmx(b);
      const source = bits === 64 ? b.readVector(1) : b.readLowVector(1);
      const control = truncates ? i32(TOWARDS_ZERO) : roundingControl(b);
      // Processors enter the MMX state even if the conversion then raises #XM.
      enterMmx(b);
      const result = exactVector(b, bits === 64 ? 'sse-pd2dq' : 'sse-ps2pi', control, source);
      writeMmx(b, 0, lowHalf(result));
    });
  }
}

/** Conversions between integers and the floating-point formats. */
export function defineSseConversions(table: InstructionTable): void {
  defineFromInteger(table);
  defineToInteger(table);
  defineBetweenFormats(table);
  definePackedIntegers(table);
  defineMmxConversions(table);
}
