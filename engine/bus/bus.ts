import type { Disposable } from '../base/disposable.ts';

/** Width of one bus access in bytes. Values are unsigned 32-bit numbers; addresses are numbers. */
export type AccessSize = 1 | 2 | 4;

/** A device's view of its ports: `offset` counts from the start of the mapping, values are uint32 masked to `size`. */
export interface PioHandler {
  readPort(offset: number, size: AccessSize): number;
  writePort(offset: number, size: AccessSize, value: number): void;
}

/** A device's view of its memory window: `offset` counts from the start of the mapping; little endian. */
export interface MmioHandler {
  readMmio(offset: number, size: AccessSize): number;
  writeMmio(offset: number, size: AccessSize, value: number): void;
}

/** A placed range. `move` re-bases it (for BARs); `dispose` removes it from the bus. */
export interface Mapping extends Disposable {
  readonly base: number;
  readonly length: number;
  move(base: number): void;
}

/**
 * A bus of disjoint ranges. Mapping over a range that another owner holds throws InvariantError when `exclusive`
 * (fixed addresses); BARs that a guest moves over something else lose against what was mapped earlier.
 */
export interface Bus<H> {
  map(base: number, length: number, handler: H, owner: string, options?: { guestPlaced?: boolean }): Mapping;
}

export type PortBus = Bus<PioHandler>;
export type MmioBus = Bus<MmioHandler>;
