import { z } from 'zod';
import { VGA_KINDS } from '../../../engine/config/display-config.ts';
import { ACCELERATORS, BOOT_DEVICES, DISK_BUSES, MAX_DISK_SERIAL } from '../../../engine/config/machine-config.ts';
import { DEFAULT_HOST_ADDRESS, NETWORK_MODELS } from '../../../engine/config/network-config.ts';
import { MAX_SHARE_NAME } from '../../../engine/config/share-config.ts';
import { CDROM_BUSES, type Disk, freeDrivePort, type PortForward } from '../../../main/contract/devices.ts';
import type { AppInfo, GuestSystem } from '../../../main/contract/host.ts';
import { MAX_NAME_LENGTH, type MachineChanges, type MachineSettings } from '../../../main/contract/machines.ts';
import { newMacAddress } from '../../../main/contract/new-network.ts';
import type { Text } from '../../i18n/i18n.ts';
import { isAbsolutePath, isPlainName, numberProblem } from '../../ui/field-rules.ts';

/** What the dialog edits. Text is whatever was typed; '' is what the settings say with null. */
const valuesSchema = z.object({
  name: z.string(),
  guestSystem: z.string(),
  memory: z.string(),
  /** Megabytes that the running guest is to get along with. */
  present: z.string(),
  processors: z.string(),
  bootOrder: z.array(z.enum(BOOT_DEVICES)),
  balloon: z.boolean(),
  entropy: z.boolean(),
  vga: z.enum(VGA_KINDS),
  sound: z.enum(['none', 'silent', 'file']),
  soundFile: z.string(),
  disks: z.array(
    z.object({
      path: z.string(),
      bus: z.enum(DISK_BUSES),
      /** Undefined: new, or moved to another bus. */
      port: z.number().optional(),
      serial: z.string(),
      readOnly: z.boolean(),
      /** Gigabytes of an image that is still to be made; undefined: it is there. */
      size: z.string().optional(),
    }),
  ),
  cdrom: z.object({ bus: z.enum(['none', ...CDROM_BUSES]), path: z.string() }),
  floppy: z.object({ present: z.boolean(), path: z.string(), readOnly: z.boolean() }),
  network: z.object({
    kind: z.enum(['none', 'nat']),
    model: z.enum(NETWORK_MODELS),
    mac: z.string(),
    connected: z.boolean(),
    forwards: z.array(
      z.object({
        protocol: z.enum(['tcp', 'udp']),
        hostAddress: z.string(),
        hostPort: z.string(),
        guestAddress: z.string(),
        guestPort: z.string(),
      }),
    ),
    hostLoopback: z.boolean(),
    isolated: z.boolean(),
    capture: z.string(),
    bootFolder: z.string(),
    bootFile: z.string(),
  }),
  shares: z.array(z.object({ name: z.string(), path: z.string(), readOnly: z.boolean() })),
  accelerator: z.enum(ACCELERATORS),
  hyperv: z.boolean(),
});
export type SettingsValues = z.infer<typeof valuesSchema>;

export const TABS = ['system', 'display', 'storage', 'network', 'shares', 'accelerator'] as const;
export type Tab = (typeof TABS)[number];

const TAB_FIELDS: Readonly<Record<Tab, readonly (keyof SettingsValues)[]>> = {
  system: ['name', 'guestSystem', 'memory', 'present', 'processors', 'bootOrder', 'balloon', 'entropy'],
  display: ['vga', 'sound', 'soundFile'],
  storage: ['disks', 'cdrom', 'floppy'],
  network: ['network'],
  shares: ['shares'],
  accelerator: ['accelerator', 'hyperv'],
};

/** The tabs on which something is wrong, by what is wrong. */
export function tabsWith(errors: Readonly<Partial<Record<keyof SettingsValues, unknown>>>): Tab[] {
  return TABS.filter((tab) => TAB_FIELDS[tab].some((field) => errors[field] !== undefined));
}

/** The field that the services complain about, by the name they know it under. */
export function fieldOfSetting(setting: string): string | undefined {
  const known: Readonly<Record<string, string>> = {
    memoryMegabytes: 'memory',
    megabytes: 'present',
    'sound.output': 'soundFile',
  };
  const name = setting.replace(/^changes\./, '');
  const field = known[name] ?? name;
  return Object.hasOwn(valuesSchema.shape, field.split('.')[0] ?? '') ? field : undefined;
}

export function valuesOf(
  settings: MachineSettings,
  system: GuestSystem | undefined,
  presentMegabytes: number,
): SettingsValues {
  const { network, cdrom, floppy, sound } = settings;
  return {
    name: settings.name,
    guestSystem: settings.guestSystem,
    memory: String(settings.memoryMegabytes),
    present: String(presentMegabytes),
    processors: String(settings.processors),
    bootOrder: settings.bootOrder,
    balloon: settings.balloon,
    entropy: settings.entropy,
    vga: settings.vga,
    sound: sound === null ? 'none' : sound.output === null ? 'silent' : 'file',
    soundFile: sound?.output ?? '',
    disks: settings.disks.map(({ serial, ...disk }) => ({ ...disk, serial: serial ?? '' })),
    cdrom: { bus: cdrom?.bus ?? 'none', path: cdrom?.path ?? '' },
    floppy: { present: floppy !== null, path: floppy?.path ?? '', readOnly: floppy?.readOnly ?? false },
    network: {
      kind: network === null ? 'none' : 'nat',
      model: network?.model ?? system?.defaults.network ?? 'e1000',
      mac: network?.mac ?? newMacAddress(),
      connected: network?.connected ?? true,
      forwards: (network?.forwards ?? []).map((forward) => ({
        protocol: forward.protocol,
        hostAddress: forward.hostAddress,
        hostPort: String(forward.hostPort),
        guestAddress: forward.guestAddress ?? '',
        guestPort: String(forward.guestPort),
      })),
      hostLoopback: network?.hostLoopback ?? false,
      isolated: network?.isolated ?? false,
      capture: network?.capture ?? '',
      bootFolder: network?.bootFolder ?? '',
      bootFile: network?.bootFile ?? '',
    },
    shares: settings.shares,
    accelerator: settings.accelerator,
    hyperv: settings.hyperv,
  };
}

/** A forward as a new row begins. */
export const NEW_FORWARD: SettingsValues['network']['forwards'][number] = {
  protocol: 'tcp',
  hostAddress: DEFAULT_HOST_ADDRESS,
  hostPort: '',
  guestAddress: '',
  guestPort: '',
};

const orNull = (text: string) => (text.trim() === '' ? null : text.trim());

/** What of the settings is different. */
export function changesOf(values: SettingsValues, settings: MachineSettings): MachineChanges {
  const { network, floppy } = values;
  const after: MachineSettings = {
    ...settings,
    name: values.name.trim(),
    guestSystem: values.guestSystem,
    memoryMegabytes: Number(values.memory),
    processors: Number(values.processors),
    bootOrder: values.bootOrder,
    balloon: values.balloon,
    entropy: values.entropy,
    vga: values.vga,
    sound:
      values.sound === 'none'
        ? null
        : { output: values.sound === 'file' ? orNull(values.soundFile) : null, input: settings.sound?.input ?? null },
    ...drivesOf(values, settings),
    floppy: floppy.present ? { path: orNull(floppy.path), readOnly: floppy.readOnly } : null,
    network:
      network.kind === 'none'
        ? null
        : {
            model: network.model,
            mac: network.mac.trim().toLowerCase(),
            connected: network.connected,
            forwards: network.forwards.map(forwardOf),
            hostLoopback: network.hostLoopback,
            isolated: network.isolated,
            capture: orNull(network.capture),
            bootFolder: orNull(network.bootFolder),
            bootFile: orNull(network.bootFile),
          },
    shares: values.shares.map(({ name, path, readOnly }) => ({ name: name.trim(), path: path.trim(), readOnly })),
    accelerator: values.accelerator,
    hyperv: values.hyperv,
  };
  const isChanged = ([key, value]: [string, unknown]) =>
    JSON.stringify(value) !== JSON.stringify(settings[key as keyof MachineSettings]);
  return Object.fromEntries(Object.entries(after).filter(isChanged));
}

function forwardOf(forward: SettingsValues['network']['forwards'][number]): PortForward {
  return {
    protocol: forward.protocol,
    hostAddress: forward.hostAddress.trim(),
    hostPort: Number(forward.hostPort),
    guestAddress: orNull(forward.guestAddress),
    guestPort: Number(forward.guestPort),
  };
}

/** Whether a disk's image is there; others are made once everything else is stored. */
export function isThere({ size }: SettingsValues['disks'][number]): boolean {
  return size === undefined;
}

/** Drives keep their places; new ones get the first that are free. */
function drivesOf(values: SettingsValues, settings: MachineSettings): Pick<MachineSettings, 'disks' | 'cdrom'> {
  const { bus, path } = values.cdrom;
  const kept = values.disks.flatMap((disk) => (disk.port === undefined ? [] : [{ bus: disk.bus, port: disk.port }]));
  const cdromPort =
    settings.cdrom?.bus === bus
      ? settings.cdrom.port
      : bus === 'none'
        ? 0
        : bus === 'ide' && !kept.some((one) => one.bus === 'ide' && one.port === 2)
          ? 2
          : (freeDrivePort(bus, { disks: kept, cdrom: null }) ?? 0);
  const cdrom = bus === 'none' ? null : { path: orNull(path), bus, port: cdromPort };
  const taken = [...kept];
  const disks = values.disks.filter(isThere).map((disk): Disk => {
    const port = disk.port ?? freeDrivePort(disk.bus, { disks: taken, cdrom }) ?? 0;
    taken.push({ bus: disk.bus, port });
    return { path: disk.path.trim(), bus: disk.bus, port, readOnly: disk.readOnly, serial: orNull(disk.serial) };
  });
  return { disks, cdrom };
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const HOST_ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|[0-9a-f:.]*:[0-9a-f:.]*)$/i;
const GUEST_ADDRESS = /^10\.0\.2\.(\d{1,3})$/;

/** The rules of the form, with their messages in the user's language. */
export function settingsSchema(text: Text, info: AppInfo) {
  const { limits } = info;
  const port = (value: string) => numberProblem(text, value, { minimum: 1, maximum: 65535 });
  return valuesSchema.superRefine((values, context) => {
    const problem = (path: readonly (string | number)[], message: string | undefined) => {
      if (message !== undefined) {
        context.addIssue({ code: 'custom', path: [...path], message });
      }
    };
    const path = (value: string, need: string | undefined) =>
      value.trim() === '' ? need : isAbsolutePath(value.trim()) ? undefined : text('wizard.error.absolute');
    const name = values.name.trim();
    problem(
      ['name'],
      name === ''
        ? text('wizard.error.name')
        : name.length > MAX_NAME_LENGTH
          ? text('wizard.error.nameLong', { count: MAX_NAME_LENGTH })
          : isPlainName(name)
            ? undefined
            : text('wizard.error.nameCharacters'),
    );
    problem(['memory'], numberProblem(text, values.memory, limits.memoryMegabytes));
    const memory = Number(values.memory) || limits.memoryMegabytes.maximum;
    problem(
      ['present'],
      numberProblem(text, values.present, { minimum: limits.memoryMegabytes.minimum, maximum: memory }),
    );
    problem(['processors'], numberProblem(text, values.processors, limits.processors));
    problem(['bootOrder'], values.bootOrder.length === 0 ? text('machine.error.boot') : undefined);
    if (values.sound === 'file') {
      problem(['soundFile'], path(values.soundFile, text('machine.error.file')));
    }
    values.disks.forEach((disk, index) => {
      problem(
        ['disks', index, 'size'],
        disk.size === undefined ? undefined : numberProblem(text, disk.size, limits.diskGigabytes, false),
      );
      problem(['disks', index, 'path'], isThere(disk) ? path(disk.path, text('wizard.error.image')) : undefined);
      const serial = disk.serial.trim();
      problem(
        ['disks', index, 'serial'],
        serial === '' || (serial.length <= MAX_DISK_SERIAL && /^[!-~]+$/.test(serial))
          ? undefined
          : text('machine.error.serial', { count: MAX_DISK_SERIAL }),
      );
      const twice = values.disks.slice(0, index).some((other) => other.path.trim() === disk.path.trim());
      problem(['disks', index, 'path'], twice && disk.path.trim() !== '' ? text('machine.error.diskTwice') : undefined);
    });
    problem(['cdrom', 'path'], path(values.cdrom.path, undefined));
    problem(['floppy', 'path'], path(values.floppy.path, undefined));
    if (values.network.kind === 'nat') {
      const { mac, forwards, capture, bootFolder, bootFile } = values.network;
      const isGroup = (Number.parseInt(mac.trim().slice(0, 2), 16) & 1) !== 0;
      problem(['network', 'mac'], MAC.test(mac.trim()) && !isGroup ? undefined : text('machine.error.mac'));
      problem(['network', 'capture'], path(capture, undefined));
      problem(['network', 'bootFolder'], path(bootFolder, undefined));
      problem(
        ['network', 'bootFile'],
        bootFile.trim() !== '' && bootFolder.trim() === '' && !/^[a-z]+:\/\//.test(bootFile.trim())
          ? text('machine.error.bootFile')
          : undefined,
      );
      forwards.forEach((forward, index) => {
        const at = (field: string) => ['network', 'forwards', index, field];
        const twice = forwards
          .slice(0, index)
          .some(
            (other) =>
              other.protocol === forward.protocol &&
              other.hostAddress.trim() === forward.hostAddress.trim() &&
              Number(other.hostPort) === Number(forward.hostPort),
          );
        problem(at('hostPort'), port(forward.hostPort) ?? (twice ? text('machine.error.portTwice') : undefined));
        problem(at('guestPort'), port(forward.guestPort));
        const host = forward.hostAddress.trim();
        problem(at('hostAddress'), HOST_ADDRESS.test(host) ? undefined : text('machine.error.hostAddress'));
        const guest = forward.guestAddress.trim();
        const last = Number(GUEST_ADDRESS.exec(guest)?.[1]);
        problem(
          at('guestAddress'),
          guest === '' || (last >= 4 && last <= 254) ? undefined : text('machine.error.guestAddress'),
        );
      });
    }
    values.shares.forEach(({ name: tag, path: folder }, index) => {
      const wanted = tag.trim();
      const twice = values.shares.slice(0, index).some((other) => other.name.trim() === wanted);
      problem(
        ['shares', index, 'name'],
        !/^[A-Za-z0-9_.-]+$/.test(wanted) || wanted.length > MAX_SHARE_NAME
          ? text('machine.error.shareName', { count: MAX_SHARE_NAME })
          : twice
            ? text('machine.error.shareTwice')
            : undefined,
      );
      problem(['shares', index, 'path'], path(folder, text('wizard.error.folder')));
    });
  });
}
