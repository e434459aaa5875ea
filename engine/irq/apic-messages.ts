/** Delivery modes of the interrupt command register, of MSI data and of I/O APIC entries (SDM 3A, 11.6.1). */
export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST_PRIORITY = 1;
export const DELIVERY_SMI = 2;
export const DELIVERY_NMI = 4;
export const DELIVERY_INIT = 5;
export const DELIVERY_STARTUP = 6;
export const DELIVERY_EXTINT = 7;

/** Carries interrupt messages to the local APICs. Arguments are plain numbers so that sending allocates nothing. */
export interface ApicMessages {
  /**
   * @param destination APIC id or logical destination: 8 bits, or 32 bits from an x2APIC
   * @param logical     true: `destination` is a logical one
   * @param mode        one of the DELIVERY_ constants
   * @param level       the trigger mode: true for level-triggered, which makes the APIC broadcast the EOI
   */
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void;
}

/** Hears of EOIs of level-triggered interrupts: the I/O APIC. */
export interface EoiListener {
  endOfInterrupt(vector: number): void;
}
