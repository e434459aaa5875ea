import type { FileFacts, FileProbe } from './file-probe.ts';
import { type MachineConfig, type OptionNames, usageError } from './machine-config.ts';
import { checkConsoleFiles } from './validate-console.ts';
import { checkShareFiles } from './validate-share.ts';

/** The largest floppy disk, 2.88 MB: nothing larger fits any drive. */
const MAX_FLOPPY_BYTES = 2_949_120;
const SECTOR_BYTES = 512;
const CD_SECTOR_BYTES = 2048;
/** What a kernel needs at least beside its image and its ramdisk. */
const KERNEL_ROOM_BYTES = 4 << 20;
const MEGABYTE = 1 << 20;

interface Medium {
  readonly option: string;
  readonly path: string;
  readonly writable: boolean;
  readonly identity: string;
}

/**
 * Looks at every file of a configuration without changing any: inputs must be there, readable and of a possible size,
 * outputs must have a place. Throws HostError('usage') for the first thing wrong.
 */
export function checkFiles(config: MachineConfig, names: OptionNames, files: FileProbe): void {
  const media: Medium[] = [];
  const { kernel, initrd } = config.boot;
  if (config.firmware.bios !== undefined) {
    input(files, names.bios, config.firmware.bios, 'a firmware image');
  }
  if (kernel !== undefined) {
    const image = input(files, names.kernel, kernel, 'a kernel');
    const ramdisks = initrd.map((path) => input(files, names.initrd, path, 'a ramdisk'));
    checkFits(config, names, kernel, image, ramdisks);
  }
  for (const disk of config.disks) {
    const facts = image(files, names.disk, disk.path, disk.readOnly);
    if (facts.kind === 'file' && facts.sizeBytes % SECTOR_BYTES !== 0) {
      throw usageError(
        `${names.disk} ${disk.path}: its size of ${facts.sizeBytes} bytes is not a multiple of ${SECTOR_BYTES}`,
        'the file is cut short, or it is not a raw disk image',
        { reason: 'image-size', path: disk.path, bytes: facts.sizeBytes },
      );
    }
    media.push({ option: names.disk, path: disk.path, writable: !disk.readOnly, identity: facts.identity });
  }
  if (config.cdrom?.path !== undefined) {
    const { path } = config.cdrom;
    const facts = image(files, names.cdrom, path, true);
    if (facts.kind === 'file' && facts.sizeBytes < CD_SECTOR_BYTES) {
      throw usageError(
        `${names.cdrom} ${path}: ${facts.sizeBytes} bytes are too few for a CD, which has sectors of ${CD_SECTOR_BYTES}`,
        'give an ISO image',
        { reason: 'cdrom-size', path, bytes: facts.sizeBytes },
      );
    }
    media.push({ option: names.cdrom, path: config.cdrom.path, writable: false, identity: facts.identity });
  }
  if (config.floppy?.path !== undefined) {
    const { path, readOnly } = config.floppy;
    const facts = image(files, names.floppy, path, readOnly);
    if (facts.kind === 'file' && facts.sizeBytes > MAX_FLOPPY_BYTES) {
      throw usageError(
        `${names.floppy} ${path}: ${facts.sizeBytes} bytes are too large for a floppy disk`,
        `an image has at most ${MAX_FLOPPY_BYTES} bytes; a larger one belongs to ${names.disk} or ${names.cdrom}`,
        { reason: 'floppy-size', path, bytes: facts.sizeBytes, maximum: MAX_FLOPPY_BYTES },
      );
    }
    media.push({ option: names.floppy, path, writable: !readOnly, identity: facts.identity });
  }
  checkShared(media);
  if (config.sound?.input !== undefined) {
    input(files, `${names.sound} input`, config.sound.input, 'a WAV file');
  }
  checkConsoleFiles(config, names, files);
  checkOutputs(config, names, files, media);
  checkShareFiles(config, names, files);
}

function input(files: FileProbe, option: string, path: string, what: string): FileFacts {
  const facts = files.inspect(path);
  switch (facts.kind) {
    case 'missing':
      throw usageError(`${option} ${path}: there is no such file`, `give the path of ${what}`, {
        reason: 'file-missing',
        path,
      });
    case 'directory':
      throw usageError(`${option} ${path}: is a directory`, `give the path of ${what}`, { reason: 'file-kind', path });
    case 'other':
      throw usageError(`${option} ${path}: is neither a file nor a disk`, `give the path of ${what}`, {
        reason: 'file-kind',
        path,
      });
    case 'error':
      throw usageError(
        `${option} ${path}: cannot be opened (${facts.reason ?? 'unknown reason'})`,
        `give the path of ${what}`,
        { reason: 'file-error', path, cause: facts.reason ?? 'unknown reason' },
      );
    case 'file':
    case 'block-device':
      break;
  }
  if (!facts.readable) {
    throw usageError(`${option} ${path}: no permission to read it`, 'change its permissions, or give another file', {
      reason: 'file-not-readable',
      path,
    });
  }
  if (facts.kind === 'file' && facts.sizeBytes === 0) {
    throw usageError(`${option} ${path}: the file is empty`, `give the path of ${what}`, {
      reason: 'file-empty',
      path,
    });
  }
  return facts;
}

function image(files: FileProbe, option: string, path: string, readOnly: boolean): FileFacts {
  const facts = input(files, option, path, 'an image');
  if (!readOnly && !facts.writable) {
    throw usageError(
      `${option} ${path}: no permission to write to it`,
      `attach it read-only (${option} ${path},readonly), or change its permissions`,
      { reason: 'file-not-writable', path },
    );
  }
  return facts;
}

function checkFits(
  config: MachineConfig,
  names: OptionNames,
  kernel: string,
  image: FileFacts,
  ramdisks: readonly FileFacts[],
): void {
  const memoryBytes = config.memoryMegabytes * MEGABYTE;
  const ramdiskBytes = ramdisks.reduce((sum, facts) => sum + facts.sizeBytes, 0);
  const needed = image.sizeBytes + ramdiskBytes + KERNEL_ROOM_BYTES;
  if (needed <= memoryBytes) {
    return;
  }
  const kernelAlone = image.sizeBytes + KERNEL_ROOM_BYTES > memoryBytes;
  const [option, path, bytes] = kernelAlone
    ? [names.kernel, kernel, image.sizeBytes]
    : [names.initrd, config.boot.initrd.join(','), ramdiskBytes];
  throw usageError(
    `${option} ${path}: ${Math.ceil(bytes / MEGABYTE)} MB do not fit into ${config.memoryMegabytes} MB of memory`,
    `give ${names.memory} ${Math.ceil((2 * needed) / MEGABYTE)} or more`,
  );
}

/** One image in two drives, one of which writes, would be destroyed. */
function checkShared(media: readonly Medium[]): void {
  for (const [index, medium] of media.entries()) {
    const other = media.slice(0, index).find((earlier) => earlier.identity === medium.identity);
    if (other !== undefined && medium.identity !== '' && (medium.writable || other.writable)) {
      throw usageError(
        `${medium.option} ${medium.path}: the same image is already attached by ${other.option} ${other.path}`,
        'attach it once, or read-only everywhere',
        { reason: 'image-shared', path: medium.path },
      );
    }
  }
}

function checkOutputs(config: MachineConfig, names: OptionNames, files: FileProbe, media: readonly Medium[]): void {
  const outputs = config.screenshots.map(({ path }) => ({ option: names.screenshot, path }));
  if (config.serial.kind === 'file') {
    outputs.push({ option: names.serial, path: config.serial.path });
  }
  if (config.network?.capture !== undefined) {
    outputs.push({ option: `${names.network} capture`, path: config.network.capture });
  }
  if (config.console?.kind === 'file') {
    outputs.push({ option: names.console, path: config.console.path });
  }
  if (config.sound?.output.kind === 'wav') {
    outputs.push({ option: `${names.sound} wav`, path: config.sound.output.path });
  }
  const inputs = [
    config.firmware.bios,
    config.boot.kernel,
    ...config.boot.initrd,
    ...(config.sound?.input === undefined ? [] : [config.sound.input]),
  ].filter((path) => path !== undefined);
  const identities = new Map(media.map((medium) => [medium.identity, medium.path]));
  for (const path of inputs) {
    identities.set(files.inspect(path).identity, path);
  }
  for (const { option, path } of outputs) {
    const facts = files.inspect(path);
    if (facts.kind === 'directory') {
      throw usageError(`${option} ${path}: is a directory`, 'give the path of the file to write', {
        reason: 'file-kind',
        path,
      });
    }
    if (facts.kind === 'error') {
      throw usageError(
        `${option} ${path}: cannot be written (${facts.reason ?? 'unknown reason'})`,
        'give another path',
        { reason: 'file-error', path, cause: facts.reason ?? 'unknown reason' },
      );
    }
    const input = facts.identity === '' ? undefined : identities.get(facts.identity);
    if (input !== undefined) {
      throw usageError(`${option} ${path}: would overwrite ${input}, which the machine uses`, 'give another path', {
        reason: 'file-used',
        path,
      });
    }
    if (facts.kind !== 'missing' && !facts.writable) {
      throw usageError(`${option} ${path}: no permission to write to it`, 'give another path', {
        reason: 'output-not-writable',
        path,
      });
    }
    if (facts.kind === 'missing') {
      checkFolder(option, path, files.inspectFolderOf(path));
    }
  }
  checkBootFolder(config, names, files);
  const written = new Map<string, string>();
  for (const { option, path } of outputs) {
    const resolved = files.resolve(path);
    const other = written.get(resolved);
    if (other !== undefined && (option === names.console || option.startsWith(names.sound))) {
      throw usageError(`${option} ${path}: is also written by ${other}`, 'give two different paths');
    }
    written.set(resolved, option);
  }
  const serial = config.serial.kind === 'file' ? files.resolve(config.serial.path) : undefined;
  const capture = config.network?.capture;
  if (serial !== undefined && capture !== undefined && files.resolve(capture) === serial) {
    throw usageError(
      `${names.network} capture=${capture}: is also written by ${names.serial}`,
      'give two different paths',
    );
  }
  if (serial !== undefined && config.screenshots.some(({ path }) => files.resolve(path) === serial)) {
    throw usageError(
      `${names.serial} file:${serial}: is also written by ${names.screenshot}`,
      'give two different paths',
    );
  }
}

/** The folder that network boot is served from. */
function checkBootFolder(config: MachineConfig, names: OptionNames, files: FileProbe): void {
  const path = config.network?.bootFolder;
  if (path === undefined) {
    return;
  }
  const { kind, readable } = files.inspect(path);
  if (kind !== 'directory') {
    throw usageError(`${names.network} boot=${path}: is no folder`, 'give a folder with the files to boot from', {
      reason: 'folder-missing',
      path,
    });
  }
  if (!readable) {
    throw usageError(`${names.network} boot=${path}: no permission to read it`, 'give another folder', {
      reason: 'file-not-readable',
      path,
    });
  }
}

function checkFolder(option: string, path: string, folder: FileFacts): void {
  if (folder.kind !== 'directory') {
    throw usageError(`${option} ${path}: its folder does not exist`, 'create the folder, or give another path', {
      reason: 'no-folder',
      path,
    });
  }
  if (!folder.writable) {
    throw usageError(`${option} ${path}: no permission to write into its folder`, 'give another path', {
      reason: 'output-not-writable',
      path,
    });
  }
}
