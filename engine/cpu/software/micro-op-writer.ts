import * as L from '../x86/layout.ts';
import type { Interpreter, SpecialHandler } from './interpreter.ts';
import { UOP_HANDLER, UOP_IMMEDIATE, UOP_IP, UOP_LENGTH, UOP_SIZE } from './micro-op.ts';

/** Writes micro-operations into the arena, one behind the other. */
export class MicroOpWriter {
  readonly view: DataView;
  readonly special: Readonly<Record<SpecialHandler, number>>;
  readonly #words: Int32Array;
  /** Arena address of the next micro-operation. */
  out = 0;

  constructor(arena: ArrayBufferLike, interpreter: Interpreter) {
    this.view = new DataView(arena);
    this.#words = new Int32Array(arena);
    this.special = interpreter.special;
  }

  /** Clears the next micro-operation, sets its handler and page offset, and returns its address. */
  add(handler: number, ip: number): number {
    const { view } = this;
    const address = this.out;
    const words = this.#words;
    for (let i = address >> 2; i < (address + UOP_SIZE) >> 2; i++) {
      words[i] = 0;
    }
    view.setUint16(address + UOP_HANDLER, handler, true);
    view.setUint16(address + UOP_IP, ip, true);
    this.out = address + UOP_SIZE;
    return address;
  }

  /** Copies the next micro-operation from `template`, sets its page offset, and returns its address. */
  copy(template: Int32Array, ip: number): number {
    const address = this.out;
    const words = this.#words;
    for (let i = 0; i < UOP_SIZE / 4; i++) {
      words[(address >> 2) + i] = template[i] as number;
    }
    this.view.setUint16(address + UOP_IP, ip, true);
    this.out = address + UOP_SIZE;
    return address;
  }

  /** Sets the length in all micro-operations of an instruction. */
  setLength(from: number, length: number): void {
    for (let uop = from; uop < this.out; uop += UOP_SIZE) {
      this.view.setUint8(uop + UOP_LENGTH, length);
    }
  }

  /** Makes room in front of an instruction's micro-operations for the check of the page behind. */
  insertStraddleCheck(at: number, ip: number): void {
    const end = this.out;
    new Uint8Array(this.view.buffer).copyWithin(at + UOP_SIZE, at, end);
    this.out = at;
    this.add(this.special.straddle, ip);
    this.out = end + UOP_SIZE;
  }

  /** An instruction that raises an exception and does nothing else. */
  raise(ip: number, vector: number, errorCode?: number): void {
    const uop = this.add(this.special.raise, ip);
    const flags = errorCode === undefined ? 0 : L.FAULT_HAS_ERROR;
    this.view.setInt32(uop + UOP_IMMEDIATE, L.FAULT_PENDING | flags | vector, true);
    this.view.setInt32(uop + UOP_IMMEDIATE + 4, errorCode ?? 0, true);
  }
}
