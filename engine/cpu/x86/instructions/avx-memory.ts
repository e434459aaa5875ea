import {
  get,
  type I32,
  type I64,
  i32,
  i64,
  laneOp,
  load,
  op,
  select,
  type V128,
} from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder, Integer } from './instruction-builder.ts';

const avx = { unit: 'sse' } as const;

/** Bits of an element: 32 or 64. */
type Bits = 32 | 64;

const shapeOf = (bits: Bits) => (bits === 64 ? 'i64x2' : 'i32x4');

/** The sign bits of all elements, the lowest element's in bit 0. */
function signs(b: InstructionBuilder, bits: Bits, lanes: readonly V128[]): I32 {
  const [low, high] = lanes.map((value) => op(`${shapeOf(bits)}.bitmask`, value));
  return b.keep(
    high === undefined ? (low as I32) : op('i32.or', low as I32, op('i32.shl', high, i32(128 / bits))),
  ) as I32;
}

function eachElement(b: InstructionBuilder, mask: I32, count: number, visit: (index: number) => void): void {
  for (let i = 0; i < count; i++) {
    b.f.if(op('i32.and', mask, i32(1 << i)), () => visit(i));
  }
}

/** Loads the elements whose mask has its sign set; the others are zero and their memory is not touched. */
function maskedLoad(bits: Bits) {
  return (b: InstructionBuilder): void => {
    const bytes = b.lanes * 16;
    const masks = b.readLanes(1);
    const at = b.keep(b.effectiveAddress());
    const entry = b.tlbEntry(at);
    b.f.if(
      b.tlbHit(entry, at, bytes, 0),
      () => {
        const host = b.keep(b.hostAddress(entry, at)) as I32;
        b.writeLanes(
          0,
          masks.map((mask, i) =>
            op('v128.and', load('v128.load', host, i * 16), op(`${shapeOf(bits)}.shr_s`, mask, i32(bits - 1))),
          ),
        );
      },
      () => {
        const zero = bits === 64 ? i64(0) : i32(0);
        const enabled = signs(b, bits, masks);
        const elements = Array.from({ length: (bytes * 8) / bits }, (_, i) =>
          b.f.ifValue<'i32' | 'i64'>(
            bits === 64 ? 'i64' : 'i32',
            op('i32.and', enabled, i32(1 << i)),
            () => b.loadMemory(elementAddress(b, at, (i * bits) / 8), bits / 8),
            () => zero,
          ),
        );
        b.writeLanes(
          0,
          masks.map((_, lane) => {
            const [first, ...rest] = elements.slice((lane * 128) / bits, ((lane + 1) * 128) / bits);
            return rest.reduce<V128>(
              (vector, element, i) => laneOp(`${shapeOf(bits)}.replace_lane`, i + 1, vector, element),
              op(`${shapeOf(bits)}.splat`, first as Integer),
            );
          }),
        );
      },
    );
  };
}

/** The address of an element some bytes on. Outside 64-bit code it wraps. */
function elementAddress(b: InstructionBuilder, at: I64, offset: number): I64 {
  const moved = op('i64.add', at, i64(offset));
  const code = op('i32.and', load('i32.load', get(b.cpu), L.MODE), i32(L.MODE_CODE_MASK));
  return b.keep(select(op('i32.eq', code, i32(L.MODE_CODE64)), moved, op('i64.and', moved, i64(0xffffffff))));
}

/** Stores the elements whose mask has its sign set. All of them are checked before any is written. */
function maskedStore(bits: Bits) {
  return (b: InstructionBuilder): void => {
    const bytes = b.lanes * 16;
    const count = (bytes * 8) / bits;
    const size = bits / 8;
    const values = b.readLanes(2);
    const enabled = signs(b, bits, b.readLanes(1));
    const at = b.keep(b.effectiveAddress());
    const entry = b.tlbEntry(at);
    const element = (i: number): Integer =>
      laneOp(`${shapeOf(bits)}.extract_lane`, i % (128 / bits), values[Math.floor((i * bits) / 128)] as V128);
    const place = (i: number): I64 => elementAddress(b, at, i * size);
    b.f.if(
      b.tlbHit(entry, at, bytes, 8),
      () => {
        const host = b.keep(b.hostAddress(entry, at)) as I32;
        eachElement(b, enabled, count, (i) =>
          b.f.store(bits === 64 ? 'i64.store' : 'i32.store', host, element(i), i * size),
        );
      },
      () => {
        eachElement(b, enabled, count, (i) => b.f.drop(b.slowCheckWrite(place(i), size)));
        eachElement(b, enabled, count, (i) => b.slowStore(place(i), size, b.zeroExtend64(element(i), size)));
      },
    );
  };
}

/**
 * Gathers: elements whose mask has its sign set are loaded from base + index × scale, lowest first. Each is written and
 * its mask cleared before the next is loaded, so that an interrupted instruction goes on where it was.
 */
function gather(bits: Bits, indexBits: Bits) {
  return (b: InstructionBuilder): void => {
    const size = bits / 8;
    const indexSize = indexBits / 8;
    const count = Math.min((b.lanes * 128) / bits, (b.lanes * 128) / indexBits);
    // Decoding puts the scale's shift there.
    const scale = b.keep(b.immediate64()) as I64;
    const base = b.keep(b.effectiveAddress());
    for (let i = 0; i < count; i++) {
      const sign = b.readXmmPart(2, i * size + size - 1, 1);
      b.f.if(op('i32.and', sign, i32(0x80)), () => {
        const index = b.signExtend64(b.readXmmPart(1, i * indexSize, indexSize), indexSize);
        const offset = b.keep(op('i64.and', op('i64.add', base, op('i64.shl', index, scale)), b.addressMask()));
        b.writeXmmPart(0, i * size, b.loadMemory(b.sourceAddress(offset, size), size), size);
      });
      b.writeXmmPart(2, i * size, bits === 64 ? i64(0) : i32(0), size);
    }
    // Both registers are cleared above the elements.
    for (const index of [0, 2]) {
      for (let at = count * size; at < 32; at += 8) {
        b.writeXmmPart(index, at, i64(0), 8);
      }
    }
  };
}

/** Masked moves and gathers. */
export function defineAvxMemory(table: InstructionTable): void {
  for (const [name, opcodeLoad, opcodeStore, bits] of [
    ['vmaskmovps', '2C /r W0', '2E /r W0', 32],
    ['vmaskmovpd', '2D /r W0', '2F /r W0', 64],
    ['vpmaskmovd', '8C /r W0', '8E /r W0', 32],
    ['vpmaskmovq', '8C /r W1', '8E /r W1', 64],
  ] as const) {
    table.define(name, `VEX 66 0F 38 ${opcodeLoad} : Vx Hx Mx`, avx, maskedLoad(bits));
    const encoding = `VEX 66 0F 38 ${opcodeStore} : Mx Hx Vx`;
    table.define(`${name}-store`, encoding, { ...avx, writes: true }, maskedStore(bits));
  }
  const options = { ...avx, vsib: true, implicitMemory: true } as const;
  for (const [dword, qword, first] of [
    ['vpgatherdd', 'vpgatherdq', 0x90],
    ['vgatherdps', 'vgatherdpd', 0x92],
  ] as const) {
    const opcode = first.toString(16).toUpperCase();
    const next = (first + 1).toString(16).toUpperCase();
    const byQuadword = (name: string) => name.replace(/gatherd/, 'gatherq');
    table.define(dword, `VEX 66 0F 38 ${opcode} /r W0 : Vx Md Hx`, options, gather(32, 32));
    table.define(qword, `VEX 66 0F 38 ${opcode} /r W1 : Vx Mq Hx`, options, gather(64, 32));
    table.define(byQuadword(dword), `VEX 66 0F 38 ${next} /r W0 : Vx Md Hx`, options, gather(32, 64));
    table.define(byQuadword(qword), `VEX 66 0F 38 ${next} /r W1 : Vx Mq Hx`, options, gather(64, 64));
  }
}
