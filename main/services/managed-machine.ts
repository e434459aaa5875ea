import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Disposable } from '../../engine/base/disposable.ts';
import { Emitter } from '../../engine/base/event.ts';
import { MIN_MEMORY_MEGABYTES, SETTING_NAMES } from '../../engine/config/machine-config.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { hostFiles } from '../../engine/process/host-files.ts';
import type { CommandResult, MachineCommand, MachineStatus } from '../../engine/process/machine-messages.ts';
import type { Balloon, ConsoleStatus, Drive } from '../contract/console.ts';
import { ApiError, type ErrorData } from '../contract/errors.ts';
import { failure, failureData } from '../contract/failures.ts';
import type { AcceleratorInUse, Machine, MachineSettings, MachineState } from '../contract/machines.ts';
import type { DirectPort, ProcessHost } from '../vms/process-host.ts';
import { Vm, type VmEnd } from '../vms/vm.ts';
import { causeOf, toErrorData } from './failures.ts';
import { MachineCursors } from './machine-cursors.ts';
import { type MachineFile, readMachineFile, writeMachineFile } from './machine-file.ts';
import {
  lastLogPath,
  newLogPath,
  OWNER_DIED,
  type RunRecord,
  readRunRecord,
  writeRunRecord,
} from './machine-folder.ts';
import { vmConfig } from './vm-config.ts';

/** Serial output kept for whoever looks later. */
const SERIAL_BACKLOG_BYTES = 64 << 10;

const NO_LIGHTS: MachineStatus = {
  activity: { disk: 'none', cdrom: 'none', floppy: 'none', network: 'none' },
  leds: { capsLock: false, numLock: false, scrollLock: false },
  mouse: 'relative',
  heads: 1,
  resizable: false,
  screen: { width: 0, height: 0 },
};

interface FrameViewer {
  readonly head: number;
  readonly framesPerSecond: number;
  readonly compress: boolean;
  frame(packet: Uint8Array<ArrayBuffer>): void;
  /** A way for the packets of one run that leads past this process, where the client has one. */
  openDirect?(): DirectPort;
}

export interface FrameSubscription extends Disposable {
  ack(sequence: number): void;
}

/** One machine on the list: its settings, its state, and its process while it runs. */
export class ManagedMachine {
  readonly id: string;
  readonly folder: string;
  readonly #host: ProcessHost;
  readonly #onChange = new Emitter<void>();
  readonly #onStatus = new Emitter<void>();
  readonly #onSerial = new Emitter<Uint8Array<ArrayBuffer>>();
  /** State, settings or name are different. */
  readonly onChange = this.#onChange.event;
  /** What a console shows is different. */
  readonly onStatus = this.#onStatus.event;
  readonly onSerial = this.#onSerial.event;
  readonly #viewers = new Map<number, FrameViewer>();
  readonly cursors = new MachineCursors();
  #nextViewer = 1;
  #file: MachineFile | undefined;
  #state: MachineState = 'powered-off';
  #reason: ErrorData | null = null;
  #vm: Vm | undefined;
  #accelerator: AcceleratorInUse | null = null;
  #startedAt: string | null = null;
  #logPath: string | null = null;
  #lights: MachineStatus = NO_LIGHTS;
  #serial: Uint8Array<ArrayBuffer>[] = [];
  #serialBytes = 0;
  /** Megabytes that the running guest was asked to get along with. */
  #memoryTarget: number | undefined;
  /** What was before the present run, to go back to when it does not come to that. */
  #before: { state: MachineState; reason: ErrorData | null; record: RunRecord | undefined } | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  #whenEnded: (() => void)[] = [];

  constructor(id: string, folder: string, host: ProcessHost) {
    this.id = id;
    this.folder = folder;
    this.#host = host;
    const run = readRunRecord(folder);
    this.#logPath = run?.logPath ?? lastLogPath(folder) ?? null;
    if (run !== undefined) {
      this.#state = 'aborted';
      this.#reason = run.reason ?? OWNER_DIED;
    }
    this.reload();
  }

  /** A machine that waits for one of its disks is paused. */
  get state(): MachineState {
    return this.#state === 'running' && this.#lights.trouble !== undefined ? 'paused' : this.#state;
  }

  get isRunning(): boolean {
    return this.#vm !== undefined;
  }

  get settings(): MachineSettings | undefined {
    return this.#file?.settings;
  }

  /** The process of the running machine. */
  get pid(): number | undefined {
    return this.#vm?.pid;
  }

  get name(): string {
    return this.#file?.settings.name ?? this.id;
  }

  describe(): Machine {
    return {
      id: this.id,
      name: this.name,
      folder: this.folder,
      state: this.state,
      reason: this.#reason,
      trouble: this.#trouble(),
      settings: this.#file?.settings ?? null,
      accelerator: this.#accelerator,
      startedAt: this.#startedAt,
      logPath: this.#logPath,
    };
  }

  #trouble(): ErrorData | null {
    const { trouble } = this.#lights;
    if (trouble === undefined) {
      return null;
    }
    const { path, reason, problem } = trouble;
    return reason === 'no-space' || reason === 'read-only'
      ? failureData(`disk-trouble.${reason}`, { path })
      : failureData('disk-trouble', { path, problem });
  }

  status(): ConsoleStatus {
    const { activity, balloon, leds, mouse, heads, resizable, screen } = this.#lights;
    const settings = this.settings;
    return {
      state: this.state,
      activity,
      media: { cdrom: settings?.cdrom?.path ?? null, floppy: settings?.floppy?.path ?? null },
      balloon:
        balloon === undefined
          ? null
          : {
              ...balloon,
              targetMegabytes: this.#memoryTarget ?? settings?.memoryMegabytes ?? balloon.presentMegabytes,
            },
      accelerator: this.#accelerator,
      leds,
      mouse,
      heads,
      resizable,
      screen,
    };
  }

  #changed(): void {
    this.#onChange.fire();
    this.#onStatus.fire();
  }

  /** Reads the description again, unless the machine runs. A description that cannot be used makes it inaccessible. */
  reload(): void {
    if (this.#vm !== undefined) {
      return;
    }
    const before = JSON.stringify(this.describe());
    try {
      this.#file = readMachineFile(this.folder);
      if (this.#state === 'inaccessible') {
        const run = readRunRecord(this.folder);
        this.#state = run === undefined ? 'powered-off' : 'aborted';
        this.#reason = run === undefined ? null : (run.reason ?? OWNER_DIED);
      }
    } catch (error) {
      this.#file = undefined;
      this.#state = 'inaccessible';
      this.#reason = toErrorData(error);
    }
    if (JSON.stringify(this.describe()) !== before) {
      this.#changed();
    }
  }

  /** The description, or the reason why there is none. */
  #usable(): MachineFile {
    if (this.#file === undefined) {
      throw new ApiError(this.#reason ?? failureData('inaccessible', { id: this.id }));
    }
    return this.#file;
  }

  /** The settings, if what stands in the file is still a description. */
  checkedSettings(): MachineSettings {
    const { settings } = this.#usable();
    readMachineFile(this.folder);
    return settings;
  }

  /** Carries out changes that take time one after another. */
  exclusively<T>(action: () => Promise<T>): Promise<T> {
    const done = this.#changing.then(action);
    this.#changing = done.catch(() => {});
    return done;
  }

  /** Stores settings. What stands in the file is read again first: a file that was damaged meanwhile is left alone. */
  store(change: (settings: MachineSettings) => MachineSettings): void {
    this.reload();
    const file = this.#usable();
    const changed = { ...file, settings: change(file.settings) };
    // While it runs, `reload` does nothing, so the file is looked at here.
    readMachineFile(this.folder);
    writeMachineFile(this.folder, changed);
    this.#file = changed;
    this.#changed();
  }

  // Life cycle ------------------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    if (this.#vm !== undefined) {
      throw failure('wrong-state.running', { name: this.name });
    }
    this.reload();
    const config = vmConfig(this.#usable().settings);
    // What can be found wrong before is told without a run that fails.
    validateMachineConfig({ ...config, serial: { kind: 'stdio' } }, { files: hostFiles, names: SETTING_NAMES });
    const startedAt = new Date().toISOString();
    let vm: Vm;
    try {
      const logPath = newLogPath(this.folder, startedAt);
      vm = new Vm(
        this.#host,
        { config, logPath },
        {
          serial: (bytes) => this.#receiveSerial(bytes),
          cursor: (message) => this.cursors.take(message),
          frame: (viewer, packet) => this.#viewers.get(viewer)?.frame(packet),
          accelerator: (accelerator) => {
            this.#accelerator = accelerator;
            this.#changed();
          },
          status: (status) => {
            const before = this.#lights.trouble;
            this.#lights = status;
            if (JSON.stringify(before) === JSON.stringify(status.trouble)) {
              this.#onStatus.fire();
            } else {
              this.#changed();
            }
          },
          ended: (end) => this.#ended(end),
        },
      );
      this.#logPath = logPath;
    } catch (error) {
      throw failure('start-failed', { name: this.name, cause: causeOf(error) }, { cause: error });
    }
    this.#vm = vm;
    this.#before = { state: this.#state, reason: this.#reason, record: readRunRecord(this.folder) };
    this.#memoryTarget = undefined;
    this.#startedAt = startedAt;
    this.#state = 'starting';
    this.#reason = null;
    this.#serial = [];
    this.#serialBytes = 0;
    writeRunRecord(this.folder, { startedAt, logPath: this.#logPath, reason: null });
    this.#changed();
    const accelerator = await vm.started;
    if (this.#vm !== vm) {
      return;
    }
    this.#accelerator = accelerator;
    if (this.#state === 'starting') {
      this.#state = 'running';
    }
    for (const [number, viewer] of this.#viewers) {
      attach(vm, number, viewer);
    }
    this.#changed();
  }

  #ended(end: VmEnd): void {
    this.#vm = undefined;
    this.#accelerator = null;
    this.#startedAt = null;
    this.#lights = NO_LIGHTS;
    this.cursors.clear();
    if (end.kind === 'failed') {
      this.#state = 'aborted';
      this.#reason = toErrorData(end.error);
      writeRunRecord(this.folder, {
        startedAt: new Date().toISOString(),
        logPath: this.#logPath ?? '',
        reason: this.#reason,
      });
    } else if (end.kind === 'refused' && this.#before !== undefined) {
      this.#state = this.#before.state;
      this.#reason = this.#before.reason;
      writeRunRecord(this.folder, this.#before.record);
    } else {
      this.#state = 'powered-off';
      this.#reason = null;
      writeRunRecord(this.folder, undefined);
    }
    this.#changed();
    for (const told of this.#whenEnded.splice(0)) {
      told();
    }
  }

  /** Pulls the plug; settles when the process is gone. */
  async powerOff(): Promise<void> {
    const vm = this.#running();
    this.#state = 'stopping';
    const ended = new Promise<void>((resolve) => this.#whenEnded.push(resolve));
    vm.stop();
    this.#changed();
    await ended;
  }

  shutdown(): void {
    const vm = this.#running();
    if (this.state === 'paused') {
      throw failure('wrong-state.paused', { name: this.name });
    }
    vm.tell({ kind: 'power-button' });
  }

  async pause(): Promise<void> {
    const vm = this.#running();
    if (this.state !== 'running') {
      throw failure('wrong-state.pause', { name: this.name, state: this.state });
    }
    await vm.perform({ kind: 'pause' });
    this.#entered(vm, 'paused');
  }

  async resume(): Promise<void> {
    const vm = this.#running();
    if (this.state !== 'paused') {
      throw failure('wrong-state.resume', { name: this.name, state: this.state });
    }
    await vm.perform({ kind: 'resume' });
    this.#entered(vm, 'running');
  }

  /** Moves it to another kind of processor while it runs. */
  async accelerate(accelerator: 'kvm' | 'software'): Promise<void> {
    await this.#running().perform({ kind: 'accelerate', accelerator });
  }

  /** Asks the running guest to get along with so many megabytes. */
  async setBalloon(megabytes: number): Promise<Balloon> {
    const vm = this.#running();
    const { balloon, memoryMegabytes } = this.#usable().settings;
    const { name } = this;
    if (!balloon) {
      throw failure('no-balloon', { name });
    }
    if (megabytes > memoryMegabytes) {
      const minimum = MIN_MEMORY_MEGABYTES;
      throw failure('balloon-size', { name, megabytes, memory: memoryMegabytes, minimum, field: 'megabytes' });
    }
    const answer = await vm.perform({ kind: 'balloon', megabytes });
    this.#memoryTarget = megabytes;
    this.#onStatus.fire();
    return { targetMegabytes: megabytes, ...answer };
  }

  #entered(vm: Vm, state: 'running' | 'paused'): void {
    if (this.#vm === vm && this.#state !== 'stopping') {
      this.#state = state;
      this.#changed();
    }
  }

  #running(): Vm {
    if (this.#vm === undefined) {
      throw failure('wrong-state.not-running', { name: this.name });
    }
    return this.#vm;
  }

  // Console ---------------------------------------------------------------------------------------------------------

  perform<C extends MachineCommand>(command: C): Promise<CommandResult<C['kind']>> {
    return this.#running().perform(command);
  }

  tell(command: MachineCommand): void {
    this.#running().tell(command);
  }

  /** Puts an image into a drive, now and for the next start. */
  async insertMedium(drive: Drive, path: string, readOnly: boolean): Promise<void> {
    const { settings } = this.#usable();
    if (settings[drive] === null) {
      throw failure(`no-drive.${drive}`, { name: this.name });
    }
    if (this.#vm !== undefined) {
      await this.#vm.perform({ kind: 'insert', drive, path, readOnly });
    }
    this.#storeMedium(drive, path, readOnly);
  }

  async ejectMedium(drive: Drive, force: boolean): Promise<boolean> {
    if (this.#usable().settings[drive] === null) {
      return true;
    }
    if (this.#vm !== undefined && !(await this.#vm.perform({ kind: 'eject', drive, force })).ejected) {
      return false;
    }
    this.#storeMedium(drive, null, false);
    return true;
  }

  #storeMedium(drive: Drive, path: string | null, readOnly: boolean): void {
    this.store((settings) =>
      drive === 'cdrom'
        ? { ...settings, cdrom: settings.cdrom === null ? null : { ...settings.cdrom, path } }
        : { ...settings, floppy: settings.floppy === null ? null : { path, readOnly } },
    );
  }

  /** Watches the screen, over any number of runs. */
  watch(viewer: FrameViewer): FrameSubscription {
    const number = this.#nextViewer++;
    this.#viewers.set(number, viewer);
    if (this.#vm !== undefined && (this.#state === 'running' || this.#state === 'paused')) {
      attach(this.#vm, number, viewer);
    }
    return {
      ack: (sequence) => this.#vm?.tell({ kind: 'ack', viewer: number, sequence }),
      dispose: () => {
        if (this.#viewers.delete(number)) {
          this.#vm?.tell({ kind: 'detach', viewer: number });
        }
      },
    };
  }

  #receiveSerial(bytes: Uint8Array<ArrayBuffer>): void {
    this.#serial.push(bytes);
    this.#serialBytes += bytes.length;
    while (this.#serialBytes > SERIAL_BACKLOG_BYTES && this.#serial.length > 1) {
      this.#serialBytes -= this.#serial.shift()?.length ?? 0;
    }
    this.#onSerial.fire(bytes);
  }

  /** The last of the serial output of this run. */
  serialBacklog(): Uint8Array<ArrayBuffer> {
    const joined = new Uint8Array(this.#serialBytes);
    let at = 0;
    for (const bytes of this.#serial) {
      joined.set(bytes, at);
      at += bytes.length;
    }
    return joined.slice(Math.max(0, joined.length - SERIAL_BACKLOG_BYTES));
  }

  log(maxBytes: number): { path: string | null; text: string; truncated: boolean } {
    if (this.#logPath === null) {
      return { path: null, text: '', truncated: false };
    }
    try {
      const file = openSync(this.#logPath, 'r');
      try {
        const { size } = fstatSync(file);
        const length = Math.min(size, maxBytes);
        const bytes = new Uint8Array(length);
        const read = readSync(file, bytes, 0, length, size - length);
        return {
          path: this.#logPath,
          text: new TextDecoder().decode(bytes.subarray(0, read)),
          truncated: length < size,
        };
      } finally {
        closeSync(file);
      }
    } catch (error) {
      throw failure('log-unreadable', { path: this.#logPath, cause: causeOf(error) }, { cause: error });
    }
  }
}

function attach(vm: Vm, number: number, { head, framesPerSecond, compress, openDirect }: FrameViewer): void {
  if (openDirect !== undefined) {
    vm.connectViewer(number, openDirect());
  }
  vm.tell({ kind: 'attach', viewer: number, head, framesPerSecond, compress });
}
