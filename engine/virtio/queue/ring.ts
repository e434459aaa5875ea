import type { StateReader } from '../../devices/state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { ChainError, type DescriptorChain } from './descriptor-chain.ts';

/** Flags of a descriptor, the same in both formats (virtio 1.2, sections 2.7.5 and 2.8.13). */
export const DESC_F_NEXT = 1 << 0;
export const DESC_F_WRITE = 1 << 1;
export const DESC_F_INDIRECT = 1 << 2;
export const DESCRIPTOR_BYTES = 16;

/** Where a ring's three areas stand, guest-physical (virtio 1.2, section 2.6). */
export interface RingAreas {
  /** Descriptor table, or the packed ring itself. */
  readonly descriptors: number;
  /** Driver area: available ring, or driver event suppression. */
  readonly driver: number;
  /** Device area: used ring, or device event suppression. */
  readonly device: number;
}

export interface RingOptions {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly areas: RingAreas;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIndex: boolean;
}

export type RingState = { readonly [field: string]: number | boolean };

/** The device's side of one ring, in either format. What the driver writes there is never trusted. */
export interface Ring {
  /**
   * The next buffer that the driver made available, or undefined when there is none; the driver then notifies of the
   * next one. Throws {@link ChainError} when the ring holds nonsense.
   */
  pop(): DescriptorChain | undefined;
  /**
   * Gives buffers back, of each of which `written` bytes were written from its start. The driver sees all of them at
   * once or none.
   */
  push(chains: readonly DescriptorChain[], written: readonly number[]): void;
  /** True when the driver wants an interrupt for what was pushed since this was last asked. */
  takeInterrupt(): boolean;
  /** Counts a buffer that was popped before the state was saved. Throws {@link ChainError} when there are too many. */
  adopt(chain: DescriptorChain): void;
  save(): RingState;
  /** Reads what `save` gave; the result applies it. */
  load(reader: StateReader): () => void;
}

const fence = new Int32Array(new SharedArrayBuffer(4));

/**
 * Orders writes before it against reads after it, as the driver on another processor sees them: without it, both sides
 * of event suppression could miss each other.
 */
export function fullFence(): void {
  Atomics.add(fence, 0, 0);
}

/**
 * Whether moving an index from `before` to `now` has passed `event`: someone waits for the entry at `event`
 * (virtio 1.2, section 2.7.10). All are 16-bit indices that wrap.
 */
export function passedEvent(event: number, now: number, before: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}

/** A 64-bit little-endian address as a number. Throws {@link ChainError} beyond 2^53. */
export function readAddress(memory: GuestMemory, at: number): number {
  const high = memory.readU32(at + 4);
  if (high >= 0x200000) {
    throw new ChainError('a descriptor beyond all memory');
  }
  return high * 2 ** 32 + memory.readU32(at);
}
