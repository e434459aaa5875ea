import type { AccessSize, PioHandler, PortBus } from './bus.ts';
import { type MappedRange, RangeMap } from './range-map.ts';

/** There are 65,536 byte-wide ports (SDM 1, 19.3). */
export const PORT_COUNT = 0x1_0000;

/**
 * The I/O ports of the machine. Lookup is one load from a table of all ports. An access that no single mapping covers
 * is split into bytes; ports that nobody owns read as ones and swallow writes.
 */
export class Ports extends RangeMap<PioHandler> implements PortBus {
  /** For every port, an index into `#slots`; 0 where nothing is mapped. */
  readonly #table = new Uint16Array(PORT_COUNT);
  readonly #slots: (MappedRange<PioHandler> | undefined)[] = [undefined];

  constructor() {
    super(PORT_COUNT);
  }

  /** Reads `size` bytes at `port`; the value is a uint32 below 2^(8 × size). */
  read(port: number, size: AccessSize): number {
    const range = this.#slots[this.#table[port] ?? 0];
    if (range !== undefined && port + size <= range.base + range.length) {
      const value = range.handler.readPort(port - range.base, size);
      return size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff;
    }
    if (size === 1) {
      return 0xff;
    }
    let value = 0;
    for (let i = size - 1; i >= 0; i--) {
      value = (value << 8) | this.read(port + i, 1);
    }
    return value >>> 0;
  }

  /** Writes the low `size` bytes of `value` to `port`. */
  write(port: number, size: AccessSize, value: number): void {
    const range = this.#slots[this.#table[port] ?? 0];
    if (range !== undefined && port + size <= range.base + range.length) {
      range.handler.writePort(
        port - range.base,
        size,
        size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff,
      );
    } else if (size !== 1) {
      for (let i = 0; i < size; i++) {
        this.write(port + i, 1, (value >>> (i * 8)) & 0xff);
      }
    }
  }

  protected override onChange(range: MappedRange<PioHandler>): void {
    if (range.active) {
      let slot = this.#slots.indexOf(undefined, 1);
      if (slot < 0) {
        slot = this.#slots.length;
      }
      this.#slots[slot] = range;
      this.#table.fill(slot, range.base, range.end);
    } else {
      this.#slots[this.#slots.indexOf(range)] = undefined;
      this.#table.fill(0, range.base, range.end);
    }
  }
}
