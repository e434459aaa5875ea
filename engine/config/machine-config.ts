import { type ErrorDetails, HostError } from '../base/host-error.ts';
import type { ChannelConfig, ConsoleTarget } from './console-config.ts';
import type { VgaKind } from './display-config.ts';
import type { NetworkConfig, NetworkConfigInput } from './network-config.ts';
import type { ShareConfig, ShareConfigInput, VsockConfig, VsockConfigInput } from './share-config.ts';
import type { SoundConfig, SoundConfigInput } from './sound-config.ts';

/** Which processor runs the guest: 'auto' takes the best that this host offers. */
export const ACCELERATORS = ['auto', 'kvm', 'software'] as const;
export type Accelerator = (typeof ACCELERATORS)[number];

/**
 * Kinds of machines: the PC, and one of processors, memory, serial ports and virtio devices without PCI, which starts a
 * kernel sooner.
 */
export const BOARDS = ['pc', 'microvm'] as const;
export type BoardKind = (typeof BOARDS)[number];

/** Kinds of media the firmware can boot from. */
export const BOOT_DEVICES = ['floppy', 'cdrom', 'disk'] as const;
export type BootDevice = (typeof BOOT_DEVICES)[number];

export const MIN_CPUS = 1;
export const MAX_CPUS = 8;
export const MIN_MEMORY_MEGABYTES = 16;
export const MAX_MEMORY_MEGABYTES = 3584;

/**
 * Places on the two IDE channels: 0 primary master, 1 primary slave, 2 secondary master, 3 secondary slave.
 */
export const IDE_PORTS = 4;
/** Where the CD-ROM drive goes unless a disk was put there: secondary master, as on most PCs. */
export const DEFAULT_CDROM_PORT = 2;

/** What a hard disk is attached to. */
export const DISK_BUSES = ['ide', 'virtio', 'scsi'] as const;
export type DiskBus = (typeof DISK_BUSES)[number];
/** Virtio disks are PCI functions of their own; SCSI disks are targets of one virtio SCSI controller. */
export const MAX_VIRTIO_DISKS = 16;
export const SCSI_TARGETS = 32;
/** The longest serial number that every bus can tell. */
export const MAX_DISK_SERIAL = 20;

export interface DiskConfig {
  /** A raw image, or on Linux a host block device. */
  readonly path: string;
  readonly bus: DiskBus;
  readonly readOnly: boolean;
  /** Place on its bus: on IDE see {@link IDE_PORTS}; number of the virtio disk; SCSI target. */
  readonly port: number;
  /** What the guest reads as the disk's serial number; undefined: one made from its place. */
  readonly serial?: string;
}

export interface CdromConfig {
  /** An ISO image; undefined is a drive without a disc. */
  readonly path?: string;
  /** Undefined: IDE. */
  readonly bus?: 'scsi';
  readonly port: number;
}

export interface FloppyConfig {
  /** An image of a floppy disk; undefined is a drive without a disk. */
  readonly path?: string;
  readonly readOnly: boolean;
}

/** Where the bytes of the first serial port go. */
export type SerialTarget =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** Several moments at which something is done to a running machine, in seconds of guest time since power-on. */
export interface ScreenshotRequest {
  /** A PNG file to write. */
  readonly path: string;
  readonly atSeconds: number;
}

export interface TypedText {
  /** Text in the notation of the key typer (engine/devices/i8042/us-keymap.ts): characters, and keys in braces. */
  readonly text: string;
  readonly atSeconds: number;
}

/** Everything that makes up one machine, complete and checked: what `validateMachineConfig` returns. */
export interface MachineConfig {
  /** What people call the machine. */
  readonly name: string;
  readonly board: BoardKind;
  readonly accel: Accelerator;
  readonly cpus: number;
  readonly memoryMegabytes: number;
  /** `bios` undefined: the firmware found on this host. */
  readonly firmware: { readonly bios?: string };
  readonly boot: {
    /** Kinds of media in the order in which the firmware tries them. */
    readonly order: readonly BootDevice[];
    /** A kernel to start directly (Linux bzImage, ELF with a PVH note, Multiboot). */
    readonly kernel?: string;
    /** Initial ramdisk or Multiboot modules for `kernel`, in order. */
    readonly initrd: readonly string[];
    /** The kernel's command line; empty without a kernel. */
    readonly append: string;
  };
  readonly disks: readonly DiskConfig[];
  readonly cdrom?: CdromConfig;
  readonly floppy?: FloppyConfig;
  readonly vga: VgaKind;
  /** Monitors. */
  readonly heads: number;
  /** The guest finds a keyboard, a tablet and a mouse on virtio besides those of a PC. */
  readonly virtioInput: boolean;
  readonly serial: SerialTarget;
  /** Undefined: the machine has no virtio console. */
  readonly console?: ConsoleTarget;
  readonly channels: readonly ChannelConfig[];
  /** Undefined: the machine has no sound device. */
  readonly sound?: SoundConfig;
  /** Undefined: the machine has no network card. */
  readonly network?: NetworkConfig;
  /** Folders of the host, by virtio-9p. */
  readonly shares: readonly ShareConfig[];
  /** Undefined: the machine has no socket device. */
  readonly vsock?: VsockConfig;
  /** The guest can fetch the host's random numbers from a virtio entropy device. */
  readonly entropy: boolean;
  /** The host can take memory back from the guest, by a virtio memory balloon. */
  readonly balloon: boolean;
  /** Megabytes that the guest is asked to get along with from its start on, by the balloon; undefined: all of its memory. */
  readonly balloonMegabytes?: number;
  /** Guests are offered Hyper-V's interface, which Windows knows, besides KVM's, which Linux knows. */
  readonly hyperv: boolean;
  /** Port 0xF4 ends the run: the exit code is the byte written × 2 + 1. */
  readonly debugExit: boolean;
  /** No window, even where there could be one. */
  readonly headless: boolean;
  /** The run ends with 'timeout' after so many seconds; undefined: never. */
  readonly timeoutSeconds?: number;
  /** A guest that resets the machine ends the run instead. */
  readonly noReboot: boolean;
  /** Time follows executed instructions: the same input gives the same run. */
  readonly virtualTime: boolean;
  /** The software processor compiles code that runs often; else it interprets all of it. */
  readonly compile: boolean;
  readonly screenshots: readonly ScreenshotRequest[];
  readonly typed: readonly TypedText[];
}

/** A configuration as people write it: everything has a default. */
export interface MachineConfigInput {
  readonly name?: string | undefined;
  /** Undefined: a PC. */
  readonly board?: string | undefined;
  readonly accel?: string | undefined;
  readonly cpus?: number | undefined;
  readonly memoryMegabytes?: number | undefined;
  readonly firmware?: { readonly bios?: string | undefined } | undefined;
  readonly boot?:
    | {
        readonly order?: readonly string[] | undefined;
        readonly kernel?: string | undefined;
        readonly initrd?: string | readonly string[] | undefined;
        readonly append?: string | undefined;
      }
    | undefined;
  readonly disks?:
    | readonly {
        readonly path: string;
        readonly bus?: string | undefined;
        readonly readOnly?: boolean | undefined;
        readonly port?: number | undefined;
        readonly serial?: string | undefined;
      }[]
    | undefined;
  readonly cdrom?:
    | {
        readonly path?: string | undefined;
        readonly bus?: string | undefined;
        readonly port?: number | undefined;
      }
    | undefined;
  readonly floppy?: { readonly path?: string | undefined; readonly readOnly?: boolean | undefined } | undefined;
  /** Undefined: 'std'. */
  readonly vga?: string | undefined;
  /** Undefined: 1. */
  readonly heads?: number | undefined;
  /** Undefined: if the machine has another virtio device. */
  readonly virtioInput?: boolean | undefined;
  readonly serial?: SerialTarget | undefined;
  readonly console?: ConsoleTarget | undefined;
  readonly channels?: readonly ChannelConfig[] | undefined;
  readonly sound?: SoundConfigInput | undefined;
  readonly network?: NetworkConfigInput | undefined;
  readonly shares?: readonly ShareConfigInput[] | undefined;
  readonly vsock?: VsockConfigInput | undefined;
  /** Undefined: if the machine has another virtio device. */
  readonly entropy?: boolean | undefined;
  /** Undefined: as `entropy`. */
  readonly balloon?: boolean | undefined;
  /** Undefined: all of the memory. */
  readonly balloonMegabytes?: number | undefined;
  readonly hyperv?: boolean | undefined;
  readonly debugExit?: boolean | undefined;
  readonly headless?: boolean | undefined;
  readonly timeoutSeconds?: number | undefined;
  readonly noReboot?: boolean | undefined;
  readonly virtualTime?: boolean | undefined;
  readonly compile?: boolean | undefined;
  readonly screenshots?: readonly ScreenshotRequest[] | undefined;
  readonly typed?: readonly TypedText[] | undefined;
}

/** How the options are called where the user set them, so that messages speak the user's language. */
export interface OptionNames {
  readonly accel: string;
  readonly cpus: string;
  readonly memory: string;
  readonly bios: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly append: string;
  readonly boot: string;
  readonly disk: string;
  readonly cdrom: string;
  readonly floppy: string;
  readonly vga: string;
  readonly heads: string;
  readonly serial: string;
  readonly console: string;
  readonly channel: string;
  readonly sound: string;
  readonly machine: string;
  readonly network: string;
  readonly share: string;
  readonly vsock: string;
  readonly balloon: string;
  readonly timeout: string;
  readonly screenshot: string;
  readonly type: string;
  readonly name: string;
}

/** The options of `lodge run`. */
export const COMMAND_LINE_NAMES: OptionNames = {
  accel: '--accel',
  cpus: '--cpus',
  memory: '--memory',
  bios: '--bios',
  kernel: '--kernel',
  initrd: '--initrd',
  append: '--append',
  boot: '--boot',
  disk: '--disk',
  cdrom: '--cdrom',
  floppy: '--floppy',
  vga: '--vga',
  heads: '--heads',
  serial: '--serial',
  console: '--console',
  channel: '--channel',
  sound: '--sound',
  machine: '--machine',
  network: '--net',
  share: '--share',
  vsock: '--vsock',
  balloon: '--balloon',
  timeout: '--timeout',
  screenshot: '--screenshot',
  type: '--type',
  name: '--name',
};

/** The same in the settings of a machine. */
export const SETTING_NAMES: OptionNames = {
  accel: 'accelerator',
  cpus: 'processors',
  memory: 'memory',
  bios: 'firmware',
  kernel: 'kernel',
  initrd: 'ramdisk',
  append: 'command line',
  boot: 'boot order',
  disk: 'hard disk',
  cdrom: 'CD-ROM drive',
  floppy: 'floppy drive',
  vga: 'display adapter',
  heads: 'monitors',
  serial: 'serial port',
  console: 'console',
  channel: 'channel',
  sound: 'sound',
  machine: 'kind of machine',
  network: 'network',
  share: 'shared folder',
  vsock: 'socket device',
  balloon: 'memory balloon',
  timeout: 'time limit',
  screenshot: 'screenshot',
  type: 'text',
  name: 'name',
};

/** A usage error: one line that names the option and its value, and what to do instead. */
export function usageError(message: string, remedy: string, details?: ErrorDetails): HostError {
  return new HostError('usage', message, { remedy, details });
}
