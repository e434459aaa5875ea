import type { FileProbe } from './file-probe.ts';
import {
  ACCELERATORS,
  BOOT_DEVICES,
  type BootDevice,
  COMMAND_LINE_NAMES,
  MAX_CPUS,
  MAX_MEMORY_MEGABYTES,
  type MachineConfig,
  type MachineConfigInput,
  MIN_CPUS,
  MIN_MEMORY_MEGABYTES,
  type OptionNames,
  usageError,
} from './machine-config.ts';
import { boardOf, fitToBoard } from './validate-board.ts';
import { consolesOf } from './validate-console.ts';
import { displayOf } from './validate-display.ts';
import { drivesOf } from './validate-drives.ts';
import { checkFiles } from './validate-files.ts';
import { networkOf } from './validate-network.ts';
import { checkPath, optionalPath } from './validate-paths.ts';
import { sharesOf, vsockOf } from './validate-share.ts';
import { soundOf } from './validate-sound.ts';

const DEFAULT_MEMORY_MEGABYTES = 512;
const MAX_NAME_LENGTH = 80;
/** The longest kernel command line that any loader takes (Linux on x86: 2047 bytes and a zero). */
const MAX_APPEND_BYTES = 2047;
const MAX_SECONDS = 1e7;

export interface ValidationOptions {
  /** Looks at the files as well; without it only the values are checked. */
  readonly files?: FileProbe;
  readonly names?: OptionNames;
}

/**
 * Completes a configuration with defaults and checks it. Throws HostError('usage') with one line that names the option
 * and its value, and a remedy, for the first thing that is wrong; nothing on the host is changed.
 */
export function validateMachineConfig(given: MachineConfigInput, options: ValidationOptions = {}): MachineConfig {
  const names = options.names ?? COMMAND_LINE_NAMES;
  const board = boardOf(given.board, names);
  const input = fitToBoard(given, board, names);
  const kernel = optionalPath(input.boot?.kernel, names.kernel);
  const initrd = initrdOf(input, kernel, names);
  const append = appendOf(input, kernel, names);
  const { disks, cdrom } = drivesOf(input, names);
  const floppyPath = optionalPath(input.floppy?.path, names.floppy);
  const bios = optionalPath(input.firmware?.bios, names.bios);
  const network = networkOf(input.network, names);
  const display = displayOf(input, names);
  const consoles = consolesOf(input, names);
  const sound = soundOf(input.sound, names);
  const shares = sharesOf(input.shares, names);
  const vsock = vsockOf(input.vsock, names);
  if (network !== undefined && input.virtualTime === true) {
    throw usageError(
      `${names.network} nat: the outside world does not follow virtual time`,
      `leave out --virtual-time, or give ${names.network} none`,
    );
  }
  if (vsock !== undefined && input.virtualTime === true) {
    throw usageError(
      `${names.vsock} socket=${vsock.socket}: the outside world does not follow virtual time`,
      `leave out --virtual-time or ${names.vsock}`,
    );
  }
  const timeoutSeconds = input.timeoutSeconds;
  if (timeoutSeconds !== undefined && !(timeoutSeconds > 0 && timeoutSeconds <= MAX_SECONDS)) {
    throw usageError(
      `${names.timeout} ${timeoutSeconds}: is not a time`,
      `give seconds, more than 0 and at most ${MAX_SECONDS}`,
    );
  }
  const memoryMegabytes = whole(
    input.memoryMegabytes ?? DEFAULT_MEMORY_MEGABYTES,
    MIN_MEMORY_MEGABYTES,
    MAX_MEMORY_MEGABYTES,
    names.memory,
    'megabytes',
  );
  const balloonMegabytes =
    input.balloonMegabytes === undefined
      ? undefined
      : whole(input.balloonMegabytes, MIN_MEMORY_MEGABYTES, memoryMegabytes, names.balloon, 'megabytes');
  // What costs nothing comes with the first device of its kind.
  const hasVirtio =
    board === 'microvm' ||
    disks.some(({ bus }) => bus !== 'ide') ||
    cdrom?.bus === 'scsi' ||
    network?.model === 'virtio' ||
    display.vga === 'virtio' ||
    consoles.console !== undefined ||
    consoles.channels.length > 0 ||
    sound !== undefined ||
    shares.length > 0 ||
    vsock !== undefined;
  const config: MachineConfig = {
    name: nameOf(input, names),
    board,
    accel: oneOf(input.accel ?? 'auto', ACCELERATORS, names.accel),
    cpus: whole(input.cpus ?? 1, MIN_CPUS, MAX_CPUS, names.cpus, 'processors'),
    memoryMegabytes,
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
    ...display,
    virtioInput: input.virtioInput ?? (hasVirtio && board === 'pc'),
    serial: serialOf(input, names),
    ...consoles,
    ...(sound === undefined ? {} : { sound }),
    ...(network === undefined ? {} : { network }),
    shares,
    ...(vsock === undefined ? {} : { vsock }),
    entropy: input.entropy ?? hasVirtio,
    balloon: input.balloon ?? (hasVirtio || balloonMegabytes !== undefined),
    ...(balloonMegabytes === undefined ? {} : { balloonMegabytes }),
    hyperv: input.hyperv ?? false,
    debugExit: input.debugExit ?? false,
    headless: input.headless ?? false,
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    noReboot: input.noReboot ?? false,
    virtualTime: input.virtualTime ?? false,
    compile: input.compile ?? true,
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
  throw usageError(`${option} ${value}: is not known`, `give ${choices.join(' or ')}`);
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
