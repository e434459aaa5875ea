import { z } from 'zod';
import { VGA_KINDS } from '../../engine/config/display-config.ts';
import {
  ACCELERATORS,
  BOOT_DEVICES,
  MAX_CPUS,
  MAX_MEMORY_MEGABYTES,
  MIN_CPUS,
  MIN_MEMORY_MEGABYTES,
} from '../../engine/config/machine-config.ts';
import { MAX_SHARES } from '../../engine/config/share-config.ts';
import {
  cdromSchema,
  diskBusSchema,
  diskSchema,
  diskSerialSchema,
  floppySchema,
  MAX_DISKS,
  networkSchema,
  shareSchema,
  soundSchema,
} from './devices.ts';
import { errorDataSchema } from './errors.ts';
import { pathSchema } from './paths.ts';

export const MAX_NAME_LENGTH = 80;
export const MIN_DISK_MEGABYTES = 1;
export const MAX_DISK_GIGABYTES = 2048;

/** Text in one line: no control characters. */
const oneLine = (maximum: number) =>
  z
    .string()
    .max(maximum)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
    .regex(/^[^\u0000-\u001f\u007f]*$/, 'must be one line without control characters');

/** Identifies a machine; it is also the last part of its folder's path. */
export const machineIdSchema = oneLine(200)
  .min(1)
  .refine((id) => !/[/\\]/.test(id) && id !== '.' && id !== '..', 'is not the id of a machine');

export const machineNameSchema = oneLine(MAX_NAME_LENGTH).refine((name) => name.trim() !== '', 'must not be empty');
export const guestSystemIdSchema = z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/);
export const memorySchema = z.int().min(MIN_MEMORY_MEGABYTES).max(MAX_MEMORY_MEGABYTES);
export const processorsSchema = z.int().min(MIN_CPUS).max(MAX_CPUS);
export const diskSizeSchema = z.number().min(0.001).max(MAX_DISK_GIGABYTES);
/** UEFI is to come. */
export const firmwareSchema = z.enum(['bios']);
/** Why a file stays when a machine is deleted with its files. */
export const keptReasonSchema = z.enum([
  /** It is not in the machine's folder. */
  'outside',
  /** Another machine uses it. */
  'shared',
  /** It is a medium in a drive. */
  'medium',
  /** It is in the machine's folder, but Lodge did not make it. */
  'foreign',
]);
export type KeptReason = z.infer<typeof keptReasonSchema>;

/** What a machine consists of. `null` is a machine without the device. */
export const machineSettingsSchema = z.strictObject({
  name: machineNameSchema,
  guestSystem: guestSystemIdSchema,
  memoryMegabytes: memorySchema,
  processors: processorsSchema,
  firmware: firmwareSchema,
  accelerator: z.enum(ACCELERATORS),
  /** The guest is told that it runs on Hyper-V, whose interface Windows knows. */
  hyperv: z.boolean(),
  bootOrder: z.array(z.enum(BOOT_DEVICES)).min(1).max(BOOT_DEVICES.length),
  disks: z.array(diskSchema).max(MAX_DISKS),
  cdrom: cdromSchema.nullable(),
  floppy: floppySchema.nullable(),
  network: networkSchema.nullable(),
  vga: z.enum(VGA_KINDS),
  shares: z.array(shareSchema).max(MAX_SHARES),
  sound: soundSchema.nullable(),
  /** The guest can fetch the host's random numbers from a virtio device. */
  entropy: z.boolean(),
  /** The host can take memory back from the guest, by a virtio memory balloon. */
  balloon: z.boolean(),
});
export type MachineSettings = z.infer<typeof machineSettingsSchema>;

/** Changes to settings: what is missing stays as it is. */
export const machineChangesSchema = machineSettingsSchema.partial();
export type MachineChanges = z.infer<typeof machineChangesSchema>;

export const MACHINE_STATES = [
  /** Not running; Start is possible. */
  'powered-off',
  /** Its process is being started. */
  'starting',
  'running',
  'paused',
  /** The plug was pulled; the process is ending. A guest that was only asked to shut down is still 'running'. */
  'stopping',
  /** Its last run ended by a failure: `reason` says which, `logPath` tells more. Start is possible. */
  'aborted',
  /** Its machine.json cannot be used: `reason` says why. Nothing but removing it from the list is possible. */
  'inaccessible',
] as const;
export const machineStateSchema = z.enum(MACHINE_STATES);
export type MachineState = z.infer<typeof machineStateSchema>;

export const acceleratorInUseSchema = z.object({
  /** 'kvm' or 'software'; further ones may come. */
  name: z.string(),
  /** For people, short: 'KVM', 'Software'. */
  label: z.string(),
  /** Why this one, in one line. */
  reason: z.string(),
  /** The same for programs, by which user interfaces say it in their language. */
  why: z.string().max(100).optional(),
  /** Values of the reason by name. */
  details: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
});
export type AcceleratorInUse = z.infer<typeof acceleratorInUseSchema>;

export const machineSchema = z.object({
  id: machineIdSchema,
  /** The settings' name; the folder's for an inaccessible machine. */
  name: z.string(),
  /** The machine's own folder, absolute. */
  folder: pathSchema,
  state: machineStateSchema,
  /** Why it is aborted or inaccessible. */
  reason: errorDataSchema.nullable(),
  /**
   * Why it is paused by itself: the host cannot write to one of its disks. It goes on once that works again; resuming it
   * lets the guest have the error instead.
   */
  trouble: errorDataSchema.nullable(),
  /** Null when it is inaccessible. */
  settings: machineSettingsSchema.nullable(),
  /** While it runs. */
  accelerator: acceleratorInUseSchema.nullable(),
  /** ISO 8601; the present run, or null. */
  startedAt: z.string().nullable(),
  /** The log of the present or the last run, or null when it never ran. */
  logPath: z.string().nullable(),
});
export type Machine = z.infer<typeof machineSchema>;

/** What may be wished of a disk that is made or attached. */
export const newDiskTraits = {
  /** Undefined: what suits the guest system. */
  bus: diskBusSchema.optional(),
  serial: diskSerialSchema.optional(),
};

export const newMachineSchema = z.strictObject({
  name: machineNameSchema,
  /** The folder in which the machine's own folder is made; the default is `machinesFolder` of app.info. */
  folder: pathSchema.optional(),
  guestSystem: guestSystemIdSchema,
  memoryMegabytes: memorySchema,
  processors: processorsSchema,
  firmware: firmwareSchema.default('bios'),
  accelerator: z.enum(ACCELERATORS).default('auto'),
  /** Goes into the CD-ROM or floppy drive, or in front of the hard disk. */
  installMedia: z.strictObject({ path: pathSchema, kind: z.enum(['cdrom', 'disk', 'floppy']) }).optional(),
  hardDisk: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('new'),
      sizeGigabytes: diskSizeSchema,
      ...newDiskTraits,
    }),
    z.strictObject({
      kind: z.literal('existing'),
      path: pathSchema,
      readOnly: z.boolean().default(false),
      ...newDiskTraits,
    }),
    z.strictObject({ kind: z.literal('none') }),
  ]),
  /** Null: no network. Undefined: a card that suits the guest system, and what is missing follows from it too. */
  network: networkSchema.partial().nullable().optional(),
  /** Undefined: what suits the guest system. */
  vga: z.enum(VGA_KINDS).optional(),
  shares: z.array(shareSchema).max(MAX_SHARES).default([]),
  sound: soundSchema.nullable().default(null),
});
/** What a caller gives: fields with a default may be left out. */
export type NewMachine = z.input<typeof newMachineSchema>;

export const machinesChangeSchema = z.discriminatedUnion('kind', [
  /** Comes first, and again whenever the client has to start over. */
  z.object({ kind: z.literal('all'), machines: z.array(machineSchema) }),
  /** A machine that is new or whose state or settings changed. */
  z.object({ kind: z.literal('changed'), machine: machineSchema }),
  z.object({ kind: z.literal('removed'), id: machineIdSchema }),
]);
export type MachinesChange = z.infer<typeof machinesChangeSchema>;
