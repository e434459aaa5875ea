/**
 * Guest-physical memory as devices with DMA see it. Addresses are numbers below 2^53, multi-byte values little endian.
 * Reads outside RAM give all ones, writes outside RAM are dropped: a device with a bad address never throws.
 * Every write is seen by dirty tracking and discards translated code of the pages it touches.
 */
export interface GuestMemory {
  /** Bytes of RAM installed. */
  readonly sizeBytes: number;
  read(gpa: number, into: Uint8Array): void;
  write(gpa: number, from: Uint8Array): void;
  readU8(gpa: number): number;
  readU16(gpa: number): number;
  readU32(gpa: number): number;
  writeU8(gpa: number, value: number): void;
  writeU16(gpa: number, value: number): void;
  writeU32(gpa: number, value: number): void;
}
