/**
 * The little of ISO 9660 (ECMA-119) and El Torito that tells what is on a CD image. Everything read is untrusted:
 * bounded, and whatever does not make sense ends the search.
 */

/** Reads up to `length` bytes at `offset`; fewer at the end of the image. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

export const ISO_SECTOR_BYTES = 2048;
const FIRST_DESCRIPTOR = 16;
const MAX_DESCRIPTORS = 32;
const MAX_DIRECTORY_BYTES = 256 << 10;
const MAX_FILES = 2000;

export interface IsoFile {
  /** From the root, in lower case, without version numbers: 'install/vmlinuz'. Folders end with '/'. */
  readonly path: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface IsoImage {
  readonly label: string;
  readonly bootable: boolean;
  /** The entries of the root folder and of the folders in it. */
  readonly files: readonly IsoFile[];
}

const latin = new TextDecoder('latin1');

/** Undefined when the image is no ISO 9660 volume. */
export function readIso(readAt: ReadAt): IsoImage | undefined {
  let label: string | undefined;
  let bootable = false;
  let root: { offset: number; sizeBytes: number } | undefined;
  for (let index = 0; index < MAX_DESCRIPTORS; index++) {
    const sector = readAt((FIRST_DESCRIPTOR + index) * ISO_SECTOR_BYTES, ISO_SECTOR_BYTES);
    if (sector.length < ISO_SECTOR_BYTES || latin.decode(sector.subarray(1, 6)) !== 'CD001') {
      break;
    }
    const type = sector[0];
    if (type === 255) {
      break;
    }
    if (type === 0 && latin.decode(sector.subarray(7, 30)) === 'EL TORITO SPECIFICATION') {
      bootable = true;
    }
    if (type === 1) {
      label = latin.decode(sector.subarray(40, 72)).replaceAll('\0', ' ').trim();
      const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
      root = { offset: view.getUint32(158, true) * ISO_SECTOR_BYTES, sizeBytes: view.getUint32(166, true) };
    }
  }
  if (label === undefined || root === undefined) {
    return undefined;
  }
  const files = readFolder(readAt, '', root);
  for (const folder of files.filter(({ path }) => path.endsWith('/')).slice(0, 50)) {
    if (files.length < MAX_FILES) {
      files.push(...readFolder(readAt, folder.path, folder));
    }
  }
  return { label, bootable, files: files.slice(0, MAX_FILES) };
}

function readFolder(readAt: ReadAt, prefix: string, place: { offset: number; sizeBytes: number }): IsoFile[] {
  const bytes = readAt(place.offset, Math.min(place.sizeBytes, MAX_DIRECTORY_BYTES));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const files: IsoFile[] = [];
  for (let at = 0; at + 34 <= bytes.length && files.length < MAX_FILES; ) {
    const length = bytes[at] ?? 0;
    if (length === 0) {
      // Records do not cross sectors.
      at = (Math.floor(at / ISO_SECTOR_BYTES) + 1) * ISO_SECTOR_BYTES;
      continue;
    }
    const nameLength = bytes[at + 32] ?? 0;
    if (length < 34 || at + length > bytes.length || 33 + nameLength > length) {
      break;
    }
    const nameBytes = bytes.subarray(at + 33, at + 33 + nameLength);
    // The folder itself and its parent are called 00 and 01.
    if (nameLength > 1 || (nameBytes[0] ?? 0) > 1) {
      const name =
        rockRidgeName(bytes.subarray(at + 33 + nameLength + ((nameLength & 1) ^ 1), at + length)) ??
        latin.decode(nameBytes).replace(/;\d+$/, '').replace(/\.$/, '');
      const folder = ((bytes[at + 25] ?? 0) & 2) !== 0;
      files.push({
        path: `${prefix}${name.toLowerCase()}${folder ? '/' : ''}`,
        offset: view.getUint32(at + 2, true) * ISO_SECTOR_BYTES,
        sizeBytes: view.getUint32(at + 10, true),
      });
    }
    at += length;
  }
  return files;
}

/** The NM entry of the Rock Ridge extension (IEEE P1282, 4.1.4), when it stands in the record itself. */
function rockRidgeName(systemUse: Uint8Array): string | undefined {
  for (let at = 0; at + 4 <= systemUse.length; ) {
    const length = systemUse[at + 2] ?? 0;
    if (length < 4 || at + length > systemUse.length) {
      return undefined;
    }
    if (systemUse[at] === 0x4e && systemUse[at + 1] === 0x4d && length > 5) {
      return latin.decode(systemUse.subarray(at + 5, at + length));
    }
    at += length;
  }
  return undefined;
}
