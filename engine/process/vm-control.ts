import { z } from 'zod';
import {
  bytesSchema,
  cursorMessageSchema,
  machineCommandSchema,
  machineStatusSchema,
  portForwardSchema,
} from './machine-messages.ts';

/**
 * What a machine's process and its supervisor say to each other. Both check what they hear: the supervisor because a
 * guest may have got the better of the process, the process because it is cheap.
 *
 * The supervisor says `start` once, then any number of commands. The process answers with `started` or `failed`, then
 * whatever happens, then `finished`; and ends.
 */

const request = z.int().min(0).max(0xffffffff);
const path = z.string().max(4096);

/** The configuration of a machine in its own process; checked once more by validateMachineConfig there. */
const configSchema = z.object({
  name: z.string(),
  accel: z.string(),
  hyperv: z.boolean().optional(),
  cpus: z.number(),
  memoryMegabytes: z.number(),
  firmware: z.object({ bios: path.optional() }),
  boot: z.object({ order: z.array(z.string()) }),
  disks: z.array(
    z.object({ path, bus: z.string(), readOnly: z.boolean(), port: z.number(), serial: z.string().optional() }),
  ),
  cdrom: z.object({ path: path.optional(), bus: z.string().optional(), port: z.number() }).optional(),
  floppy: z.object({ path: path.optional(), readOnly: z.boolean() }).optional(),
  network: z
    .object({
      model: z.string(),
      mac: z.string(),
      linkUp: z.boolean(),
      forwards: z.array(portForwardSchema),
      hostLoopback: z.boolean(),
      isolated: z.boolean(),
      capture: path.optional(),
      bootFolder: path.optional(),
      bootFile: z.string().optional(),
    })
    .optional(),
  vga: z.string().optional(),
  heads: z.number().optional(),
  shares: z.array(z.object({ name: z.string(), path, readOnly: z.boolean() })).optional(),
  sound: z
    .object({
      output: z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('null') }),
        z.object({ kind: z.literal('wav'), path }),
      ]),
      input: path.optional(),
    })
    .optional(),
  entropy: z.boolean().optional(),
  balloon: z.boolean().optional(),
});
export type VmConfig = z.infer<typeof configSchema>;

export const toVmSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('start'), config: configSchema }),
  /** `request` asks for an answer. */
  z.object({ kind: z.literal('command'), request: request.optional(), command: machineCommandSchema }),
  /**
   * Comes with a message port, where processes have such: frame packets of this viewer go there, and the sequence
   * numbers of those that were drawn come back.
   */
  z.object({ kind: z.literal('viewer-port'), viewer: request }),
]);
export type ToVm = z.infer<typeof toVmSchema>;

/** Values of a message by name, for whoever says it in another language. */
const valuesSchema = z.record(z.string().max(100), z.union([z.string().max(10_000), z.number()]));

const failureSchema = z.object({
  code: z.string().max(100),
  message: z.string().max(10_000),
  remedy: z.string().max(10_000).optional(),
  details: valuesSchema.optional(),
});
export type VmFailure = z.infer<typeof failureSchema>;

const packetSchema = z.custom<Uint8Array<ArrayBuffer>>(
  (value) => value instanceof Uint8Array && value.buffer instanceof ArrayBuffer,
  'must be bytes',
);

const acceleratorSchema = z.object({
  name: z.string(),
  label: z.string(),
  reason: z.string(),
  why: z.string().max(100).optional(),
  details: valuesSchema.optional(),
});

export const fromVmSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('started'),
    accelerator: acceleratorSchema,
  }),
  /** It runs on something else now. */
  z.object({ kind: z.literal('accelerator'), accelerator: acceleratorSchema }),
  z.object({ kind: z.literal('failed'), error: failureSchema }),
  z.object({ kind: z.literal('answer'), request, value: z.unknown() }),
  z.object({ kind: z.literal('refusal'), request, error: failureSchema }),
  z.object({ kind: z.literal('serial'), bytes: bytesSchema }),
  z.object({ kind: z.literal('frame'), viewer: request, packet: packetSchema }),
  z.object({ kind: z.literal('status'), status: machineStatusSchema }),
  z.object({ kind: z.literal('cursor'), cursor: cursorMessageSchema }),
  z.object({
    kind: z.literal('finished'),
    outcome: z.object({
      kind: z.enum(['powered-off', 'debug-exit', 'timeout', 'guest-crashed', 'quit', 'reset']),
      detail: z.string().max(10_000).optional(),
    }),
  }),
]);
export type FromVm = z.infer<typeof fromVmSchema>;

/** What commands with an answer answer, checked by who asked. */
export const answerSchemas = {
  type: z.object({ unknown: z.array(z.string()) }),
  eject: z.object({ ejected: z.boolean() }),
  'attach-disk': z.object({ target: z.int() }),
  balloon: z.object({ active: z.boolean(), presentMegabytes: z.number() }),
  screenshot: z.object({ png: bytesSchema, width: z.int(), height: z.int() }),
  'add-forward': z.object({ forward: portForwardSchema }),
  'remove-forward': z.object({ removed: z.boolean() }),
  forwards: z.object({ forwards: z.array(portForwardSchema) }),
  'remove-channel': z.object({ removed: z.boolean() }),
  channels: z.object({
    channels: z.array(
      z.object({ name: z.string(), socket: z.string(), connected: z.boolean(), guestOpen: z.boolean() }),
    ),
  }),
  'screen-text': z.object({ lines: z.array(z.string()).nullable() }),
} as const;
