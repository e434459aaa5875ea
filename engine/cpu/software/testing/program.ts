import { defined } from '../../../base/assert.ts';
import { littleEndianBytes } from './bytes.ts';
import * as G from './guest-layout.ts';

/** In which mode a program runs. The kernel is 64-bit for the first three. */
export type ProgramMode = 'user64' | 'kernel64' | 'compatibility' | 'user32' | 'kernel32';

/** A place in a program: the start of a block, or a byte of an item (of its block's start once the item is gone). */
export interface Target {
  readonly block: number;
  readonly item?: number;
  readonly offset?: number;
}

/** A field of an item that depends on where things lie. */
export interface Fixup {
  /** Byte offset in the item, and length of the field. */
  readonly at: number;
  readonly bytes: 1 | 4 | 8;
  /** Distance from the end of the field; a code address; or an address of code as data, relative to DS. */
  readonly kind: 'relative' | 'code' | 'data';
  readonly target: Target;
  /** Added to the address, for the code's other linear addresses. */
  readonly add?: bigint;
}

/** Bits of an item that may be overwritten while the program runs: it stays an instruction of the same length. */
export interface Mutable {
  readonly offset: number;
  readonly mask: number;
}

/** One instruction, or a few that belong together. */
export interface Item {
  /** Unique in the program. */
  readonly id: number;
  readonly text: string;
  readonly bytes: readonly number[];
  readonly fixups: readonly Fixup[];
  readonly mutable: readonly Mutable[];
  /** Offsets at which its instructions start; the first is 0. */
  readonly starts: readonly number[];
  /** Nothing runs on behind it. */
  readonly ends: boolean;
}

export interface Block {
  readonly items: readonly Item[];
  /** Offset in a page at which the block is to start if nothing falls through into it. */
  readonly place: number | undefined;
}

/** Something that happens to the processor from outside, between two slices. */
export type SliceEvent =
  | { readonly kind: 'interrupt'; readonly vector: number }
  | { readonly kind: 'nmi' }
  | { readonly kind: 'flush-tlb' }
  | { readonly kind: 'take-dirty' }
  /** Another device writes the byte of a mutable place. */
  | { readonly kind: 'write-code'; readonly place: number; readonly value: number };

export interface Slice {
  readonly instructions: number;
  readonly events: readonly SliceEvent[];
}

/** A page of code that differs from the page it stands in for. */
export interface CodePatch {
  readonly target: Target;
  readonly xor: number;
}

/** A whole test case: everything that decides what a processor does with it. */
export interface Program {
  readonly name: string;
  readonly mode: ProgramMode;
  readonly blocks: readonly Block[];
  /** RAX … R15 at the start. */
  readonly registers: readonly bigint[];
  readonly flags: number;
  readonly mxcsr: number;
  readonly fpuControl: number;
  /** Seed for the bytes of the data pages, the vector and the x87 registers. */
  readonly dataSeed: number;
  /** DS, ES, FS and GS have a base in 32-bit modes; FS and GS in 64-bit ones. */
  readonly based: boolean;
  /** AVX is enabled: CR4.OSXSAVE and XCR0. */
  readonly avx: boolean;
  /** CR4.SMAP: kernels reach pages of users only while RFLAGS.AC is set. */
  readonly smap: boolean;
  /** For each linear page of code: its physical page, as an index, and attributes. */
  readonly codePages: readonly PageEntry[];
  /** The entries that SWAP_CODE_PAGE exchanges those with; their physical pages hold a patched copy. */
  readonly otherCode: readonly PageEntry[];
  readonly codePatches: readonly CodePatch[];
  readonly dataPages: readonly PageEntry[];
  readonly otherData: readonly PageEntry[];
  /** Places that devices overwrite: what SliceEvent 'write-code' and the test device count in. */
  readonly mutablePlaces: readonly Target[];
  /** Blocks at which the kernel goes on when it does not know better; eight. */
  readonly escapes: readonly number[];
  /** Addresses of blocks in data memory: the jump tables. */
  readonly tables: readonly (readonly Target[])[];
  readonly slices: readonly Slice[];
  /** No translation of a data address is remembered, so that every access walks the page tables. */
  readonly withoutTlb: boolean;
}

export interface PageEntry {
  readonly physical: number;
  /** Low and high word of page-table bits. */
  readonly bits: number;
  readonly high?: number;
}

/** Where the jump tables lie: linear address of table `index`, of eight entries of eight bytes. */
export function tableAddress(index: number): number {
  return G.DATA + 9 * G.PAGE + index * 64;
}
/** Linear address of loop counter `index`. */
export function counterAddress(index: number): number {
  return G.DATA + 9 * G.PAGE + 0x800 + index * 4;
}

/** A program laid out in memory. */
export interface Assembled {
  /** CODE_BYTES of code by linear page. */
  readonly code: Uint8Array<ArrayBuffer>;
  /** For each byte of code the offset of the next instruction, or 0. */
  readonly recovery: Uint16Array<ArrayBuffer>;
  readonly blockAddresses: readonly number[];
  readonly itemAddresses: ReadonlyMap<number, number>;
  /** Linear address of a target. */
  address(target: Target): number;
}

/** Lays out the blocks one behind the other, some at chosen places, and fills in addresses. Undefined when it does not fit. */
export function assembleProgram(program: Program): Assembled | undefined {
  const blockAddresses: number[] = [];
  const itemAddresses = new Map<number, number>();
  let at = 0;
  let falls = true;
  for (const { items, place } of program.blocks) {
    if (place !== undefined && !falls && items.length > 0) {
      at = place >= (at & 0xfff) ? (at & ~0xfff) + place : (at & ~0xfff) + G.PAGE + place;
    }
    blockAddresses.push(G.CODE + at);
    for (const item of items) {
      itemAddresses.set(item.id, G.CODE + at);
      at += item.bytes.length;
      falls = !item.ends;
    }
  }
  if (at > G.CODE_BYTES - 16) {
    return undefined;
  }
  const address = (target: Target) =>
    (target.item === undefined
      ? undefined
      : itemAddresses.has(target.item)
        ? (itemAddresses.get(target.item) as number) + (target.offset ?? 0)
        : undefined) ?? defined(blockAddresses[target.block], 'block');
  const code = new Uint8Array(G.CODE_BYTES).fill(0xcc);
  const recovery = new Uint16Array(G.CODE_BYTES);
  const base = program.based && program.mode !== 'user64' && program.mode !== 'kernel64' ? BigInt(G.SEGMENT_BASE) : 0n;
  for (const { items } of program.blocks) {
    for (const item of items) {
      const start = defined(itemAddresses.get(item.id), 'item') - G.CODE;
      code.set(item.bytes, start);
      for (const fixup of item.fixups) {
        const to = BigInt(address(fixup.target)) + (fixup.add ?? 0n);
        let value = to;
        if (fixup.kind === 'relative') {
          value = to - BigInt(G.CODE + start + fixup.at + fixup.bytes);
          if (fixup.bytes === 1 && (value < -128n || value > 127n)) {
            value = 0n;
          }
        } else if (fixup.kind === 'data') {
          value = to - base;
        }
        code.set(littleEndianBytes(value, fixup.bytes), start + fixup.at);
      }
      for (let i = 0; i < item.starts.length; i++) {
        recovery[start + (item.starts[i] as number)] = start + (item.starts[i + 1] ?? item.bytes.length);
      }
    }
  }
  return { code, recovery, blockAddresses, itemAddresses, address };
}
