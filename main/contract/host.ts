import { z } from 'zod';
import { VGA_KINDS } from '../../engine/config/display-config.ts';
import { NETWORK_MODELS } from '../../engine/config/network-config.ts';
import { diskBusSchema } from './devices.ts';
import { guestSystemIdSchema } from './machines.ts';
import { pathSchema } from './paths.ts';

export const acceleratorReportSchema = z.object({
  name: z.string(),
  /** A machine can be told to use it. */
  usable: z.boolean(),
  /** What 'auto' takes: of all accelerators, one. */
  chosen: z.boolean(),
  /** What it is, or why it is not usable, in one line. */
  detail: z.string(),
  /** The same for programs, by which user interfaces say it in their language, with the values of `details`. */
  why: z.string().max(100).optional(),
  details: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
});
export type AcceleratorReport = z.infer<typeof acceleratorReportSchema>;

export const appInfoSchema = z.object({
  versions: z.object({ lodge: z.string(), node: z.string(), v8: z.string(), electron: z.string().optional() }),
  /** What the renderer is shown by: decides between file dialogs of the desktop and path fields. */
  shell: z.enum(['desktop', 'web', 'cli']),
  host: z.object({ platform: z.string(), release: z.string(), arch: z.string() }),
  processors: z.object({ count: z.int(), model: z.string() }),
  memory: z.object({ totalMegabytes: z.int(), freeMegabytes: z.int() }),
  firmware: z.discriminatedUnion('found', [
    z.object({ found: z.literal(true), bios: z.string(), vgaBios: z.string() }),
    z.object({ found: z.literal(false), problem: z.string(), remedy: z.string() }),
  ]),
  accelerators: z.array(acceleratorReportSchema),
  dataFolder: z.string(),
  /** Where new machines go unless told otherwise. */
  machinesFolder: z.string(),
  limits: z.object({
    memoryMegabytes: z.object({ minimum: z.int(), maximum: z.int() }),
    processors: z.object({ minimum: z.int(), maximum: z.int() }),
    diskGigabytes: z.object({ minimum: z.number(), maximum: z.number() }),
  }),
});
export type AppInfo = z.infer<typeof appInfoSchema>;

export const diskSpaceSchema = z.object({
  /** The nearest existing folder, which the figures are about. */
  folder: pathSchema,
  freeBytes: z.number(),
  totalBytes: z.number(),
  writable: z.boolean(),
});
export type DiskSpace = z.infer<typeof diskSpaceSchema>;

export const LANGUAGES = ['system', 'en', 'ko'] as const;
export const THEMES = ['system', 'light', 'dark'] as const;

export const settingsSchema = z.object({
  language: z.enum(LANGUAGES),
  theme: z.enum(THEMES),
  /** The key that releases the mouse, by its KeyboardEvent.code. */
  hostKey: z.string().regex(/^[A-Za-z0-9]{1,30}$/),
  /** Names of the messages that are not to be shown again. */
  dismissedWarnings: z.array(z.string().max(100)).max(200),
  /** The last choice when a console was closed. */
  closeAction: z.enum(['ask', 'shutdown', 'power-off', 'keep-running']),
  /** How the guest's screen is scaled: whole device pixels, as large as fits, or one to one. */
  scaling: z.enum(['integer', 'fit', 'actual']),
  /** Guests that can follow a window's size are told of it. */
  resizeGuest: z.boolean(),
  /** Shows what Basic view hides. */
  expert: z.boolean(),
});
export type Settings = z.infer<typeof settingsSchema>;

export const settingsChangesSchema = settingsSchema.partial();

/** A kind of guest and what suits it. */
export const guestSystemSchema = z.object({
  id: guestSystemIdSchema,
  /** For people; a proper name, the same in all languages but for the 'other' ones. */
  name: z.string(),
  family: z.enum(['linux', 'windows', 'bsd', 'dos', 'other']),
  bits: z.union([z.literal(16), z.literal(32), z.literal(64)]),
  defaults: z.object({
    memoryMegabytes: z.int(),
    processors: z.int(),
    diskGigabytes: z.number(),
    firmware: z.enum(['bios']),
    /** What a hard disk is attached to. */
    diskBus: diskBusSchema,
    /** The network card; null: the system has a driver for none. */
    network: z.enum(NETWORK_MODELS).nullable(),
    vga: z.enum(VGA_KINDS),
    /** Devices of virtio that take and give: random numbers and the memory balloon. */
    paravirtual: z.boolean(),
    /** It knows Hyper-V's interface. */
    hyperv: z.boolean(),
  }),
  /** Below these, warn. */
  minima: z.object({ memoryMegabytes: z.int(), diskGigabytes: z.number() }),
});
export type GuestSystem = z.infer<typeof guestSystemSchema>;

export const mediaKindSchema = z.enum(['cdrom', 'disk', 'floppy']);
export type MediaKind = z.infer<typeof mediaKindSchema>;

export const mediaInspectionSchema = z.object({
  path: pathSchema,
  kind: mediaKindSchema,
  sizeBytes: z.number(),
  /** The volume label of an ISO image. */
  label: z.string().nullable(),
  /** What a CD is called: by its label if that says something, or by its guest system or file. Null for other media. */
  title: z.string().nullable(),
  /** Whether it looks bootable by a BIOS (El Torito, a boot sector); null where that cannot be known. */
  bootable: z.boolean().nullable(),
  /** An id of the catalogue, or null when nothing was recognized. */
  guestSystem: guestSystemIdSchema.nullable(),
  /** The version of the Linux kernel on a CD: '6.1.0-50-amd64'; null when there is none. */
  kernel: z.string().nullable(),
  /** What was found, for people, in one line: 'Debian 12.5.0 amd64 (ISO 9660)'. */
  description: z.string(),
  /** What a new machine for it could be called. */
  suggestedName: z.string().nullable(),
});
export type MediaInspection = z.infer<typeof mediaInspectionSchema>;

export const pathCompletionSchema = z.object({
  /** The folder whose entries are listed, with a separator at its end. */
  folder: z.string(),
  entries: z.array(
    z.object({
      name: z.string(),
      /** The whole path; a folder's ends with a separator. */
      path: z.string(),
      kind: z.enum(['folder', 'file']),
      sizeBytes: z.number().nullable(),
    }),
  ),
  /** There were more entries than are listed. */
  truncated: z.boolean(),
});
export type PathCompletion = z.infer<typeof pathCompletionSchema>;
