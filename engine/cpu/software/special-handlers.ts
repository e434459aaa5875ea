/** Handlers that belong to no instruction. */
export const SPECIAL_HANDLERS = [
  /** The block has been compiled: its header tells where, and which handler stood here. The first: see `nest`. */
  'compiled',
  /** Address = base + displacement, 64 bits. */
  'address64',
  'address64-indexed',
  /** Address = immediate. */
  'address-absolute',
  /** Address = RIP_BASE + immediate. */
  'address-rip',
  /** The same, truncated to 32 bits. */
  'address-rip32',
  'address32',
  'address32-indexed',
  /** Address = (base + index + displacement) & immediate. */
  'address-masked',
  /** The same in a segment, with the limit check unless UOP_CHECK is 0. */
  'address-segmented',
  /** Adds a segment's base to the address computed before. */
  'address-add-base',
  /** The block goes on in another one: no instruction of its own. */
  'end',
  /** The code here has been overwritten: looks the block up again. */
  'stale',
  /** Raises the exception in the immediate (low: FAULT, high: error code). */
  'raise',
  /** Checks that the page behind is still the one of the immediate: an instruction straddles it. */
  'straddle',
] as const;

export type SpecialHandler = (typeof SPECIAL_HANDLERS)[number];
