import { DELIVERY_EXTINT } from './apic-messages.ts';

export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;
/** x2APIC register `n` is MSR 0x800 + n, where `n` is the memory-mapped offset divided by 16. */
export const MSR_X2APIC_FIRST = 0x800;
export const MSR_X2APIC_LAST = 0x83f;

/** IA32_APIC_BASE (SDM 3A, 11.4.4 and 11.12.1). */
export const BASE_BSP = 1 << 8;
export const BASE_X2APIC = 1 << 10;
export const BASE_ENABLE = 1 << 11;
export const BASE_DEFAULT_ADDRESS = 0xfee00000;

/** Registers by number: the offset in the page divided by 16 (SDM 3A, table 11-1). */
export const REG_ID = 0x02;
export const REG_VERSION = 0x03;
export const REG_TPR = 0x08;
export const REG_APR = 0x09;
export const REG_PPR = 0x0a;
export const REG_EOI = 0x0b;
export const REG_LDR = 0x0d;
export const REG_DFR = 0x0e;
export const REG_SVR = 0x0f;
export const REG_ISR = 0x10;
export const REG_TMR = 0x18;
export const REG_IRR = 0x20;
export const REG_ESR = 0x28;
export const REG_ICR_LOW = 0x30;
export const REG_ICR_HIGH = 0x31;
export const REG_LVT_TIMER = 0x32;
export const REG_LVT_ERROR = 0x37;
export const REG_INITIAL_COUNT = 0x38;
export const REG_CURRENT_COUNT = 0x39;
export const REG_DIVIDE = 0x3e;
export const REG_SELF_IPI = 0x3f;

/**
 * Version 0x14 with six LVT entries: timer, thermal, performance, LINT0, LINT1, error. Bit 24: software may keep EOIs from
 * being broadcast and use the I/O APIC's EOI register instead.
 */
export const VERSION = 0x01050014;
export const LVT_COUNT = 6;
export const LVT_TIMER = 0;
export const LVT_LINT0 = 3;
export const LVT_LINT1 = 4;
export const LVT_ERROR = 5;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_LEVEL = 1 << 15;
export const LVT_MASKED = 1 << 16;
/** Writable bits of each entry: vector, mask, and what the entry has of mode, polarity and trigger. */
export const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff] as const;
export const LVT_RESET = LVT_MASKED;
/** LINT0 of the bootstrap processor: ExtINT, unmasked, so that 8259 interrupts work before any firmware sets it up. */
export const LVT_LINT0_BSP = DELIVERY_EXTINT << 8;

export const SVR_ENABLE = 1 << 8;
export const SVR_SUPPRESS_EOI_BROADCAST = 1 << 12;
export const SVR_WRITABLE = 0x13ff;

export const ICR_LOGICAL = 1 << 11;
export const ICR_LEVEL_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
export const ICR_LOW_WRITABLE = 0x000ccfff;

export const ESR_SEND_ILLEGAL_VECTOR = 1 << 5;
export const ESR_RECEIVED_ILLEGAL_VECTOR = 1 << 6;
export const ESR_ILLEGAL_REGISTER = 1 << 7;

/** Registers that ignore writes. */
export function isReadOnly(register: number): boolean {
  switch (register) {
    case REG_VERSION:
    case REG_APR:
    case REG_PPR:
    case REG_CURRENT_COUNT:
      return true;
  }
  return register >= REG_ISR && register < REG_ESR;
}

/** Registers that RDMSR can read; the ICR, which is 64 bits wide there, aside. */
export function isX2apicReadable(register: number): boolean {
  switch (register) {
    case REG_ID:
    case REG_VERSION:
    case REG_TPR:
    case REG_PPR:
    case REG_LDR:
    case REG_SVR:
    case REG_ESR:
    case REG_INITIAL_COUNT:
    case REG_CURRENT_COUNT:
    case REG_DIVIDE:
      return true;
  }
  return (register >= REG_ISR && register < REG_ESR) || (register >= REG_LVT_TIMER && register <= REG_LVT_ERROR);
}

/** Bits of an x2APIC register that may be 1 in a write; 0 for read-only and absent registers, EOI and ESR. */
export function x2apicWritable(register: number): number {
  switch (register) {
    case REG_TPR:
      return 0xff;
    case REG_SVR:
      return SVR_WRITABLE;
    case REG_INITIAL_COUNT:
      return 0xffffffff;
    case REG_DIVIDE:
      return 0x0b;
    case REG_SELF_IPI:
      return 0xff;
  }
  if (register >= REG_LVT_TIMER && register <= REG_LVT_ERROR) {
    // Delivery status and remote IRR are read-only, and guests write back what they have read.
    return (LVT_WRITABLE[register - REG_LVT_TIMER] ?? 0) | (1 << 12) | LVT_REMOTE_IRR;
  }
  return 0;
}
