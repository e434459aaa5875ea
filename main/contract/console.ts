import { z } from 'zod';
import { MAX_HEADS } from '../../engine/config/display-config.ts';
import { acceleratorInUseSchema, machineIdSchema, machineStateSchema } from './machines.ts';
import { pathSchema } from './paths.ts';

export const driveSchema = z.enum(['cdrom', 'floppy']);
export type Drive = z.infer<typeof driveSchema>;

/** A key by its physical name (W3C KeyboardEvent.code); names that no PC keyboard has are ignored. */
export const keyCodeSchema = z.string().regex(/^[A-Za-z0-9]{1,30}$/);

const buttons = z.int().min(0).max(31);
const wheel = z.number().min(-100).max(100).default(0);

/** A screen of a machine: what stands on one of its monitors. */
export const headSchema = z
  .int()
  .min(0)
  .max(MAX_HEADS - 1);

/** `buttons` as in W3C MouseEvent.buttons; `wheel` in notches, positive is down (towards the user). */
export const mouseInputSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('relative'),
    /** Counts to the right and down. */
    dx: z.number().min(-10_000).max(10_000),
    dy: z.number().min(-10_000).max(10_000),
    wheel,
    buttons,
  }),
  z.object({
    kind: z.literal('absolute'),
    head: headSchema.default(0),
    /** From 0 (left, top) to 1 (right, bottom) of the screen. Only where status says `mouse: 'absolute'`. */
    x: z.number().min(0).max(1),
    y: z.number().min(0).max(1),
    wheel,
    buttons,
  }),
]);
export type MouseInput = z.input<typeof mouseInputSchema>;

/** 'none': there is no such device. 'read' and 'write' were seen within the last fraction of a second. */
export const activitySchema = z.enum(['none', 'idle', 'read', 'write']);
export type Activity = z.infer<typeof activitySchema>;

/** A guest's memory while it runs, in megabytes: what it is asked to get along with, and what it has. */
export const balloonSchema = z.object({
  targetMegabytes: z.number(),
  presentMegabytes: z.number(),
  /** The guest has a driver that does what it is asked. */
  active: z.boolean(),
});

export type Balloon = z.infer<typeof balloonSchema>;

/** What a console's status bar shows. */
export const consoleStatusSchema = z.object({
  state: machineStateSchema,
  activity: z.object({
    disk: activitySchema,
    cdrom: activitySchema,
    floppy: activitySchema,
    /** For the network, 'read' is receiving and 'write' sending. */
    network: activitySchema,
  }),
  /** The image in a drive; null: the drive is empty or there is none. */
  media: z.object({ cdrom: pathSchema.nullable(), floppy: pathSchema.nullable() }),
  /** Null until the machine runs, and for machines without a balloon. */
  balloon: balloonSchema.nullable(),
  /** Null until the machine runs. */
  accelerator: acceleratorInUseSchema.nullable(),
  /** The keyboard's lights as the guest set them. */
  leds: z.object({ capsLock: z.boolean(), numLock: z.boolean(), scrollLock: z.boolean() }),
  /** 'absolute' when the guest has a tablet: then the pointer is never captured. */
  mouse: z.enum(['relative', 'absolute']),
  /** Screens that can be shown. */
  heads: z.int().min(1).max(MAX_HEADS),
  /** The guest hears how large the window is, and may follow. */
  resizable: z.boolean(),
  /** Pixels of the guest's first screen; zeros before the first picture. */
  screen: z.object({ width: z.int(), height: z.int() }),
});
export type ConsoleStatus = z.infer<typeof consoleStatusSchema>;

/** The pointer that the guest's display adapter draws over a screen, and that the picture does not hold. */
export const consoleCursorSchema = z.object({
  visible: z.boolean(),
  /** Where the image's left upper corner is, in pixels of the screen. Not kept up to date while the mouse is absolute. */
  x: z.int(),
  y: z.int(),
  /** Missing: as before. */
  image: z
    .object({
      width: z.int().min(1).max(256),
      height: z.int().min(1).max(256),
      /** The pixel that points. */
      hotX: z.int().min(0).max(255),
      hotY: z.int().min(0).max(255),
      /** Red, green, blue and opacity of each pixel. */
      rgba: z.base64().max(400_000),
    })
    .optional(),
});
export type ConsoleCursor = z.infer<typeof consoleCursorSchema>;

export const machineRef = z.object({ machine: machineIdSchema });
