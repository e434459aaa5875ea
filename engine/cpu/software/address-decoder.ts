import * as L from '../x86/layout.ts';
import type { CodeReader } from './code-reader.ts';
import {
  CHECK_WRITE,
  UOP_BASE,
  UOP_CHECK,
  UOP_DISPLACEMENT,
  UOP_IMMEDIATE,
  UOP_INDEX,
  UOP_SCALE,
  UOP_SEGMENT,
} from './micro-op.ts';
import type { MicroOpWriter } from './micro-op-writer.ts';
import { NO_SEGMENT } from './prefixes.ts';

/** Base and index register of the 16-bit addresses (SDM 2A, table 2-1). */
const LEGACY_BASE: readonly (readonly [number, number | undefined])[] = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, undefined],
  [7, undefined],
  [5, undefined],
  [3, undefined],
];

/** What the encoding says about its memory operand. */
export interface AddressRequest {
  readonly modrm: number;
  /** Bits of REX or VEX. */
  readonly rex: number;
  /** Bytes of an address. */
  readonly addressSize: number;
  /** The overriding segment register, or NO_SEGMENT. */
  readonly override: number;
  /** Bytes accessed, with CHECK_WRITE, for the limit check. */
  readonly check: number;
  /** The offset alone: no segment is added and no limit checked. */
  readonly plain: boolean;
  /** The address follows the opcode without a ModRM byte. */
  readonly absolute: boolean;
  /** Bytes by which RSP counts as moved (POP). */
  readonly popped: number;
  /** The index is a vector register. */
  readonly vsib: boolean;
}

/** Decodes memory operands into the micro-operations that compute their addresses. */
export class AddressDecoder {
  readonly #reader: CodeReader;
  readonly #writer: MicroOpWriter;
  #segment = 0;
  #scale = 0;
  #base: number | undefined;
  #index: number | undefined;
  #displacement = 0;
  /** The address counts from the end of the instruction: its displacement is to be resolved when that is known. */
  ripRelative = false;
  /** Bytes of the displacement that has been read, and what was added to it. */
  displacementBytes = 0;
  moved = 0;
  /** Of an address with a vector of indices: the register's offset in the record (else 0), and the shift. */
  vectorSlot = 0;
  vectorScale = 0;

  constructor(reader: CodeReader, writer: MicroOpWriter) {
    this.#reader = reader;
    this.#writer = writer;
  }

  /** The segment that the last address lies in. */
  get segment(): number {
    return this.#segment;
  }

  /** Returns false if the encoding does not exist (#UD). */
  decode(request: AddressRequest, mode: number): boolean {
    const { addressSize, override } = request;
    const reader = this.#reader;
    this.#base = undefined;
    this.#index = undefined;
    this.#scale = 0;
    this.#displacement = 0;
    this.#segment = L.SEG_DS;
    this.ripRelative = false;
    this.vectorSlot = 0;
    this.displacementBytes = 0;
    this.moved = 0;
    if (request.absolute) {
      if (addressSize === 8) {
        this.#absolute64(override);
        return true;
      }
      this.#displacement = addressSize === 4 ? reader.i32() : reader.u16();
    } else if (addressSize === 2) {
      if (request.vsib) {
        return false;
      }
      this.#form16(request.modrm);
    } else if (!this.#form32(request, mode)) {
      return false;
    }
    if (request.popped !== 0 && this.#base === 4) {
      this.moved = request.popped;
      this.#displacement += this.moved;
    }
    if (override !== NO_SEGMENT) {
      this.#segment = override;
    }
    this.#emit(request, mode);
    return true;
  }

  #absolute64(override: number): void {
    const { view, special } = this.#writer;
    const uop = this.#writer.add(special['address-absolute'], this.#reader.start);
    view.setInt32(uop + UOP_IMMEDIATE, this.#reader.i32(), true);
    view.setInt32(uop + UOP_IMMEDIATE + 4, this.#reader.i32(), true);
    if (override === L.SEG_FS || override === L.SEG_GS) {
      this.#addBase(override);
    }
  }

  #form16(modrm: number): void {
    const reader = this.#reader;
    const mod = modrm >> 6;
    const rm = modrm & 7;
    if (mod === 0 && rm === 6) {
      this.#displacement = reader.u16();
      return;
    }
    const pair = LEGACY_BASE[rm];
    this.#base = pair?.[0];
    this.#index = pair?.[1];
    if (this.#base === 5) {
      this.#segment = L.SEG_SS;
    }
    if (mod === 1) {
      this.#displacement = reader.i8();
    } else if (mod === 2) {
      this.#displacement = reader.i16();
    }
  }

  #form32({ modrm, rex, vsib }: AddressRequest, mode: number): boolean {
    const reader = this.#reader;
    const mod = modrm >> 6;
    let rm = modrm & 7;
    if (rm === 4) {
      const sib = reader.u8();
      const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      if (vsib) {
        this.vectorSlot = L.XMM + index * L.XMM_STRIDE;
        this.vectorScale = sib >> 6;
      } else if (index !== 4) {
        this.#index = index;
      }
      this.#scale = sib >> 6;
      rm = sib & 7;
      if (!(rm === 5 && mod === 0)) {
        this.#base = rm | ((rex & 1) << 3);
      } else {
        this.#readDisplacement(4);
      }
    } else if (vsib) {
      return false;
    } else if (rm === 5 && mod === 0) {
      this.#readDisplacement(4);
      this.ripRelative = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    } else {
      this.#base = rm | ((rex & 1) << 3);
    }
    if (mod === 1 || mod === 2) {
      this.#readDisplacement(mod === 1 ? 1 : 4);
    }
    if (this.#base === 4 || this.#base === 5) {
      this.#segment = L.SEG_SS;
    }
    return true;
  }

  #readDisplacement(bytes: 1 | 4): void {
    this.displacementBytes = bytes;
    this.#displacement = bytes === 1 ? this.#reader.i8() : this.#reader.i32();
  }

  #fill(handler: number): number {
    const { view } = this.#writer;
    const uop = this.#writer.add(handler, this.#reader.start);
    view.setUint16(uop + UOP_BASE, this.#base === undefined ? L.ZERO : L.GPR + this.#base * 8, true);
    view.setUint16(uop + UOP_INDEX, this.#index === undefined ? L.ZERO : L.GPR + this.#index * 8, true);
    view.setUint8(uop + UOP_SCALE, this.#scale);
    view.setInt32(uop + UOP_DISPLACEMENT, this.#displacement, true);
    view.setUint8(uop + UOP_SEGMENT, this.#segment);
    return uop;
  }

  #emit({ addressSize, check, plain }: AddressRequest, mode: number): void {
    const { view, special } = this.#writer;
    const segment = this.#segment;
    const indexed = this.#index !== undefined;
    const withBase = segment === L.SEG_FS || segment === L.SEG_GS;
    if ((mode & L.MODE_CODE_MASK) === L.MODE_CODE64) {
      if (this.ripRelative) {
        this.#fill(special[addressSize === 4 ? 'address-rip32' : 'address-rip']);
      } else if (addressSize === 4) {
        this.#fill(indexed ? special['address32-indexed'] : special.address32);
      } else {
        this.#fill(indexed ? special['address64-indexed'] : special.address64);
      }
      if (withBase && !plain) {
        this.#addBase(segment);
      }
      return;
    }
    const mask = addressSize === 4 ? 0xffffffffn : 0xffffn;
    const writesCode = segment === L.SEG_CS && (check & CHECK_WRITE) !== 0;
    const flat = (mode & L.MODE_FLAT) !== 0 && !withBase && !writesCode;
    if (plain || flat) {
      if (addressSize === 4) {
        this.#fill(indexed ? special['address32-indexed'] : special.address32);
      } else {
        view.setBigUint64(this.#fill(special['address-masked']) + UOP_IMMEDIATE, mask, true);
      }
      return;
    }
    const uop = this.#fill(special['address-segmented']);
    view.setBigUint64(uop + UOP_IMMEDIATE, mask, true);
    view.setUint16(uop + UOP_CHECK, check, true);
  }

  #addBase(segment: number): void {
    const uop = this.#writer.add(this.#writer.special['address-add-base'], this.#reader.start);
    this.#writer.view.setUint8(uop + UOP_SEGMENT, segment);
  }
}
