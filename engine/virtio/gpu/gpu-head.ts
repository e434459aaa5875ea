import type { CursorImage, DisplayCursor, DisplaySink } from '../../backends/display.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import { GPU_CURSOR_SIDE } from './gpu-layout.ts';
import { type GpuResource, liesWithin, type Rectangle } from './gpu-resource.ts';

/** Sizes that monitors of this device can have, in pixels: what their EDID can describe. */
export const MIN_HEAD_WIDTH = 320;
export const MIN_HEAD_HEIGHT = 200;
export const MAX_HEAD_WIDTH = 4088;
export const MAX_HEAD_HEIGHT = 4095;
/** A picture that is shown has at most this many pixels in each direction, and altogether. */
const MAX_SCANOUT_SIDE = 8192;
const MAX_SCANOUT_PIXELS = 16 << 20;
/** More damaged rectangles than this become one. */
const MAX_DAMAGE = 32;
const BLACK = -0x1000000;

/** Where a head draws: `width * height * 4` bytes of red, green, blue and alpha, lines without gaps. */
export interface HeadTarget {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray | Uint8Array;
}

export interface HeadSize {
  readonly width: number;
  readonly height: number;
}

/** What a scanout takes its picture from. */
interface Source {
  readonly id: number;
  readonly resource: GpuResource;
  readonly area: Rectangle;
}

/** One scanout with the monitor that is plugged into it (section 5.7.3). */
export class GpuHead {
  readonly index: number;
  readonly #sink: DisplaySink;
  #wanted: HeadSize;
  #source: Source | undefined;
  #cursor: DisplayCursor | undefined;

  #damage: Rectangle[] = [];
  #everything = true;
  #cursorMoved = false;
  #shownWidth = 0;
  #shownHeight = 0;

  constructor(index: number, size: HeadSize, sink: DisplaySink) {
    this.index = index;
    this.#sink = sink;
    this.#wanted = withinLimits(size);
  }

  /** The monitor's own resolution, which the guest is asked to use. */
  get wanted(): HeadSize {
    return this.#wanted;
  }

  /** Returns false when that changes nothing. Sizes that no monitor has are brought into their range. */
  want(size: HeadSize): boolean {
    const { width, height } = withinLimits(size);
    if (width === this.#wanted.width && height === this.#wanted.height) {
      return false;
    }
    this.#wanted = { width, height };
    return true;
  }

  /** The guest shows something here. */
  get active(): boolean {
    return this.#source !== undefined;
  }

  get resourceId(): number {
    return this.#source?.id ?? 0;
  }

  /** The part of its resource that is shown. */
  get area(): Rectangle | undefined {
    return this.#source?.area;
  }

  get cursor(): DisplayCursor | undefined {
    return this.#cursor;
  }

  /** Whether a part of a resource can be shown. */
  static accepts(resource: GpuResource, area: Rectangle): boolean {
    const { width, height } = area;
    return (
      liesWithin(area, resource.width, resource.height) &&
      Math.max(width, height) <= MAX_SCANOUT_SIDE &&
      width * height <= MAX_SCANOUT_PIXELS
    );
  }

  /** Shows a part of a resource that {@link accepts} it. */
  show(id: number, resource: GpuResource, area: Rectangle): void {
    this.#source = { id, resource, area };
    this.#everything = true;
  }

  /** Shows nothing any more. */
  disable(): void {
    this.#source = undefined;
    this.#everything = true;
  }

  /** A part of the resource that is shown has new pixels. */
  flush(changed: Rectangle): void {
    const area = this.#source?.area;
    if (area === undefined || this.#everything) {
      return;
    }
    const x = Math.max(changed.x, area.x);
    const y = Math.max(changed.y, area.y);
    const width = Math.min(changed.x + changed.width, area.x + area.width) - x;
    const height = Math.min(changed.y + changed.height, area.y + area.height) - y;
    if (width > 0 && height > 0) {
      this.#damage.push({ x: x - area.x, y: y - area.y, width, height });
      if (this.#damage.length > MAX_DAMAGE) {
        this.#damage = [around(this.#damage)];
      }
    }
  }

  /** A new pointer; its image is a copy of a resource. */
  setCursor(image: CursorImage, x: number, y: number): void {
    this.#cursor = { visible: true, x, y, image };
    this.#cursorMoved = true;
  }

  /** Moves the pointer, or hides it. */
  moveCursor(x: number, y: number, visible: boolean): void {
    if (this.#cursor !== undefined) {
      this.#cursor = { ...this.#cursor, x, y, visible };
      this.#cursorMoved = true;
    }
  }

  /** As the guest's driver finds it: no picture, no pointer; the monitor stays. */
  reset(): void {
    this.disable();
    this.#cursorMoved ||= this.#cursor !== undefined;
    this.#cursor = undefined;
  }

  // As a source of pictures: black in the monitor's size while the guest shows nothing.

  get width(): number {
    return this.#source?.area.width ?? this.#wanted.width;
  }

  get height(): number {
    return this.#source?.area.height ?? this.#wanted.height;
  }

  /** Tells the sink what has changed since the last call. */
  refresh(): void {
    const { width, height } = this;
    if (width !== this.#shownWidth || height !== this.#shownHeight) {
      this.#shownWidth = width;
      this.#shownHeight = height;
      this.#everything = true;
      this.#sink.show({ width, height });
    }
    if (this.#everything) {
      this.#sink.damage(0, 0, width, height);
    } else {
      for (const { x, y, width: w, height: h } of this.#damage) {
        this.#sink.damage(x, y, w, h);
      }
    }
    this.#everything = false;
    this.#damage = [];
    if (this.#cursorMoved) {
      this.#cursorMoved = false;
      this.#sink.cursor?.(this.#cursor);
    }
  }

  /** Makes the next refresh announce the mode, the whole picture and the pointer, for a viewer that has just arrived. */
  reannounce(): void {
    this.#shownWidth = 0;
    this.#cursorMoved = true;
  }

  /** Draws the picture or an area of it into `into` at the same place; what does not fit is left out. */
  render(into: HeadTarget, area?: Rectangle): void {
    const x0 = Math.max(0, area?.x ?? 0);
    const y0 = Math.max(0, area?.y ?? 0);
    const x1 = Math.min(this.width, into.width, area === undefined ? this.width : area.x + area.width);
    const y1 = Math.min(this.height, into.height, area === undefined ? this.height : area.y + area.height);
    if (x1 <= x0 || y1 <= y0) {
      return;
    }
    const { rgba } = into;
    const aligned = (rgba.byteOffset & 3) === 0;
    const words = into.width * into.height;
    const out = aligned ? new Int32Array(rgba.buffer, rgba.byteOffset, words) : new Int32Array(words);
    const source = this.#source;
    for (let y = y0; y < y1; y++) {
      const index = y * into.width + x0;
      if (source === undefined) {
        out.fill(BLACK, index, index + x1 - x0);
      } else {
        source.resource.renderLine(source.area.x + x0, source.area.y + y, x1 - x0, out, index);
      }
    }
    if (!aligned) {
      const bytes = new Uint8Array(out.buffer);
      for (let y = y0; y < y1; y++) {
        const from = (y * into.width + x0) * 4;
        rgba.set(bytes.subarray(from, from + (x1 - x0) * 4), from);
      }
    }
  }

  save(): StateValue {
    const { width, height } = this.#wanted;
    const source = this.#source;
    const cursor = this.#cursor;
    return {
      width,
      height,
      source: source === undefined ? null : { resource: source.id, ...source.area },
      cursor:
        cursor === undefined
          ? null
          : {
              visible: cursor.visible,
              x: cursor.x,
              y: cursor.y,
              hotX: cursor.image.hotX,
              hotY: cursor.image.hotY,
              rgba: cursor.image.rgba.slice(),
            },
    };
  }

  /** Reads what `save` gave; the result applies it. Throws HostError('bad-state'). */
  load(reader: StateReader, resources: ReadonlyMap<number, GpuResource>): () => void {
    const wanted = {
      width: reader.int('width', MIN_HEAD_WIDTH, MAX_HEAD_WIDTH),
      height: reader.int('height', MIN_HEAD_HEIGHT, MAX_HEAD_HEIGHT),
    };
    const source = sourceOf(reader.optionalObject('source'), resources);
    const saved = reader.optionalObject('cursor');
    const cursor = saved === undefined ? undefined : cursorOf(saved);
    return () => {
      this.#wanted = wanted;
      this.#source = source;
      this.#cursor = cursor;
      this.#everything = true;
      this.#cursorMoved = true;
    };
  }
}

function sourceOf(saved: StateReader | undefined, resources: ReadonlyMap<number, GpuResource>): Source | undefined {
  if (saved === undefined) {
    return undefined;
  }
  const id = saved.u32('resource');
  const area = { x: saved.u32('x'), y: saved.u32('y'), width: saved.u32('width'), height: saved.u32('height') };
  const resource = resources.get(id);
  if (resource === undefined || !GpuHead.accepts(resource, area)) {
    return saved.refuse('a scanout shows what there is not');
  }
  return { id, resource, area };
}

function cursorOf(saved: StateReader): DisplayCursor {
  const side = GPU_CURSOR_SIDE;
  const coordinate = (key: string) => saved.int(key, -0x80000000, 0x7fffffff);
  const rgba = new Uint8Array(saved.bytes('rgba', side * side * 4));
  const hotX = saved.int('hotX', 0, side - 1);
  const hotY = saved.int('hotY', 0, side - 1);
  const image = { width: side, height: side, hotX, hotY, rgba };
  return { visible: saved.boolean('visible'), x: coordinate('x'), y: coordinate('y'), image };
}

function withinLimits({ width, height }: HeadSize): HeadSize {
  const clamp = (value: number, low: number, high: number) => Math.min(Math.max(Math.floor(value), low), high);
  return {
    width: clamp(width, MIN_HEAD_WIDTH, MAX_HEAD_WIDTH),
    height: clamp(height, MIN_HEAD_HEIGHT, MAX_HEAD_HEIGHT),
  };
}

/** The smallest rectangle around all of them, of which there is at least one. */
function around(rectangles: readonly Rectangle[]): Rectangle {
  const x = Math.min(...rectangles.map((one) => one.x));
  const y = Math.min(...rectangles.map((one) => one.y));
  const right = Math.max(...rectangles.map((one) => one.x + one.width));
  const bottom = Math.max(...rectangles.map((one) => one.y + one.height));
  return { x, y, width: right - x, height: bottom - y };
}
