import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import { HostError } from '../../engine/base/host-error.ts';
import { VGA_KINDS } from '../../engine/config/display-config.ts';
import { ACCELERATORS, usageError } from '../../engine/config/machine-config.ts';
import { isKeyName } from '../../engine/process/key-names.ts';
import type { ApiClient } from '../contract/client.ts';
import type { Share } from '../contract/devices.ts';
import { ApiError } from '../contract/errors.ts';
import { failureData } from '../contract/failures.ts';
import type { AppInfo } from '../contract/host.ts';
import type { Machine, MachineSettings, NewMachine } from '../contract/machines.ts';
import { dataFolder } from '../services/data-folder.ts';
import { OwnedElsewhere } from '../services/lodge-services.ts';
import { proxyHandlers } from '../services/proxy-handlers.ts';
import { isLoopback } from '../web/access.ts';
import { DEFAULT_PORT, startWebServer } from '../web/server.ts';
import { oneLine, wholeNumber } from './command-line.ts';
import { diskWish, networkWish, newDiskWish, oneOf, shareWish, soundWish } from './device-options.ts';
import { EXIT_FAILURE, EXIT_TIMEOUT, EXIT_USAGE } from './exit-codes.ts';
import { becomeOwner, joinOwner, openSession, runAgent } from './owner.ts';
import { addSettingsCommands, forwardLine, shareLine } from './settings-commands.ts';

/** What these commands use of their process. */
export interface MachineCommandsIo {
  readonly stdout: Writable;
  complain(line: string): void;
}

const DEFAULT_STOP_SECONDS = 60;

/** Adds the commands on registered machines. `setExit` receives the exit code of the one that ran. */
export function addMachineCommands(program: Command, io: MachineCommandsIo, setExit: (code: number) => void): void {
  const print = (text: string) => io.stdout.write(`${text}\n`);
  const guarded = async (action: () => Promise<number | undefined>): Promise<void> => {
    try {
      setExit((await action()) ?? 0);
    } catch (error) {
      if (error instanceof ApiError) {
        io.complain(oneLine(new HostError(error.code, error.message, error.remedy ? { remedy: error.remedy } : {})));
        setExit(isUsage(error) ? EXIT_USAGE : EXIT_FAILURE);
        return;
      }
      throw error;
    }
  };
  const withClient = (what: string, action: (client: ApiClient) => Promise<number | undefined>, stay = false) =>
    guarded(async () => {
      const session = await openSession(dataFolder(), `lodge ${what}`, stay);
      try {
        return await action(session.client);
      } finally {
        await session.close();
      }
    });
  const onMachine = (
    name: string,
    description: string,
    action: (client: ApiClient, machine: Machine) => Promise<number | undefined>,
  ) =>
    program
      .command(`${name} <machine>`)
      .description(description)
      .action((wanted: string) =>
        withClient(name, async (client) => action(client, await findMachine(client, wanted))),
      );

  program
    .command('list')
    .description('list the machines')
    .option('--json', 'for programs')
    .action((flags: { json?: boolean }) =>
      withClient('list', async (client) => {
        const machines = await client.call('machines.list');
        print(flags.json === true ? JSON.stringify(machines, null, 2) : table(machines));
        return 0;
      }),
    );

  program
    .command('show <machine>')
    .description('tell everything about a machine')
    .option('--json', 'for programs')
    .action((wanted: string, flags: { json?: boolean }) =>
      withClient('show', async (client) => {
        const machine = await findMachine(client, wanted);
        print(flags.json === true ? JSON.stringify(machine, null, 2) : details(machine));
        return 0;
      }),
    );

  addCreate(program, (action) => withClient('create', action), print);

  program
    .command('start <machine>')
    .description('start a machine; it runs on after the command')
    .action((wanted: string) =>
      withClient(
        'start',
        async (client) => {
          const machine = await findMachine(client, wanted);
          await client.call('machines.start', { id: machine.id });
          return 0;
        },
        true,
      ),
    );

  program
    .command('stop <machine>')
    .description('press the power button and wait until the machine is off')
    .option('--force', 'pull the plug instead')
    .option('--timeout <SECONDS>', `how long to wait, ${DEFAULT_STOP_SECONDS} unless given`, (text) =>
      wholeNumber('--timeout', text, 'seconds'),
    )
    .action((wanted: string, flags: { force?: boolean; timeout?: number }) =>
      withClient('stop', async (client) => {
        const machine = await findMachine(client, wanted);
        if (flags.force === true) {
          await client.call('machines.powerOff', { id: machine.id });
          return 0;
        }
        await client.call('machines.shutdown', { id: machine.id });
        const seconds = flags.timeout ?? DEFAULT_STOP_SECONDS;
        if (await untilOff(client, machine.id, seconds)) {
          return 0;
        }
        io.complain(`${machine.name}: still runs after ${seconds} seconds; lodge stop --force pulls the plug`);
        return EXIT_TIMEOUT;
      }),
    );

  onMachine('pause', 'let time stand still for a machine', async (client, { id }) => {
    await client.call('machines.pause', { id });
    return 0;
  });
  onMachine('resume', 'let a paused machine go on', async (client, { id }) => {
    await client.call('machines.resume', { id });
    return 0;
  });
  onMachine('reset', 'press the reset button', async (client, { id }) => {
    await client.call('machines.reset', { id });
    return 0;
  });

  addSettingsCommands(program, {
    onMachine: (what, wanted, action) =>
      withClient(what, async (client) => {
        const machine = await findMachine(client, wanted);
        if (machine.settings === null) {
          throw new ApiError(machine.reason ?? failureData('inaccessible', { id: machine.id }));
        }
        return action(client, machine, machine.settings);
      }),
    print,
    complain: io.complain,
  });

  program
    .command('accel <machine> <kind>')
    .description('move a running machine to KVM or to the software processor: kvm or software')
    .action((wanted: string, kind: string) =>
      withClient('accel', async (client) => {
        if (kind !== 'kvm' && kind !== 'software') {
          throw usageError(`accel ${kind}: is not a kind of processor`, 'give kvm or software');
        }
        const { id } = await findMachine(client, wanted);
        await client.call('machines.accelerate', { id, accelerator: kind });
        return 0;
      }),
    );

  program
    .command('delete <machine>')
    .description('take a machine off the list; its files stay unless --files is given')
    .option('--files', 'delete its files too, and name them')
    .action((wanted: string, flags: { files?: boolean }) =>
      withClient('delete', async (client) => {
        const { id } = await findMachine(client, wanted);
        const { deleted } = await client.call('machines.remove', { id, deleteFiles: flags.files === true });
        for (const path of deleted) {
          print(`deleted ${path}`);
        }
        return 0;
      }),
    );

  program
    .command('screenshot <machine> <file.png>')
    .description("store the machine's screen as a picture")
    .action((wanted: string, file: string) =>
      withClient('screenshot', async (client) => {
        const machine = await findMachine(client, wanted);
        const { png } = await client.call('console.screenshot', { machine: machine.id });
        try {
          writeFileSync(file, Buffer.from(png, 'base64'));
        } catch (error) {
          throw usageError(
            `${file}: cannot be written (${(error as NodeJS.ErrnoException).code})`,
            'give another path',
          );
        }
        return 0;
      }),
    );

  program
    .command('type <machine> <text>')
    .description('type text on the keyboard; \\n is Enter, {F12} a key')
    .action((wanted: string, text: string) =>
      withClient('type', async (client) => {
        const machine = await findMachine(client, wanted);
        const plain = text.replace(/\\(.)/gs, (both, letter: string) => ESCAPES[letter] ?? both);
        const { unknown } = await client.call('console.sendText', { machine: machine.id, text: plain });
        if (unknown.length > 0) {
          io.complain(`no key types ${unknown.join(' ')}`);
          return EXIT_FAILURE;
        }
        return 0;
      }),
    );

  program
    .command('keys <machine> <chord...>')
    .description('press keys by their names (KeyboardEvent.code), together with +: ControlLeft+AltLeft+Delete')
    .action((wanted: string, chords: string[]) =>
      withClient('keys', async (client) => {
        const pressed = chords.map((chord) => chord.split('+'));
        const unknown = pressed.flat().find((key) => !isKeyName(key));
        if (unknown !== undefined) {
          throw usageError(
            `'${unknown}' is not a key`,
            'give names such as KeyA, Enter, F12 or ControlLeft+AltLeft+Delete',
          );
        }
        const machine = await findMachine(client, wanted);
        for (const codes of pressed) {
          await client.call('console.sendKeys', { machine: machine.id, codes });
        }
        return 0;
      }),
    );

  program
    .command('serve')
    .description('serve the user interface to a browser')
    .option('--port <N>', `port to listen on, ${DEFAULT_PORT} unless given; 0 takes a free one`, (text) =>
      wholeNumber('--port', text, 'the port'),
    )
    .option('--host <ADDRESS>', 'address to listen on, 127.0.0.1 unless given')
    .action((flags: { port?: number; host?: string }) => guarded(() => serve(flags, io, print)));

  program
    .command('agent', { hidden: true })
    .description('own the machines in the background while one of them runs')
    .action(() =>
      guarded(async () => {
        await runAgent(dataFolder(), print, stopSignal());
        return 0;
      }),
    );
}

/** Failures that are about what was asked for: nothing was changed. */
const USAGE_CODES = new Set([
  'not-found',
  'bad-arguments',
  'wrong-state',
  'usage',
  'ambiguous',
  'inaccessible',
  'image-in-use',
  'image-not-writable',
  'no-kvm',
  'accelerator-fixed',
  'no-drive',
  'medium-locked',
  'no-network',
  'no-balloon',
  'no-such-disk',
  'no-such-forward',
  'no-such-share',
  'bus-full',
  'no-scsi',
  'scsi-full',
  'no-scsi-disk',
  'port-forwarded',
  'port-in-use',
  'port-forbidden',
  'port-failed',
  'no-such-address',
  'bad-forward',
  'too-many-forwards',
]);

/** Whether the user gave something wrong, rather than that something failed: then it is about an argument. */
function isUsage(error: ApiError): boolean {
  return USAGE_CODES.has(error.code) || (error.field !== undefined && error.code !== 'write-failed');
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', e: '\x1b', b: '\b', '\\': '\\' };

/** Settles at the first signal that asks this process to end. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => resolve());
    }
  });
}

async function serve(
  { port, host }: { readonly port?: number; readonly host?: string },
  io: MachineCommandsIo,
  print: (text: string) => void,
): Promise<number> {
  if (port !== undefined && port > 65535) {
    throw usageError(`--port ${port}: is not a port`, 'give 0 to 65535');
  }
  const home = dataFolder();
  const stopped = stopSignal();
  const options = { ...(port === undefined ? {} : { port }), ...(host === undefined ? {} : { address: host }) };
  let closeServices: () => Promise<void>;
  let handlers: Parameters<typeof startWebServer>[0]['handlers'];
  let ownerGone: Promise<void> | undefined;
  try {
    const owner = await becomeOwner(home, 'lodge serve', (line) => io.complain(line));
    handlers = owner.services.handlers;
    closeServices = () => owner.close();
  } catch (error) {
    if (!(error instanceof OwnedElsewhere)) {
      throw error;
    }
    const { owner } = error;
    const session = await joinOwner(home, owner, { shell: 'web', compressFrames: true });
    print(`The machines belong to ${owner.what} (process ${owner.pid}); this serves them as long as it runs.`);
    handlers = proxyHandlers(session.client, 'web');
    closeServices = () => session.close();
    ownerGone = new Promise((gone) => {
      session.client.onClose(() => gone());
    });
  }
  try {
    const server = await startWebServer({ handlers, ...options });
    print(`Lodge is at ${server.url}`);
    if (host !== undefined && !isLoopback(host)) {
      io.complain(
        `warning: ${host} is reachable by others, and nothing is encrypted; whoever has the address may do all`,
      );
    }
    const gone = await Promise.race([
      stopped.then(() => false),
      ...(ownerGone === undefined ? [] : [ownerGone.then(() => true)]),
    ]);
    await server.close();
    if (gone) {
      io.complain('the process that owns the machines has ended');
      return EXIT_FAILURE;
    }
    return 0;
  } finally {
    await closeServices();
  }
}

async function findMachine(client: ApiClient, wanted: string): Promise<Machine> {
  const machines = await client.call('machines.list');
  const exact = machines.find(({ id }) => id === wanted) ?? machines.find(({ name }) => name === wanted);
  if (exact !== undefined) {
    return exact;
  }
  const similar = machines.filter(({ name }) => name.toLowerCase() === wanted.toLowerCase());
  const [only] = similar;
  if (only !== undefined && similar.length === 1) {
    return only;
  }
  throw new ApiError({
    code: similar.length > 1 ? 'ambiguous' : 'not-found',
    message: `${wanted}: ${similar.length > 1 ? 'several machines are called so' : 'there is no such machine'}`,
    remedy: 'lodge list names them',
  });
}

function untilOff(client: ApiClient, id: string, seconds: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => finish(false), seconds * 1000);
    const feed = client.subscribe(
      'machines.changes',
      {},
      {
        item(change) {
          const machine =
            change.kind === 'all'
              ? change.machines.find((candidate) => candidate.id === id)
              : change.kind === 'changed' && change.machine.id === id
                ? change.machine
                : undefined;
          if (machine?.state === 'powered-off' || machine?.state === 'aborted') {
            finish(true);
          }
        },
        end: () => finish(false),
      },
    );
    const finish = (off: boolean) => {
      clearTimeout(timer);
      // The first items come while subscribing.
      queueMicrotask(() => feed.dispose());
      resolve(off);
    };
  });
}

interface CreateFlags {
  readonly name?: string;
  readonly demo?: boolean;
  readonly guest?: string;
  readonly memory?: number;
  readonly cpus?: number;
  readonly media?: string;
  readonly diskSize?: ReturnType<typeof newDiskWish>;
  /** Commander's name for both `--disk FILE` and `--no-disk`. */
  readonly disk?: string | boolean;
  readonly net?: ReturnType<typeof networkWish>;
  readonly vga?: string;
  readonly share?: Share[];
  readonly sound?: ReturnType<typeof soundWish>;
  readonly accel?: string;
  readonly folder?: string;
}

function addCreate(
  program: Command,
  withClient: (action: (client: ApiClient) => Promise<number | undefined>) => Promise<void>,
  print: (text: string) => void,
): void {
  program
    .command('create')
    .description('make a machine; what is not given follows from the guest system')
    .option('--demo', 'the built-in demonstration guest')
    .option('--name <TEXT>', 'its name')
    .option('--guest <SYSTEM>', 'guest system, such as debian; recognized from the media unless given')
    .option('--memory <MB>', 'megabytes of memory', (text) => wholeNumber('--memory', text, 'megabytes'))
    .option('--cpus <N>', 'processors', (text) => wholeNumber('--cpus', text, 'processors'))
    .option('--media <FILE>', 'ISO, disk or floppy image to install from')
    .option('--disk-size <GB[,bus=ide|virtio|scsi][,serial=TEXT]>', 'size of a new hard disk', (text) =>
      newDiskWish('--disk-size', text),
    )
    .option('--disk <FILE[,bus=ide|virtio|scsi][,serial=TEXT][,readonly]>', 'an existing hard disk image')
    .option('--no-disk', 'no hard disk')
    .option('--net <nat[,…]|none>', 'network, as of lodge run; what suits the guest system unless given', (text) =>
      networkWish('--net', text),
    )
    .option('--vga <KIND>', 'display adapter: std or virtio; what suits the guest system unless given')
    .option(
      '--share <NAME=FOLDER[,readonly]>',
      'a folder of the host that the guest can mount (repeatable)',
      (text, shares: Share[] = []) => [...shares, shareWish('--share', text)],
    )
    .option('--sound <wav=FILE|null>', 'sound device', (text) => soundWish('--sound', text) ?? undefined)
    .option('--accel <KIND>', 'processor: auto, kvm or software')
    .option('--folder <FOLDER>', "folder in which the machine's own folder is made")
    .action((flags: CreateFlags) =>
      withClient(async (client) => {
        const { demo = false, ...others } = flags;
        const [other] = Object.keys(others);
        if (demo && other !== undefined) {
          throw usageError(
            '--demo: the demonstration guest is made as it is',
            `leave out --${other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}, or --demo`,
          );
        }
        const machine = demo
          ? await client.call('machines.createDemo')
          : await client.call('machines.create', await newMachine(client, flags));
        print(machine.id);
        return 0;
      }),
    );
}

/** Refuses numbers that no machine has, by the names of the options. */
function checkLimits({ memory, cpus, diskSize }: CreateFlags, limits: AppInfo['limits']): void {
  const checks = [
    ['--memory', memory, limits.memoryMegabytes, 'megabytes'],
    ['--cpus', cpus, limits.processors, 'processors'],
    ['--disk-size', diskSize?.sizeGigabytes, limits.diskGigabytes, 'gigabytes'],
  ] as const;
  for (const [option, value, { minimum, maximum }, unit] of checks) {
    if (value !== undefined && (value < minimum || value > maximum)) {
      throw usageError(`${option} ${value}: is out of range`, `give ${minimum} to ${maximum} ${unit}`);
    }
  }
}

async function newMachine(client: ApiClient, flags: CreateFlags): Promise<NewMachine> {
  checkLimits(flags, (await client.call('app.info')).limits);
  const media =
    flags.media === undefined ? undefined : await client.call('media.inspect', { path: resolve(flags.media) });
  const catalogue = await client.call('osCatalogue.list');
  const guest = flags.guest ?? media?.guestSystem ?? 'other';
  const system = catalogue.find(({ id }) => id === guest);
  if (system === undefined) {
    throw usageError(
      `--guest ${guest}: is not a known guest system`,
      `give one of ${catalogue.map(({ id }) => id).join(', ')}`,
    );
  }
  const name = flags.name ?? media?.suggestedName;
  if (name === undefined || name === null) {
    throw usageError('a machine needs a name', 'give --name');
  }
  if (typeof flags.disk === 'string' && flags.diskSize !== undefined) {
    throw usageError(`--disk ${flags.disk}: there is also --disk-size`, 'give one of them');
  }
  const accelerator = oneOf('--accel', flags.accel ?? 'auto', ACCELERATORS);
  const vga = flags.vga === undefined ? undefined : oneOf('--vga', flags.vga, VGA_KINDS);
  const { defaults } = system;
  return {
    name,
    guestSystem: guest,
    memoryMegabytes: flags.memory ?? defaults.memoryMegabytes,
    processors: flags.cpus ?? defaults.processors,
    firmware: defaults.firmware,
    accelerator,
    ...(flags.folder === undefined ? {} : { folder: resolve(flags.folder) }),
    ...(media === undefined ? {} : { installMedia: { path: media.path, kind: media.kind } }),
    hardDisk:
      typeof flags.disk === 'string'
        ? { kind: 'existing', ...diskWish('--disk', flags.disk) }
        : flags.disk === false
          ? { kind: 'none' }
          : { kind: 'new', sizeGigabytes: defaults.diskGigabytes, ...flags.diskSize },
    network: flags.net === 'none' ? null : flags.net,
    vga,
    shares: flags.share,
    sound: flags.sound,
  };
}

function table(machines: readonly Machine[]): string {
  if (machines.length === 0) {
    return 'There are no machines yet; lodge create --demo makes one to try.';
  }
  const rows = [
    ['NAME', 'STATE', 'GUEST', 'ID'],
    ...machines.map(({ name, state, settings, id }) => [name, state, settings?.guestSystem ?? '', id]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)) + 2);
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('')
        .trimEnd(),
    )
    .join('\n');
}

function details(machine: Machine): string {
  const { settings, reason, trouble } = machine;
  const rows: [string, string][] = [
    ['name', machine.name],
    ['id', machine.id],
    ['state', machine.state],
    ...[reason, trouble].flatMap((why): [string, string][] =>
      why === null ? [] : [['reason', `${why.message}${why.remedy ? `; ${why.remedy}` : ''}`]],
    ),
    ['folder', machine.folder],
    ...(machine.logPath === null ? [] : [['log', machine.logPath] as [string, string]]),
  ];
  if (machine.accelerator !== null) {
    rows.push(['accelerator', `${machine.accelerator.label} (${machine.accelerator.reason})`]);
  }
  if (settings !== null) {
    rows.push(
      ['guest', settings.guestSystem],
      ['memory', `${settings.memoryMegabytes} MB`],
      ['processors', String(settings.processors)],
      ['boot order', settings.bootOrder.join(', ')],
      ...settings.disks.map((disk): [string, string] => [
        `${disk.bus} ${disk.port}`,
        [
          disk.path,
          ...(disk.serial === null ? [] : [`serial ${disk.serial}`]),
          ...(disk.readOnly ? ['read-only'] : []),
        ].join(', '),
      ]),
      ['cdrom', settings.cdrom === null ? 'none' : (settings.cdrom.path ?? 'empty')],
      ['floppy', settings.floppy === null ? 'none' : (settings.floppy.path ?? 'empty')],
      ['network', networkText(settings.network)],
      ...(settings.network?.forwards ?? []).map((forward): [string, string] => ['forward', forwardLine(forward)]),
      ['vga', settings.vga],
      ...settings.shares.map((share): [string, string] => ['share', shareLine(share)]),
      ['sound', soundText(settings.sound)],
      ['hyperv', settings.hyperv ? 'on' : 'off'],
      ['rng', settings.entropy ? 'on' : 'off'],
      ['balloon', settings.balloon ? 'on' : 'off'],
    );
  }
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, value]) => `${label.padEnd(width)}${value}`).join('\n');
}

function soundText(sound: MachineSettings['sound']): string {
  if (sound === null) {
    return 'none';
  }
  return [sound.output ?? 'nowhere', ...(sound.input === null ? [] : [`input ${sound.input}`])].join(', ');
}

function networkText(network: MachineSettings['network']): string {
  if (network === null) {
    return 'none';
  }
  const { model, mac, connected, hostLoopback, isolated, capture, bootFolder, bootFile } = network;
  return [
    'nat',
    model,
    mac,
    ...(connected ? [] : ['cable not plugged in']),
    ...(hostLoopback ? ['host-loopback'] : []),
    ...(isolated ? ['isolated'] : []),
    ...(capture === null ? [] : [`capture ${capture}`]),
    ...(bootFolder === null ? [] : [`boot ${bootFolder}`]),
    ...(bootFile === null ? [] : [`bootfile ${bootFile}`]),
  ].join(', ');
}
