import { CODE_MAP } from '../../memory/arena.ts';
import * as L from '../x86/layout.ts';
import { GuestFault, type LinearMemory, type Privilege } from '../x86/linear-memory.ts';
import { DTLB_ADDEND, DTLB_ENTRIES, DTLB_ENTRY_SIZE, DTLB_PHYSICAL, DTLB_WRITE_TAG } from './micro-op.ts';
import type { Translation } from './translation.ts';

/** Physical accesses of devices, for linear addresses that lead to one. */
export interface DeviceAccess {
  readMmio(physical: number, size: 1 | 2 | 4): number;
  writeMmio(physical: number, size: 1 | 2 | 4, value: number): void;
  /** Decoded code at a physical address was overwritten. */
  codeWritten(physical: number, size: number): void;
}

/** The interpreter's function for addresses that the TLB does not know. */
export interface Translate {
  /** Translates SCRATCH[0] for reading (0) or writing (1): see RuntimeImports.walk. */
  translate(record: number, write: number): number;
}

/** Memory by linear address for the TypeScript parts of one processor, through its TLB. */
export class LinearAccess implements LinearMemory {
  readonly #translation: Translation;
  readonly #devices: DeviceAccess;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #record: number;
  readonly #generated: Translate;
  #physical = 0;
  #plain = false;
  /** Bytes of the present access, for watchpoints. */
  #size = 1;

  constructor(
    arena: ArrayBufferLike,
    record: number,
    translation: Translation,
    devices: DeviceAccess,
    generated: Translate,
  ) {
    this.#view = new DataView(arena);
    this.#words = new Int32Array(arena);
    this.#record = record;
    this.#translation = translation;
    this.#devices = devices;
    this.#generated = generated;
  }

  /**
   * Arena address for one linear address, or 0 for devices with #physical set. #plain tells that a write needs no look
   * at decoded code. Throws GuestFault.
   */
  #host(low: number, high: number, write: boolean, privilege: Privilege): number {
    const words = this.#words;
    const user = (words[(this.#record + L.MODE) >> 2] as number) & L.MODE_CPL_MASK;
    if (privilege === 'supervisor' && user === L.MODE_CPL_MASK) {
      return this.#translation.asSupervisor(() => this.#host(low, high, write, 'current'));
    }
    const table = words[(this.#record + L.DTLB) >> 2] as number;
    const entry = (table + ((low >>> 12) & (DTLB_ENTRIES - 1)) * DTLB_ENTRY_SIZE) >> 2;
    const tag = entry + (write ? DTLB_WRITE_TAG >> 2 : 0);
    if (words[tag] === (low & ~0xfff) && words[tag + 1] === high) {
      this.#plain = true;
      this.#physical = ((words[entry + (DTLB_PHYSICAL >> 2)] as number) | (low & 0xfff)) >>> 0;
      return (low + (words[entry + (DTLB_ADDEND >> 2)] as number)) >>> 0;
    }
    this.#plain = false;
    words[(this.#record + L.ACCESS_SIZE) >> 2] = this.#size;
    words[(this.#record + L.SCRATCH) >> 2] = low;
    words[(this.#record + L.SCRATCH + 4) >> 2] = high;
    const host = this.#generated.translate(this.#record, write ? 1 : 0);
    if (host === -1) {
      throw this.takeFault();
    }
    this.#physical = (words[(this.#record + L.SCRATCH + 16) >> 2] as number) >>> 0;
    return host >>> 0;
  }

  /** Clears FAULT and returns it as an exception object. */
  takeFault(): GuestFault {
    const words = this.#words;
    const fault = words[(this.#record + L.FAULT) >> 2] as number;
    words[(this.#record + L.FAULT) >> 2] = 0;
    const vector = fault & 0xff;
    const code = fault & L.FAULT_HAS_ERROR ? (words[(this.#record + L.FAULT_ERROR) >> 2] as number) : undefined;
    const address = vector === L.VECTOR_PF ? this.#view.getBigUint64(this.#record + L.FAULT_ADDRESS, true) : undefined;
    return new GuestFault(vector, code, address);
  }

  #wrap(address: bigint): bigint {
    const mode = (this.#words[(this.#record + L.MODE) >> 2] as number) & L.MODE_LONG;
    return mode ? BigInt.asUintN(64, address) : address & 0xffffffffn;
  }

  #read(address: bigint, size: 1 | 2 | 4, privilege: Privilege): number {
    const low = Number(address & 0xffffffffn) | 0;
    if ((low & 0xfff) + size > 4096) {
      let value = 0;
      for (let i = size - 1; i >= 0; i--) {
        value = (value << 8) | this.#read(this.#wrap(address + BigInt(i)), 1, privilege);
      }
      return value >>> 0;
    }
    this.#size = size;
    const host = this.#host(low, Number((address >> 32n) & 0xffffffffn) | 0, false, privilege);
    if (host === 0) {
      return this.#devices.readMmio(this.#physical, size);
    }
    return size === 1
      ? this.#view.getUint8(host)
      : size === 2
        ? this.#view.getUint16(host, true)
        : this.#view.getUint32(host, true);
  }

  #write(address: bigint, size: 1 | 2 | 4, value: number, privilege: Privilege): void {
    const low = Number(address & 0xffffffffn) | 0;
    if ((low & 0xfff) + size > 4096) {
      this.checkWrite(address, size, privilege);
      for (let i = 0; i < size; i++) {
        this.#write(this.#wrap(address + BigInt(i)), 1, (value >>> (i * 8)) & 0xff, privilege);
      }
      return;
    }
    this.#size = size;
    const host = this.#host(low, Number((address >> 32n) & 0xffffffffn) | 0, true, privilege);
    if (host === 0) {
      this.#devices.writeMmio(this.#physical, size, value);
      return;
    }
    if (size === 1) {
      this.#view.setUint8(host, value);
    } else if (size === 2) {
      this.#view.setUint16(host, value, true);
    } else {
      this.#view.setUint32(host, value, true);
    }
    if (!this.#plain) {
      const map = (CODE_MAP >> 2) + (this.#physical >>> 12) * 2;
      if (this.#words[map] !== 0 || this.#words[map + 1] !== 0) {
        this.#devices.codeWritten(this.#physical, size);
      }
    }
  }

  read8(address: bigint, privilege: Privilege): number {
    return this.#read(address, 1, privilege);
  }
  read16(address: bigint, privilege: Privilege): number {
    return this.#read(address, 2, privilege);
  }
  read32(address: bigint, privilege: Privilege): number {
    return this.#read(address, 4, privilege);
  }
  read64(address: bigint, privilege: Privilege): bigint {
    const low = this.#read(address, 4, privilege);
    const high = this.#read(this.#wrap(address + 4n), 4, privilege);
    return (BigInt(high) << 32n) | BigInt(low);
  }
  write8(address: bigint, value: number, privilege: Privilege): void {
    this.#write(address, 1, value, privilege);
  }
  write16(address: bigint, value: number, privilege: Privilege): void {
    this.#write(address, 2, value, privilege);
  }
  write32(address: bigint, value: number, privilege: Privilege): void {
    this.#write(address, 4, value, privilege);
  }
  write64(address: bigint, value: bigint, privilege: Privilege): void {
    this.checkWrite(address, 8, privilege);
    this.#write(address, 4, Number(value & 0xffffffffn), privilege);
    this.#write(this.#wrap(address + 4n), 4, Number((value >> 32n) & 0xffffffffn), privilege);
  }

  checkWrite(address: bigint, length: number, privilege: Privilege): void {
    const at = (where: bigint) =>
      this.#host(Number(where & 0xffffffffn) | 0, Number((where >> 32n) & 0xffffffffn) | 0, true, privilege);
    at(address);
    if (Number(address & 0xfffn) + length > 4096) {
      at(this.#wrap(address + BigInt(length - 1)) & ~0xfffn);
    }
  }

  /**
   * Arena address of `length` bytes that lie in one page of plain memory, without decoded code when they are to be
   * written; 0 when they do not. Throws GuestFault like any access.
   */
  plainHost(address: bigint, length: number, write: boolean): number {
    const low = Number(address & 0xffffffffn) | 0;
    if ((low & 0xfff) + length > 4096) {
      return 0;
    }
    this.#size = length;
    const host = this.#host(low, Number((address >> 32n) & 0xffffffffn) | 0, write, 'current');
    if (host !== 0 && write && !this.#plain) {
      const map = (CODE_MAP >> 2) + (this.#physical >>> 12) * 2;
      if (this.#words[map] !== 0 || this.#words[map + 1] !== 0) {
        return 0;
      }
    }
    return host;
  }
}
