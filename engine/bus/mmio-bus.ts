import type { AccessSize, MmioBus, MmioHandler } from './bus.ts';
import { type MappedRange, RangeMap } from './range-map.ts';

/**
 * The memory-mapped windows of the machine's devices (RAM and ROM are not on it: the CPU reaches those directly).
 * An access that no single mapping covers is split into bytes; addresses that nobody owns read as ones and swallow
 * writes.
 */
export class MmioWindows extends RangeMap<MmioHandler> implements MmioBus {
  /** The window hit last: drivers poll the same registers over and over. */
  #last: MappedRange<MmioHandler> | undefined;

  constructor() {
    super(2 ** 52); // MAXPHYADDR never exceeds 52 bits (SDM 3A, 4.1.4)
  }

  /** Reads `size` bytes at guest-physical `address`, little endian; the value is a uint32 below 2^(8 × size). */
  read(address: number, size: AccessSize): number {
    const range = this.#lookup(address);
    if (range !== undefined && address + size <= range.base + range.length) {
      const value = range.handler.readMmio(address - range.base, size);
      return size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff;
    }
    if (size === 1) {
      return 0xff;
    }
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = (value << 8) | this.read(address + i, 1);
    }
    return value >>> 0;
  }

  /** Writes the low `size` bytes of `value` at guest-physical `address`, little endian. */
  write(address: number, size: AccessSize, value: number): void {
    const range = this.#lookup(address);
    if (range !== undefined && address + size <= range.base + range.length) {
      range.handler.writeMmio(
        address - range.base,
        size,
        size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff,
      );
    } else if (size !== 1) {
      for (let i = 0; i < size; i++) {
        this.write(address + i, 1, (value >>> (i * 8)) & 0xff);
      }
    }
  }

  #lookup(address: number): MappedRange<MmioHandler> | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.base && address < last.base + last.length) {
      return last;
    }
    const found = this.find(address);
    if (found !== undefined) {
      this.#last = found;
    }
    return found;
  }

  protected override onChange(): void {
    this.#last = undefined;
  }
}
