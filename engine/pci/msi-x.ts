import type { AccessSize, MmioHandler } from '../bus/bus.ts';
import type { StateReader } from '../devices/state.ts';
import type { MsiSink } from '../irq/line.ts';
import type { PciFunction } from './pci-function.ts';

const CAPABILITY_MSI_X = 0x11;
const CAPABILITY_BYTES = 12;
/** Message control word (PCI Local Bus 3.0, section 6.8.2.3). */
const CONTROL_FUNCTION_MASK = 0x40;
const CONTROL_ENABLE = 0x80;
/** Words of a table entry. */
const ENTRY_WORDS = 4;
const ENTRY_ADDRESS_HIGH = 1;
const ENTRY_DATA = 2;
const ENTRY_CONTROL = 3;
const ENTRY_MASKED = 1;
/** The pending bit array stands behind the table in the same window. */
const PENDING_OFFSET = 0x800;

/** Bytes of the window that holds table and pending bits. */
export const MSI_X_WINDOW_BYTES = 0x1000;
export const MAX_MSI_X_VECTORS = PENDING_OFFSET / 16;

export type MsiXState = { table: Uint8Array; pending: Uint8Array };

/**
 * MSI-X of one PCI function (PCI Local Bus 3.0, section 6.8.2): a table of messages in a memory window of its own, which
 * the function places as a BAR with {@link mmio}; `attach` then adds the capability. Messages of masked vectors wait in
 * the pending bits.
 */
export class MsiX {
  readonly vectors: number;
  readonly mmio: MmioHandler;
  readonly #sink: MsiSink;
  readonly #table: Uint32Array;
  readonly #pending: Uint8Array;
  #pci: PciFunction | undefined;
  #capability = 0;

  /** `vectors` from 1 to {@link MAX_MSI_X_VECTORS}. */
  constructor(vectors: number, sink: MsiSink) {
    this.vectors = vectors;
    this.#sink = sink;
    this.#table = new Uint32Array(vectors * ENTRY_WORDS);
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    this.mmio = {
      readMmio: (offset, size) => this.#read(offset, size),
      writeMmio: (offset, size, value) => this.#write(offset, size, value),
    };
    this.reset();
  }

  /** Adds the capability to the function whose BAR `bar` is {@link mmio}. */
  attach(pci: PciFunction, bar: number): void {
    this.#pci = pci;
    const at = pci.addCapability(CAPABILITY_MSI_X, CAPABILITY_BYTES);
    this.#capability = at;
    pci.setU16(at + 2, this.vectors - 1);
    pci.writable[at + 3] = CONTROL_ENABLE | CONTROL_FUNCTION_MASK;
    pci.setU32(at + 4, bar);
    pci.setU32(at + 8, PENDING_OFFSET | bar);
  }

  get #control(): number {
    return this.#pci?.config[this.#capability + 3] ?? 0;
  }

  /** The guest uses MSI-X instead of the interrupt pin. */
  get enabled(): boolean {
    return (this.#control & CONTROL_ENABLE) !== 0;
  }

  /** Sends the message of `vector`, or keeps it pending while it is masked. Vectors that do not exist send nothing. */
  trigger(vector: number): void {
    if (vector >= this.vectors || !this.enabled) {
      return;
    }
    const entry = vector * ENTRY_WORDS;
    const masked = ((this.#table[entry + ENTRY_CONTROL] ?? 0) & ENTRY_MASKED) !== 0;
    if (masked || (this.#control & CONTROL_FUNCTION_MASK) !== 0 || this.#pci?.busMaster !== true) {
      const byte = vector >> 3;
      this.#pending[byte] = (this.#pending[byte] ?? 0) | (1 << (vector & 7));
    } else if (this.#table[entry + ENTRY_ADDRESS_HIGH] === 0) {
      this.#sink.send(this.#table[entry] ?? 0, this.#table[entry + ENTRY_DATA] ?? 0);
    }
  }

  /** After a write to the configuration space: what waited may go now. */
  configWritten(): void {
    if (!this.enabled || (this.#control & CONTROL_FUNCTION_MASK) !== 0) {
      return;
    }
    for (let byte = 0; byte < this.#pending.length; byte++) {
      if (this.#pending[byte] !== 0) {
        for (let bit = 0; bit < 8; bit++) {
          this.#release(byte * 8 + bit);
        }
      }
    }
  }

  #release(vector: number): void {
    const byte = vector >> 3;
    const bit = 1 << (vector & 7);
    if (((this.#pending[byte] ?? 0) & bit) !== 0) {
      this.#pending[byte] = (this.#pending[byte] ?? 0) & ~bit;
      this.trigger(vector);
    }
  }

  #read(offset: number, size: AccessSize): number {
    const word =
      offset >= PENDING_OFFSET ? this.#pendingWord((offset - PENDING_OFFSET) >> 2) : (this.#table[offset >> 2] ?? 0);
    const value = word >>> ((offset & 3) * 8);
    return size === 4 ? value : value & (2 ** (size * 8) - 1);
  }

  #pendingWord(index: number): number {
    let value = 0;
    for (let i = 3; i >= 0; i--) {
      value = (value << 8) | (this.#pending[index * 4 + i] ?? 0);
    }
    return value >>> 0;
  }

  #write(offset: number, size: AccessSize, value: number): void {
    const index = offset >> 2;
    if (index >= this.#table.length) {
      return;
    }
    const shift = (offset & 3) * 8;
    const mask = size === 4 ? 0xffffffff : ((2 ** (size * 8) - 1) << shift) >>> 0;
    const word = (((this.#table[index] ?? 0) & ~mask) | ((value << shift) & mask)) >>> 0;
    if (index % ENTRY_WORDS === ENTRY_CONTROL) {
      this.#table[index] = word & ENTRY_MASKED;
      if ((word & ENTRY_MASKED) === 0 && this.enabled) {
        this.#release(index >> 2);
      }
    } else {
      this.#table[index] = index % ENTRY_WORDS === 0 ? (word & ~3) >>> 0 : word;
    }
  }

  reset(): void {
    this.#pending.fill(0);
    this.#table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.#table[vector * ENTRY_WORDS + ENTRY_CONTROL] = ENTRY_MASKED;
    }
  }

  save(): MsiXState {
    return { table: new Uint8Array(this.#table.buffer).slice(), pending: this.#pending.slice() };
  }

  /** Reads what `save` gave and checks it; the result applies it. The function's configuration is loaded apart. */
  load(reader: StateReader): () => void {
    const table = reader.bytes('table', this.#table.byteLength);
    const pending = reader.bytes('pending', this.#pending.length);
    return () => {
      new Uint8Array(this.#table.buffer).set(table);
      this.#pending.set(pending);
    };
  }
}
