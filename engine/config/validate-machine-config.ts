import type { FileProbe } from './file-probe.ts';
import {
  ACCELERATORS,
  BOOT_DEVICES,
  type BootDevice,
  COMMAND_LINE_NAMES,
  DEFAULT_CDROM_PORT,
  type DiskConfig,
  IDE_PORTS,
  MAX_CPUS,
  MAX_MEMORY_MEGABYTES,
  type MachineConfig,
  type MachineConfigInput,
  MIN_CPUS,
  MIN_MEMORY_MEGABYTES,
  type OptionNames,
  usageError,
} from './machine-config.ts';
import { checkFiles } from './validate-files.ts';

const DEFAULT_MEMORY_MEGABYTES = 512;
const MAX_NAME_LENGTH = 80;
/** The longest kernel command line that any loader takes (Linux on x86: 2047 bytes and a zero). */
const MAX_APPEND_BYTES = 2047;
const MAX_SECONDS = 1e7;
const PORT_NAMES = ['primary master', 'primary slave', 'secondary master', 'secondary slave'] as const;

export interface ValidationOptions {
  /** Looks at the files as well; without it only the values are checked. */
  readonly files?: FileProbe;
  readonly names?: OptionNames;
}

/**
 * Completes a configuration with defaults and checks it. Throws HostError('usage') with one line that names the option
 * and its value, and a remedy, for the first thing that is wrong; nothing on the host is changed.
 */
export function validateMachineConfig(input: MachineConfigInput, options: ValidationOptions = {}): MachineConfig {
  const names = options.names ?? COMMAND_LINE_NAMES;
  const kernel = optionalPath(input.boot?.kernel, names.kernel);
  const initrd = initrdOf(input, kernel, names);
  const append = appendOf(input, kernel, names);
  const { disks, cdrom } = ideOf(input, names);
  const floppyPath = optionalPath(input.floppy?.path, names.floppy);
  const bios = optionalPath(input.firmware?.bios, names.bios);
  const timeoutSeconds = input.timeoutSeconds;
  if (timeoutSeconds !== undefined && !(timeoutSeconds > 0 && timeoutSeconds <= MAX_SECONDS)) {
    throw usageError(
      `${names.timeout} ${timeoutSeconds}: is not a time`,
      `give seconds, more than 0 and at most ${MAX_SECONDS}`,
    );
  }
  const config: MachineConfig = {
    name: nameOf(input, names),
    accel: oneOf(input.accel ?? 'auto', ACCELERATORS, names.accel),
    cpus: whole(input.cpus ?? 1, MIN_CPUS, MAX_CPUS, names.cpus, 'processors'),
    memoryMegabytes: whole(
      input.memoryMegabytes ?? DEFAULT_MEMORY_MEGABYTES,
      MIN_MEMORY_MEGABYTES,
      MAX_MEMORY_MEGABYTES,
      names.memory,
      'megabytes',
    ),
    firmware: bios === undefined ? {} : { bios },
    boot: { order: orderOf(input, names), ...(kernel === undefined ? {} : { kernel }), initrd, append },
    disks,
    ...(cdrom === undefined ? {} : { cdrom }),
    ...(input.floppy === undefined
      ? {}
      : {
          floppy: {
            ...(floppyPath === undefined ? {} : { path: floppyPath }),
            readOnly: input.floppy.readOnly ?? false,
          },
        }),
    serial: serialOf(input, names),
    debugExit: input.debugExit ?? false,
    headless: input.headless ?? false,
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    noReboot: input.noReboot ?? false,
    virtualTime: input.virtualTime ?? false,
    screenshots: (input.screenshots ?? []).map(({ path, atSeconds }) => {
      checkPath(path, names.screenshot);
      return { path, atSeconds: moment(atSeconds, names.screenshot, path) };
    }),
    typed: (input.typed ?? []).map(({ text, atSeconds }) => ({ text, atSeconds: moment(atSeconds, names.type, text) })),
  };
  if (options.files !== undefined) {
    checkFiles(config, names, options.files);
  }
  return config;
}

function nameOf(input: MachineConfigInput, names: OptionNames): string {
  const name = input.name ?? 'lodge';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
  if (name.length === 0 || name.length > MAX_NAME_LENGTH || /[\u0000-\u001f\u007f]/.test(name)) {
    throw usageError(
      `${names.name} ${JSON.stringify(name.slice(0, MAX_NAME_LENGTH))}: is not a name for a machine`,
      `give 1 to ${MAX_NAME_LENGTH} characters in one line`,
    );
  }
  return name;
}

function oneOf<T extends string>(value: string, choices: readonly T[], option: string): T {
  for (const choice of choices) {
    if (choice === value) {
      return choice;
    }
  }
  const remedy =
    value === 'kvm' ? `KVM is not built yet; give ${choices.join(' or ')}` : `give ${choices.join(' or ')}`;
  throw usageError(`${option} ${value}: is not known`, remedy);
}

function whole(value: number, minimum: number, maximum: number, option: string, unit: string): number {
  if (!Number.isSafeInteger(value) || value < minimum || value > maximum) {
    throw usageError(`${option} ${value}: is out of range`, `give ${minimum} to ${maximum} ${unit}`);
  }
  return value;
}

function moment(seconds: number, option: string, what: string): number {
  if (!(seconds >= 0 && seconds <= MAX_SECONDS)) {
    throw usageError(`${option} ${what}@${seconds}: is not a time`, `give seconds after @, from 0 to ${MAX_SECONDS}`);
  }
  return seconds;
}

function checkPath(path: string, option: string): void {
  if (path === '') {
    throw usageError(`${option} "": the path is empty`, 'give the path of a file');
  }
  if (path.includes('\0')) {
    throw usageError(
      `${option} ${JSON.stringify(path)}: a path cannot hold a zero character`,
      'give the path of a file',
    );
  }
}

function optionalPath(path: string | undefined, option: string): string | undefined {
  if (path !== undefined) {
    checkPath(path, option);
  }
  return path;
}

function orderOf(input: MachineConfigInput, names: OptionNames): readonly BootDevice[] {
  const given = input.boot?.order;
  if (given === undefined) {
    // What was put in on purpose comes first; a disk that is not bootable lets the firmware go on.
    return ['floppy', 'cdrom', 'disk'];
  }
  const order = given.map((value) => oneOf(value, BOOT_DEVICES, names.boot));
  if (order.length === 0 || new Set(order).size !== order.length) {
    throw usageError(
      `${names.boot} ${given.join(',')}: names ${order.length === 0 ? 'nothing' : 'a device twice'}`,
      `give each of ${BOOT_DEVICES.join(', ')} at most once`,
    );
  }
  return order;
}

function initrdOf(input: MachineConfigInput, kernel: string | undefined, names: OptionNames): readonly string[] {
  const given = input.boot?.initrd;
  const initrd = given === undefined ? [] : typeof given === 'string' ? [given] : given;
  for (const path of initrd) {
    checkPath(path, names.initrd);
  }
  if (initrd.length > 0 && kernel === undefined) {
    throw usageError(`${names.initrd} ${initrd.join(',')}: a ramdisk needs a kernel`, `add ${names.kernel} FILE`);
  }
  return initrd;
}

function appendOf(input: MachineConfigInput, kernel: string | undefined, names: OptionNames): string {
  const append = input.boot?.append ?? '';
  if (append !== '' && kernel === undefined) {
    throw usageError(`${names.append} ${append}: a command line needs a kernel`, `add ${names.kernel} FILE`);
  }
  if (append.includes('\0') || new TextEncoder().encode(append).length > MAX_APPEND_BYTES) {
    throw usageError(
      `${names.append} ${append.slice(0, 40)}…: is too long or holds a zero character`,
      `give at most ${MAX_APPEND_BYTES} bytes of text`,
    );
  }
  return append;
}

function serialOf(input: MachineConfigInput, names: OptionNames): MachineConfig['serial'] {
  const serial = input.serial ?? { kind: 'none' };
  if (serial.kind === 'file') {
    checkPath(serial.path, names.serial);
  }
  return serial;
}

/** Gives every disk and the CD-ROM drive its place on the IDE channels. */
function ideOf(input: MachineConfigInput, names: OptionNames): Pick<MachineConfig, 'disks' | 'cdrom'> {
  const wanted = input.disks ?? [];
  const count = wanted.length + (input.cdrom === undefined ? 0 : 1);
  if (count > IDE_PORTS) {
    const last = wanted.at(-1)?.path ?? '';
    throw usageError(
      `${names.disk} ${last}: ${count} drives are more than the ${IDE_PORTS} that IDE has room for`,
      `attach at most ${IDE_PORTS} disks, or ${IDE_PORTS - 1} beside a CD-ROM drive`,
    );
  }
  const taken: (string | undefined)[] = new Array(IDE_PORTS).fill(undefined);
  const claim = (port: number, owner: string) => {
    if (!Number.isSafeInteger(port) || port < 0 || port >= IDE_PORTS) {
      throw usageError(`${owner}: port ${port} does not exist`, `give a port from 0 to ${IDE_PORTS - 1}`);
    }
    const holder = taken[port];
    if (holder !== undefined) {
      throw usageError(
        `${owner}: port ${port} (IDE ${PORT_NAMES[port] ?? ''}) is taken by ${holder}`,
        'give each drive a port of its own',
      );
    }
    taken[port] = owner;
  };
  for (const disk of wanted) {
    checkPath(disk.path, names.disk);
    if (disk.bus !== undefined && disk.bus !== 'ide') {
      throw usageError(`${names.disk} ${disk.path}: there is no bus '${disk.bus}'`, 'give bus=ide');
    }
    if (disk.port !== undefined) {
      claim(disk.port, `${names.disk} ${disk.path}`);
    }
  }
  const cdromPath = optionalPath(input.cdrom?.path, names.cdrom);
  const cdromOwner = `${names.cdrom} ${cdromPath ?? '(empty)'}`;
  let cdromPort = input.cdrom?.port;
  if (input.cdrom !== undefined) {
    // Without a wish it takes its usual place, or what is left when a disk was put there.
    cdromPort ??= taken[DEFAULT_CDROM_PORT] === undefined ? DEFAULT_CDROM_PORT : taken.lastIndexOf(undefined);
    claim(cdromPort, cdromOwner);
  }
  const disks: DiskConfig[] = wanted.map((disk) => {
    let port = disk.port;
    if (port === undefined) {
      port = taken.indexOf(undefined);
      claim(port, `${names.disk} ${disk.path}`);
    }
    return { path: disk.path, bus: 'ide', readOnly: disk.readOnly ?? false, port };
  });
  if (input.cdrom === undefined || cdromPort === undefined) {
    return { disks };
  }
  return { disks, cdrom: { ...(cdromPath === undefined ? {} : { path: cdromPath }), port: cdromPort } };
}
