import * as L from './layout.ts';

/** Bits of MXCSR (SDM 1, 10.2.3): exceptions, and from bit 7 their masks in the same order. */
export const MXCSR_IE = 1 << 0;
export const MXCSR_DE = 1 << 1;
export const MXCSR_ZE = 1 << 2;
export const MXCSR_OE = 1 << 3;
export const MXCSR_UE = 1 << 4;
export const MXCSR_PE = 1 << 5;
export const MXCSR_EXCEPTIONS = 0x3f;
/** Exceptions found before the operation. */
export const MXCSR_PRE_EXCEPTIONS = MXCSR_IE | MXCSR_DE | MXCSR_ZE;
/** Denormal operands count as zero. */
export const MXCSR_DAZ = 1 << 6;
export const MXCSR_MASK_SHIFT = 7;
export const MXCSR_OM = 1 << 10;
export const MXCSR_UM = 1 << 11;
export const MXCSR_MASKS = 0x3f << MXCSR_MASK_SHIFT;
/** 0 to nearest, 1 down, 2 up, 3 towards zero. */
export const MXCSR_RC_SHIFT = 13;
export const MXCSR_RC = 3 << MXCSR_RC_SHIFT;
/** Tiny results become zero while underflow is masked. */
export const MXCSR_FTZ = 1 << 15;

/**
 * In the common mode all exceptions are masked, rounding is to nearest, denormals are honoured, and an inexact result
 * has been seen before: then only rare operands and results need more than the plain operation.
 */
export const MXCSR_COMMON_MASK = ~(MXCSR_EXCEPTIONS & ~MXCSR_PE);
export const MXCSR_COMMON = MXCSR_MASKS | MXCSR_PE;

/** i32: exceptions of the operation under way. */
export const SSE_RAISED = L.TEMP + 0x200;
/** i32: −1 while the exceptions of several lanes are collected, to be dealt with at the end; else 0. */
export const SSE_DEFERRED = L.TEMP + 0x204;

/** Operations on lanes, as the helper functions number them. */
export const LANE_ADD = 0;
export const LANE_SUBTRACT = 1;
export const LANE_MULTIPLY = 2;
export const LANE_DIVIDE = 3;
export const LANE_SQUARE_ROOT = 4;
export const LANE_MINIMUM = 5;
export const LANE_MAXIMUM = 6;
/** Subtracts in even lanes, adds in odd ones. Packed only. */
export const LANE_SUBTRACT_ADD = 7;
/** Plus the immediate of ROUNDxx: rounding control in bits 1:0, bit 2: MXCSR's instead, bit 3: no inexact exception. */
export const LANE_ROUND = 16;
/** Plus the predicate 0–31 of CMPxx: all ones or zero. */
export const LANE_COMPARE = 32;

/** Fused multiplication and addition: the product is negated, the addend is, the addend of odd lanes is instead. */
export const FUSED_NEGATE = 1;
export const FUSED_SUBTRACT = 2;
export const FUSED_ALTERNATE = 4;

/** Outcomes of comparisons, as bits. */
export const LESS = 1;
export const EQUAL = 2;
export const GREATER = 4;
export const UNORDERED = 8;
/**
 * The outcomes for which the predicates 0–15 of CMPxx hold, a nibble each (SDM 2A, table 3-1). Predicates 16–31 are the
 * same, but find quiet NaNs invalid where those do not, and the other way round.
 */
export const ACCEPTED_OUTCOMES = [
  EQUAL,
  LESS,
  LESS | EQUAL,
  UNORDERED,
  LESS | GREATER | UNORDERED,
  EQUAL | GREATER | UNORDERED,
  GREATER | UNORDERED,
  LESS | EQUAL | GREATER,
  EQUAL | UNORDERED,
  LESS | UNORDERED,
  LESS | EQUAL | UNORDERED,
  0,
  LESS | GREATER,
  EQUAL | GREATER,
  GREATER,
  LESS | EQUAL | GREATER | UNORDERED,
].reduce((word, set, predicate) => word | (BigInt(set) << BigInt(4 * predicate)), 0n);
