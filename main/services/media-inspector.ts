import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { ApiError } from '../contract/errors.ts';
import { type FailureName, failure } from '../contract/failures.ts';
import type { MediaInspection, MediaKind } from '../contract/host.ts';
import { causeOf, errnoOf } from './failures.ts';
import { guestSystems } from './guest-systems.ts';
import { type IsoImage, type ReadAt, readIso } from './iso-image.ts';

const SECTOR_BYTES = 512;
/** Sizes of floppy images in KiB: 160, 180, 320, 360, 720, 1200, 1440, 2880. */
const FLOPPY_KILOBYTES = [160, 180, 320, 360, 720, 1200, 1440, 1680, 1720, 2880];

/**
 * Looks into an image: what kind it is, and for which guest. Only reads. Throws ApiError with field 'path' when the
 * file cannot be used at all.
 */
export function inspectMedium(path: string): MediaInspection {
  const refuse = (name: FailureName, values: Readonly<Record<string, string>> = {}): never => {
    throw failure(name, { path, ...values, field: 'path' });
  };
  let file: number;
  try {
    // Looking first: opening a pipe would wait for its other end.
    const facts = statSync(path);
    if (facts.isDirectory()) {
      refuse('image-directory');
    }
    if (!facts.isFile() && !facts.isBlockDevice()) {
      refuse('image-unreadable.kind');
    }
    file = openSync(path, 'r');
  } catch (error) {
    if (error instanceof ApiError) {
      throw error;
    }
    return errnoOf(error) === 'ENOENT'
      ? refuse('image-missing')
      : refuse('image-unreadable', { cause: causeOf(error) });
  }
  try {
    const stats = fstatSync(file);
    if (stats.isFile() && stats.size === 0) {
      refuse('image-empty');
    }
    const readAt: ReadAt = (offset, length) => {
      const buffer = new Uint8Array(length);
      return buffer.subarray(0, readSync(file, buffer, 0, length, offset));
    };
    return inspect(path, stats, readAt);
  } catch (error) {
    if (error instanceof ApiError) {
      throw error;
    }
    return refuse('image-unreadable', { cause: causeOf(error) });
  } finally {
    closeSync(file);
  }
}

function inspect(path: string, stats: Stats, readAt: ReadAt): MediaInspection {
  const iso = readIso(readAt);
  if (iso !== undefined) {
    return inspectIso(path, stats.size, iso, readAt);
  }
  const sector = readAt(0, 512);
  const format = foreignFormat(readAt);
  if (format !== undefined) {
    throw failure('image-format', { path, format, file: basename(path), field: 'path' });
  }
  if (stats.isFile() && stats.size % SECTOR_BYTES !== 0) {
    throw failure('image-size', { path, bytes: stats.size, field: 'path' });
  }
  const bootable = sector.length === 512 && sector[510] === 0x55 && sector[511] === 0xaa;
  const kilobytes = stats.size / 1024;
  const kind: MediaKind = stats.isFile() && FLOPPY_KILOBYTES.includes(kilobytes) ? 'floppy' : 'disk';
  const what = kind === 'floppy' ? `floppy disk of ${kilobytes} KB` : 'hard disk';
  const guestSystem = recognizeBootSector(sector);
  return {
    path,
    kind,
    sizeBytes: stats.size,
    label: null,
    title: null,
    bootable,
    guestSystem,
    kernel: null,
    description: `${what}, raw${bootable ? ', with a boot sector' : ', without a boot sector'}`,
    suggestedName: guestSystem === null ? null : systemName(guestSystem),
  };
}

/** Formats of disk images by their first bytes, which a guest must not see as a raw disk. */
function foreignFormat(readAt: ReadAt): string | undefined {
  const head = new TextDecoder('latin1').decode(readAt(0, 64));
  if (head.startsWith('QFI\xfb')) {
    return 'qcow2';
  }
  if (head.startsWith('KDMV')) {
    return 'VMDK';
  }
  if (head.startsWith('conectix')) {
    return 'VHD';
  }
  if (head.startsWith('vhdxfile')) {
    return 'VHDX';
  }
  return head.includes('VirtualBox Disk Image') || head.startsWith('<<< ') ? 'VDI' : undefined;
}

function recognizeBootSector(sector: Uint8Array): string | null {
  const text = new TextDecoder('latin1').decode(sector);
  if (/MSDOS|MSWIN|FRDOS|FREEDOS|IBM {2}\d|DRDOS|KERNEL {2}SYS|IO {6}SYS/i.test(text)) {
    return 'dos';
  }
  return null;
}

/** Volume labels of installation media; the first that fits decides. */
const LABELS: readonly (readonly [pattern: RegExp, guestSystem: string])[] = [
  [/^debian\b|^d-live\b/i, 'debian'],
  [/^(k|x|l)?ubuntu\b/i, 'ubuntu'],
  [/^fedora/i, 'fedora'],
  [/^arch_/i, 'arch'],
  [/^alpine/i, 'alpine'],
  [/^(centos|rhel|rocky|almalinux|opensuse|slackware|gentoo|void|nixos|manjaro|linux mint|kali)/i, 'linux-64'],
  [/^(\d+_\d+.*freebsd|freebsd)/i, 'freebsd'],
  [/win11|windows[ _]?11/i, 'windows-11'],
  [/win10|windows[ _]?10|^(ccc|cpb|cpr)(oma|sa)/i, 'windows-10'],
  [/^(gsp1rm|grmc|win7|windows[ _]?7)/i, 'windows-7'],
  [/^(wxp|grtmp|vrmp|win_?xp|windows[ _]?xp)/i, 'windows-xp'],
  [/^(freedos|fd\d|dos)/i, 'dos'],
];

function inspectIso(path: string, sizeBytes: number, iso: IsoImage, readAt: ReadAt): MediaInspection {
  const kernel = kernelVersion(iso, readAt);
  const release = kernel?.split(' ')[0];
  const guestSystem =
    LABELS.find(([pattern]) => pattern.test(iso.label))?.[1] ?? byBootFiles(iso) ?? byKernel(kernel) ?? null;
  const meaningful = iso.label !== '' && !/^(isoimage|cdrom|new|untitled|volume)$/i.test(iso.label);
  const name = guestSystem === null ? undefined : systemName(guestSystem);
  const title = meaningful ? iso.label : (name ?? basename(path));
  const parts = [
    title,
    release === undefined ? undefined : `Linux ${release}`,
    iso.bootable ? 'bootable CD' : 'CD that is not bootable',
  ];
  const version = /\b\d+(\.\d+)*\b/.exec(guestSystem?.startsWith('windows') === true ? '' : iso.label)?.[0];
  return {
    path,
    kind: 'cdrom',
    sizeBytes,
    label: iso.label,
    title,
    bootable: iso.bootable,
    guestSystem,
    kernel: release ?? null,
    description: parts.filter((part) => part !== undefined).join(', '),
    suggestedName:
      name === undefined
        ? basename(path, extname(path)).slice(0, 60) || null
        : meaningful && version !== undefined
          ? `${name} ${version}`
          : name,
  };
}

function systemName(id: string): string {
  return guestSystems.find((system) => system.id === id)?.name ?? id;
}

function byBootFiles({ files }: IsoImage): string | undefined {
  const paths = new Set(files.map(({ path }) => path));
  const has = (...candidates: string[]) => candidates.some((path) => paths.has(path));
  if (has('casper/', 'ubuntu/')) {
    return 'ubuntu';
  }
  if (has('install.amd/', 'install.386/', '.disk/udeb_include')) {
    return 'debian';
  }
  if (has('arch/')) {
    return 'arch';
  }
  if (has('apks/')) {
    return 'alpine';
  }
  if (has('liveos/') && has('images/')) {
    return 'fedora';
  }
  if (has('boot/loader', 'boot/kernel/') && has('etc/', 'bin/')) {
    return 'freebsd';
  }
  if (has('i386/ntldr', 'i386/setupldr.bin', 'win51', 'win51ip')) {
    return 'windows-xp';
  }
  if (has('sources/boot.wim', 'sources/install.wim', 'sources/install.esd')) {
    return 'windows-10';
  }
  if (has('command.com', 'kernel.sys', 'freedos/')) {
    return 'dos';
  }
  return undefined;
}

/**
 * The version text of a Linux kernel on the medium: bzImage files hold its address, less 200h, at offset 20Eh (Linux,
 * Documentation/arch/x86/boot.rst).
 */
function kernelVersion({ files }: IsoImage, readAt: ReadAt): string | undefined {
  const candidates = files.filter(({ path }) => /(^|\/)(linux|vmlinuz|bzimage|kernel)[^/]*$/.test(path)).slice(0, 8);
  for (const { offset, sizeBytes } of candidates) {
    const head = readAt(offset, Math.min(sizeBytes, 0x8000));
    if (head.length < 0x210 || new TextDecoder('latin1').decode(head.subarray(0x202, 0x206)) !== 'HdrS') {
      continue;
    }
    const at = ((head[0x20e] ?? 0) | ((head[0x20f] ?? 0) << 8)) + 0x200;
    const end = head.indexOf(0, at);
    if (at > 0x200 && end > at && end - at < 300) {
      return new TextDecoder('latin1').decode(head.subarray(at, end));
    }
  }
  return undefined;
}

function byKernel(version: string | undefined): string | undefined {
  if (version === undefined) {
    return undefined;
  }
  if (/debian/i.test(version)) {
    return /-(686|i386|486)/.test(version) ? 'linux-32' : 'debian';
  }
  if (/ubuntu|buildd@/i.test(version)) {
    return 'ubuntu';
  }
  if (/\.fc\d+/.test(version)) {
    return 'fedora';
  }
  if (/-arch/.test(version)) {
    return 'arch';
  }
  if (/alpine/i.test(version)) {
    return 'alpine';
  }
  return /i[3-6]86|-686|-pae\b/.test(version) ? 'linux-32' : 'linux-64';
}
