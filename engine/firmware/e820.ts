/** Kinds of memory as the firmware interface INT 15h, E820h numbers them (ACPI 6.4, table 15.6). */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

export interface MemoryRange {
  readonly base: number;
  readonly length: number;
  readonly type: number;
}

/** Packed entries {base, length, type}, little endian, 20 bytes each. */
export function encodeE820(ranges: readonly MemoryRange[]): Uint8Array {
  const bytes = new Uint8Array(ranges.length * 20);
  const view = new DataView(bytes.buffer);
  for (const [index, { base, length, type }] of ranges.entries()) {
    view.setBigUint64(index * 20, BigInt(base), true);
    view.setBigUint64(index * 20 + 8, BigInt(length), true);
    view.setUint32(index * 20 + 16, type, true);
  }
  return bytes;
}

/** What firmware is told: where RAM is. It adds its own reservations. All RAM lies below the PCI windows. */
export function firmwareE820(memoryBytes: number): MemoryRange[] {
  return [{ base: 0, length: memoryBytes, type: E820_RAM }];
}
