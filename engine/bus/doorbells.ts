import type { Disposable } from '../base/disposable.ts';
import type { AccessSize } from './bus.ts';

/**
 * A place where guests write only to say that something is to be done. A processor backend may take notice of it without
 * stopping the processor; the write is then made on the bus a moment later, so that whatever is mapped there by then gets
 * it, once for any number of writes.
 */
export interface Doorbell {
  readonly space: 'port' | 'memory';
  readonly address: number;
  readonly size: AccessSize;
  /** What guests write. */
  readonly value: number;
  /** Other values that are written there mean something else. */
  readonly exact: boolean;
}

/** All doorbells of a machine, where they stand at present. */
export class Doorbells {
  readonly #all = new Set<Doorbell>();
  /** Told of what comes and goes; set by the backend that heeds them. */
  onChange: ((doorbell: Doorbell, present: boolean) => void) | undefined;

  get all(): Iterable<Doorbell> {
    return this.#all;
  }

  add(doorbell: Doorbell): Disposable {
    this.#all.add(doorbell);
    this.onChange?.(doorbell, true);
    return {
      dispose: () => {
        if (this.#all.delete(doorbell)) {
          this.onChange?.(doorbell, false);
        }
      },
    };
  }
}
