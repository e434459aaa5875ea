import { HostError } from '../../base/host-error.ts';
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE, buildAcpiTables } from '../../firmware/acpi/acpi-tables.ts';
import type { AcpiConfig } from '../../firmware/acpi/pc-config.ts';
import { resetRegister } from '../../firmware/acpi/tables.ts';
import { E820_RAM, E820_RESERVED, type MemoryRange } from '../../firmware/e820.ts';
import { buildSmbios, placeSmbiosAnchor } from '../../firmware/smbios.ts';
import { runLoaderScript } from '../../firmware/table-loader.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { BOOT_GDT } from './start-state.ts';

/** What a loader leaves in conventional memory; the kernel finds it through registers and owns it from then on. */
export const BOOT_AREA = 0x90000;
export const BOOT_GDT_ADDRESS = 0x90000;
/** boot_params, hvm_start_info or the Multiboot information, with the lists that belong to it: one page each. */
export const BOOT_INFO_ADDRESS = 0x91000;
export const BOOT_LIST_ADDRESS = 0x92000;
export const BOOT_MAP_ADDRESS = 0x93000;
export const COMMAND_LINE_ADDRESS = 0x94000;
export const COMMAND_LINE_ROOM = 0x9000;
export const BOOT_AREA_END = 0x9f000;

/** Conventional memory ends here; the kilobyte above is the extended BIOS data area. */
const EBDA = 0x9fc00;
const VIDEO_AREA = 0xa0000;
const BIOS_AREA = 0xf0000;
/** Where PCs enter their firmware in real mode: F000:FFF0. */
const FIRMWARE_ENTRY = 0xffff0;
export const HIGH_MEMORY = 0x100000;

export interface DirectBootMachine {
  readonly cpus: number;
  readonly acpi: AcpiConfig;
  readonly uuid?: Uint8Array;
}

/** Memory as the kernel will find it. */
export interface BootMemory {
  readonly map: readonly MemoryRange[];
  /** Address of the ACPI root pointer. */
  readonly rsdp: number;
  /** End of the RAM from 1 MiB on that the kernel may use. */
  readonly highEnd: number;
}

/**
 * Does to memory what firmware would have done: ACPI tables at the top of RAM, the ACPI and SMBIOS entry points in the
 * BIOS area (which must be writable RAM: see prepareWithoutFirmware), a few words of the BIOS data area, the boot GDT.
 * Whoever jumps to the firmware's entry restarts the machine, as it would with firmware: Linux does that to restart
 * machines with reduced hardware, where it expects EFI and has no use for the ACPI reset register.
 */
export function prepareMemory(memory: GuestMemory, machine: DirectBootMachine): BootMemory {
  const top = memory.sizeBytes - (memory.sizeBytes % 0x1000);
  let highEnd = top;
  let biosNext = BIOS_AREA;
  const allocateBios = (length: number): number => {
    const at = biosNext;
    biosNext = (at + length + 15) & ~15;
    if (biosNext > FIRMWARE_ENTRY) {
      throw new HostError('bad-tables', 'the firmware tables do not fit below 1 MB');
    }
    return at;
  };
  const smbios = buildSmbios({
    cpus: machine.cpus,
    memoryBytes: memory.sizeBytes,
    ...(machine.uuid === undefined ? {} : { uuid: machine.uuid }),
  });
  const anchorAt = allocateBios(smbios.anchor.length);
  const smbiosAt = allocateBios(smbios.tables.length);
  memory.write(anchorAt, placeSmbiosAnchor(smbios.anchor, smbiosAt));
  memory.write(smbiosAt, smbios.tables);

  const acpi = buildAcpiTables(machine.acpi);
  const placed = runLoaderScript(
    acpi.script,
    new Map([
      [ACPI_TABLES_FILE, acpi.tables],
      [ACPI_RSDP_FILE, acpi.rsdp],
    ]),
    (length, _align, zone) => {
      if (zone === 'fseg') {
        return allocateBios(length);
      }
      highEnd -= Math.ceil(length / 0x1000) * 0x1000;
      return highEnd;
    },
  );
  for (const { address, bytes } of placed.values()) {
    memory.write(address, bytes);
  }
  memory.write(FIRMWARE_ENTRY, restartCode(machine.acpi));

  // BIOS data area: the two serial ports, the EBDA's segment, conventional memory in KiB.
  memory.writeU16(0x400, 0x3f8);
  memory.writeU16(0x402, 0x2f8);
  memory.writeU16(0x40e, EBDA >> 4);
  memory.writeU16(0x413, EBDA >> 10);
  memory.writeU16(EBDA, 1);
  memory.write(BOOT_AREA, new Uint8Array(BOOT_AREA_END - BOOT_AREA));
  memory.write(BOOT_GDT_ADDRESS, BOOT_GDT);

  return {
    map: [
      { base: 0, length: EBDA, type: E820_RAM },
      { base: EBDA, length: VIDEO_AREA - EBDA, type: E820_RESERVED },
      { base: BIOS_AREA, length: HIGH_MEMORY - BIOS_AREA, type: E820_RESERVED },
      { base: HIGH_MEMORY, length: highEnd - HIGH_MEMORY, type: E820_RAM },
      { base: highEnd, length: memory.sizeBytes - highEnd, type: E820_RESERVED },
    ],
    rsdp: placed.get(ACPI_RSDP_FILE)?.address ?? 0,
    highEnd,
  };
}

/** 16-bit code: mov al, value; mov dx, port; out dx, al; cli; hlt; and back to the hlt, should it be left. */
function restartCode(acpi: AcpiConfig): Uint8Array {
  const { port, value } = resetRegister(acpi);
  return Uint8Array.of(0xb0, value, 0xba, port & 0xff, port >> 8, 0xee, 0xfa, 0xf4, 0xeb, 0xfd);
}

/** True when `base … base + length − 1` is RAM that a kernel may be loaded to. */
export function loadable(base: number, length: number, highEnd: number): boolean {
  const end = base + length;
  return (base >= 0x1000 && end <= BOOT_AREA) || (base >= HIGH_MEMORY && end <= highEnd);
}

/** Writes the command line, zero-terminated, and returns its address. */
export function writeCommandLine(memory: GuestMemory, commandLine: string, limit: number): number {
  const bytes = Buffer.from(commandLine, 'utf8');
  const room = Math.min(limit, COMMAND_LINE_ROOM - 1);
  if (bytes.length > room) {
    throw new HostError(
      'bad-kernel',
      `the kernel command line has ${bytes.length} bytes, and this kernel takes at most ${room}`,
    );
  }
  if (bytes.includes(0)) {
    throw new HostError('bad-kernel', 'the kernel command line contains a zero byte');
  }
  memory.write(COMMAND_LINE_ADDRESS, Buffer.concat([bytes, Buffer.alloc(1)]));
  return COMMAND_LINE_ADDRESS;
}

const ZEROS = new Uint8Array(0x1_0000);

/** Clears RAM that a kernel expects to be zero: after a reset it holds what the previous run left. */
export function clear(memory: GuestMemory, base: number, length: number): void {
  for (let done = 0; done < length; done += ZEROS.length) {
    memory.write(base + done, ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
  }
}
