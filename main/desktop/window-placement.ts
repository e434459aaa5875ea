import { z } from 'zod';
import type { PlacementStore, Rectangle, ScreenLike } from './electron-api.ts';

/** In pixels that do not depend on the display's scale. */
const coordinate = z.int().min(-100_000).max(100_000);
const extent = z.int().min(1).max(100_000);
const placementSchema = z.object({
  x: coordinate,
  y: coordinate,
  width: extent,
  height: extent,
  maximized: z.boolean(),
});
export type Placement = z.infer<typeof placementSchema>;

/** Where to open a window; without `x` and `y` in the middle of the screen. */
export interface Opening {
  readonly x?: number;
  readonly y?: number;
  readonly width: number;
  readonly height: number;
  readonly maximized: boolean;
}

/** So much of a window's upper edge has to be on a display for people to be able to move it. */
const GRIP_WIDTH = 120;
const GRIP_HEIGHT = 40;

/** Remembers where windows were, and puts them where they can be seen. */
export class WindowPlacements {
  readonly #store: PlacementStore;
  readonly #screen: ScreenLike;

  constructor(store: PlacementStore, screen: ScreenLike) {
    this.#store = store;
    this.#screen = screen;
  }

  /** The last placement of the window `key`, if it still makes sense; else `size` in the middle. */
  opening(key: string, size: { readonly width: number; readonly height: number }): Opening {
    const remembered = this.#read(key);
    if (remembered !== undefined) {
      const { maximized } = remembered;
      const area = this.#screen.getAllDisplays().find(({ workArea }) => holdsGrip(workArea, remembered))?.workArea;
      if (area !== undefined) {
        const { x, y } = remembered;
        return { x, y, ...within(remembered, area), maximized };
      }
      return { ...within(remembered, this.#screen.getPrimaryDisplay().workArea), maximized };
    }
    return { ...within(size, this.#screen.getPrimaryDisplay().workArea), maximized: false };
  }

  remember(key: string, bounds: Rectangle, maximized: boolean): void {
    const placement = placementSchema.safeParse({ ...bounds, maximized });
    if (!placement.success) {
      return;
    }
    try {
      this.#store.set(key, placement.data);
    } catch {
      // A position that is not remembered is no reason to bother anybody.
    }
  }

  #read(key: string): Placement | undefined {
    let stored: unknown;
    try {
      stored = this.#store.get(key);
    } catch {
      return undefined;
    }
    return placementSchema.safeParse(stored).data;
  }
}

function holdsGrip(area: Rectangle, { x, y, width }: Rectangle): boolean {
  const visible = Math.min(x + width, area.x + area.width) - Math.max(x, area.x);
  return visible >= Math.min(GRIP_WIDTH, width) && y >= area.y && y + GRIP_HEIGHT <= area.y + area.height;
}

function within(
  { width, height }: { readonly width: number; readonly height: number },
  area: Rectangle,
): { width: number; height: number } {
  return { width: Math.min(width, area.width), height: Math.min(height, area.height) };
}
