import { type Frame, FrameDecoder } from '../../engine/base/frame-packet.ts';

/** A canvas of the page, or one that a worker owns. */
export interface PaintTarget {
  width: number;
  height: number;
  getContext(kind: '2d', options: { alpha: boolean; desynchronized: boolean }): PaintContext | null;
}

interface PaintContext {
  putImageData(data: ImageData, x: number, y: number): void;
}

export interface PainterEvents {
  /** A packet is on the canvas. */
  drawn(sequence: number, width: number, height: number): void;
  /** A packet could not be decoded; the picture stays as it was. */
  failed(message: string): void;
}

/** Draws frame packets on a canvas whose size follows the guest's screen. */
export class ScreenPainter {
  readonly #target: PaintTarget;
  readonly #context: PaintContext | null;
  readonly #events: PainterEvents;
  readonly #decoder: FrameDecoder;

  constructor(target: PaintTarget, events: PainterEvents) {
    this.#target = target;
    this.#events = events;
    // Guests have opaque screens; a desynchronized canvas saves a trip through the compositor.
    this.#context = target.getContext('2d', { alpha: false, desynchronized: true });
    this.#decoder = new FrameDecoder(
      (frame) => this.#draw(frame),
      (error) => events.failed(error instanceof Error ? error.message : String(error)),
    );
  }

  push(packet: Uint8Array<ArrayBuffer>): void {
    this.#decoder.push(packet);
  }

  #draw(frame: Frame): void {
    const { width, height, rectangles, pixels, sequence } = frame;
    if (this.#target.width !== width || this.#target.height !== height) {
      this.#target.width = width;
      this.#target.height = height;
    }
    let at = 0;
    for (const rectangle of rectangles) {
      const bytes = rectangle.width * rectangle.height * 4;
      if (bytes > 0 && this.#context !== null) {
        const data = new ImageData(pixels.subarray(at, at + bytes), rectangle.width, rectangle.height);
        this.#context.putImageData(data, rectangle.x, rectangle.y);
      }
      at += bytes;
    }
    this.#events.drawn(sequence, width, height);
  }
}
