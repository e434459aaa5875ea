/** Every fixed address, port and interrupt of the PC (i440FX/PIIX3), as guests know them. */

/** Guest-physical memory. */
export const CONVENTIONAL_MEMORY_END = 0xa0000;
/** Planar, text and CGA windows of the display adapter. */
export const VGA_WINDOW = { base: 0xa0000, length: 0x20000 };
/**
 * Ports that only remember what is written to them, so that writes may come late: POST codes, and the index registers of
 * the display adapter. Writes of two bytes there, index and value, are another matter.
 */
export const LATE_PORTS = [0x80, 0x3b4, 0x3c4, 0x3ce, 0x3d4];
/** Option ROMs and firmware; RAM or ROM as the host bridge's PAM registers say. */
export const SHADOW_AREA = { base: 0xc0000, length: 0x40000 };
/** The last 128 KiB of the firmware appear here besides their place below 4 GiB. */
export const BIOS_LOW = { base: 0xe0000, length: 0x20000 };
export const HIGH_MEMORY = 0x100000;
export const IO_APIC = { base: 0xfec00000, length: 0x1000 };
export const HPET = { base: 0xfed00000, length: 0x400 };
export const LOCAL_APIC = { base: 0xfee00000, length: 0x1000 };

/** I/O ports: base and count. */
export const PORTS = {
  dmaFirst: [0x00, 16],
  picMaster: [0x20, 2],
  pit: [0x40, 4],
  keyboardData: [0x60, 1],
  systemControlB: [0x61, 1],
  keyboardCommand: [0x64, 1],
  rtc: [0x70, 2],
  dmaPages: [0x80, 16],
  systemControlA: [0x92, 1],
  picSlave: [0xa0, 2],
  apm: [0xb2, 2],
  dmaSecond: [0xc0, 32],
  secondaryIde: [0x170, 8],
  primaryIde: [0x1f0, 8],
  com2: [0x2f8, 8],
  secondaryIdeControl: [0x376, 1],
  floppy: [0x3f0, 6],
  primaryIdeControl: [0x3f6, 1],
  floppyInput: [0x3f7, 1],
  com1: [0x3f8, 8],
  elcr: [0x4d0, 2],
} as const satisfies Readonly<Record<string, readonly [number, number]>>;

/** ISA interrupts. */
export const IRQ = {
  timer: 0,
  keyboard: 1,
  com2: 3,
  com1: 4,
  floppy: 6,
  rtc: 8,
  sci: 9,
  mouse: 12,
  primaryIde: 14,
  secondaryIde: 15,
} as const;

export const FLOPPY_DMA_CHANNEL = 2;

/** PCI slots and functions on bus 0. */
export const PCI_SLOTS = {
  hostBridge: [0, 0],
  isaBridge: [1, 0],
  ide: [1, 1],
  powerManagement: [1, 3],
  vga: [2, 0],
  network: [3, 0],
  scsi: [4, 0],
  entropy: [5, 0],
  balloon: [6, 0],
  virtioKeyboard: [13, 0],
  virtioTablet: [14, 0],
  virtioMouse: [15, 0],
  console: [10, 0],
  sound: [11, 0],
  /** A function for each. */
  shares: [7, 0],
  vsock: [8, 0],
  /** The first of the virtio disks; the others follow. */
  virtioDisks: [16, 0],
} as const;

/** What a microVM has in other places. */
export const MICROVM = {
  /** Sleep and reset registers. */
  powerPort: 0x600,
  /** Interrupt of the power button. */
  buttonGsi: 16,
  /** The first window of a virtio device; the others follow. */
  virtioBase: 0xfeb00000,
  /** Their interrupts, in turns: ISA ones, which kernels without ACPI know. */
  virtioGsis: [5, 6, 7, 9, 10, 11, 12, 14, 15],
} as const;

/** The time-stamp counter, the local APIC timers' input and virtual time all tick at 1 GHz. */
export const TSC_FREQUENCY_HZ = 1_000_000_000;
/** Virtual time that an instruction takes: 100 million instructions a second. */
export const VIRTUAL_NANOS_PER_INSTRUCTION = 10;
