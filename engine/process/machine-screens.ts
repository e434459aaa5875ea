import type { DisplayCursor, DisplaySink } from '../backends/display.ts';
import { HostError } from '../base/host-error.ts';
import { DisplayPump, type ScreenSource } from './display-pump.ts';
import type { CursorMessage } from './machine-messages.ts';

/** Where pictures and pointers go. */
export interface ScreenOutput {
  frame(viewer: number, packet: Uint8Array<ArrayBuffer>): void;
  cursor(message: CursorMessage): void;
  /** The pointer stands where the viewer's hand is, so that nobody needs to be told of its place. */
  pointsByItself(): boolean;
}

/** All screens of a machine: a pump for each, and who watches which. */
export class MachineScreens {
  readonly #pumps: readonly DisplayPump[];
  readonly #watched = new Map<number, DisplayPump>();

  constructor(heads: number, output: ScreenOutput) {
    this.#pumps = Array.from({ length: heads }, (_, head) => {
      const pointer = new Pointer(head, output);
      return new DisplayPump(
        (viewer, packet) => output.frame(viewer, packet),
        (cursor) => pointer.show(cursor),
      );
    });
  }

  /** What the machine's screens report to, in their order. */
  get sinks(): readonly DisplaySink[] {
    return this.#pumps;
  }

  connect(screens: readonly ScreenSource[]): void {
    for (const [head, screen] of screens.entries()) {
      this.#pumps[head]?.connect(screen);
    }
  }

  /** Throws HostError('no-screen') when there is no such screen. */
  attach(viewer: number, head: number, framesPerSecond: number): void {
    const pump = this.#pumps[head];
    if (pump === undefined) {
      throw noScreen(head, this.#pumps.length);
    }
    this.detach(viewer);
    this.#watched.set(viewer, pump);
    pump.attach(viewer, framesPerSecond);
  }

  acknowledge(viewer: number, sequence: number): void {
    this.#watched.get(viewer)?.acknowledge(viewer, sequence);
  }

  detach(viewer: number): void {
    this.#watched.get(viewer)?.detach(viewer);
    this.#watched.delete(viewer);
  }

  /** A person did something: what the guest makes of it is to be seen soon. */
  expectAnswer(now: number): void {
    for (const pump of this.#pumps) {
      pump.expectAnswer(now);
    }
  }

  /** When `tick` wants to be called next; undefined while nobody watches. */
  get nextTickMillis(): number | undefined {
    let next: number | undefined;
    for (const { nextTickMillis } of this.#pumps) {
      if (nextTickMillis !== undefined && (next === undefined || nextTickMillis < next)) {
        next = nextTickMillis;
      }
    }
    return next;
  }

  tick(now: number): void {
    for (const pump of this.#pumps) {
      pump.tick(now);
    }
  }
}

export function noScreen(head: number, heads: number): HostError {
  return new HostError('no-screen', `the machine has no screen ${head}`, { remedy: `choose one of 0 to ${heads - 1}` });
}

/** Tells what is new about a screen's pointer. */
class Pointer {
  readonly #head: number;
  readonly #output: ScreenOutput;
  #last: DisplayCursor | undefined;

  constructor(head: number, output: ScreenOutput) {
    this.#head = head;
    this.#output = output;
  }

  show(cursor: DisplayCursor | undefined): void {
    const last = this.#last;
    this.#last = cursor;
    const head = this.#head;
    if (cursor === undefined) {
      this.#output.cursor({ head, cursor: null });
      return;
    }
    const { visible, x, y, image } = cursor;
    const sameImage = image === last?.image;
    if (!sameImage || visible !== last?.visible || !this.#output.pointsByItself()) {
      this.#output.cursor({ head, cursor: { visible, x, y, ...(sameImage ? {} : { image }) } });
    }
  }
}
