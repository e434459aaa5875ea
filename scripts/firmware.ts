import { dirname } from 'node:path';
import { HostError } from '../engine/base/host-error.ts';
import { findFirmware } from '../engine/firmware/find-firmware.ts';
import { debianPackage, NotAvailable } from './debian.ts';

/** The VGA BIOS that machines use. @throws HostError when there is none */
export function vgaBios(): Uint8Array {
  return findFirmware().vgaBios;
}

/**
 * The folder with the firmware; where none is installed, the Debian package `seabios` is unpacked where the engine looks.
 * @throws NotAvailable
 */
export function provideFirmware(): string {
  try {
    return dirname(findFirmware().from.bios);
  } catch (missing) {
    if (!(missing instanceof HostError)) {
      throw missing;
    }
    try {
      debianPackage('seabios');
    } catch (error) {
      if (error instanceof NotAvailable) {
        throw new NotAvailable(`${missing.message} (${error.message})`);
      }
      throw error;
    }
    return dirname(findFirmware().from.bios);
  }
}
