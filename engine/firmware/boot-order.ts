/** Names of boot devices in the notation of the firmware's `bootorder` file (Open Firmware paths of the PC). */

/** An ATA disk or ATAPI drive on the PIIX3 IDE function at 01.1: channel 0 or 1, unit 0 (master) or 1. */
export function idePath(channel: number, unit: number): string {
  return `/pci@i0cf8/ide@1,1/drive@${channel}/disk@${unit}`;
}

/** A virtio disk, which is the PCI function 0 of `slot`. */
export function virtioDiskPath(slot: number): string {
  return `/pci@i0cf8/scsi@${slot.toString(16)}/disk@0,0`;
}

/** A disk or CD-ROM drive on the virtio SCSI controller at `slot`. */
export function scsiPath(slot: number, target: number, lun: number): string {
  return `/pci@i0cf8/scsi@${slot.toString(16)}/channel@0/disk@${target.toString(16)},${lun.toString(16)}`;
}

/** Floppy drive 0 or 1. */
export function floppyPath(drive: number): string {
  return `/pci@i0cf8/isa@1/fdc@03f0/floppy@${drive}`;
}

/** The contents of `bootorder`: one path a line, tried from the first on, closed by a zero byte. */
export function bootOrderFile(paths: readonly string[]): Uint8Array {
  return new Uint8Array(Buffer.from(`${paths.join('\n')}\0`, 'latin1'));
}
