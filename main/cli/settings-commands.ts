import { resolve } from 'node:path';
import type { Command } from 'commander';
import { VGA_KINDS } from '../../engine/config/display-config.ts';
import { ACCELERATORS, BOOT_DEVICES, SETTING_NAMES, usageError } from '../../engine/config/machine-config.ts';
import { forwardText } from '../../engine/config/network-config.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { ApiClient } from '../contract/client.ts';
import { freeDrivePort, type PortForward, type Share } from '../contract/devices.ts';
import { failure } from '../contract/failures.ts';
import type { Machine, MachineChanges, MachineSettings } from '../contract/machines.ts';
import { newNetwork } from '../contract/new-network.ts';
import * as parse from './command-line.ts';
import {
  diskWish,
  forwardKey,
  forwardWish,
  networkWish,
  newDiskWish,
  oneOf,
  shareWish,
  soundWish,
} from './device-options.ts';

/** What these commands need of the others. */
export interface SettingsCommandsParts {
  /** Runs `action` on the machine that is called `wanted`. */
  onMachine(
    what: string,
    wanted: string,
    action: (client: ApiClient, machine: Machine, settings: MachineSettings) => Promise<number>,
  ): Promise<void>;
  print(text: string): void;
  complain(line: string): void;
}

interface Setting {
  readonly value: string;
  readonly about: string;
  apply(text: string, parts: SettingContext): Promise<unknown>;
}

interface SettingContext {
  readonly id: string;
  readonly settings: MachineSettings;
  readonly client: ApiClient;
  change(changes: MachineChanges): Promise<unknown>;
  complain(line: string): void;
}

/** What `lodge set` changes, by name. */
const SETTINGS: Readonly<Record<string, Setting>> = {
  name: { value: 'TEXT', about: 'its name', apply: (name, { change }) => change(checked({ name }, { name })) },
  guest: { value: 'SYSTEM', about: 'guest system', apply: (guestSystem, { change }) => change({ guestSystem }) },
  memory: {
    value: 'MB',
    about: 'megabytes of memory',
    apply(text, { change }) {
      const memoryMegabytes = parse.wholeNumber('memory', text, 'megabytes');
      return change(checked({ memoryMegabytes }, { memoryMegabytes }));
    },
  },
  cpus: {
    value: 'N',
    about: 'processors',
    apply(text, { change }) {
      const cpus = parse.wholeNumber('cpus', text, 'processors');
      return change(checked({ cpus }, { processors: cpus }));
    },
  },
  accel: {
    value: 'KIND',
    about: 'auto, kvm or software, from the next start on; lodge accel moves a running machine',
    apply: (text, { change }) => change({ accelerator: oneOf('accel', text, ACCELERATORS) }),
  },
  hyperv: {
    value: 'on|off',
    about: 'whether the guest is told that it runs on Hyper-V, whose interface Windows knows',
    apply: (text, { change }) => change({ hyperv: oneOf('hyperv', text, ON_OFF) === 'on' }),
  },
  boot: {
    value: 'ORDER',
    about: `boot order, from ${BOOT_DEVICES.join(',')}`,
    apply(text, { change }) {
      const { boot } = validateMachineConfig({ boot: { order: text.split(',') } }, { names: SETTING_NAMES });
      return change({ bootOrder: [...boot.order] });
    },
  },
  balloon: {
    value: 'MB|on|off',
    about: 'megabytes that the running guest is to get along with; on and off: whether the machine has the device',
    async apply(text, { id, client, change, complain }) {
      if (text === 'on' || text === 'off') {
        return change({ balloon: text === 'on' });
      }
      const megabytes = parse.wholeNumber('balloon', text, 'megabytes');
      checked({ memoryMegabytes: megabytes }, {}, { ...SETTING_NAMES, memory: 'balloon' });
      const { active } = await client.call('machines.setBalloon', { id, megabytes });
      return active || complain('the guest has no driver for the balloon at present: its memory stays until it has');
    },
  },
  rng: {
    value: 'on|off',
    about: "the host's random numbers as a device",
    apply: (text, { change }) => change({ entropy: oneOf('rng', text, ON_OFF) === 'on' }),
  },
  net: {
    value: 'nat[,…]|none',
    about: "as lodge run --net; what is not given is as in a new machine, but the card's address stays",
    async apply(text, { settings, client, change }) {
      const wish = networkWish('net', text);
      if (wish === 'none') {
        return change({ network: null });
      }
      const systems = await client.call('osCatalogue.list');
      const system = systems.find(({ id }) => id === settings.guestSystem);
      return change({ network: newNetwork({ mac: settings.network?.mac, ...wish }, system) });
    },
  },
  vga: {
    value: 'std|virtio',
    about: 'display adapter',
    apply: (text, { change }) => change({ vga: oneOf('vga', text, VGA_KINDS) }),
  },
  sound: {
    value: 'wav=FILE|null|none',
    about: 'sound device, as lodge run --sound',
    apply: (text, { change }) => change({ sound: soundWish('sound', text) }),
  },
  link: {
    value: 'up|down',
    about: 'whether the network cable is plugged in, also while it runs',
    apply: (text, { id, client }) => client.call('machines.setLink', { id, up: oneOf('link', text, UP_DOWN) === 'up' }),
  },
  cdrom: {
    value: 'FILE|empty|none',
    about: 'the disc in the CD-ROM drive, also while it runs',
    apply(text, { settings, change }) {
      const cdrom = settings.cdrom ?? { bus: 'ide' as const, port: freeDrivePort('ide', settings) ?? 0 };
      return change({ cdrom: text === 'none' ? null : { ...cdrom, path: text === 'empty' ? null : resolve(text) } });
    },
  },
  floppy: {
    value: 'FILE[,readonly]|empty|none',
    about: 'the disk in the floppy drive, also while it runs',
    apply(text, { change }) {
      const { path, readOnly } = parse.floppy('floppy', text);
      return change({ floppy: text === 'none' ? null : { path: text === 'empty' ? null : resolve(path), readOnly } });
    },
  },
};

const ON_OFF = ['on', 'off'] as const;
const UP_DOWN = ['up', 'down'] as const;

/** `changes`, once the engine has found nothing wrong with the values. */
function checked(
  config: Parameters<typeof validateMachineConfig>[0],
  changes: MachineChanges,
  names = { ...SETTING_NAMES, cpus: 'cpus' },
): MachineChanges {
  validateMachineConfig(config, { names });
  return changes;
}

/** Adds `lodge set`, `lodge forward`, `lodge disk` and `lodge share`. */
export function addSettingsCommands(program: Command, parts: SettingsCommandsParts): void {
  const { onMachine, print, complain } = parts;
  addShareCommand(program, parts);
  const names = Object.entries(SETTINGS)
    .map(([name, { value, about }]) => `  ${`${name} ${value}`.padEnd(32)}${about}`)
    .join('\n');
  program
    .command('set <machine> <setting> <value>')
    .description('change a setting of a machine')
    .addHelpText('after', `\nSettings:\n${names}`)
    .action((wanted: string, name: string, value: string) => {
      const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
      if (setting === undefined) {
        throw usageError(`set ${name}: there is no such setting`, `give one of ${Object.keys(SETTINGS).join(', ')}`);
      }
      return onMachine('set', wanted, async (client, { id }, settings) => {
        const change = (changes: MachineChanges) => client.call('machines.update', { id, changes });
        await setting.apply(value, { id, settings, client, change, complain });
        return 0;
      });
    });

  program
    .command('forward <machine> [action] [forward]')
    .description(
      'ports of the host that lead to the machine, also while it runs: list, add tcp:HOSTPORT:GUESTPORT, remove tcp:HOSTPORT',
    )
    .addHelpText('after', '\nHost port 0 takes a free one while the machine runs; add prints what was added.')
    .action((wanted: string, action: string | undefined, text: string | undefined) => {
      switch (actionOf('forward', action, text, ['list', 'add', 'remove'])) {
        case 'list':
          return onMachine('forward', wanted, async (_client, _machine, { network }) => {
            for (const line of network?.forwards.map(forwardLine) ?? []) {
              print(line);
            }
            return 0;
          });
        case 'add': {
          const wish = forwardWish('', text ?? '');
          return onMachine('forward', wanted, async (client, { id }) => {
            const { forward: added } = await client.call('machines.addForward', { id, forward: wish });
            print(forwardLine(added));
            return 0;
          });
        }
        case 'remove': {
          const key = forwardKey(text ?? '');
          return onMachine('forward', wanted, async (client, { id }) => {
            await client.call('machines.removeForward', { id, forward: key });
            return 0;
          });
        }
      }
    });

  const plugDisk = (wish: 'attach' | 'detach', wanted: string, text: string): Promise<void> => {
    if (wish === 'detach') {
      const target = parse.wholeNumber('disk detach', text, 'the disk');
      return onMachine('disk', wanted, async (client, { id }) => {
        await client.call('machines.detachDisk', { id, target });
        return 0;
      });
    }
    const { path, bus, readOnly, serial } = diskWish('disk', text);
    if (bus !== undefined && bus !== 'scsi') {
      throw usageError(`disk attach ${text}: only SCSI disks come and go while a machine runs`, 'leave bus= away');
    }
    return onMachine('disk', wanted, async (client, { id }) => {
      const { target } = await client.call('machines.attachDisk', { id, path, readOnly, serial: serial ?? null });
      print(String(target));
      return 0;
    });
  };

  program
    .command('disk <machine> <action> <FILE[,bus=ide|virtio|scsi][,serial=TEXT][,readonly]>')
    .description(
      'hard disks: add FILE, remove FILE, new GB of a machine that is switched off; attach FILE, detach NUMBER of one that runs',
    )
    .addHelpText(
      'after',
      `
Without bus= a disk goes to the bus that suits the guest system. Removing keeps the file.
attach puts a disk on the machine's SCSI controller until it is detached or the machine is switched off, and prints the
number that detach wants. Unmount a disk in the guest before it is detached.`,
    )
    .action((wanted: string, action: string, text: string) => {
      const wish = actionOf('disk', action, text, ['add', 'remove', 'new', 'attach', 'detach']);
      if (wish === 'new') {
        const made = newDiskWish('disk', text);
        return onMachine('disk', wanted, async (client, { id }) => {
          const { settings } = await client.call('machines.addDisk', { id, ...made });
          print(settings?.disks.at(-1)?.path ?? '');
          return 0;
        });
      }
      if (wish === 'attach' || wish === 'detach') {
        return plugDisk(wish, wanted, text);
      }
      if (wish === 'remove') {
        const file = resolve(text);
        return onMachine('disk', wanted, async (client, { id, name }, { disks }) => {
          const kept = disks.filter(({ path }) => path !== file);
          if (kept.length === disks.length) {
            throw failure('no-such-disk', { name, path: file });
          }
          await client.call('machines.update', { id, changes: { disks: kept } });
          return 0;
        });
      }
      const disk = diskWish('disk', text);
      return onMachine('disk', wanted, async (client, { id, name }, settings) => {
        const systems = await client.call('osCatalogue.list');
        const usual = systems.find((system) => system.id === settings.guestSystem)?.defaults.diskBus;
        const bus = disk.bus ?? usual ?? 'ide';
        const port = freeDrivePort(bus, settings);
        if (port === undefined) {
          throw failure('bus-full', { name, bus });
        }
        const added = { path: disk.path, bus, port, readOnly: disk.readOnly, serial: disk.serial ?? null };
        await client.call('machines.update', { id, changes: { disks: [...settings.disks, added] } });
        return 0;
      });
    });
}

/** Adds `lodge share`. */
function addShareCommand(program: Command, { onMachine, print }: SettingsCommandsParts): void {
  program
    .command('share <machine> [action] [share]')
    .description(
      'folders of the host for a machine that is switched off: list, add NAME=FOLDER[,readonly], remove NAME',
    )
    .action((wanted: string, action: string | undefined, text: string | undefined) => {
      switch (actionOf('share', action, text, ['list', 'add', 'remove'])) {
        case 'list':
          return onMachine('share', wanted, async (_client, _machine, { shares }) => {
            for (const line of shares.map(shareLine)) {
              print(line);
            }
            return 0;
          });
        case 'add': {
          const share = shareWish('share', text ?? '');
          return onMachine('share', wanted, async (client, { id }, { shares }) => {
            await client.call('machines.update', { id, changes: { shares: [...shares, share] } });
            return 0;
          });
        }
        case 'remove':
          return onMachine('share', wanted, async (client, { id, name }, { shares }) => {
            const kept = shares.filter((share) => share.name !== text);
            if (kept.length === shares.length) {
              throw failure('no-such-share', { name, share: text ?? '' });
            }
            await client.call('machines.update', { id, changes: { shares: kept } });
            return 0;
          });
      }
    });
}

/** A share as the command line writes it. */
export function shareLine({ name, path, readOnly }: Share): string {
  return `${name}=${path}${readOnly ? ',readonly' : ''}`;
}

/** What is to be done, out of `known`; 'list' is what is done without a word and without what it is about. */
function actionOf<T extends string>(
  command: string,
  action: string | undefined,
  about: string | undefined,
  known: readonly T[],
): T {
  const wanted = action ?? 'list';
  const found = known.find((one) => one === wanted);
  if (found === undefined) {
    throw usageError(`${command} ${wanted}: is not known`, `give ${known.join(' or ')}`);
  }
  if ((found === 'list') !== (about === undefined)) {
    throw usageError(
      `${command} ${wanted}: ${about === undefined ? 'says not what' : `there is also '${about}'`}`,
      `see lodge ${command} --help`,
    );
  }
  return found;
}

/** A forward as the command line writes it. */
export function forwardLine({ guestAddress, ...forward }: PortForward): string {
  return forwardText({ ...forward, ...(guestAddress === null ? {} : { guestAddress }) });
}
