import { type I32, type I64, i32, laneOp, op, select, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes, v32, zeroVector } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import { withBothVex3, withVex } from './vex.ts';

const sse = { unit: 'sse' } as const;

/** AES rounds (SDM 2A; FIPS 197) and carry-less multiplication. */
export function defineSseCiphers(table: InstructionTable): void {
  for (const [name, opcode, helper] of [
    ['aesenc', 'DC', 'aes-encrypt'],
    ['aesenclast', 'DD', 'aes-encrypt-last'],
    ['aesdec', 'DE', 'aes-decrypt'],
    ['aesdeclast', 'DF', 'aes-decrypt-last'],
  ] as const) {
    table.define(name, withBothVex3(`66 0F 38 ${opcode} /r : Vx Wx`), sse, (b) => {
      const keys = b.readLanes(b.right);
      const states = b.readLanes(b.left);
      b.writeLanes(
        0,
        keys.map((key, lane) => b.keep(op('v128.xor', b.f.call(b.helper(helper), states[lane] as V128) as V128, key))),
      );
    });
  }
  table.define('aesimc', withVex('66 0F 38 DB /r : Vx Wx', 'VEX128'), sse, (b) =>
    b.writeVector(0, b.keep(b.f.call(b.helper('aes-inverse-mix-columns'), b.readVector(1)) as V128)),
  );
  // Odd doublewords through the S-box, each also turned by a byte and with the round constant.
  table.define('aeskeygenassist', withVex('66 0F 3A DF /r : Vx Wx Ib', 'VEX128'), sse, (b) => {
    const source = b.readVector(1);
    const constant = b.read(2) as I32;
    const substituted = b.keep(b.f.call(b.helper('aes-substitute'), source)) as V128;
    const lanes = b.keep(shuffleLanes(4, [1, 1, 3, 3], substituted, substituted));
    const turned = shuffleLanes(1, [0, 1, 2, 3, 5, 6, 7, 4, 8, 9, 10, 11, 13, 14, 15, 12], lanes, lanes);
    const constants = op(
      'v128.and',
      op('i32x4.splat', constant),
      v32((i) => (i & 1 ? 0xff : 0)),
    );
    b.writeVector(0, op('v128.xor', turned, constants));
  });
  table.define('pclmulqdq', withBothVex3('66 0F 3A 44 /r : Vx Wx Ib'), sse, (b) => {
    const sources = b.readLanes(b.right);
    const destinations = b.readLanes(b.left);
    const immediate = b.keep(b.read(b.control)) as I32;
    const half = (vector: V128, bit: number): I64 =>
      b.keep(
        select(
          op('i32.and', immediate, i32(bit)),
          laneOp('i64x2.extract_lane', 1, vector),
          laneOp('i64x2.extract_lane', 0, vector),
        ),
      );
    const products = sources.map((source, lane) => {
      const x = half(destinations[lane] as V128, 1);
      const y = half(source, 0x10);
      const low = laneOp('i64x2.replace_lane', 0, zeroVector, b.f.call(b.helper('carryless-low'), x, y));
      return b.keep(laneOp('i64x2.replace_lane', 1, low, b.f.call(b.helper('carryless-high'), x, y)));
    });
    b.writeLanes(0, products);
  });
}
