import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Disposable } from '../../engine/base/disposable.ts';
import { Emitter } from '../../engine/base/event.ts';
import { DEFAULT_CDROM_PORT, type DiskBus } from '../../engine/config/machine-config.ts';
import type { CallInput } from '../contract/api.ts';
import { freeDrivePort, type NetworkSettings, type PortForward, sameForward } from '../contract/devices.ts';
import { ApiError } from '../contract/errors.ts';
import { failure } from '../contract/failures.ts';
import type { GuestSystem } from '../contract/host.ts';
import type { Machine, MachineSettings, MachinesChange } from '../contract/machines.ts';
import { newNetwork } from '../contract/new-network.ts';
import type { ProcessHost } from '../vms/process-host.ts';
import { changeSettings, checkSettings } from './change-settings.ts';
import { createRawDisk, freeDiskPath } from './disk-images.ts';
import { causeOf } from './failures.ts';
import { DEMO_GUEST_SYSTEM, guestSystems } from './guest-systems.ts';
import { hostPath } from './host-paths.ts';
import { MACHINE_FILE, readMachineFile, writeMachineFile } from './machine-file.ts';
import { deleteFiles, type MachineFiles, machineFiles, makeMachineFolder } from './machine-folder.ts';
import { ManagedMachine } from './managed-machine.ts';
import { inspectMedium } from './media-inspector.ts';
import type { Registry } from './registry.ts';
import { forwardConfig } from './vm-config.ts';

const DEMO_NAME = 'Tour';
const EMPTY_CDROM = { path: null, bus: 'ide', port: DEFAULT_CDROM_PORT } as const;

type AddDiskInput = Omit<CallInput<'machines.addDisk'>, 'serial'> & { readonly serial?: string | null | undefined };

interface NewDiskTraits {
  readonly bus?: DiskBus | undefined;
  readonly serial?: string | null | undefined;
  readonly readOnly?: boolean | undefined;
}

/** All machines of a data folder. Only its owner makes one of these. */
export class Machines implements Disposable {
  readonly #registry: Registry;
  readonly #host: ProcessHost;
  readonly #demoImage: () => Promise<Uint8Array>;
  readonly #machines = new Map<string, { machine: ManagedMachine; listening: Disposable }>();
  readonly #onChange = new Emitter<MachinesChange>();
  readonly onChange = this.#onChange.event;

  constructor(registry: Registry, host: ProcessHost, demoImage: () => Promise<Uint8Array>) {
    this.#registry = registry;
    this.#host = host;
    this.#demoImage = demoImage;
    this.#adopt();
  }

  /** Takes in what the registry knows and this does not. */
  #adopt(): void {
    for (const { id, folder } of this.#registry.entries) {
      if (!this.#machines.has(id)) {
        const machine = new ManagedMachine(id, folder, this.#host);
        const listening = machine.onChange(() => this.#onChange.fire({ kind: 'changed', machine: machine.describe() }));
        this.#machines.set(id, { machine, listening });
        this.#onChange.fire({ kind: 'changed', machine: machine.describe() });
      }
    }
  }

  get all(): readonly ManagedMachine[] {
    return [...this.#machines.values()].map(({ machine }) => machine);
  }

  /** Throws ApiError `not-found`. */
  get(id: string): ManagedMachine {
    const entry = this.#machines.get(id);
    if (entry === undefined) {
      throw failure('not-found', { id });
    }
    return entry.machine;
  }

  /** What stands in the files now: machines that were put into the folder, descriptions that were repaired. */
  refresh(): void {
    this.#registry.discover();
    this.#adopt();
    for (const machine of this.all) {
      machine.reload();
    }
  }

  list(): Machine[] {
    this.refresh();
    return this.all.map((machine) => machine.describe());
  }

  create(input: CallInput<'machines.create'>): Machine {
    const system = guestSystem(input.guestSystem);
    const { diskBus, network: card, paravirtual, vga, hyperv } = system.defaults;
    const hasNetwork = input.network === undefined ? card !== null : input.network !== null;
    this.#checkName(input.name);
    const parent = input.folder === undefined ? this.#registry.machinesFolder : hostPath('folder', input.folder);
    const { installMedia } = input;
    let media: { path: string; kind: 'cdrom' | 'disk' | 'floppy' } | undefined;
    if (installMedia !== undefined) {
      const path = hostPath('installMedia.path', installMedia.path);
      this.#inspect(path, 'installMedia.path');
      media = { path, kind: installMedia.kind };
    }
    const { hardDisk } = input;
    let existing: string | undefined;
    if (hardDisk.kind === 'existing') {
      existing = hostPath('hardDisk.path', hardDisk.path);
      this.#inspect(existing, 'hardDisk.path');
    }
    return this.#make(parent, input.name, (folder) => {
      const cdrom = { ...EMPTY_CDROM, path: media?.kind === 'cdrom' ? media.path : null };
      const disks: MachineSettings['disks'] = [];
      const addDisk = (path: string, { bus = diskBus, serial = null, readOnly = false }: NewDiskTraits) => {
        disks.push({ path, bus, port: freeDrivePort(bus, { disks, cdrom }) ?? 0, readOnly, serial });
      };
      if (media?.kind === 'disk') {
        addDisk(media.path, {});
      }
      if (hardDisk.kind === 'new') {
        const path = join(folder, 'disk.img');
        createRawDisk(path, hardDisk.sizeGigabytes, 'hardDisk.sizeGigabytes');
        addDisk(path, hardDisk);
      } else if (hardDisk.kind === 'existing' && existing !== undefined) {
        addDisk(existing, hardDisk);
      }
      return {
        name: input.name,
        guestSystem: input.guestSystem,
        memoryMegabytes: input.memoryMegabytes,
        processors: input.processors,
        firmware: input.firmware,
        accelerator: input.accelerator,
        hyperv,
        bootOrder: ['floppy', 'cdrom', 'disk'],
        disks,
        cdrom,
        floppy: { path: media?.kind === 'floppy' ? media.path : null, readOnly: media?.kind === 'floppy' },
        network: hasNetwork ? newNetwork(input.network ?? {}, system) : null,
        vga: input.vga ?? vga,
        shares: input.shares,
        sound: input.sound,
        entropy: paravirtual,
        balloon: paravirtual,
      };
    });
  }

  async createDemo(): Promise<Machine> {
    const image = await this.#demoImage();
    let name = DEMO_NAME;
    for (let number = 2; this.all.some((machine) => machine.name === name); number++) {
      name = `${DEMO_NAME} ${number}`;
    }
    return this.#make(this.#registry.machinesFolder, name, (folder) => {
      const path = join(folder, 'tour.img');
      try {
        writeFileSync(path, image, { flag: 'wx', mode: 0o600 });
      } catch (error) {
        throw failure('write-failed', { path, cause: causeOf(error) }, { cause: error });
      }
      return {
        name,
        guestSystem: DEMO_GUEST_SYSTEM,
        memoryMegabytes: 64,
        processors: 2,
        firmware: 'bios',
        accelerator: 'auto',
        hyperv: false,
        bootOrder: ['floppy', 'cdrom', 'disk'],
        disks: [{ path, bus: 'ide', port: 0, readOnly: false, serial: null }],
        cdrom: EMPTY_CDROM,
        floppy: { path: null, readOnly: false },
        network: null,
        vga: 'std',
        shares: [],
        sound: null,
        entropy: false,
        balloon: false,
      };
    });
  }

  #checkName(name: string, except?: ManagedMachine): void {
    if (this.all.some((machine) => machine !== except && machine.name === name)) {
      throw failure('name-taken', { name, field: 'name' });
    }
  }

  #inspect(path: string, field: string): void {
    try {
      inspectMedium(path);
    } catch (error) {
      throw error instanceof ApiError
        ? new ApiError({ ...error.toData(), details: { ...error.details, field } })
        : error;
    }
  }

  /** Makes a machine in a folder of its own; when that fails nothing of it is left. */
  #make(parent: string, name: string, build: (folder: string) => MachineSettings): Machine {
    const folder = makeMachineFolder(parent, name, 'folder');
    let settings: MachineSettings | undefined;
    try {
      settings = build(folder);
      checkSettings(settings);
      writeMachineFile(folder, { settings, createdAt: new Date().toISOString(), own: {} });
      return this.#register(folder);
    } catch (error) {
      // The folder is new, so everything in it was made here.
      deleteFiles(
        folder,
        [MACHINE_FILE, 'disk.img', 'tour.img'].map((file) => ({ path: join(folder, file) })),
      );
      throw error;
    }
  }

  #register(folder: string): Machine {
    const { id } = this.#registry.add(folder);
    this.#adopt();
    return this.get(id).describe();
  }

  /** Puts an existing machine on the list. */
  add(folder: string): Machine {
    const path = hostPath('folder', folder);
    if (!existsSync(join(path, MACHINE_FILE))) {
      throw failure('no-machine', { path, file: MACHINE_FILE, field: 'folder' });
    }
    readMachineFile(path);
    return this.#register(path);
  }

  async update({ id, changes }: CallInput<'machines.update'>): Promise<Machine> {
    const machine = this.get(id);
    if (changes.name !== undefined) {
      this.#checkName(changes.name, machine);
    }
    if (changes.guestSystem !== undefined) {
      guestSystem(changes.guestSystem);
    }
    await machine.exclusively(() => changeSettings(machine, changes));
    return machine.describe();
  }

  async addDisk({ id, sizeGigabytes, bus: wish, serial = null }: AddDiskInput): Promise<Machine> {
    const machine = this.get(id);
    await machine.exclusively(async () => {
      const { name } = machine;
      if (machine.isRunning) {
        throw failure('wrong-state.settings', { name, settings: 'disks', field: 'disks' });
      }
      const settings = machine.checkedSettings();
      const { guestSystem: system, disks } = settings;
      const bus = wish ?? guestSystems.find((known) => known.id === system)?.defaults.diskBus ?? 'ide';
      const port = freeDrivePort(bus, settings);
      if (port === undefined) {
        throw failure('bus-full', { name, bus, field: 'bus' });
      }
      const path = freeDiskPath(machine.folder);
      createRawDisk(path, sizeGigabytes, 'sizeGigabytes');
      try {
        await changeSettings(machine, { disks: [...disks, { path, bus, port, readOnly: false, serial }] });
      } catch (error) {
        rmSync(path, { force: true });
        throw error;
      }
    });
    return machine.describe();
  }

  async addForward({ id, forward }: CallInput<'machines.addForward'>): Promise<PortForward> {
    const machine = this.get(id);
    return machine.exclusively(async () => {
      const network = networkOf(machine);
      const { name } = machine;
      if (forward.hostPort !== 0) {
        if (network.forwards.some((known) => sameForward(known, forward))) {
          const { protocol, hostPort: port } = forward;
          throw failure('port-forwarded', { protocol: protocol.toUpperCase(), port, field: 'forward.hostPort' });
        }
        await changeSettings(machine, { network: { ...network, forwards: [...network.forwards, forward] } });
        return forward;
      }
      if (!machine.isRunning) {
        throw failure('any-port', { name, field: 'forward.hostPort' });
      }
      machine.checkedSettings();
      const { forward: added } = await machine.perform({ kind: 'add-forward', forward: forwardConfig(forward) });
      const chosen = { ...forward, hostPort: added.hostPort };
      machine.store((settings) => ({ ...settings, network: { ...network, forwards: [...network.forwards, chosen] } }));
      return chosen;
    });
  }

  async removeForward({ id, forward }: CallInput<'machines.removeForward'>): Promise<Machine> {
    const machine = this.get(id);
    await machine.exclusively(async () => {
      const network = networkOf(machine);
      const forwards = network.forwards.filter((known) => !sameForward(known, forward));
      if (forwards.length === network.forwards.length) {
        const { protocol, hostAddress: address, hostPort: port } = forward;
        const values = { name: machine.name, protocol: protocol.toUpperCase(), address, port };
        throw failure('no-such-forward', { ...values, field: 'forward' });
      }
      await changeSettings(machine, { network: { ...network, forwards } });
    });
    return machine.describe();
  }

  async setLink(id: string, up: boolean): Promise<Machine> {
    const machine = this.get(id);
    await machine.exclusively(() => changeSettings(machine, { network: { ...networkOf(machine), connected: up } }));
    return machine.describe();
  }

  files(id: string): MachineFiles & { folder: string } {
    const machine = this.get(id);
    const others = this.all.filter((other) => other !== machine);
    const used = new Set(others.flatMap(({ settings }) => settings?.disks.map(({ path }) => path) ?? []));
    // Without a readable description nobody knows which images are the machine's: only what is surely Lodge's goes.
    return { folder: machine.folder, ...machineFiles(machine.folder, machine.settings, (path) => used.has(path)) };
  }

  remove(id: string, withFiles: boolean): { deleted: string[] } {
    const machine = this.get(id);
    if (machine.isRunning) {
      throw failure('wrong-state.remove', { name: machine.name });
    }
    const deleted = withFiles ? this.files(id).deleted : [];
    try {
      if (withFiles) {
        deleteFiles(machine.folder, deleted);
      }
    } catch (error) {
      throw failure('delete-failed', { path: machine.folder, cause: causeOf(error) }, { cause: error });
    }
    this.#registry.remove(id);
    this.#machines.get(id)?.listening.dispose();
    this.#machines.delete(id);
    this.#onChange.fire({ kind: 'removed', id });
    return { deleted: deleted.map(({ path }) => path) };
  }

  get anyRunning(): boolean {
    return this.all.some(({ isRunning }) => isRunning);
  }

  /** Switches everything off. */
  async stopAll(): Promise<void> {
    await Promise.all(this.all.filter(({ isRunning }) => isRunning).map((machine) => machine.powerOff()));
  }

  dispose(): void {
    for (const { listening } of this.#machines.values()) {
      listening.dispose();
    }
    this.#onChange.dispose();
  }
}

function guestSystem(id: string): GuestSystem {
  const system = guestSystems.find((known) => known.id === id);
  if (system === undefined) {
    throw failure('unknown-guest-system', { id, field: 'guestSystem' });
  }
  return system;
}

function networkOf(machine: ManagedMachine): NetworkSettings {
  const { network } = machine.checkedSettings();
  if (network === null) {
    throw failure('no-network', { name: machine.name });
  }
  return network;
}
