/**
 * An exception raised while TypeScript carries out part of an instruction. Thrown and caught inside the processor only:
 * the state is as before the instruction, unless the manual says otherwise (task switches).
 */
export class GuestFault {
  readonly vector: number;
  /** Undefined for exceptions without an error code. */
  readonly errorCode: number | undefined;
  /** The linear address, for page faults. */
  readonly address: bigint | undefined;

  constructor(vector: number, errorCode?: number, address?: bigint) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.address = address;
  }
}

/** How an access is checked: as the current privilege level, or as the implicit supervisor accesses to tables. */
export type Privilege = 'current' | 'supervisor';

/**
 * Memory by linear address, with paging, for the parts of the processor written in TypeScript. Addresses are 64-bit
 * unsigned BigInts (32-bit ones outside long mode). Throws GuestFault with #PF (and #GP for non-canonical addresses).
 * Accesses may cross pages; both pages are checked before anything is written.
 */
export interface LinearMemory {
  read8(address: bigint, privilege: Privilege): number;
  read16(address: bigint, privilege: Privilege): number;
  read32(address: bigint, privilege: Privilege): number;
  read64(address: bigint, privilege: Privilege): bigint;
  write8(address: bigint, value: number, privilege: Privilege): void;
  write16(address: bigint, value: number, privilege: Privilege): void;
  write32(address: bigint, value: number, privilege: Privilege): void;
  write64(address: bigint, value: bigint, privilege: Privilege): void;
  /** Throws as a write of `length` bytes (up to 4096) would, without writing. */
  checkWrite(address: bigint, length: number, privilege: Privilege): void;
}
