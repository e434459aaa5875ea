import * as L from '../layout.ts';

/** Status word bits (SDM 1, 8.1.3). TOP is kept apart, in FPU_TOP. */
export const STATUS_IE = 0x0001;
export const STATUS_DE = 0x0002;
export const STATUS_ZE = 0x0004;
export const STATUS_OE = 0x0008;
export const STATUS_UE = 0x0010;
export const STATUS_PE = 0x0020;
export const STATUS_SF = 0x0040;
export const STATUS_ES = 0x0080;
export const STATUS_C0 = 0x0100;
export const STATUS_C1 = 0x0200;
export const STATUS_C2 = 0x0400;
export const STATUS_TOP_SHIFT = 11;
export const STATUS_TOP = 0x3800;
export const STATUS_C3 = 0x4000;
export const STATUS_B = 0x8000;
export const STATUS_CONDITIONS = STATUS_C0 | STATUS_C1 | STATUS_C2 | STATUS_C3;
/** The six numeric exceptions, in the same places of the control word (masks) and the status word. */
export const EXCEPTIONS = 0x3f;
/** Exceptions found before the operation: when unmasked, no operand changes. */
export const PRE_EXCEPTIONS = STATUS_IE | STATUS_DE | STATUS_ZE;
/** Exceptions that, when unmasked, keep a number from being stored in memory. */
export const STORE_EXCEPTIONS = PRE_EXCEPTIONS | STATUS_OE | STATUS_UE;

/** Control word fields (SDM 1, 8.1.5): precision 0: 24, 2: 53, 3: 64 bits; rounding 0 nearest, 1 down, 2 up, 3 to zero. */
export const CONTROL_PRECISION = 0x0300;
export const CONTROL_ROUNDING = 0x0c00;
export const CONTROL_ROUNDING_SHIFT = 10;
export const CONTROL_INITIAL = 0x037f;
/** Bits of the control word that exist; bit 6 reads as 1. */
export const CONTROL_DEFINED = 0x1f3f;
export const CONTROL_ALWAYS = 0x0040;

/** Sign and exponent word of an extended real. */
export const SIGN = 0x8000;
export const EXPONENT_MAX = 0x7fff;
export const EXPONENT_BIAS = 16383;
export const INTEGER_BIT = 1n << 63n;
/** The default NaN, "real indefinite". */
export const INDEFINITE_SIGNIFICAND = 0xc000000000000000n;
export const INDEFINITE_EXPONENT = 0xffff;
/** In an operand's sign and exponent word: it was a denormal in a narrower format, and counts as one. */
export const WAS_DENORMAL = 0x10000;

/** MXCSR bits that exist: what FXSAVE stores as MXCSR_MASK. */
export const MXCSR_MASK = 0xffff;
export const MXCSR_INITIAL = 0x1f80;
/** Bytes of the XSAVE area: legacy region and header, and with the upper halves of the YMM registers behind them. */
export const XSAVE_SIZE = 576;
export const XSAVE_SIZE_AVX = XSAVE_SIZE + 256;

// Where the x87 functions leave their results, in the processor's record.
/** i64, i32: significand, and sign and exponent, of the result. */
export const RESULT = L.TEMP + 0x100;
export const RESULT_EXPONENT = L.TEMP + 0x108;
/** i32: exceptions (and SF, C1 and condition codes) of the operation under way, in the places of the status word. */
export const RAISED = L.TEMP + 0x10c;
/** i64: second results (remainders, an integer). */
export const SECOND = L.TEMP + 0x110;
/** Room for an image of the state on its way to or from memory that cannot be reached in one piece: 1024 bytes. */
export const STAGING = L.TEMP + 0x800;
