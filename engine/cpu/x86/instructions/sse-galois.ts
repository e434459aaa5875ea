import type { I32, V128 } from '../../software/wasm/function-builder.ts';
import type { InstructionTable } from './definition.ts';

const gfni = { unit: 'sse', feature: 'gfni' } as const;

/** Arithmetic in GF(2^8), and affine maps of bits (SDM 2A, GF2P8…). */
export function defineSseGalois(table: InstructionTable): void {
  table.define('gf2p8mulb', ['66 0F 38 CF /r : Vx Wx', 'VEX 66 0F 38 CF /r W0 : Vx Hx Wx'], gfni, (b) => {
    const second = b.readLanes(b.right);
    const first = b.readLanes(b.left);
    const helper = b.helper('galois-multiply');
    b.writeLanes(
      0,
      first.map((value, lane) => b.keep(b.f.call(helper, value, second[lane] as V128)) as V128),
    );
  });
  for (const [name, opcode, helper] of [
    ['gf2p8affineqb', 'CE', 'galois-affine'],
    ['gf2p8affineinvqb', 'CF', 'galois-affine-inverse'],
  ] as const) {
    const encodings = [`66 0F 3A ${opcode} /r : Vx Wx Ib`, `VEX 66 0F 3A ${opcode} /r W1 : Vx Hx Wx Ib`];
    table.define(name, encodings, gfni, (b) => {
      const matrices = b.readLanes(b.right);
      const values = b.readLanes(b.left);
      const constant = b.keep(b.read(b.control)) as I32;
      b.writeLanes(
        0,
        values.map(
          (value, lane) => b.keep(b.f.call(b.helper(helper), value, matrices[lane] as V128, constant)) as V128,
        ),
      );
    });
  }
}
