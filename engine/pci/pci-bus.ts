import { assert } from '../base/assert.ts';
import type { Disposable } from '../base/disposable.ts';
import type { AccessSize } from '../bus/bus.ts';

/** What the configuration mechanism needs of a function. */
export interface PciConfigTarget {
  readonly owner: string;
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
}

/** Slot (device) number 0–31 and function number 0–7 in the form of configuration mechanism #1. */
export function deviceFunction(slot: number, fn: number): number {
  return (slot << 3) | fn;
}

/** Bus 0, the only one: which function answers at which slot. Functions that are not there read as ones. */
export class PciBus {
  readonly #functions = new Array<PciConfigTarget | undefined>(256);

  /** Puts a function at `slot`.`fn`; two functions at one place are a mistake in the machine's layout. */
  add(slot: number, fn: number, target: PciConfigTarget): Disposable {
    const devfn = deviceFunction(slot, fn);
    assert(slot >= 0 && slot < 32 && fn >= 0 && fn < 8, `${target.owner}: no PCI slot ${slot}.${fn}`);
    const other = this.#functions[devfn];
    assert(other === undefined, `${target.owner}: PCI slot ${slot}.${fn} is taken by ${other?.owner}`);
    this.#functions[devfn] = target;
    return {
      dispose: () => {
        if (this.#functions[devfn] === target) {
          this.#functions[devfn] = undefined;
        }
      },
    };
  }

  /** The lowest slot at or above `from` that holds nothing, or undefined. */
  freeSlot(from = 2): number | undefined {
    for (let slot = from; slot < 32; slot++) {
      if (this.#functions.slice(slot * 8, slot * 8 + 8).every((target) => target === undefined)) {
        return slot;
      }
    }
    return undefined;
  }

  /** All functions with their places, in order. */
  *entries(): IterableIterator<{ slot: number; fn: number; target: PciConfigTarget }> {
    for (const [devfn, target] of this.#functions.entries()) {
      if (target !== undefined) {
        yield { slot: devfn >> 3, fn: devfn & 7, target };
      }
    }
  }

  read(devfn: number, offset: number, size: AccessSize): number {
    const target = this.#functions[devfn];
    if (target === undefined) {
      return 0xffffffff;
    }
    return target.readConfig(offset, size);
  }

  write(devfn: number, offset: number, size: AccessSize, value: number): void {
    this.#functions[devfn]?.writeConfig(offset, size, value);
  }
}
