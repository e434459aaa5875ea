import { type I32, i32, op, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const sha = { unit: 'sse', feature: 'sha_ni' } as const;

function xor(first: V128, ...others: readonly V128[]): V128 {
  return others.reduce((left, right) => op('v128.xor', left, right), first);
}

/** Each doubleword turned left. */
function turn(value: V128, count: number): V128 {
  return op('v128.or', op('i32x4.shl', value, i32(count)), op('i32x4.shr_u', value, i32(32 - count)));
}

/** σ of the message schedule (FIPS 180-4, 4.1.2): two rotations to the right and a shift. */
function sigma(value: V128, first: number, second: number, shift: number): V128 {
  return xor(turn(value, 32 - first), turn(value, 32 - second), op('i32x4.shr_u', value, i32(shift)));
}

/** SHA-1 and SHA-256 (SDM 2B; FIPS 180-4). These have no VEX forms. */
export function defineSseHashes(table: InstructionTable): void {
  const define = (name: string, opcode: string, combine: (b: InstructionBuilder, first: V128, second: V128) => V128) =>
    table.define(name, `NP 0F 38 ${opcode} /r : Vx Wx`, sha, (b) => {
      const source = b.readVector(1);
      b.writeVector(0, combine(b, b.readVector(0), source));
    });

  table.define('sha1rnds4', 'NP 0F 3A CC /r : Vx Wx Ib', sha, (b) => {
    const message = b.readVector(1);
    const phase = op('i32.and', b.read(2) as I32, i32(3));
    b.writeVector(0, b.f.call(b.helper('sha1-rounds'), b.readVector(0), message, phase) as V128);
  });
  // E of the next rounds, which is A of four rounds ago turned, is added to the highest doubleword.
  define('sha1nexte', 'C8', (b, first, second) =>
    op('i32x4.add', second, shuffleLanes(4, [0, 1, 2, 7], zeroVector, b.keep(turn(first, 30)))),
  );
  define('sha1msg1', 'C9', (_, first, second) => xor(first, shuffleLanes(4, [6, 7, 0, 1], first, second)));
  // The lowest doubleword depends on the highest of the same outcome.
  define('sha1msg2', 'CA', (b, first, second) => {
    const moved = b.keep(xor(first, shuffleLanes(4, [0, 4, 5, 6], zeroVector, second)));
    const three = b.keep(turn(moved, 1));
    return xor(three, turn(b.keep(shuffleLanes(4, [7, 0, 0, 0], zeroVector, three)), 1));
  });
  table.define('sha256rnds2', 'NP 0F 38 CB /r : Vx Wx', sha, (b) => {
    const source = b.readVector(1);
    b.writeVector(0, b.f.call(b.helper('sha256-rounds'), b.readVector(0), source, b.xmm(0)) as V128);
  });
  define('sha256msg1', 'CC', (b, first, second) =>
    op('i32x4.add', first, sigma(b.keep(shuffleLanes(4, [1, 2, 3, 4], first, second)), 7, 18, 3)),
  );
  // The upper two doublewords depend on the lower two of the same outcome.
  define('sha256msg2', 'CD', (b, first, second) => {
    const before = b.keep(shuffleLanes(4, [2, 3, 4, 4], second, zeroVector));
    const low = b.keep(op('i32x4.add', first, sigma(before, 17, 19, 10)));
    const after = b.keep(shuffleLanes(4, [4, 4, 0, 1], low, zeroVector));
    return op('i32x4.add', low, sigma(after, 17, 19, 10));
  });
}
