import type { DisplayCursor, DisplaySink, Scanout } from '../backends/display.ts';
import { defined } from '../base/assert.ts';
import { type FrameRectangle, frameHeadBytes, writeFrameHead } from '../base/frame-packet.ts';

/** What the pump uses of a display adapter. */
export interface ScreenSource {
  readonly width: number;
  readonly height: number;
  /** Reports changes since the last call to the pump, as its display sink. */
  refresh(): void;
  /** Makes the next refresh report the mode and everything. */
  reannounce(): void;
  /** Draws an area of the screen into the same place of `into`. */
  render(
    into: { readonly width: number; readonly height: number; readonly rgba: Uint8ClampedArray },
    area: FrameRectangle,
  ): void;
}

/** Pictures under way to one viewer: one being drawn, one on the way, one being made. */
const WINDOW = 3;
/** So often the screen is looked at so long after it last changed, in milliseconds: less and less. */
const INTERVALS: readonly (readonly [sinceChange: number, interval: number])[] = [
  [100, 1000 / 60],
  [1000, 1000 / 30],
  [Number.POSITIVE_INFINITY, 1000 / 20],
];
/** Up to this interval the pace is kept. */
const MAX_STEADY_MILLIS = 20;
/** After input the answer of the guest is looked for so often, for so long. */
const EAGER_MILLIS = 5;
const EAGER_FOR_MILLIS = 100;
/** More rectangles than this become one. */
const MAX_RECTANGLES = 48;
/** Changes are looked for in bands of so many lines. */
const BAND_LINES = 16;

interface Viewer {
  readonly intervalMillis: number;
  /** Changed since the last packet. */
  pending: FrameRectangle[];
  whole: boolean;
  sequence: number;
  acknowledged: number;
  lastSent: number;
}

/**
 * Makes frame packets of a screen for any number of viewers. Without viewers it does nothing at all. A viewer that does
 * not acknowledge gets no further packets; what changes meanwhile comes in one packet later, so a slow viewer sees
 * fewer pictures and never old ones.
 *
 * Display adapters report damage by whole lines and pages; the pump compares with what it last saw and passes on only
 * what is really different.
 */
export class DisplayPump implements DisplaySink {
  readonly #send: (viewer: number, packet: Uint8Array<ArrayBuffer>) => void;
  readonly #sendCursor: (cursor: DisplayCursor | undefined) => void;
  readonly #viewers = new Map<number, Viewer>();
  #source: ScreenSource | undefined;
  #width = 0;
  #height = 0;
  #resized = false;
  /** The screen as last seen, and room to draw what may have changed. */
  #picture = new Uint8ClampedArray(0);
  #drawn = new Uint8ClampedArray(0);
  #damage: FrameRectangle[] = [];
  #lastChange = 0;
  #nextTick = 0;
  #eagerUntil = 0;
  /** A machine that is awake anyway may look so much too early, rather than wake once more. */
  #slack = 0;

  /** `sendCursor` hears of the adapter's pointer while there are viewers. */
  constructor(
    send: (viewer: number, packet: Uint8Array<ArrayBuffer>) => void,
    sendCursor: (cursor: DisplayCursor | undefined) => void = () => {},
  ) {
    this.#send = send;
    this.#sendCursor = sendCursor;
  }

  /** The adapter whose display sink this pump is. */
  connect(source: ScreenSource): void {
    this.#source = source;
  }

  get size(): { readonly width: number; readonly height: number } {
    return { width: this.#width, height: this.#height };
  }

  show(scanout: Scanout): void {
    this.#width = scanout.width;
    this.#height = scanout.height;
    this.#resized = true;
  }

  damage(x: number, y: number, width: number, height: number): void {
    this.#damage.push({ x, y, width, height });
  }

  cursor(cursor: DisplayCursor | undefined): void {
    this.#sendCursor(cursor);
  }

  attach(viewer: number, framesPerSecond: number): void {
    if (this.#viewers.size === 0) {
      this.#source?.reannounce();
    }
    this.#viewers.set(viewer, {
      intervalMillis: 1000 / framesPerSecond,
      pending: [],
      whole: true,
      sequence: 0,
      acknowledged: 0,
      lastSent: Number.NEGATIVE_INFINITY,
    });
    this.#nextTick = 0;
    this.#slack = 0;
  }

  /** `sequence` is counted modulo 2^32; what was never sent is ignored. */
  acknowledge(viewer: number, sequence: number): void {
    const entry = this.#viewers.get(viewer);
    if (entry !== undefined && sequence > entry.acknowledged && sequence <= entry.sequence) {
      entry.acknowledged = sequence;
      this.#nextTick = 0;
    }
  }

  detach(viewer: number): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size === 0) {
      this.#picture = new Uint8ClampedArray(0);
      this.#drawn = new Uint8ClampedArray(0);
      this.#damage = [];
    }
  }

  /** A person did something: what the guest makes of it is to be seen soon. */
  expectAnswer(now: number): void {
    this.#eagerUntil = now + EAGER_FOR_MILLIS;
    this.#nextTick = Math.min(this.#nextTick, now + EAGER_MILLIS);
  }

  /** When `tick` wants to be called next; undefined while nobody watches. */
  get nextTickMillis(): number | undefined {
    return this.#viewers.size === 0 ? undefined : this.#nextTick;
  }

  /** Looks at the screen and sends what is due. `now` in milliseconds of any steady clock. */
  tick(now: number): void {
    const source = this.#source;
    if (source === undefined || this.#viewers.size === 0 || now < this.#nextTick - this.#slack) {
      return;
    }
    this.#look(source, now);
    for (const [id, viewer] of this.#viewers) {
      this.#serve(id, viewer, now);
    }
    const since = now - this.#lastChange;
    const [, interval = 0] = INTERVALS.find(([longest]) => since < longest) ?? [];
    this.#nextTick = now + (now < this.#eagerUntil ? EAGER_MILLIS : interval);
    this.#slack = interval > MAX_STEADY_MILLIS ? interval / 3 : 0;
  }

  #look(source: ScreenSource, now: number): void {
    source.refresh();
    const bytes = this.#width * this.#height * 4;
    if (this.#resized || this.#picture.length !== bytes) {
      this.#resized = false;
      this.#damage = [];
      this.#picture = new Uint8ClampedArray(bytes);
      this.#drawn = new Uint8ClampedArray(bytes);
      const everything = { x: 0, y: 0, width: this.#width, height: this.#height };
      source.render({ width: this.#width, height: this.#height, rgba: this.#picture }, everything);
      for (const viewer of this.#viewers.values()) {
        viewer.whole = true;
      }
      this.#lastChange = now;
      return;
    }
    for (const area of this.#damage.splice(0)) {
      source.render({ width: this.#width, height: this.#height, rgba: this.#drawn }, area);
      for (const changed of takeChanges(this.#picture, this.#drawn, this.#width, area)) {
        this.#lastChange = now;
        for (const viewer of this.#viewers.values()) {
          if (!viewer.whole) {
            viewer.pending = withRectangle(viewer.pending, changed);
          }
        }
      }
    }
  }

  #serve(id: number, viewer: Viewer, now: number): void {
    const waiting = viewer.sequence - viewer.acknowledged >= WINDOW;
    const nothing = !viewer.whole && viewer.pending.length === 0;
    // A millisecond of grace, so that ticks of 1/60 s serve a viewer that wants 60 a second.
    if (waiting || nothing || now - viewer.lastSent < viewer.intervalMillis - 1 || this.#picture.length === 0) {
      return;
    }
    const everything = { x: 0, y: 0, width: this.#width, height: this.#height };
    const rectangles = viewer.whole ? [everything] : viewer.pending;
    const header = {
      sequence: ++viewer.sequence,
      width: this.#width,
      height: this.#height,
      whole: viewer.whole,
      rectangles,
    };
    viewer.whole = false;
    viewer.pending = [];
    viewer.lastSent = now;
    const head = frameHeadBytes(rectangles.length);
    const pixels = rectangles.reduce((sum, { width, height }) => sum + width * height * 4, 0);
    const packet = new Uint8Array(head + pixels);
    writeFrameHead(packet, header, false);
    let at = head;
    for (const { x, y, width, height } of rectangles) {
      for (let line = y; line < y + height; line++) {
        const from = (line * this.#width + x) * 4;
        packet.set(this.#picture.subarray(from, from + width * 4), at);
        at += width * 4;
      }
    }
    this.#send(id, packet);
  }
}

/** Compares an area of two pictures, copies the differences from `drawn` to `picture` and returns where they are. */
export function takeChanges(
  picture: Uint8ClampedArray,
  drawn: Uint8ClampedArray,
  pitch: number,
  area: FrameRectangle,
): FrameRectangle[] {
  const before = new Int32Array(picture.buffer, picture.byteOffset, picture.length >> 2);
  const after = new Int32Array(drawn.buffer, drawn.byteOffset, drawn.length >> 2);
  const lines = pitch === 0 ? 0 : before.length / pitch;
  const x0 = Math.min(area.x, pitch);
  const x1 = Math.min(area.x + area.width, pitch);
  const end = Math.min(area.y + area.height, lines);
  const changes: FrameRectangle[] = [];
  for (let band = area.y; band < end; band += BAND_LINES) {
    let left = x1;
    let right = x0;
    let top = -1;
    let bottom = 0;
    for (let y = band; y < Math.min(band + BAND_LINES, end); y++) {
      const line = y * pitch;
      let first = x0;
      while (first < x1 && before[line + first] === after[line + first]) {
        first++;
      }
      if (first === x1) {
        continue;
      }
      let last = x1 - 1;
      while (before[line + last] === after[line + last]) {
        last--;
      }
      before.set(after.subarray(line + first, line + last + 1), line + first);
      left = Math.min(left, first);
      right = Math.max(right, last + 1);
      top = top < 0 ? y : top;
      bottom = y + 1;
    }
    if (top < 0) {
      continue;
    }
    const previous = changes.at(-1);
    if (previous !== undefined && previous.y + previous.height === top) {
      // Bands that lie on each other become one rectangle unless that sends much that did not change.
      const union = {
        x: Math.min(previous.x, left),
        y: previous.y,
        width: Math.max(previous.x + previous.width, right) - Math.min(previous.x, left),
        height: bottom - previous.y,
      };
      const apart = previous.width * previous.height + (right - left) * (bottom - top);
      if (union.width * union.height <= apart * 1.3) {
        changes[changes.length - 1] = union;
        continue;
      }
    }
    changes.push({ x: left, y: top, width: right - left, height: bottom - top });
  }
  return changes;
}

function contains(outer: FrameRectangle, inner: FrameRectangle): boolean {
  return (
    outer.x <= inner.x &&
    outer.y <= inner.y &&
    outer.x + outer.width >= inner.x + inner.width &&
    outer.y + outer.height >= inner.y + inner.height
  );
}

/** `rectangles` and one more, without those that lie in another; too many become the one around all. */
function withRectangle(rectangles: readonly FrameRectangle[], added: FrameRectangle): FrameRectangle[] {
  if (rectangles.some((rectangle) => contains(rectangle, added))) {
    return [...rectangles];
  }
  const kept = [...rectangles.filter((rectangle) => !contains(added, rectangle)), added];
  if (kept.length <= MAX_RECTANGLES) {
    return kept;
  }
  const first = defined(kept[0], 'a rectangle');
  let { x, y } = first;
  let right = 0;
  let bottom = 0;
  for (const rectangle of kept) {
    x = Math.min(x, rectangle.x);
    y = Math.min(y, rectangle.y);
    right = Math.max(right, rectangle.x + rectangle.width);
    bottom = Math.max(bottom, rectangle.y + rectangle.height);
  }
  return [{ x, y, width: right - x, height: bottom - y }];
}
