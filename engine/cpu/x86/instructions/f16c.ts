import { get, i32, laneOp, type V128 } from '../../software/wasm/function-builder.ts';
import { shuffleLanes } from '../../software/wasm/vectors.ts';
import type { InstructionTable } from './definition.ts';
import { exactLanes } from './sse-float-support.ts';

const f16c = { unit: 'sse', feature: 'f16c' } as const;

/** Conversions between binary16 and binary32, four numbers a lane (SDM 2C, VCVTPH2PS and VCVTPS2PH). */
export function defineF16c(table: InstructionTable): void {
  table.define('vcvtph2ps', 'VEX 66 0F 38 13 /r W0 : Vx Wh', f16c, (b) => {
    const source = b.readLanes(1)[0] as V128;
    const helper = b.helper('sse-half-to-single');
    const halves = Array.from({ length: b.lanes }, (_, lane) => b.keep(shuffleLanes(8, [lane, lane], source, source)));
    b.writeLanes(
      0,
      exactLanes(b, halves.length, (lane) => b.f.call(helper, get(b.cpu), i32(0), halves[lane] as V128)),
    );
  });
  table.define('vcvtps2ph', 'VEX 66 0F 3A 1D /r W0 : Wh Vx Ib', { ...f16c, writes: true }, (b) => {
    const source = b.readLanes(1);
    b.checkWrite(0);
    const helper = b.helper('sse-single-to-half');
    const immediate = b.keep(b.read(2));
    const [low, high] = exactLanes(b, source.length, (lane) =>
      b.f.call(helper, get(b.cpu), immediate, source[lane] as V128),
    );
    if (high !== undefined) {
      b.writeVector(0, shuffleLanes(8, [0, 2], low as V128, high));
    } else if (b.isMemory(0)) {
      b.write(0, laneOp('i64x2.extract_lane', 0, low as V128));
    } else {
      b.writeZeroExtended(0, laneOp('i64x2.extract_lane', 0, low as V128));
    }
  });
}
