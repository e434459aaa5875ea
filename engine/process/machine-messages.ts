import { z } from 'zod';
import type { ImageCable } from '../backends/block/image-messages.ts';
import type { ShareEnd } from '../backends/share/share-channel.ts';
import type { VsockCable } from '../backends/vsock/vsock-client.ts';
import type { ErrorDetails } from '../base/host-error.ts';
import { MAX_HEADS } from '../config/display-config.ts';
import { MAX_MEMORY_MEGABYTES, type MachineConfig, MIN_MEMORY_MEGABYTES } from '../config/machine-config.ts';
import type { PortForwardConfig } from '../config/network-config.ts';
import type { KvmFacts } from '../cpu/kvm/kvm-host.ts';
import type { NetworkCable } from '../net/ring-port.ts';
import type { ChannelState, PortCable } from './ports-host.ts';
import type { RunOutcome } from './run-machine.ts';

/**
 * What a running machine can be told, from outside its process too: therefore with schemas. Commands are carried out in
 * the order in which they are given.
 */
const viewer = z.int().min(0).max(0xffffffff);
const keyCode = z.string().max(30);
/** Bytes as they travel between processes. */
export const bytesSchema = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes');
const drive = z.enum(['cdrom', 'floppy']);
/** A screen of the machine, from 0 on. */
const head = z
  .int()
  .min(0)
  .max(MAX_HEADS - 1);

export const portForwardSchema = z.object({
  protocol: z.enum(['tcp', 'udp']),
  hostAddress: z.string().max(64),
  hostPort: z.int().min(0).max(65535),
  guestAddress: z.string().max(64).optional(),
  guestPort: z.int().min(1).max(65535),
});

export const machineCommandSchema = z.discriminatedUnion('kind', [
  /** Presses or releases a key, by its W3C KeyboardEvent.code. Unknown ones are ignored. */
  z.object({ kind: z.literal('key'), code: keyCode, down: z.boolean() }),
  /** Presses keys in order and releases them in reverse. */
  z.object({ kind: z.literal('keys'), codes: z.array(keyCode).max(10) }),
  z.object({ kind: z.literal('release-keys') }),
  /** Counts to the right and down, notches of the wheel downwards; fractions add up. Buttons as MouseEvent.buttons. */
  z.object({
    kind: z.literal('mouse'),
    dx: z.number().min(-10_000).max(10_000),
    dy: z.number().min(-10_000).max(10_000),
    wheel: z.number().min(-100).max(100),
    buttons: z.int().min(0).max(31),
  }),
  /**
   * Puts the pointer to a place on a screen, from 0 (left, top) to 1 (right, bottom), where the guest has a tablet.
   * Notches of the wheel downwards, buttons as MouseEvent.buttons.
   */
  z.object({
    kind: z.literal('pointer'),
    head: head.optional(),
    x: z.number().min(0).max(1),
    y: z.number().min(0).max(1),
    wheel: z.number().min(-100).max(100),
    buttons: z.int().min(0).max(31),
  }),
  /** Gives a monitor another resolution in pixels, where the machine has such monitors; the guest may follow. */
  z.object({
    kind: z.literal('resize-screen'),
    head: head.optional(),
    width: z.int().min(1).max(16384),
    height: z.int().min(1).max(16384),
  }),
  /** Types text in the notation of engine/devices/i8042/us-keymap.ts. */
  z.object({ kind: z.literal('type'), text: z.string().max(10_000) }),
  /** Bytes for the first serial port; they wait until the guest reads them. */
  z.object({ kind: z.literal('serial'), bytes: bytesSchema }),
  z.object({ kind: z.literal('power-button') }),
  z.object({ kind: z.literal('reset') }),
  /** Time stands still until `resume`. */
  z.object({ kind: z.literal('pause') }),
  z.object({ kind: z.literal('resume') }),
  /** Ends the run at once, as if the plug were pulled. */
  z.object({ kind: z.literal('stop') }),
  z.object({ kind: z.literal('insert'), drive, path: z.string().max(4096), readOnly: z.boolean() }),
  z.object({ kind: z.literal('eject'), drive, force: z.boolean() }),
  /** Adds a disk on SCSI, until it is detached or the machine is switched off. */
  z.object({
    kind: z.literal('attach-disk'),
    path: z.string().max(4096),
    readOnly: z.boolean(),
    serial: z.string().max(20).optional(),
  }),
  z.object({ kind: z.literal('detach-disk'), target: z.int().min(0).max(255) }),
  /** Moves the machine to the other kind of processor. */
  z.object({ kind: z.literal('accelerate'), accelerator: z.enum(['kvm', 'software']) }),
  /** Asks the guest to get along with so many megabytes, and to give the rest of its memory back. */
  z.object({ kind: z.literal('balloon'), megabytes: z.int().min(MIN_MEMORY_MEGABYTES).max(MAX_MEMORY_MEGABYTES) }),
  z.object({ kind: z.literal('screenshot'), head: head.optional() }),
  z.object({ kind: z.literal('screen-text') }),
  /** Sends frame packets to a viewer from now on, the whole picture first. */
  z.object({
    kind: z.literal('attach'),
    viewer,
    head: head.optional(),
    framesPerSecond: z.number().min(0.1).max(60),
    compress: z.boolean(),
  }),
  /** A viewer has drawn the packet with this sequence number. */
  z.object({ kind: z.literal('ack'), viewer, sequence: z.int().min(0).max(0xffffffff) }),
  z.object({ kind: z.literal('detach'), viewer }),
  /** Plugs the network cable in or out. */
  z.object({ kind: z.literal('link'), up: z.boolean() }),
  /** Leads a port of the host to one of the guest; host port 0 is any. */
  z.object({ kind: z.literal('add-forward'), forward: portForwardSchema }),
  z.object({
    kind: z.literal('remove-forward'),
    forward: portForwardSchema.pick({ protocol: true, hostAddress: true, hostPort: true }),
  }),
  z.object({ kind: z.literal('forwards') }),
  /** Makes a socket that leads to /dev/virtio-ports/NAME of the guest, or takes it away. */
  z.object({ kind: z.literal('add-channel'), name: z.string().max(100), socket: z.string().max(4096) }),
  z.object({ kind: z.literal('remove-channel'), name: z.string().max(100) }),
  z.object({ kind: z.literal('channels') }),
]);
export type MachineCommand = z.infer<typeof machineCommandSchema>;

/** What commands answer; the others answer null. */
export interface CommandResults {
  /** Characters that no key types. */
  readonly type: { readonly unknown: readonly string[] };
  /** False: the guest has locked the drive. */
  readonly eject: { readonly ejected: boolean };
  /** Its number on the bus. */
  readonly 'attach-disk': { readonly target: number };
  /** Whether the guest has a driver for it, and what memory it had before. */
  readonly balloon: { readonly active: boolean; readonly presentMegabytes: number };
  readonly screenshot: { readonly png: Uint8Array; readonly width: number; readonly height: number };
  /** Null while the screen shows no text. */
  readonly 'screen-text': { readonly lines: string[] | null };
  /** With the host port that was chosen. */
  readonly 'add-forward': { readonly forward: PortForwardConfig };
  /** False: there was no such forward. */
  readonly 'remove-forward': { readonly removed: boolean };
  readonly forwards: { readonly forwards: readonly PortForwardConfig[] };
  /** False: there was no such channel. */
  readonly 'remove-channel': { readonly removed: boolean };
  readonly channels: { readonly channels: readonly ChannelState[] };
}
export type CommandResult<K extends MachineCommand['kind']> = K extends keyof CommandResults ? CommandResults[K] : null;

const activity = z.enum(['none', 'idle', 'read', 'write']);

/** What a console shows of a running machine beside its screen. */
export const machineStatusSchema = z.object({
  activity: z.object({ disk: activity, cdrom: activity, floppy: activity, network: activity }),
  leds: z.object({ capsLock: z.boolean(), numLock: z.boolean(), scrollLock: z.boolean() }),
  mouse: z.enum(['relative', 'absolute']),
  /** Screens that can be watched. */
  heads: z.int().min(1).max(MAX_HEADS),
  /** The guest has a driver that hears of `resize-screen`. */
  resizable: z.boolean(),
  screen: z.object({ width: z.int(), height: z.int() }),
  /** Memory that the guest has at present; `active`: it has a driver for the balloon. Undefined: there is no balloon. */
  balloon: z.object({ active: z.boolean(), presentMegabytes: z.number() }).optional(),
  /** The machine waits because the host cannot write to the image at `path`; `problem` says why, in a few words. */
  trouble: z
    .object({
      path: z.string().max(4096),
      reason: z.enum(['io', 'no-space', 'read-only', 'out-of-range']),
      problem: z.string().max(10_000),
    })
    .optional(),
});
export type MachineStatus = z.infer<typeof machineStatusSchema>;

/** The pointer that an adapter draws over its picture (engine/backends/display.ts). */
export const cursorMessageSchema = z.object({
  head,
  /** Null: there is none, or it is in the picture. */
  cursor: z
    .object({
      visible: z.boolean(),
      /** Place of the image's left upper corner, in pixels of the screen. */
      x: z.int(),
      y: z.int(),
      /** Missing: the same as before. */
      image: z
        .object({
          width: z.int().min(1).max(256),
          height: z.int().min(1).max(256),
          hotX: z.int().min(0).max(255),
          hotY: z.int().min(0).max(255),
          rgba: bytesSchema,
        })
        .refine(({ width, height, rgba }) => rgba.length === width * height * 4, 'wrong number of pixels')
        .optional(),
    })
    .nullable(),
});
export type CursorMessage = z.infer<typeof cursorMessageSchema>;

/** From the host thread to the machine thread. What comes from outside was checked before: the threads trust each other. */
export interface ToMachine {
  /** Present when an answer is wanted. */
  readonly request: number | undefined;
  readonly command: MachineCommand | PortCommand;
}

/** What the host thread says of the ports that lead to its sockets. */
export type PortCommand =
  | { readonly kind: 'plug-port'; readonly cable: PortCable }
  | { readonly kind: 'unplug-port'; readonly index: number }
  /** A client has come, or gone. */
  | { readonly kind: 'port-connected'; readonly index: number; readonly open: boolean };

export interface MachineFailure {
  readonly code: string;
  readonly message: string;
  readonly remedy: string | undefined;
  readonly details: ErrorDetails | undefined;
}

/** From the machine thread to the host thread. */
export type FromMachine =
  | { readonly kind: 'started' }
  | ({ readonly kind: 'failed' } & MachineFailure)
  | { readonly kind: 'serial'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly message: string }
  /** A screenshot that the configuration asked for. */
  | { readonly kind: 'picture'; readonly path: string; readonly png: Uint8Array }
  | { readonly kind: 'answer'; readonly request: number; readonly value: CommandResult<MachineCommand['kind']> }
  | ({ readonly kind: 'refusal'; readonly request: number } & MachineFailure)
  | { readonly kind: 'frame'; readonly viewer: number; readonly packet: Uint8Array<ArrayBuffer> }
  /** The machine was moved to another kind of processor, or KVM failed at the start. */
  | { readonly kind: 'accelerator'; readonly name: 'kvm' | 'software'; readonly why: 'moved' | 'kvm-failed' }
  | { readonly kind: 'status'; readonly status: MachineStatus }
  | { readonly kind: 'cursor'; readonly cursor: CursorMessage }
  /** Frames are in the cable, or room for some; or the guest has started anew. */
  | { readonly kind: 'network'; readonly event: 'frames' | 'reset' }
  /** Bytes of ports are in the rings, or room for some. */
  | { readonly kind: 'ports' }
  /** A program of the guest has opened or closed a port. */
  | { readonly kind: 'port-opened'; readonly index: number; readonly open: boolean }
  | { readonly kind: 'finished'; readonly outcome: RunOutcome };

/** What the machine thread is started with. */
export interface MachineThreadInput {
  readonly config: MachineConfig;
  /** One i32: changes whenever a message was sent, so that a waiting machine thread can be woken. */
  readonly bell: SharedArrayBuffer;
  /** To the disk images' files. */
  readonly images: ImageCable;
  /** Undefined: the machine runs in software. */
  readonly kvm: KvmFacts | undefined;
  /** The other end is the user-mode network on the host thread. */
  readonly network: NetworkCable | undefined;
  /** To the threads of the shared folders, in their order; none in virtual time. */
  readonly shares: readonly ShareEnd[];
  /** To the sockets of the guest's socket device. */
  readonly vsock: VsockCable | undefined;
  /** The ports of the console device that lead to sockets of the host thread. */
  readonly ports: readonly PortCable[];
}
