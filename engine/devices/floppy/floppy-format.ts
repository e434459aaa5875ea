import { HostError } from '../../base/host-error.ts';

/** Data rates as CCR and DSR select them (82077AA data sheet, table 2-5). */
export const RATE_500K = 0;
export const RATE_300K = 1;
export const RATE_250K = 2;
export const RATE_1M = 3;

/** How the sectors of a medium are laid out; all have 512 bytes. */
export interface FloppyFormat {
  readonly cylinders: number;
  readonly heads: 1 | 2;
  readonly sectorsPerTrack: number;
  /** The data rates at which it can be read: a 360K disk turns faster in a 1.2M drive. */
  readonly rates: readonly number[];
}

const LOW = [RATE_250K, RATE_300K];
const HIGH = [RATE_500K];

function format(cylinders: number, heads: 1 | 2, sectorsPerTrack: number, rates: readonly number[]): FloppyFormat {
  return { cylinders, heads, sectorsPerTrack, rates };
}

/** The formats in use, the usual ones first among those of equal size. */
const FORMATS: readonly FloppyFormat[] = [
  format(40, 1, 8, LOW), // 160K
  format(40, 1, 9, LOW), // 180K
  format(40, 2, 8, LOW), // 320K
  format(40, 2, 9, LOW), // 360K
  format(40, 2, 10, LOW), // 400K
  format(80, 2, 8, LOW), // 640K
  format(80, 2, 9, [RATE_250K]), // 720K
  format(80, 2, 10, [RATE_250K]), // 800K
  format(82, 2, 10, [RATE_250K]), // 820K
  format(80, 2, 15, HIGH), // 1.2M
  format(80, 2, 18, HIGH), // 1.44M
  format(80, 2, 20, HIGH), // 1.6M
  format(80, 2, 21, HIGH), // 1.68M, "distribution media format"
  format(82, 2, 21, HIGH), // 1.72M
  format(83, 2, 21, HIGH), // 1.74M
  format(80, 2, 22, HIGH), // 1.76M
  format(80, 2, 23, HIGH), // 1.84M
  format(80, 2, 24, HIGH), // 1.92M
  format(80, 2, 36, [RATE_1M]), // 2.88M
];

export function formatBytes(of: FloppyFormat): number {
  return of.cylinders * of.heads * of.sectorsPerTrack * 512;
}

/**
 * The format of an image of `size` bytes. An image that was cut short takes the smallest usual format into which it
 * fits. Throws HostError('image-size') when it is too large for a floppy disk.
 */
export function floppyFormat(size: number): FloppyFormat {
  const exact = FORMATS.find((candidate) => formatBytes(candidate) === size);
  if (exact !== undefined) {
    return exact;
  }
  const usual = [format(80, 2, 18, HIGH), format(80, 2, 36, [RATE_1M])].find((one) => formatBytes(one) >= size);
  if (usual === undefined) {
    throw new HostError('image-size', `a floppy image of ${size} bytes is too large: at most 2949120 fit on a disk`, {
      remedy: 'attach the image as a disk or a CD-ROM',
    });
  }
  return usual;
}

/** Kinds of drives, with their codes in CMOS 10h. */
export const FLOPPY_DRIVE_TYPES = { '360K': 1, '1.2M': 2, '720K': 3, '1.44M': 4, '2.88M': 5 } as const;
export type FloppyDriveType = keyof typeof FLOPPY_DRIVE_TYPES;

/** The drive that people have for such an image; 1.44M without one. */
export function driveTypeFor(of: FloppyFormat | undefined): FloppyDriveType {
  if (of === undefined) {
    return '1.44M';
  }
  if (of.rates.includes(RATE_1M)) {
    return '2.88M';
  }
  return of.cylinders === 40 || of.sectorsPerTrack === 15 ? '1.2M' : '1.44M';
}
