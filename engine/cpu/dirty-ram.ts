import type { MachineMemory } from '../memory/machine-memory.ts';

/** The kind of processor that keeps a log of its own: KVM. */
export interface RamLogger {
  /** Stops all processors; they go on when the machine runs again. */
  quiesce(): void;
  /** Makes the memory slots follow the map of physical pages. No processor may be running. */
  updateMemory(): void;
  /** Brings what was logged into the map of dirty pages. */
  collectDirty(): void;
}

/**
 * Which pages of RAM were written since they were asked for last, whoever wrote them: guests on KVM or in software, page
 * walks, devices. For snapshots of running machines. While it is on, the first write to a page after `take` costs more.
 */
export class DirtyRam {
  readonly #memory: MachineMemory;
  readonly #logger: RamLogger | undefined;
  #on = false;

  constructor(memory: MachineMemory, logger: RamLogger | undefined) {
    this.#memory = memory;
    this.#logger = logger;
  }

  get tracking(): boolean {
    return this.#on;
  }

  /** Begins, with no page dirty. */
  start(): void {
    this.#set(true);
  }

  stop(): void {
    this.#set(false);
  }

  #set(on: boolean): void {
    this.#on = on;
    this.#logger?.quiesce();
    this.#memory.trackRam(on);
    this.#logger?.updateMemory();
  }

  /**
   * One byte for each 4-KiB page of RAM: 1 where it was written since `start` or the last `take`. Pages that a running
   * guest writes meanwhile come with the next one, so read a page's bytes after this. Throws unless it was started.
   */
  take(): Uint8Array {
    this.#logger?.collectDirty();
    return this.#memory.takeDirtyRam();
  }
}
