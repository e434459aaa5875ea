import { useEffect, useState } from 'react';
import type { ConsoleCursor } from '../../main/contract/console.ts';
import { useLodge } from '../api/lodge-context.ts';

/** The pointer that the guest's display adapter draws over a screen. */
export interface GuestCursor {
  readonly visible: boolean;
  /** Pixels of the guest's screen. */
  readonly x: number;
  readonly y: number;
  readonly image: CursorPicture;
}

export interface CursorPicture {
  readonly width: number;
  readonly height: number;
  readonly hotX: number;
  readonly hotY: number;
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** Browsers show no larger cursors. */
const MAX_CURSOR_SIDE = 128;

/** What is known of a pointer after `change`, which leaves out an image that is as before. */
export function changedCursor(before: GuestCursor | undefined, change: ConsoleCursor | null): GuestCursor | undefined {
  if (change === null) {
    return undefined;
  }
  const { visible, x, y, image } = change;
  if (image === undefined) {
    return before === undefined ? undefined : { ...before, visible, x, y };
  }
  const { width, height, hotX, hotY } = image;
  const pixels = Uint8ClampedArray.from(atob(image.rgba), (character) => character.charCodeAt(0));
  return pixels.length === width * height * 4
    ? { visible, x, y, image: { width, height, hotX, hotY, pixels } }
    : undefined;
}

/** Follows the pointer over a screen of a machine; undefined: there is none, or nobody wants to know. */
export function useGuestCursor(machine: string, head: number, wanted: boolean): GuestCursor | undefined {
  const { api } = useLodge();
  const [cursor, setCursor] = useState<GuestCursor>();
  useEffect(() => {
    if (!wanted) {
      return;
    }
    const subscription = api.subscribe(
      'console.cursor',
      { machine, head },
      { item: (change) => setCursor((before) => changedCursor(before, change)) },
    );
    return () => {
      subscription.dispose();
      setCursor(undefined);
    };
  }, [api, machine, head, wanted]);
  return cursor;
}

/** Draws a pointer's image on a canvas of its own; undefined where there are no canvases. */
export function cursorCanvas(image: CursorPicture): HTMLCanvasElement | undefined {
  const canvas = document.createElement('canvas');
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext('2d');
  if (context === null) {
    return undefined;
  }
  context.putImageData(new ImageData(image.pixels, image.width, image.height), 0, 0);
  return canvas;
}

/** The part of an image that is not empty begins left above: how much of it a cursor needs. */
export function usedSize({ width, height, pixels }: CursorPicture): {
  readonly width: number;
  readonly height: number;
} {
  let right = 1;
  let bottom = 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((pixels[(y * width + x) * 4 + 3] ?? 0) > 0) {
        right = Math.max(right, x + 1);
        bottom = y + 1;
      }
    }
  }
  return { width: right, height: bottom };
}

/**
 * The pointer as the host's own: a value for CSS's `cursor`. `factor` is how many CSS pixels a pixel of the guest has.
 * Empty parts are left out, as browsers do not show large cursors at the edges of a window.
 */
export function cssCursor({ visible, image }: Pick<GuestCursor, 'visible' | 'image'>, factor: number): string {
  if (!visible) {
    return 'none';
  }
  const whole = cursorCanvas(image);
  const used = usedSize(image);
  const scale = Math.min(factor, MAX_CURSOR_SIDE / Math.max(used.width, used.height));
  const width = Math.max(1, Math.round(used.width * scale));
  const height = Math.max(1, Math.round(used.height * scale));
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (whole === undefined || context === null) {
    return 'default';
  }
  context.imageSmoothingEnabled = !Number.isInteger(scale);
  context.drawImage(whole, 0, 0, used.width, used.height, 0, 0, width, height);
  const hot = (place: number, side: number) => Math.min(Math.floor(place * scale), side - 1);
  return `url(${canvas.toDataURL('image/png')}) ${hot(image.hotX, width)} ${hot(image.hotY, height)}, default`;
}
