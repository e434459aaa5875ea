import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostError } from '../base/host-error.ts';

export interface Firmware {
  /** The system firmware: 64 KiB to 16 MiB, ends at 4 GiB; its last 128 KiB also appear below 1 MiB. */
  readonly bios: Uint8Array;
  /** The option ROM of the display adapter. */
  readonly vgaBios: Uint8Array;
  /** Where `bios` and `vgaBios` were found, as paths. */
  readonly from: { readonly bios: string; readonly vgaBios: string };
}

export interface FirmwareSearch {
  /** Files to use instead of those found. */
  readonly bios?: string | undefined;
  readonly vgaBios?: string | undefined;
  /** The display adapter that the VGA BIOS is for; 'std' unless said otherwise. */
  readonly vga?: 'std' | 'virtio' | undefined;
  /** Replaced in tests. */
  readonly environment?: { readonly [name: string]: string | undefined };
  readonly folders?: readonly string[];
}

/** The environment variable that names a folder with firmware; it is searched first. */
export const FIRMWARE_VARIABLE = 'LODGE_FIRMWARE';

const BIOS_NAMES = ['bios-256k.bin', 'bios.bin'];
const VGA_BIOS_NAMES = { std: ['vgabios-stdvga.bin'], virtio: ['vgabios-virtio.bin'] } as const;

/** Where scripts/setup.ts unpacks Debian's package when the host has no firmware installed. */
const UNPACKED_FOLDER = fileURLToPath(new URL('../../.cache/debian/amd64/seabios/usr/share/seabios', import.meta.url));

const MAX_BIOS_BYTES = 16 << 20;
const MIN_BIOS_BYTES = 64 << 10;
const MAX_OPTION_ROM_BYTES = 64 << 10;

/** Folders in which SeaBIOS is installed: by Debian's packages, by QEMU on Linux, macOS (Homebrew) and Windows. */
export function firmwareFolders(environment: { readonly [name: string]: string | undefined } = process.env): string[] {
  const programFiles = environment['ProgramFiles'] ?? 'C:\\Program Files';
  return [
    ...(environment[FIRMWARE_VARIABLE] === undefined ? [] : [environment[FIRMWARE_VARIABLE]]),
    '/usr/share/seabios',
    '/usr/share/qemu',
    '/usr/share/vgabios',
    '/opt/homebrew/share/qemu',
    '/usr/local/share/qemu',
    '/usr/local/share/seabios',
    '/opt/local/share/qemu',
    UNPACKED_FOLDER,
    ...(process.platform === 'win32' ? [join(programFiles, 'qemu', 'share'), join(programFiles, 'qemu')] : []),
  ];
}

/** What to do where no firmware is found: one line for this kind of host. */
export function firmwareRemedy(platform: string = process.platform): string {
  switch (platform) {
    case 'darwin':
      return `brew install qemu, or set ${FIRMWARE_VARIABLE} to a folder that holds bios-256k.bin and vgabios-stdvga.bin`;
    case 'win32':
      return `install QEMU for Windows, or set ${FIRMWARE_VARIABLE} to a folder that holds bios-256k.bin and vgabios-stdvga.bin`;
    default:
      return `apt-get install seabios (or set ${FIRMWARE_VARIABLE} to a folder that holds bios-256k.bin and vgabios-stdvga.bin)`;
  }
}

/**
 * Finds and reads SeaBIOS and its VGA BIOS. A file that was named is used as it is, and the other one is searched for.
 * Throws HostError `no-firmware` (with what to install) or `bad-firmware`.
 */
export function findFirmware(search: FirmwareSearch = {}): Firmware {
  const folders = search.folders ?? firmwareFolders(search.environment);
  const biosPath = search.bios ?? locate(folders, BIOS_NAMES, 'SeaBIOS');
  const vgaBiosPath = search.vgaBios ?? locate(folders, VGA_BIOS_NAMES[search.vga ?? 'std'], "SeaBIOS's VGA BIOS");
  return {
    bios: readBios(biosPath),
    vgaBios: readOptionRom(vgaBiosPath),
    from: { bios: biosPath, vgaBios: vgaBiosPath },
  };
}

function locate(folders: readonly string[], names: readonly string[], what: string): string {
  for (const folder of folders) {
    for (const name of names) {
      const path = join(folder, name);
      if (statSync(path, { throwIfNoEntry: false })?.isFile()) {
        return path;
      }
    }
  }
  const remedy = firmwareRemedy();
  throw new HostError('no-firmware', `${what} (${names[0]}) is not installed; ${remedy}`, {
    remedy,
    details: { file: names[0] ?? '' },
  });
}

function readBounded(path: string, what: string, min: number, max: number): Uint8Array {
  let size: number;
  let bytes: Uint8Array;
  try {
    const stats = statSync(path);
    if (!stats.isFile()) {
      throw new HostError('bad-firmware', `${what} '${path}' is not a file`);
    }
    size = stats.size;
    if (size < min || size > max) {
      throw new HostError('bad-firmware', `${what} '${path}' has ${size} bytes; expected ${min} to ${max}`);
    }
    bytes = new Uint8Array(readFileSync(path));
  } catch (error) {
    if (error instanceof HostError) {
      throw error;
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new HostError('bad-firmware', `${what} '${path}' cannot be read: ${reason}`, { cause: error });
  }
  return bytes;
}

/** Reads a firmware image of one's own choice and checks its form: what the processor fetches first must exist. */
export function readBios(path: string): Uint8Array {
  const bytes = readBounded(path, 'the firmware', MIN_BIOS_BYTES, MAX_BIOS_BYTES);
  if (bytes.length % 0x1_0000 !== 0) {
    throw new HostError(
      'bad-firmware',
      `the firmware '${path}' has ${bytes.length} bytes, which is no multiple of 64 KiB`,
    );
  }
  return bytes;
}

/** Reads an option ROM: 55 AA, its length in 512-byte units, and a byte sum of 0 over that length. */
export function readOptionRom(path: string): Uint8Array {
  const bytes = readBounded(path, 'the VGA BIOS', 512, MAX_OPTION_ROM_BYTES);
  const length = (bytes[2] ?? 0) * 512;
  if (bytes[0] !== 0x55 || bytes[1] !== 0xaa || length === 0 || length > bytes.length) {
    throw new HostError('bad-firmware', `the VGA BIOS '${path}' is not an option ROM`);
  }
  return bytes;
}
