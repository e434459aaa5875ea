import { Command, CommanderError } from 'commander';
import { HostError } from '../../engine/base/host-error.ts';
import {
  BOOT_DEVICES,
  MAX_CPUS,
  MAX_MEMORY_MEGABYTES,
  type MachineConfig,
  type MachineConfigInput,
  MIN_CPUS,
  MIN_MEMORY_MEGABYTES,
  usageError,
} from '../../engine/config/machine-config.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { hostFiles } from '../../engine/process/host-files.ts';
import { hostReport, lodgeVersion } from '../../engine/process/host-report.ts';
import type { StartMachine } from '../../engine/process/run-machine.ts';
import * as parse from './command-line.ts';
import { doctorText } from './doctor-command.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './exit-codes.ts';
import { addMachineCommands } from './machine-commands.ts';
import { type RunIo, runMachine } from './run-command.ts';
import { standardInput } from './serial-console.ts';

interface RunFlags {
  readonly name?: string;
  readonly machine?: string;
  readonly accel?: string;
  readonly cpus?: number;
  readonly memory?: number;
  readonly kernel?: string;
  readonly initrd?: string[];
  readonly append?: string;
  readonly disk?: ReturnType<typeof parse.disk>[];
  readonly cdrom?: ReturnType<typeof parse.cdrom>;
  readonly floppy?: ReturnType<typeof parse.floppy>;
  readonly rng?: boolean;
  readonly balloon?: number;
  readonly boot?: string[];
  readonly bios?: string;
  readonly debugExit?: boolean;
  readonly vga?: string;
  readonly heads?: number;
  readonly serial?: ReturnType<typeof parse.serial>;
  readonly console?: ReturnType<typeof parse.console>;
  readonly channel?: ReturnType<typeof parse.channel>[];
  readonly sound?: ReturnType<typeof parse.sound>;
  readonly net?: ReturnType<typeof parse.network>;
  readonly share?: ReturnType<typeof parse.share>[];
  readonly vsock?: ReturnType<typeof parse.vsock>;
  readonly headless?: boolean;
  readonly timeout?: number;
  /** Commander's name for `--no-reboot`. */
  readonly reboot?: boolean;
  readonly virtualTime?: boolean;
  readonly hyperv?: boolean;
  readonly compile?: boolean;
  readonly screenshot?: ReturnType<typeof parse.screenshot>[];
  readonly type?: ReturnType<typeof parse.typed>[];
  readonly verbose?: boolean;
}

/** For options that may be given once: a second one is a mistake, not a correction. */
function once<T>(option: string, convert: (text: string) => T): (text: string, previous: T | undefined) => T {
  return (text, previous) => {
    if (previous !== undefined) {
      throw usageError(`${option} ${text}: is given twice`, `give ${option} once`);
    }
    return convert(text);
  };
}

function every<T>(convert: (text: string) => T): (text: string, previous: T[] | undefined) => T[] {
  return (text, previous) => [...(previous ?? []), convert(text)];
}

const asText = (text: string) => text;

/** What the flags of `lodge run` say. The terminal belongs to the serial port unless told otherwise. */
function configInput(flags: RunFlags): MachineConfigInput {
  return {
    name: flags.name,
    board: flags.machine,
    accel: flags.accel,
    cpus: flags.cpus,
    memoryMegabytes: flags.memory,
    firmware: { bios: flags.bios },
    boot: { order: flags.boot, kernel: flags.kernel, initrd: flags.initrd, append: flags.append },
    disks: flags.disk,
    cdrom: flags.cdrom,
    floppy: flags.floppy,
    vga: flags.vga,
    heads: flags.heads,
    serial: flags.serial ?? { kind: flags.console?.kind === 'stdio' ? 'none' : 'stdio' },
    console: flags.console,
    channels: flags.channel,
    sound: flags.sound === 'none' ? undefined : flags.sound,
    network: flags.net === 'none' ? undefined : flags.net,
    shares: flags.share,
    vsock: flags.vsock,
    entropy: flags.rng,
    balloonMegabytes: flags.balloon,
    debugExit: flags.debugExit,
    headless: flags.headless,
    timeoutSeconds: flags.timeout,
    noReboot: flags.reboot === false,
    virtualTime: flags.virtualTime,
    hyperv: flags.hyperv,
    compile: flags.compile,
    screenshots: flags.screenshot,
    typed: flags.type,
  };
}

function addRunOptions(command: Command): Command {
  const number = (option: string, unit: string) => once(option, (text) => parse.wholeNumber(option, text, unit));
  return command
    .option(
      '--machine <KIND>',
      'kind of machine: pc (default), or microvm, without PCI, for kernels started at once',
      once('--machine', asText),
    )
    .option('--accel <KIND>', 'processor: auto, kvm or software', once('--accel', asText))
    .option(
      '--cpus <N>',
      `processors, ${MIN_CPUS} to ${MAX_CPUS}`,
      number('--cpus', `processors, ${MIN_CPUS} to ${MAX_CPUS}`),
    )
    .option(
      '--memory <MB>',
      `megabytes of memory, ${MIN_MEMORY_MEGABYTES} to ${MAX_MEMORY_MEGABYTES}`,
      number('--memory', `megabytes, ${MIN_MEMORY_MEGABYTES} to ${MAX_MEMORY_MEGABYTES}`),
    )
    .option('--kernel <FILE>', 'start this kernel (Linux, PVH ELF or Multiboot)', once('--kernel', asText))
    .option('--initrd <FILE>', 'ramdisk or module for the kernel (repeatable)', every(asText))
    .option('--append <TEXT>', 'command line of the kernel', once('--append', asText))
    .option(
      '--disk <FILE[,bus=ide|virtio|scsi][,port=N][,serial=TEXT][,readonly]>',
      'raw hard disk image (repeatable)',
      every((text) => parse.disk('--disk', text)),
    )
    .option(
      '--cdrom <FILE[,bus=ide|scsi]>',
      'ISO image in the CD-ROM drive',
      once('--cdrom', (text) => parse.cdrom('--cdrom', text)),
    )
    .option(
      '--floppy <FILE[,readonly]>',
      'floppy image in drive A',
      once('--floppy', (text) => parse.floppy('--floppy', text)),
    )
    .option('--rng', "the host's random numbers as a virtio device (comes with other virtio devices by itself)")
    .option(
      '--balloon <MB>',
      'megabytes of its memory that the guest is to get along with, by a virtio balloon (default: all)',
      number('--balloon', 'megabytes'),
    )
    .option(
      '--boot <ORDER>',
      `boot order, from ${BOOT_DEVICES.join(',')}`,
      once('--boot', (text) => text.split(',')),
    )
    .option('--bios <FILE>', 'firmware image instead of the one found', once('--bios', asText))
    .option('--debug-exit', 'port 0xF4 ends the run with the exit code value*2+1')
    .option('--vga <KIND>', 'display adapter: std (default) or virtio', once('--vga', asText))
    .option('--heads <N>', 'monitors of a virtio display adapter (default 1)', number('--heads', 'monitors'))
    .option(
      '--serial <TARGET>',
      'first serial port: stdio (default), file:PATH or none',
      once('--serial', (text) => parse.serial('--serial', text)),
    )
    .option(
      '--console <TARGET>',
      'virtio console, hvc0: stdio, socket:PATH or file:PATH',
      once('--console', (text) => parse.console('--console', text)),
    )
    .option(
      '--channel <name=NAME,socket=PATH>',
      'channel between a program of the guest, in /dev/virtio-ports, and one of the host (repeatable)',
      every((text) => parse.channel('--channel', text)),
    )
    .option(
      '--sound <wav=FILE[,input=FILE]|null|none>',
      'virtio sound card that records what the guest plays, and plays what it is to hear',
      once('--sound', (text) => parse.sound('--sound', text)),
    )
    .option(
      '--net <nat[,model=…][,forward=tcp:HOSTPORT:GUESTPORT][,host-loopback][,isolated][,capture=FILE]|none>',
      'network behind the host, without privileges',
      once('--net', (text) => parse.network('--net', text)),
    )
    .option(
      '--share <NAME=FOLDER[,readonly]>',
      'a folder that the guest mounts: mount -t 9p -o trans=virtio NAME /mnt (repeatable)',
      every((text) => parse.share('--share', text)),
    )
    .option(
      '--vsock <[cid=N,]socket=PATH>',
      'stream sockets between guest and host, which has them at PATH and PATH_PORT',
      once('--vsock', (text) => parse.vsock('--vsock', text)),
    )
    .option('--headless', 'no window')
    .option(
      '--timeout <SECONDS>',
      'end the run after so many seconds of guest time',
      once('--timeout', (text) => parse.seconds('--timeout', text)),
    )
    .option('--no-reboot', 'a guest that restarts ends the run')
    .option('--virtual-time', 'time follows executed instructions: every run is the same')
    .option('--hyperv', 'tell guests that they run on Hyper-V, whose interface Windows knows')
    .option('--no-compile', 'the software processor interprets all code, for comparisons')
    .option(
      '--screenshot <FILE.png@SECONDS>',
      'write a picture of the screen at that time (repeatable)',
      every((text) => parse.screenshot('--screenshot', text)),
    )
    .option(
      '--type <TEXT@SECONDS>',
      'type on the keyboard at that time; \\n is Enter, {F12} a key (repeatable)',
      every((text) => parse.typed('--type', text)),
    )
    .option('--name <TEXT>', 'name of the machine', once('--name', asText))
    .option('--verbose', 'tell more on standard error');
}

async function loadStartMachine(): Promise<StartMachine> {
  const { startMachine } = await import('../../engine/process/run-machine.ts');
  return startMachine;
}

/** What the command uses of its process; replaced in tests. */
export interface CliIo extends RunIo {
  loadStartMachine(): Promise<StartMachine>;
}

/** Carries out a command line (without the names of node and script); returns the exit code. */
export async function lodge(argv: readonly string[], io: CliIo): Promise<number> {
  const { complain } = io;
  let exitCode = 0;
  const program = new Command('lodge')
    .description('Virtual machines on the desktop')
    .version(lodgeVersion(), '--version', 'show the version')
    .helpOption('--help', 'show this help')
    .exitOverride()
    // Errors of the command line are printed below, in one line.
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      outputError: () => {},
    });
  addRunOptions(program.command('run').description('run a machine that is not registered anywhere')).action(
    async (flags: RunFlags) => {
      const config: MachineConfig = validateMachineConfig(configInput(flags), { files: hostFiles });
      exitCode = await runMachine(config, await io.loadStartMachine(), { ...io, verbose: flags.verbose ?? io.verbose });
    },
  );
  program
    .command('doctor')
    .description('say what this host offers to machines')
    .option('--json', 'for programs')
    .action((flags: { json?: boolean }) => {
      const report = hostReport();
      io.stdout.write(flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : doctorText(report));
    });
  addMachineCommands(program, io, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) {
        return 0;
      }
      // Without a command, Commander has printed the help.
      if (error.code !== 'commander.help') {
        complain(`${commandLineProblem(error.message)}; see lodge ${argv[0] === 'run' ? 'run ' : ''}--help`);
      }
      return EXIT_USAGE;
    }
    if (error instanceof HostError) {
      complain(parse.oneLine(error));
      return error.code === 'not-built' ? EXIT_FAILURE : EXIT_USAGE;
    }
    complain(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return EXIT_FAILURE;
  }
}

/** Commander's message in one line: "unknown option '--memroy' (did you mean --memory?)". */
function commandLineProblem(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace('(Did you', '(did you')
    .replace(/\.$/, '');
}

/** Runs the command line of this process and ends it. */
export async function main(): Promise<never> {
  // A reader of standard output that has gone is dealt with where output matters.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const code = await lodge(process.argv.slice(2), {
    stdin: standardInput(),
    stdout: process.stdout,
    complain: (line) => {
      process.stderr.write(`lodge: ${line}\n`);
    },
    verbose: false,
    loadStartMachine,
  });
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
  process.exit(code);
}
