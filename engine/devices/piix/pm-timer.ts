import type { Nanos } from '../../clock/clock.ts';

/** Frequency of the ACPI power management timer in Hz (ACPI 6.4, section 4.8.2.1). */
export const PM_TIMER_HZ = 3_579_545;

/** Whole ticks since power-on; exact up to 2^53 ns, where a plain product would lose bits. */
export function ticksAt(now: Nanos): number {
  const seconds = Math.floor(now / 1e9);
  return seconds * PM_TIMER_HZ + Math.floor(((now - seconds * 1e9) * PM_TIMER_HZ) / 1e9);
}

/** The first nanosecond at which `ticksAt` gives `ticks`. */
export function nanosOf(ticks: number): Nanos {
  const seconds = Math.floor(ticks / PM_TIMER_HZ);
  return seconds * 1e9 + Math.ceil(((ticks - seconds * PM_TIMER_HZ) * 1e9) / PM_TIMER_HZ);
}
