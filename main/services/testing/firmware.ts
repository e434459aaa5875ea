import { findFirmware } from '../../../engine/firmware/find-firmware.ts';

/** Why a test with a real machine has to be skipped: this host has no firmware. */
export function firmwareMissing(): string | false {
  try {
    findFirmware();
    return false;
  } catch (error) {
    return `no firmware: ${error instanceof Error ? error.message : error}`;
  }
}
