import { Emitter } from '../../engine/base/event.ts';
import type { CursorMessage } from '../../engine/process/machine-messages.ts';
import type { ConsoleCursor } from '../contract/console.ts';

export interface CursorChange {
  readonly head: number;
  readonly cursor: ConsoleCursor | null;
}

/** The pointers over a machine's screens, for whoever comes to look later too. */
export class MachineCursors {
  readonly #present = new Map<number, ConsoleCursor>();
  readonly #onChange = new Emitter<CursorChange>();
  /** What is new; the image only when it is another one. */
  readonly onChange = this.#onChange.event;

  /** With its image; null: there is none. */
  present(head: number): ConsoleCursor | null {
    return this.#present.get(head) ?? null;
  }

  take({ head, cursor }: CursorMessage): void {
    if (cursor === null) {
      this.#present.delete(head);
      this.#onChange.fire({ head, cursor });
      return;
    }
    const { visible, x, y, image } = cursor;
    const change: ConsoleCursor = {
      ...{ visible, x, y },
      ...(image === undefined ? {} : { image: { ...image, rgba: Buffer.from(image.rgba).toString('base64') } }),
    };
    this.#present.set(head, { ...this.#present.get(head), ...change });
    this.#onChange.fire({ head, cursor: change });
  }

  /** The machine is off. */
  clear(): void {
    for (const head of [...this.#present.keys()]) {
      this.take({ head, cursor: null });
    }
  }
}
