import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { debianPackage, NotAvailable } from './debian.ts';
import { cacheFolder } from './project.ts';

/** SeaBIOS and its VGA BIOS, by the names that Debian and QEMU give them. */
const FILES = ['bios-256k.bin', 'vgabios-stdvga.bin'];

/** Where Debian's `seabios`, and QEMU on Linux, macOS and Windows, put them. */
const FOLDERS = [
  '/usr/share/seabios',
  '/usr/share/qemu',
  '/usr/local/share/qemu',
  '/opt/homebrew/share/qemu',
  'C:\\Program Files\\qemu\\share',
  'C:\\Program Files\\qemu',
  join(cacheFolder, 'debian/amd64/seabios/usr/share/seabios'),
];

function holdsFirmware(folder: string): boolean {
  return FILES.every((name) => existsSync(join(folder, name)));
}

/**
 * The folder with the firmware; where none is installed it comes from the Debian package `seabios`.
 * @throws NotAvailable
 */
export function provideFirmware(): string {
  const installed = FOLDERS.find(holdsFirmware);
  if (installed !== undefined) {
    return installed;
  }
  try {
    return join(debianPackage('seabios'), 'usr/share/seabios');
  } catch (error) {
    if (error instanceof NotAvailable) {
      throw new NotAvailable(
        `No PC firmware found. Install SeaBIOS: the package seabios on Debian and Ubuntu, or QEMU elsewhere. (${error.message})`,
      );
    }
    throw error;
  }
}
