import { z } from 'zod';
import {
  DEFAULT_CDROM_PORT,
  DISK_BUSES,
  type DiskBus,
  IDE_PORTS,
  MAX_DISK_SERIAL,
  MAX_VIRTIO_DISKS,
  SCSI_TARGETS,
} from '../../engine/config/machine-config.ts';
import { DEFAULT_HOST_ADDRESS, MAX_PORT_FORWARDS, NETWORK_MODELS } from '../../engine/config/network-config.ts';
import { MAX_SHARE_NAME } from '../../engine/config/share-config.ts';
import { pathSchema } from './paths.ts';

/** The devices of a machine as its settings describe them. What a schema does not know is refused, not dropped. */

/** Places on each bus. */
export const DRIVE_PORTS: Readonly<Record<DiskBus, number>> = {
  ide: IDE_PORTS,
  virtio: MAX_VIRTIO_DISKS,
  scsi: SCSI_TARGETS,
};
export const MAX_DISKS = IDE_PORTS + MAX_VIRTIO_DISKS + SCSI_TARGETS;

/** Place on its bus: on IDE 0 primary master to 3 secondary slave; number of the virtio disk; SCSI target. */
const drivePortSchema = z
  .int()
  .min(0)
  .max(SCSI_TARGETS - 1);

export const diskBusSchema = z.enum(DISK_BUSES);
export const diskSerialSchema = z
  .string()
  .max(MAX_DISK_SERIAL)
  .regex(/^[!-~]+$/, 'is not a serial number');

export const diskSchema = z.strictObject({
  /** Absolute path of a raw image, or on Linux of a host block device. */
  path: pathSchema,
  bus: diskBusSchema,
  port: drivePortSchema,
  readOnly: z.boolean(),
  /** What the guest reads as the disk's serial number; null: one made from its place. */
  serial: diskSerialSchema.nullable(),
});
export type Disk = z.infer<typeof diskSchema>;

export const CDROM_BUSES = ['ide', 'scsi'] as const;

/** `path: null` is a drive without a disc. */
export const cdromSchema = z.strictObject({
  path: pathSchema.nullable(),
  bus: z.enum(CDROM_BUSES),
  port: drivePortSchema,
});
export type Cdrom = z.infer<typeof cdromSchema>;

export const floppySchema = z.strictObject({ path: pathSchema.nullable(), readOnly: z.boolean() });

export const protocolSchema = z.enum(['tcp', 'udp']);
const hostAddressSchema = z.string().max(64);
const portSchema = z.int().min(1).max(65535);

/** A port of the host that leads to a port of the guest. */
export const portForwardSchema = z.strictObject({
  protocol: protocolSchema,
  /** An address of the host; 127.0.0.1 is open to the host alone. */
  hostAddress: hostAddressSchema,
  hostPort: portSchema,
  /** Null: the guest's first address, 10.0.2.15. */
  guestAddress: z.string().max(64).nullable(),
  guestPort: portSchema,
});
export type PortForward = z.infer<typeof portForwardSchema>;

/** A forward that is asked for; host port 0 is any that is free, while the machine runs. */
export const newPortForwardSchema = portForwardSchema.extend({
  hostAddress: hostAddressSchema.default(DEFAULT_HOST_ADDRESS),
  hostPort: z.int().min(0).max(65535),
  guestAddress: portForwardSchema.shape.guestAddress.default(null),
});

/** What tells a forward from the others. */
export const portForwardKeySchema = z.strictObject({
  protocol: protocolSchema,
  hostAddress: hostAddressSchema.default(DEFAULT_HOST_ADDRESS),
  hostPort: portSchema,
});
export type PortForwardKey = z.infer<typeof portForwardKeySchema>;

export const macSchema = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i, 'is no address of a card');

/** A network card, plugged into the user-mode network (NAT). */
export const networkSchema = z.strictObject({
  model: z.enum(NETWORK_MODELS),
  mac: macSchema,
  /** The cable is plugged in. */
  connected: z.boolean(),
  forwards: z.array(portForwardSchema).max(MAX_PORT_FORWARDS),
  /** The gateway, 10.0.2.2, is the host's 127.0.0.1. */
  hostLoopback: z.boolean(),
  /** Nothing outside can be reached. */
  isolated: z.boolean(),
  /** A pcap file to which all frames are written. */
  capture: pathSchema.nullable(),
  /** A folder that the gateway serves for network boot, and what is loaded from there. */
  bootFolder: pathSchema.nullable(),
  bootFile: z.string().min(1).max(127).nullable(),
});
export type NetworkSettings = z.infer<typeof networkSchema>;

/** A folder of the host that the guest mounts by its name, the mount tag (virtio-9p). */
export const shareSchema = z.strictObject({
  name: z
    .string()
    .max(MAX_SHARE_NAME)
    .regex(/^[A-Za-z0-9_.-]+$/, 'is not a name for a share'),
  path: pathSchema,
  readOnly: z.boolean(),
});
export type Share = z.infer<typeof shareSchema>;

/** A sound device. */
export const soundSchema = z.strictObject({
  /** A WAV file into which the guest's sound goes; null: nowhere. */
  output: pathSchema.nullable(),
  /** A WAV file that the guest hears as from a microphone; null: silence. */
  input: pathSchema.nullable(),
});

export function sameForward(a: PortForwardKey, { protocol, hostAddress, hostPort }: PortForwardKey): boolean {
  return a.protocol === protocol && a.hostAddress === hostAddress && a.hostPort === hostPort;
}

interface Drives {
  readonly disks: readonly Pick<Disk, 'bus' | 'port'>[];
  readonly cdrom: Pick<Cdrom, 'bus' | 'port'> | null;
}

/** The first free place on a bus; undefined when it is full. */
export function freeDrivePort(bus: DiskBus, { disks, cdrom }: Drives): number | undefined {
  const taken = new Set([...disks, ...(cdrom === null ? [] : [cdrom])].filter((one) => one.bus === bus).map(portOf));
  // Hard disks leave the usual place of the CD-ROM drive to it for as long as they can.
  const order = Array.from({ length: DRIVE_PORTS[bus] }, (_, port) => port).sort(
    (a, b) => Number(bus === 'ide' && a === DEFAULT_CDROM_PORT) - Number(bus === 'ide' && b === DEFAULT_CDROM_PORT),
  );
  return order.find((port) => !taken.has(port));
}

function portOf({ port }: { readonly port: number }): number {
  return port;
}
