import { createHash, randomFillSync } from 'node:crypto';
import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { CharBackend } from '../backends/char.ts';
import type { DisplaySink } from '../backends/display.ts';
import type { VsockBackend } from '../backends/vsock/vsock-backend.ts';
import type { Disposable } from '../base/disposable.ts';
import { DisposableStore } from '../base/disposable.ts';
import { HostError } from '../base/host-error.ts';
import type { Log } from '../base/log.ts';
import type { Alarm, Nanos } from '../clock/clock.ts';
import { HostMachineClock, type MachineClock, VirtualMachineClock } from '../clock/machine-clock.ts';
import { PacedMachineClock } from '../clock/paced-clock.ts';
import type { DiskBus, DiskConfig, MachineConfig } from '../config/machine-config.ts';
import { HybridCpus } from '../cpu/hybrid-cpus.ts';
import type { KvmAccess } from '../cpu/kvm/kvm-access.ts';
import type { CompilerThread } from '../cpu/software/jit/compile-request.ts';
import { DEFAULT_JIT } from '../cpu/software/jit/jit.ts';
import type { ThreadDelays } from '../cpu/stolen-time.ts';
import { HYPERCALL_PORT } from '../cpu/x86/hypervisor/hyperv-interface.ts';
import { KeyTyper } from '../devices/i8042/key-typer.ts';
import type { AtapiCdrom } from '../devices/ide/atapi-cdrom.ts';
import type { IdeDriveConfig } from '../devices/ide/piix-ide.ts';
import { type AcpiConfig, pcAcpiConfig } from '../firmware/acpi/pc-config.ts';
import { floppyPath, idePath, scsiPath, virtioDiskPath } from '../firmware/boot-order.ts';
import type { Firmware } from '../firmware/find-firmware.ts';
import { createArena, RAM, RAM_IN_LARGE_PAGES } from '../memory/arena.ts';
import { MachineMemory } from '../memory/machine-memory.ts';
import type { NetworkPort } from '../net/network-port.ts';
import type { ConsolePortHost } from '../virtio/console/virtio-console.ts';
import { ScsiCdrom } from '../virtio/scsi/scsi-cdrom.ts';
import type { Board } from './board.ts';
import type { BootInput } from './boot/boot-input.ts';
import { loadKernel } from './boot/load-kernel.ts';
import { BOOT_CODE_SELECTOR, BOOT_DATA_SELECTOR } from './boot/start-state.ts';
import { MicrovmBoard } from './microvm-board.ts';
import { networkCardOf } from './network-card.ts';
import { PcBoard } from './pc-board.ts';
import { PCI_SLOTS, TSC_FREQUENCY_HZ, VIRTUAL_NANOS_PER_INSTRUCTION } from './pc-layout.ts';
import { ScsiBays } from './scsi-bays.ts';
import type { ScsiDrive, VirtioParts, VirtioShare } from './virtio-devices.ts';

/** A disk of a machine, opened. */
export interface MachineDisk {
  readonly backend: BlockBackend;
  readonly bus: DiskBus;
  /** Place on its bus. */
  readonly port: number;
  readonly serial?: string;
}

/** What a machine is given by the process that runs it: everything that touches the host. */
export interface MachineParts {
  readonly config: MachineConfig;
  /** Undefined when a kernel is booted directly. */
  readonly firmware: Firmware | undefined;
  readonly vgaBios: Uint8Array;
  readonly kernel: BootInput | undefined;
  /** Opens the disks; gets a way to run code in the machine thread a moment later. */
  openMedia(defer: (fn: () => void) => void): {
    readonly disks: readonly MachineDisk[];
    /** `backend` undefined: a drive without a disc. */
    readonly cdrom?: {
      readonly backend: BlockBackend | undefined;
      /** Undefined: IDE. */
      readonly bus?: 'scsi';
      readonly port: number;
    };
    readonly floppy: BlockBackend | undefined;
    readonly shares?: readonly VirtioShare[];
  };
  /** Gives pages of RAM back to the host; undefined where the host cannot. */
  readonly releasePages?: ((bytes: Uint8Array) => void) | undefined;
  readonly serialOutput: CharBackend;
  /** What stands behind the ports of the virtio console, by their numbers; undefined: the machine has none. */
  readonly consolePorts?: readonly (ConsolePortHost | undefined)[] | undefined;
  /** What the guest plays to and records from; undefined: the machine has no sound device. */
  readonly sound?: VirtioParts['sound'];
  /** What the network card of the configuration is plugged into. */
  readonly network?: NetworkPort | undefined;
  /** Where the socket device of the configuration leads. */
  readonly vsock?: VsockBackend | undefined;
  /** Told of changes on the screens, one each, while `refresh` of `board.display.screens` is called. */
  readonly displays?: readonly DisplaySink[];
  readonly log: Log;
  /** Starts a thread that compiles guest code for an arena of so many pages of 64 KiB. */
  readonly compiler?: (arenaPages: number) => CompilerThread & Disposable;
  /** Undefined: the machine runs on Lodge's own processor. The machine closes it in the end. */
  readonly kvm?: KvmAccess | undefined;
  /** How long the host keeps threads waiting for a processor; undefined: it does not tell. */
  readonly threadDelays?: ThreadDelays | undefined;
  /** False: guests are not offered KVM's interface; for tests of guests that choose Hyper-V's only without it. */
  readonly kvmInterface?: boolean;
  /** The host's monotonic clock in milliseconds; for tests of machines that run in software. */
  readonly hostMillis?: () => number;
}

/** Something happened that ends a run, or would. */
export type MachineEvent =
  | { readonly kind: 'powered-off' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'guest-crashed'; readonly detail: string }
  | { readonly kind: 'debug-exit'; readonly value: number };

/** What one turn of the run loop came to. */
export type Turn =
  | { readonly kind: 'running' }
  /** Nothing to do until `until` (undefined: until something comes from outside). */
  | { readonly kind: 'idle'; readonly until: Nanos | undefined }
  | MachineEvent;

/** Nanoseconds of host time that the processors run before the outside world is looked at. */
const SLICE_NANOS = 2_000_000;

/** One machine: memory, processors, board, and the loop that runs them. Synchronous throughout; never awaits. */
export class Machine implements Disposable {
  readonly clock: MachineClock;
  readonly memory: MachineMemory;
  readonly cpus: HybridCpus;
  readonly #compiler: (CompilerThread & Disposable) | undefined;
  readonly board: Board;
  readonly typer: KeyTyper;
  readonly #store = new DisposableStore();
  readonly #config: MachineConfig;
  readonly #kernel: BootInput | undefined;
  readonly #acpi: AcpiConfig;
  readonly #log: Log;
  readonly #defer: (action: () => void) => void;
  /** The media in the drives that can change them. */
  readonly #inserted = new Map<'cdrom' | 'floppy', BlockBackend>();
  readonly #scsiBays: ScsiBays;
  #event: MachineEvent | undefined;
  #paused = false;

  /** Builds the machine and resets it. Throws HostError when a part of the host fails or a kernel is no kernel. */
  constructor(parts: MachineParts) {
    const { config, log } = parts;
    this.#config = config;
    this.#kernel = parts.kernel;
    this.#log = log;
    const memoryBytes = config.memoryMegabytes * 0x100000;
    let cpus: HybridCpus | undefined;
    this.clock = config.virtualTime
      ? new VirtualMachineClock(() => cpus?.executed ?? 0, VIRTUAL_NANOS_PER_INSTRUCTION)
      : parts.kvm === undefined
        ? new PacedMachineClock(parts.hostMillis)
        : new HostMachineClock();
    const { clock } = this;
    const ramAddress = parts.kvm === undefined ? RAM : RAM_IN_LARGE_PAGES;
    this.memory = new MachineMemory(createArena(memoryBytes, ramAddress), memoryBytes, ramAddress);
    const deferred: (() => void)[] = [];
    const deferral = clock.createAlarm(() => {
      for (const action of deferred.splice(0)) {
        action();
      }
    });
    this.#defer = (action) => {
      deferred.push(action);
      deferral.set(clock.now());
    };
    const media = parts.openMedia(this.#defer);
    for (const { backend } of media.shares ?? []) {
      this.#store.add(backend);
    }
    if (parts.vsock !== undefined) {
      this.#store.add(parts.vsock);
    }
    const drives: (IdeDriveConfig | undefined)[] = [undefined, undefined, undefined, undefined];
    const scsiDisks = new Map<number, BlockBackend>();
    for (const disk of media.disks) {
      if (disk.bus === 'scsi') {
        scsiDisks.set(disk.port, disk.backend);
      } else {
        this.#store.add(disk.backend);
      }
      if (disk.bus === 'ide') {
        const { backend, serial } = disk;
        drives[disk.port] = { kind: 'disk', backend, ...(serial === undefined ? {} : { serial }) };
      }
    }
    if (media.cdrom !== undefined) {
      const { backend } = media.cdrom;
      if (media.cdrom.bus === undefined) {
        drives[media.cdrom.port] = { kind: 'cdrom', backend };
      }
      if (backend !== undefined) {
        this.#inserted.set('cdrom', backend);
      }
    }
    if (media.floppy !== undefined) {
      this.#inserted.set('floppy', media.floppy);
    }
    this.#store.add({
      dispose: () => {
        for (const backend of this.#inserted.values()) {
          backend.dispose();
        }
        this.#inserted.clear();
      },
    });
    const common = {
      memory: this.memory,
      clock,
      log,
      cpuCount: config.cpus,
      virtio: {
        disks: media.disks
          .filter(({ bus }) => bus === 'virtio')
          .map(({ backend, port, serial }) => ({ backend, port, serial: serial ?? `lodge-disk-${port}` })),
        scsi: scsiDrives(media),
        shares: media.shares,
        vsock: config.vsock && parts.vsock && { cid: config.vsock.cid, backend: parts.vsock },
        input: config.board === 'pc' && config.virtioInput,
        releaseMemory: this.#releaseMemory(parts),
        entropy: config.entropy ? randomSource(config.virtualTime) : undefined,
        console: parts.consolePorts,
        sound: parts.sound,
      },
      ...networkCardOf(config.network, parts.network),
      serialOutputs: [parts.serialOutput, { write() {} }] as const,
      debugExit: config.debugExit,
      onPowerOff: () => this.#raise({ kind: 'powered-off' }),
      onReset: () => this.#raise({ kind: 'reset' }),
      onDebugExit: (value: number) => this.#raise({ kind: 'debug-exit', value }),
    };
    if (config.board === 'microvm') {
      const board = new MicrovmBoard(common);
      this.#acpi = board.acpi;
      this.board = board;
    } else {
      this.#acpi = pcAcpiConfig({ cpus: config.cpus, memoryBytes });
      this.board = new PcBoard({
        ...common,
        firmware: parts.firmware,
        display: { kind: config.vga, heads: config.heads, rom: parts.vgaBios, sinks: parts.displays ?? [] },
        acpi: this.#acpi,
        bootOrder: bootOrder(config),
        ideDrives: drives,
        floppy: media.floppy,
      });
    }
    this.#scsiBays = this.#store.add(new ScsiBays(this.board.virtio.scsi, scsiDisks));
    this.#compiler = config.compile ? parts.compiler?.(this.memory.arena.buffer.byteLength / 0x10000) : undefined;
    if (this.#compiler !== undefined) {
      this.#store.add(this.#compiler);
    }
    cpus = new HybridCpus({
      count: config.cpus,
      memory: this.memory,
      bus: this.board.cpuBus,
      log,
      clock,
      epochMillis: () => clock.wall.epochMillis(),
      hyperv: config.hyperv,
      kvmInterface: parts.kvmInterface,
      nanosPerInstruction: config.virtualTime ? VIRTUAL_NANOS_PER_INSTRUCTION : undefined,
      tscFrequencyHz: TSC_FREQUENCY_HZ,
      jit: config.compile ? DEFAULT_JIT : undefined,
      compiler: this.#compiler,
      kvm: parts.kvm,
      threadDelays: clock.isVirtual ? undefined : parts.threadDelays,
      lag: clock instanceof PacedMachineClock ? () => clock.lag : undefined,
    });
    this.cpus = cpus;
    this.#store.add(cpus);
    this.board.attach(cpus);
    if (config.hyperv) {
      const calls = { readPort: () => 0xff, writePort: () => this.cpus.hypercall() };
      this.#store.add(this.board.ports.map(HYPERCALL_PORT, 1, calls, 'hyperv'));
    }
    // A nearer alarm than the one that the processors run towards ends their slice.
    clock.onEarlier = () => this.cpus.stopSoon();
    this.typer = new KeyTyper(clock, this.board.input);
    this.#store.add(this.typer);
    try {
      this.reset();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** What the balloon does with pages. Where the host cannot take them back they stay as they are, unused. */
  #releaseMemory({ config, releasePages }: MachineParts): ((base: number, length: number) => void) | undefined {
    return config.balloon
      ? (base, length) => {
          if (releasePages !== undefined) {
            this.memory.discard(base, length, releasePages);
          }
        }
      : undefined;
  }

  /**
   * Asks the guest to get along with `bytes` of its memory, and to give the rest back. Throws HostError when the machine
   * has no balloon.
   */
  setGuestMemory(bytes: number): void {
    const { balloon } = this.board.virtio;
    if (balloon === undefined) {
      throw new HostError('no-balloon', 'the machine has no memory balloon', {
        remedy: 'give it a virtio device, with which the balloon comes',
      });
    }
    balloon.wantedBytes = this.memory.sizeBytes - bytes;
  }

  #raise(event: MachineEvent): void {
    this.#event ??= event;
    this.cpus.stopSoon();
  }

  /** Hardware reset; directly booted kernels are loaded anew. */
  reset(): void {
    this.board.reset();
    if (this.#kernel === undefined) {
      return;
    }
    const { kernel, display } = this.board.prepareKernel(this.#kernel);
    const start = loadKernel(this.memory, kernel, { cpus: this.#config.cpus, acpi: this.#acpi }, display);
    this.#log.info(start.description);
    this.cpus.enterProtected32({ ...start, codeSelector: BOOT_CODE_SELECTOR, dataSelector: BOOT_DATA_SELECTOR });
  }

  /** Runs for a few milliseconds of host time at most. Events that end a run repeat until `reset` or `dispose`. */
  turn(sliceNanos = SLICE_NANOS): Turn {
    this.clock.endWait();
    this.clock.fireDue();
    let event = this.#event;
    if (event !== undefined) {
      this.#event = undefined;
      return event;
    }
    const deadline = this.clock.nextDeadline();
    const now = this.clock.now();
    // Virtual time runs as fast as it can: a slice of it is bounded in instructions.
    const limit = now + (this.clock.isVirtual ? SLICE_NANOS * 2 : sliceNanos);
    const exit = this.cpus.run(deadline === undefined ? limit : Math.min(deadline, limit));
    event = this.#event;
    if (event !== undefined) {
      this.#event = undefined;
      return event;
    }
    switch (exit.reason) {
      case 'shutdown':
        return { kind: 'guest-crashed', detail: this.#describeCrash(exit.cpu) };
      case 'halted': {
        const until = earlier(this.clock.nextDeadline(), exit.until);
        return this.clock.wait(until) ? { kind: 'running' } : { kind: 'idle', until };
      }
      default:
        return { kind: 'running' };
    }
  }

  #describeCrash(cpu: number): string {
    const state = this.cpus.processors[cpu]?.state;
    if (state === undefined) {
      throw new HostError('internal', `processor ${cpu} does not exist`);
    }
    const selector = state.cs.selector.toString(16).padStart(4, '0');
    return `processor ${cpu} shut down after a triple fault at ${selector}:${state.rip.toString(16)}`;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Time stands still for the guest until `resume`; `turn` must not be called meanwhile. */
  pause(): void {
    this.#paused = true;
    this.clock.pause();
    this.cpus.pause();
  }

  resume(): void {
    this.#paused = false;
    this.cpus.resume();
    this.clock.resume();
  }

  /** Adds a SCSI disk while the machine runs; see {@link ScsiBays}. */
  attachDisk(open: (defer: (action: () => void) => void) => BlockBackend, serial: string | undefined): number {
    return this.#scsiBays.attach(() => open(this.#defer), serial);
  }

  detachDisk(target: number): void {
    this.#scsiBays.detach(target);
  }

  /**
   * Puts a medium into a drive instead of what is in it; `open` is given the machine's way to run code a moment later.
   * Throws HostError when there is no such drive or the medium does not fit it; the old one then stays.
   */
  insertMedium(drive: 'cdrom' | 'floppy', open: (defer: (action: () => void) => void) => BlockBackend): void {
    const cdrom = drive === 'cdrom' ? this.#cdrom() : undefined;
    const backend = open(this.#defer);
    try {
      if (cdrom === undefined) {
        this.#floppy().insert(0, backend);
      } else {
        cdrom.insert(backend);
      }
    } catch (error) {
      backend.dispose();
      throw error;
    }
    this.#inserted.get(drive)?.dispose();
    this.#inserted.set(drive, backend);
  }

  /** Takes the medium out. False: the guest has locked the drive and was only told of the wish; `force` overrules it. */
  ejectMedium(drive: 'cdrom' | 'floppy', force: boolean): boolean {
    if (drive === 'floppy') {
      this.#floppy().eject(0);
    } else if (!this.#cdrom().eject({ force })) {
      return false;
    }
    this.#inserted.get(drive)?.dispose();
    this.#inserted.delete(drive);
    return true;
  }

  #cdrom() {
    const drive = this.#findCdrom();
    if (drive === undefined) {
      throw new HostError('no-drive', 'the machine has no CD-ROM drive', {
        remedy: 'switch the machine off and give it one in its settings',
      });
    }
    return drive;
  }

  #floppy() {
    const { floppy } = this.board;
    if (floppy === undefined) {
      throw new HostError('no-drive', 'the machine has no floppy drive');
    }
    return floppy;
  }

  #findCdrom(): AtapiCdrom | ScsiCdrom | undefined {
    const { cdrom } = this.#config;
    if (cdrom === undefined) {
      return undefined;
    }
    if (cdrom.bus === undefined) {
      return this.board.ide?.cdrom(cdrom.port);
    }
    const unit = this.board.virtio.scsi?.unit(cdrom.port, 0);
    return unit instanceof ScsiCdrom ? unit : undefined;
  }

  /** Calls `action` once guest time reaches `seconds` since power-on. */
  at(seconds: number, action: () => void): Alarm {
    const alarm = this.clock.createAlarm(action);
    alarm.set(Math.round(seconds * 1e9));
    return alarm;
  }

  dispose(): void {
    this.#store.dispose();
    this.board.dispose();
  }
}

function earlier(one: Nanos | undefined, other: Nanos | undefined): Nanos | undefined {
  return one === undefined || (other !== undefined && other < one) ? other : one;
}

/** The boot devices that exist, in the order of the configuration. */
function bootOrder(config: MachineConfig): string[] {
  const paths: string[] = [];
  for (const device of config.boot.order) {
    if (device === 'floppy' && config.floppy !== undefined) {
      paths.push(floppyPath(0));
    } else if (device === 'cdrom' && config.cdrom !== undefined) {
      const { bus, port } = config.cdrom;
      paths.push(diskPath({ bus: bus ?? 'ide', port }));
    } else if (device === 'disk') {
      paths.push(...config.disks.map(diskPath));
    }
  }
  return paths;
}

function diskPath({ bus, port }: Pick<DiskConfig, 'bus' | 'port'>): string {
  switch (bus) {
    case 'ide':
      return idePath(port >> 1, port & 1);
    case 'virtio':
      return virtioDiskPath(PCI_SLOTS.virtioDisks[0] + port);
    case 'scsi':
      return scsiPath(PCI_SLOTS.scsi[0], port, 0);
  }
}

type Media = ReturnType<MachineParts['openMedia']>;

/** What is attached to the SCSI controller. */
function scsiDrives({ disks, cdrom }: Media): ScsiDrive[] {
  const drives = disks
    .filter(({ bus }) => bus === 'scsi')
    .map(({ backend, port, serial }): ScsiDrive => {
      return { kind: 'disk', backend, target: port, serial: serial ?? `lodge-scsi-${port}` };
    });
  if (cdrom?.bus === 'scsi') {
    drives.push({ kind: 'cdrom', backend: cdrom.backend, target: cdrom.port, serial: 'lodge-cd' });
  }
  return drives;
}

/** The host's random numbers, or in virtual time the same ones in every run. */
function randomSource(virtualTime: boolean): (bytes: Uint8Array) => void {
  if (!virtualTime) {
    return (bytes) => randomFillSync(bytes);
  }
  let block = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length; at += 32) {
      const digest = createHash('sha256').update(`random block ${block++}`).digest();
      bytes.set(digest.subarray(0, Math.min(32, bytes.length - at)), at);
    }
  };
}
