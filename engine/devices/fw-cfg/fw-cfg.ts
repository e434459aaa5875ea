import { type Log, limitedLog, silentLog } from '../../base/log.ts';
import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { Device } from '../device.ts';
import { StateReader } from '../state.ts';
import type { FwCfgItems } from './fw-cfg-items.ts';

/** Twelve ports: selector (word at +0), data (byte at +1), DMA address (big-endian quadword at +4). */
export const FW_CFG_PORT = 0x510;
export const FW_CFG_PORT_COUNT = 12;
const DATA = 1;
const DMA_ADDRESS = 4;

/** Control word of a DMA descriptor. */
export const FW_CFG_DMA_ERROR = 1 << 0;
export const FW_CFG_DMA_READ = 1 << 1;
export const FW_CFG_DMA_SKIP = 1 << 2;
export const FW_CFG_DMA_SELECT = 1 << 3;
export const FW_CFG_DMA_WRITE = 1 << 4;

/** What the DMA address register reads as: "QEMU CFG". */
const DMA_SIGNATURE = Uint8Array.from(Buffer.from('QEMU CFG', 'latin1'));
const ZEROS = new Uint8Array(0x1_0000);

export interface FwCfgWiring {
  readonly memory: GuestMemory;
  readonly log?: Log;
}

export type FwCfgState = { selector: number; offset: number; dmaHigh: number };

/**
 * The firmware configuration device. Firmware selects an item and reads it byte by byte, or has it copied into memory
 * by a descriptor {control, length, address}, all big endian. Reading past the end of an item gives zeros; items
 * cannot be written.
 */
export class FwCfg implements Device<FwCfgState> {
  readonly id: string;
  readonly ports: PioHandler;
  readonly items: FwCfgItems;
  readonly #memory: GuestMemory;
  readonly #log: Log;
  readonly #descriptor = new Uint8Array(16);
  readonly #descriptorView = new DataView(this.#descriptor.buffer);
  #selector = 0;
  #offset = 0;
  /** Upper half of the descriptor's address, as written; cleared by the write of the lower half. */
  #dmaHigh = 0;

  constructor(id: string, wiring: FwCfgWiring, items: FwCfgItems) {
    this.id = id;
    this.items = items;
    this.#memory = wiring.memory;
    this.#log = limitedLog(wiring.log ?? silentLog, 10);
    this.ports = {
      readPort: (offset, size) => this.#read(offset, size),
      writePort: (offset, size, value) => this.#write(offset, size, value),
    };
  }

  reset(): void {
    this.#selector = 0;
    this.#offset = 0;
    this.#dmaHigh = 0;
  }

  save(): FwCfgState {
    return { selector: this.#selector, offset: this.#offset, dmaHigh: this.#dmaHigh };
  }

  load(state: FwCfgState): void {
    const reader = new StateReader(this.id, state);
    const selector = reader.u16('selector');
    const offset = reader.int('offset', 0, Number.MAX_SAFE_INTEGER);
    const dmaHigh = reader.u32('dmaHigh');
    this.#selector = selector;
    this.#offset = offset;
    this.#dmaHigh = dmaHigh;
  }

  describe(): string {
    return `selector 0x${this.#selector.toString(16)} at ${this.#offset}; files: ${this.items.fileNames.join(', ')}`;
  }

  dispose(): void {}

  #read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = at === DATA ? this.#readData() : at >= DMA_ADDRESS ? (DMA_SIGNATURE[at - DMA_ADDRESS] ?? 0) : 0;
      value |= byte << (i * 8);
    }
    return value >>> 0;
  }

  #write(offset: number, size: AccessSize, value: number): void {
    if (offset === 0 && size === 2) {
      this.#selector = value & 0xffff;
      this.#offset = 0;
    } else if (size === 4 && (offset === DMA_ADDRESS || offset === DMA_ADDRESS + 4)) {
      const swapped =
        ((value & 0xff) * 0x1000000 + ((value & 0xff00) << 8) + ((value >>> 8) & 0xff00) + (value >>> 24)) >>> 0;
      if (offset === DMA_ADDRESS) {
        this.#dmaHigh = swapped;
      } else {
        const address = this.#dmaHigh * 0x1_0000_0000 + swapped;
        this.#dmaHigh = 0;
        this.#transfer(address);
      }
    }
  }

  #readData(): number {
    const byte = this.items.item(this.#selector)?.[this.#offset] ?? 0;
    this.#offset++;
    return byte;
  }

  #transfer(address: number): void {
    // An address beyond 2^53 would lose bits: it is beyond any memory, so nothing would be read or answered anyway.
    if (!Number.isSafeInteger(address)) {
      return;
    }
    this.#memory.read(address, this.#descriptor);
    const view = this.#descriptorView;
    let control = view.getUint32(0);
    const length = view.getUint32(4);
    const target = Number(view.getBigUint64(8));
    if ((control & FW_CFG_DMA_SELECT) !== 0) {
      this.#selector = control >>> 16;
      this.#offset = 0;
    }
    let failed = false;
    if ((control & FW_CFG_DMA_READ) !== 0) {
      failed = !Number.isSafeInteger(target + length);
      if (!failed) {
        this.#copyOut(target, length);
        this.#offset += length;
      }
    } else if ((control & FW_CFG_DMA_WRITE) !== 0) {
      this.#log.warn(`${this.id}: the guest tried to write item 0x${this.#selector.toString(16)}`);
      failed = true;
    } else if ((control & FW_CFG_DMA_SKIP) !== 0) {
      this.#offset += length;
    }
    control = failed ? FW_CFG_DMA_ERROR : 0;
    view.setUint32(0, control);
    this.#memory.write(address, this.#descriptor.subarray(0, 4));
  }

  /** The rest of the selected item, then zeros, but nothing beyond the memory there is. */
  #copyOut(target: number, length: number): void {
    const item = this.items.item(this.#selector);
    const left = item === undefined ? 0 : Math.max(0, item.length - this.#offset);
    const copied = Math.min(left, length);
    if (item !== undefined && copied > 0) {
      this.#memory.write(target, item.subarray(this.#offset, this.#offset + copied));
    }
    const end = Math.min(target + length, this.#memory.sizeBytes);
    for (let at = target + copied; at < end; at += ZEROS.length) {
      this.#memory.write(at, ZEROS.subarray(0, Math.min(ZEROS.length, end - at)));
    }
  }
}
