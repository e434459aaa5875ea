import {
  DEFAULT_CDROM_PORT,
  DISK_BUSES,
  type DiskBus,
  type DiskConfig,
  IDE_PORTS,
  MAX_DISK_SERIAL,
  MAX_VIRTIO_DISKS,
  type MachineConfig,
  type MachineConfigInput,
  type OptionNames,
  SCSI_TARGETS,
  usageError,
} from './machine-config.ts';
import { checkPath, optionalPath } from './validate-paths.ts';

const IDE_PORT_NAMES = ['primary master', 'primary slave', 'secondary master', 'secondary slave'] as const;
const BUS_NAMES: Readonly<Record<DiskBus, string>> = { ide: 'IDE', virtio: 'virtio', scsi: 'SCSI' };
const PORTS: Readonly<Record<DiskBus, number>> = { ide: IDE_PORTS, virtio: MAX_VIRTIO_DISKS, scsi: SCSI_TARGETS };

type DiskInput = NonNullable<MachineConfigInput['disks']>[number];

/** The places of one bus, each for one drive. */
class Places {
  readonly #bus: DiskBus;
  readonly #owners: (string | undefined)[];

  constructor(bus: DiskBus) {
    this.#bus = bus;
    this.#owners = new Array(PORTS[bus]).fill(undefined);
  }

  isFree(port: number): boolean {
    return this.#owners[port] === undefined;
  }

  get lastFree(): number {
    return this.#owners.lastIndexOf(undefined);
  }

  claim(port: number, owner: string): number {
    const count = this.#owners.length;
    if (!Number.isSafeInteger(port) || port < 0 || port >= count) {
      throw usageError(`${owner}: port ${port} does not exist`, `give a port from 0 to ${count - 1}`);
    }
    const holder = this.#owners[port];
    if (holder !== undefined) {
      const name = this.#bus === 'ide' ? ` ${IDE_PORT_NAMES[port] ?? ''}` : '';
      throw usageError(
        `${owner}: port ${port} (${BUS_NAMES[this.#bus]}${name}) is taken by ${holder}`,
        'give each drive a port of its own',
      );
    }
    this.#owners[port] = owner;
    return port;
  }

  claimFirst(owner: string): number {
    const port = this.#owners.indexOf(undefined);
    if (port < 0) {
      const count = this.#owners.length;
      throw usageError(
        `${owner}: ${BUS_NAMES[this.#bus]} has room for ${count} drives`,
        'attach it to another bus, or leave one out',
      );
    }
    return this.claim(port, owner);
  }
}

/** Gives every disk and the CD-ROM drive its place on its bus. Throws HostError('usage'). */
export function drivesOf(input: MachineConfigInput, names: OptionNames): Pick<MachineConfig, 'disks' | 'cdrom'> {
  const wanted = (input.disks ?? []).map((disk) => ({ ...disk, bus: busOf(disk, names) }));
  const onIde = wanted.filter(({ bus }) => bus === 'ide');
  const cdromBus = input.cdrom?.bus ?? 'ide';
  if (cdromBus !== 'ide' && cdromBus !== 'scsi') {
    throw usageError(
      `${names.cdrom} ${input.cdrom?.path ?? ''}: there is no bus '${cdromBus}'`,
      'give bus=ide or bus=scsi',
    );
  }
  const ideCount = onIde.length + (input.cdrom === undefined || cdromBus !== 'ide' ? 0 : 1);
  if (ideCount > IDE_PORTS) {
    throw usageError(
      `${names.disk} ${onIde.at(-1)?.path ?? ''}: ${ideCount} drives are more than the ${IDE_PORTS} that IDE has room for`,
      `attach at most ${IDE_PORTS} disks, or ${IDE_PORTS - 1} beside a CD-ROM drive`,
    );
  }
  const places = { ide: new Places('ide'), virtio: new Places('virtio'), scsi: new Places('scsi') };
  for (const disk of wanted) {
    checkPath(disk.path, names.disk);
    checkSerial(disk, names);
    if (disk.port !== undefined) {
      places[disk.bus].claim(disk.port, `${names.disk} ${disk.path}`);
    }
  }
  const cdromPath = optionalPath(input.cdrom?.path, names.cdrom);
  const cdromOwner = `${names.cdrom} ${cdromPath ?? '(empty)'}`;
  let cdromPort = input.cdrom?.port;
  if (input.cdrom !== undefined && cdromBus === 'ide') {
    // Without a wish it takes its usual place, or what is left when a disk was put there.
    cdromPort ??= places.ide.isFree(DEFAULT_CDROM_PORT) ? DEFAULT_CDROM_PORT : places.ide.lastFree;
  }
  if (cdromPort !== undefined) {
    places[cdromBus].claim(cdromPort, cdromOwner);
  }
  const disks = wanted.map(({ path, bus, readOnly, port, serial }): DiskConfig => {
    const place = port ?? places[bus].claimFirst(`${names.disk} ${path}`);
    return { path, bus, readOnly: readOnly ?? false, port: place, ...(serial === undefined ? {} : { serial }) };
  });
  if (input.cdrom === undefined) {
    return { disks };
  }
  const port = cdromPort ?? places.scsi.claimFirst(cdromOwner);
  const bus = cdromBus === 'scsi' ? ({ bus: cdromBus } as const) : {};
  return { disks, cdrom: { ...(cdromPath === undefined ? {} : { path: cdromPath }), ...bus, port } };
}

function busOf(disk: DiskInput, names: OptionNames): DiskBus {
  const bus = disk.bus ?? 'ide';
  for (const known of DISK_BUSES) {
    if (known === bus) {
      return known;
    }
  }
  throw usageError(`${names.disk} ${disk.path}: there is no bus '${bus}'`, `give bus=${DISK_BUSES.join(', bus=')}`);
}

function checkSerial({ path, serial }: DiskInput, names: OptionNames): void {
  if (serial !== undefined && !(serial.length <= MAX_DISK_SERIAL && /^[!-~]+$/.test(serial))) {
    throw usageError(
      `${names.disk} ${path}: '${serial}' is not a serial number`,
      `give 1 to ${MAX_DISK_SERIAL} letters, digits and signs, without spaces`,
    );
  }
}
