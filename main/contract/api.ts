import { z } from 'zod';
import {
  balloonSchema,
  consoleCursorSchema,
  consoleStatusSchema,
  driveSchema,
  headSchema,
  keyCodeSchema,
  machineRef,
  mouseInputSchema,
} from './console.ts';
import { newPortForwardSchema, portForwardKeySchema, portForwardSchema } from './devices.ts';
import {
  appInfoSchema,
  diskSpaceSchema,
  guestSystemSchema,
  mediaInspectionSchema,
  pathCompletionSchema,
  settingsChangesSchema,
  settingsSchema,
} from './host.ts';
import {
  diskSizeSchema,
  keptReasonSchema,
  machineChangesSchema,
  machineIdSchema,
  machineSchema,
  machinesChangeSchema,
  memorySchema,
  newDiskTraits,
  newMachineSchema,
} from './machines.ts';
import { pathSchema } from './paths.ts';

/**
 * The API of Lodge as a value: every call and every feed with the schemas of its arguments and results. The shells
 * accept these names and nothing else, and check arguments and results against the schemas on both sides.
 */

const nothing = z.object({});
const done = z.null();
const id = z.object({ id: machineIdSchema });

/** Asked once, answered once, or refused with an ErrorData. */
export const calls = {
  'app.info': { args: nothing, result: appInfoSchema },
  /** Free space where `folder` is, or would be made. */
  'host.diskSpace': { args: z.object({ folder: pathSchema }), result: diskSpaceSchema },
  /** Completes a host path as typed so far: the entries of its folder that begin with its last part. */
  'fs.complete': {
    args: z.object({
      prefix: z.string().max(4096),
      /** 'folder' leaves out files. */
      want: z.enum(['any', 'folder']).default('any'),
    }),
    result: pathCompletionSchema,
  },

  'settings.get': { args: nothing, result: settingsSchema },
  /** What is missing stays as it is. */
  'settings.set': { args: settingsChangesSchema, result: settingsSchema },

  'osCatalogue.list': { args: nothing, result: z.array(guestSystemSchema) },
  /** Looks into an ISO, disk or floppy image. */
  'media.inspect': { args: z.object({ path: pathSchema }), result: mediaInspectionSchema },
  /** Makes a raw image without using its space yet. Refuses to overwrite. */
  'media.createDisk': {
    args: z.object({ path: pathSchema, sizeGigabytes: diskSizeSchema }),
    result: z.object({ path: pathSchema, sizeBytes: z.number() }),
  },

  'machines.list': { args: nothing, result: z.array(machineSchema) },
  'machines.get': { args: id, result: machineSchema },
  'machines.create': { args: newMachineSchema, result: machineSchema },
  /** A machine with the built-in demonstration guest, which needs nothing downloaded. */
  'machines.createDemo': { args: nothing, result: machineSchema },
  /** Puts a machine on the list whose folder already exists. */
  'machines.add': { args: z.object({ folder: pathSchema }), result: machineSchema },
  /**
   * While it is powered off or aborted. While it runs, what can be changed then: the name, port forwards, whether the
   * network cable is plugged in, and the media in the drives; anything else is refused and nothing is changed.
   */
  'machines.update': { args: z.object({ id: machineIdSchema, changes: machineChangesSchema }), result: machineSchema },
  /** What machines.remove with `deleteFiles` would delete, and what it would leave in the folder because it is not Lodge's. */
  'machines.files': {
    args: id,
    result: z.object({
      folder: pathSchema,
      deleted: z.array(z.object({ path: pathSchema, sizeBytes: z.number() })),
      kept: z.array(z.object({ path: pathSchema, reason: keptReasonSchema })),
    }),
  },
  /** Takes it off the list; with `deleteFiles` its files go as well, and are named in the answer. */
  'machines.remove': {
    args: z.object({ id: machineIdSchema, deleteFiles: z.boolean() }),
    result: z.object({ deleted: z.array(pathSchema) }),
  },
  /** Answers when the machine runs, or refuses with the reason why it does not. */
  'machines.start': { args: id, result: machineSchema },
  /** Pulls the plug; answers when the process has ended. */
  'machines.powerOff': { args: id, result: machineSchema },
  /** Presses the ACPI power button: the guest may take its time, or ignore it. */
  'machines.shutdown': { args: id, result: machineSchema },
  /** Time stands still for the guest until it is resumed. */
  'machines.pause': { args: id, result: machineSchema },
  'machines.resume': { args: id, result: machineSchema },
  /** Moves a running machine to another kind of processor. */
  'machines.accelerate': {
    args: id.extend({ accelerator: z.enum(['kvm', 'software']) }),
    result: machineSchema,
  },
  /** Makes a raw image in the folder of a machine that is off, and attaches it; nothing is left when that fails. */
  'machines.addDisk': { args: id.extend({ sizeGigabytes: diskSizeSchema, ...newDiskTraits }), result: machineSchema },
  /** Asks a running guest to get along with so many megabytes, until it is switched off. */
  'machines.setBalloon': { args: id.extend({ megabytes: memorySchema }), result: balloonSchema },
  /** Adds a disk on SCSI to a running machine, until it is detached or the machine is switched off; answers its number. */
  'machines.attachDisk': {
    args: id.extend({ path: pathSchema, readOnly: z.boolean().default(false), serial: z.string().max(20).nullable() }),
    result: z.object({ target: z.int() }),
  },
  /** Takes a SCSI disk away from a running machine, as if it were pulled out. */
  'machines.detachDisk': { args: id.extend({ target: z.int().min(0).max(255) }), result: done },
  /** Leads a port of the host to one of the guest, now and in later runs; answers with the host port that was taken. */
  'machines.addForward': {
    args: id.extend({ forward: newPortForwardSchema }),
    result: z.object({ forward: portForwardSchema }),
  },
  /** Connections that stand go on. */
  'machines.removeForward': { args: id.extend({ forward: portForwardKeySchema }), result: machineSchema },
  /** Plugs the network cable in or out, now and in later runs. */
  'machines.setLink': { args: id.extend({ up: z.boolean() }), result: machineSchema },
  /** Presses the reset button. */
  'machines.reset': { args: id, result: machineSchema },
  /** The end of the log of the present or last run. */
  'machines.log': {
    args: z.object({ id: machineIdSchema, maxBytes: z.int().min(1).max(1_000_000).default(200_000) }),
    result: z.object({ path: z.string().nullable(), text: z.string(), truncated: z.boolean() }),
  },

  /** A screen as PNG in base64. */
  'console.screenshot': {
    args: machineRef.extend({ head: headSchema.default(0) }),
    result: z.object({ png: z.base64(), width: z.int(), height: z.int() }),
  },
  /** The lines of the screen while it shows text, else null. */
  'console.screenText': { args: machineRef, result: z.object({ lines: z.array(z.string()).nullable() }) },
  'console.sendKey': { args: machineRef.extend({ code: keyCodeSchema, down: z.boolean() }), result: done },
  /** Presses keys in order and releases them in reverse: ['ControlLeft', 'AltLeft', 'Delete']. */
  'console.sendKeys': { args: machineRef.extend({ codes: z.array(keyCodeSchema).min(1).max(10) }), result: done },
  /** Releases every key that is down: when the console loses the focus. */
  'console.releaseKeys': { args: machineRef, result: done },
  /** Types text on a US keyboard, at the guest's pace; keys in braces: {Enter}, {Ctrl+C}. Names what no key types. */
  'console.sendText': {
    args: machineRef.extend({ text: z.string().min(1).max(10_000) }),
    result: z.object({ unknown: z.array(z.string()) }),
  },
  /** A window shows the screen in so many pixels: where the status says `resizable`, the guest may follow. */
  'console.resizeScreen': {
    args: machineRef.extend({
      head: headSchema.default(0),
      width: z.int().min(1).max(16384),
      height: z.int().min(1).max(16384),
    }),
    result: done,
  },
  'console.sendMouse': { args: machineRef.extend({ input: mouseInputSchema }), result: done },
  /** Bytes of UTF-8 for the first serial port. */
  'console.sendSerial': { args: machineRef.extend({ text: z.string().max(100_000) }), result: done },
  /** Puts an image into a drive, instead of the one in it; also while the machine is off. */
  'console.insertMedium': {
    args: machineRef.extend({ drive: driveSchema, path: pathSchema, readOnly: z.boolean().default(false) }),
    result: done,
  },
  /** `ejected: false`: the guest has locked the drive and was only told of the wish; `force` takes it out anyway. */
  'console.ejectMedium': {
    args: machineRef.extend({ drive: driveSchema, force: z.boolean().default(false) }),
    result: z.object({ ejected: z.boolean() }),
  },
} as const satisfies Record<string, CallDefinition>;

/** Subscribed to, then items until either side ends it. */
export const feeds = {
  'settings.changes': { args: nothing, item: settingsSchema },
  'machines.changes': { args: nothing, item: machinesChangeSchema },
  /** The status first, then whenever it changes. Ends with the machine's removal. */
  'console.status': { args: machineRef, item: consoleStatusSchema },
  /**
   * Frame packets (engine/base/frame-packet.ts) while the machine runs, the whole picture first. Each one is to be
   * acknowledged by its sequence number once it is drawn; with too many unacknowledged ones no more come, and what
   * changes meanwhile arrives together later. Stays open over stop and start.
   */
  'console.frames': {
    args: machineRef.extend({
      head: headSchema.default(0),
      /** An upper limit; a preview wants few. */
      framesPerSecond: z.number().min(0.1).max(60).default(60),
    }),
    item: 'bytes',
  },
  /** The pointer over a screen, now and whenever it changes while that screen is watched; null: there is none. */
  'console.cursor': {
    args: machineRef.extend({ head: headSchema.default(0) }),
    item: consoleCursorSchema.nullable(),
  },
  /** Bytes from the first serial port, the last 64 KiB of what came before first. Stays open over stop and start. */
  'console.serial': { args: machineRef, item: 'bytes' },
} as const satisfies Record<string, FeedDefinition>;

export interface CallDefinition {
  readonly args: z.ZodType<object, object>;
  readonly result: z.ZodType;
}

export interface FeedDefinition {
  readonly args: z.ZodType<object, object>;
  /** 'bytes': items are Uint8Arrays and travel as binary messages. */
  readonly item: z.ZodType | 'bytes';
}

export type Calls = typeof calls;
export type Feeds = typeof feeds;
export type CallName = keyof Calls;
export type FeedName = keyof Feeds;
/** What a caller gives: fields with a default may be left out. */
export type CallArgs<N extends CallName> = z.input<Calls[N]['args']>;
/** What the service gets: complete. */
export type CallInput<N extends CallName> = z.output<Calls[N]['args']>;
export type CallResult<N extends CallName> = z.output<Calls[N]['result']>;
export type FeedArgs<N extends FeedName> = z.input<Feeds[N]['args']>;
export type FeedInput<N extends FeedName> = z.output<Feeds[N]['args']>;
export type FeedItem<N extends FeedName> = Feeds[N]['item'] extends z.ZodType
  ? z.output<Feeds[N]['item']>
  : Uint8Array<ArrayBuffer>;

export function isCallName(name: string): name is CallName {
  return Object.hasOwn(calls, name);
}

export function isFeedName(name: string): name is FeedName {
  return Object.hasOwn(feeds, name);
}
