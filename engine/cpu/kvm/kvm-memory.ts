import { isKvmError, type KvmVm } from '../../../native/index.ts';
import type { Disposable } from '../../base/disposable.ts';
import { DIRTY_MAP, FRAME_COUNT, FRAME_TRACKED, FRAME_WRITABLE, FRAMES } from '../../memory/arena.ts';
import type { MachineMemory } from '../../memory/machine-memory.ts';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from './kvm-abi.ts';

const PAGE = 4096;
const FLAGS = 0xfff;
/** Slots never reach over 1 MiB: what happens below it must not disturb the bulk of RAM above. */
const LEGACY_PAGES = 0x100;
/** A guest address beyond all memory and devices: a slot that comes and goes there concerns nobody. */
const NOWHERE = 2 ** 38;

interface Slot {
  readonly number: number;
  /** Physical page. */
  readonly first: number;
  readonly pages: number;
  /** Arena address of the first page, and its FRAME_* flags. */
  readonly frame: number;
}

/** Keeps KVM's memory slots what the map of physical pages says (engine/memory). */
export class KvmMemory implements Disposable {
  readonly #vm: KvmVm;
  readonly #frames: Uint32Array;
  readonly #dirty: Uint8Array;
  readonly #subscriptions: readonly Disposable[];
  readonly #free: number[] = [];
  #slots: Slot[] = [];
  #numbers = 0;
  #stale = true;
  #translationsStale = false;

  constructor(vm: KvmVm, memory: MachineMemory) {
    this.#vm = vm;
    const { buffer } = memory.arena;
    this.#frames = new Uint32Array(buffer, FRAMES, FRAME_COUNT);
    this.#dirty = new Uint8Array(buffer, DIRTY_MAP, FRAME_COUNT);
    vm.borrow(new Uint8Array(buffer));
    vm.adviseHugePages(memory.ramAddress, memory.sizeBytes);
    this.#subscriptions = [
      memory.onRemap(() => {
        this.#stale = true;
      }),
      memory.onTracking(() => {
        // What was logged up to now is not asked for any more, but the map's changes are.
        this.#stale = true;
      }),
    ];
  }

  /** The map, or page tables of the guest, have changed since `update`. */
  get stale(): boolean {
    return this.#stale || this.#translationsStale;
  }

  /**
   * Somebody else than guests of KVM may have changed page tables. A KVM that shadows them sees only writes of its own
   * guests, and one with nested paging keeps translations in the processors' TLBs.
   */
  forgetTranslations(): void {
    this.#translationsStale = true;
  }

  /** Makes the slots follow the map, and KVM look at page tables anew. No processor may be running. */
  update(): void {
    if (this.#translationsStale) {
      this.#translationsStale = false;
      this.#dropTranslations();
    }
    if (this.#stale) {
      this.#stale = false;
      this.#followMap();
    }
  }

  /**
   * KVM drops all that it has derived from page tables when a slot is deleted (api.rst, KVM_X86_QUIRK_SLOT_ZAP_ALL), and
   * offers no other way to ask for it.
   */
  #dropTranslations(): void {
    const number = this.#free.pop() ?? this.#numbers++;
    this.#vm.setMemory(number, KVM_MEM_READONLY, NOWHERE, PAGE, 0);
    this.#vm.setMemory(number, 0, NOWHERE, 0, 0);
    this.#free.push(number);
  }

  #followMap(): void {
    const wanted = this.#runs();
    const kept: Slot[] = [];
    for (const slot of this.#slots) {
      const same = wanted.find(
        (run) =>
          run.first === slot.first &&
          run.pages === slot.pages &&
          (run.frame & ~FRAME_TRACKED) === (slot.frame & ~FRAME_TRACKED),
      );
      if (same?.frame === slot.frame) {
        kept.push(slot);
        continue;
      }
      // Writes that were logged up to now must not be lost with the slot or its log.
      this.#collect(slot);
      if (same === undefined) {
        this.#vm.setMemory(slot.number, 0, slot.first * PAGE, 0, 0);
        this.#free.push(slot.number);
      } else {
        const changed = { ...slot, frame: same.frame };
        this.#set(changed);
        kept.push(changed);
      }
    }
    for (const run of wanted) {
      if (!kept.some((slot) => slot.first === run.first && slot.pages === run.pages)) {
        const slot = { number: this.#free.pop() ?? this.#numbers++, ...run };
        this.#set(slot);
        kept.push(slot);
      }
    }
    this.#slots = kept;
  }

  #set({ number, first, pages, frame }: Slot): void {
    const readOnly = (frame & FRAME_WRITABLE) === 0 ? KVM_MEM_READONLY : 0;
    const logged = (frame & FRAME_TRACKED) === 0 ? 0 : KVM_MEM_LOG_DIRTY_PAGES;
    this.#vm.setMemory(number, readOnly | logged, first * PAGE, pages * PAGE, (frame & ~FLAGS) >>> 0);
  }

  /** Spans of pages that follow each other in the arena with the same flags. */
  #runs(): Omit<Slot, 'number'>[] {
    const frames = this.#frames;
    const runs: Omit<Slot, 'number'>[] = [];
    for (let page = 0; page < FRAME_COUNT; ) {
      const frame = frames[page] as number;
      if (frame === 0) {
        page++;
        continue;
      }
      const first = page;
      const end = first < LEGACY_PAGES ? LEGACY_PAGES : FRAME_COUNT;
      do {
        page++;
      } while (page < end && frames[page] === frame + (page - first) * PAGE);
      runs.push({ first, pages: page - first, frame });
    }
    return runs;
  }

  /** Marks in the map of dirty pages what guests wrote to tracked pages. */
  collectDirty(): void {
    for (const slot of this.#slots) {
      this.#collect(slot);
    }
  }

  #collect({ number, first, pages, frame }: Slot): void {
    if ((frame & FRAME_TRACKED) === 0) {
      return;
    }
    const bits = new Uint8Array(Math.ceil(pages / 64) * 8);
    this.#vm.takeDirty(number, bits, pages);
    for (let i = 0; i < pages; i++) {
      if ((bits[i >> 3] as number) & (1 << (i & 7))) {
        this.#dirty[first + i] = 1;
      }
    }
  }

  /** Takes all slots away. */
  dispose(): void {
    for (const subscription of this.#subscriptions) {
      subscription.dispose();
    }
    for (const { number, first } of this.#slots) {
      try {
        this.#vm.setMemory(number, 0, first * PAGE, 0, 0);
      } catch (error) {
        // KVM has given the machine up and refuses everything: then its memory goes when it is closed.
        if (!isKvmError(error)) {
          throw error;
        }
      }
    }
    this.#slots = [];
  }
}
