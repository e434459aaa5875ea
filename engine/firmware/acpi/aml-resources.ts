import { type Aml, buffer, bytes, u16, u32 } from './aml.ts';

/** Resource descriptors (ACPI 6.4, section 6.4). Lengths are in bytes or ports. */

/** Fixed I/O ports, decoded in 16 bits. */
export function ioPorts(base: number, length: number): Aml {
  return bytes(0x47, 0x01, u16(base), u16(base), 0x01, length);
}

/** An edge-triggered, active-high ISA interrupt. */
export function irq(number: number): Aml {
  return bytes(0x22, u16(1 << number));
}

/** An ISA DMA channel: 8 bits, not a bus master, compatibility timing. */
export function dmaChannel(channel: number): Aml {
  return bytes(0x2a, 1 << channel, 0x00);
}

export function memoryFixed(base: number, length: number, writable: boolean): Aml {
  return bytes(0x86, u16(9), writable ? 1 : 0, u32(base), u32(length));
}

/** The offset in {@link levelInterrupt} at which the first interrupt number stands. */
export const LEVEL_INTERRUPT_NUMBER = 5;

/** A consumed interrupt: level-triggered, active high, shared; the choices are global system interrupts. */
export function levelInterrupt(...choices: number[]): Aml {
  return bytes(0x89, u16(2 + choices.length * 4), 0x09, choices.length, ...choices.map(u32));
}

/** A consumed interrupt: edge-triggered, active high, not shared. */
export function edgeInterrupt(gsi: number): Aml {
  return bytes(0x89, u16(6), 0x03, 1, u32(gsi));
}

/** Ranges that a bridge passes on to its bus (6.4.3.5): minimum and maximum fixed, positive decode. */
const PRODUCED = 0x0c;

export function busNumbers(first: number, last: number): Aml {
  return bytes(0x88, u16(13), 0x02, PRODUCED, 0x00, u16(0), u16(first), u16(last), u16(0), u16(last - first + 1));
}

export function ioWindow(first: number, last: number): Aml {
  return bytes(0x88, u16(13), 0x01, PRODUCED, 0x03, u16(0), u16(first), u16(last), u16(0), u16(last - first + 1));
}

export function memoryWindow(first: number, last: number, cacheable: boolean): Aml {
  const flags = cacheable ? 0x03 : 0x01;
  return bytes(0x87, u16(23), 0x00, PRODUCED, flags, u32(0), u32(first), u32(last), u32(0), u32(last - first + 1));
}

export function resourceTemplate(...descriptors: Aml[]): Aml {
  return buffer(bytes(...descriptors, 0x79, 0x00));
}
