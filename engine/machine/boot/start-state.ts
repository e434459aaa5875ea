import type { ProtectedModeStart } from '../../cpu/cpu-backend.ts';

/**
 * How a directly booted kernel is entered: flat 32-bit protected mode, paging off, interrupts off (EFLAGS = 2), A20
 * open, on processor 0. The other processors wait for SIPI as after any reset.
 *
 * CS is {@link BOOT_CODE_SELECTOR}, DS = ES = FS = GS = SS is {@link BOOT_DATA_SELECTOR}, both with base 0 and limit
 * 4 GiB; the GDT that holds them is in memory. IDTR and TR are as after reset.
 */
export interface StartState extends Omit<ProtectedModeStart, 'codeSelector' | 'dataSelector'> {
  readonly mode: 'protected32';
  /** What was loaded, in a few words, for the log. */
  readonly description: string;
}

/** The selectors that the Linux 32-bit boot protocol asks for (Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"). */
export const BOOT_CODE_SELECTOR = 0x10;
export const BOOT_DATA_SELECTOR = 0x18;

/** Null, null, flat code (execute, read, accessed), flat data (read, write, accessed). */
export const BOOT_GDT = Uint8Array.of(
  ...new Array<number>(16).fill(0),
  ...[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0],
);
