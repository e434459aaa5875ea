import type { Settings } from '../../main/contract/host.ts';

/**
 * How large the guest's picture is shown.
 * - `integer`: whole multiples of a device pixel, the largest that fits; a picture larger than the window is shrunk.
 * - `fit`: as large as the window allows, keeping its proportions.
 * - `actual`: one pixel of the guest is one of the device; what does not fit is scrolled.
 */
export type ScaleMode = Settings['scaling'];

export const SCALE_MODES: readonly ScaleMode[] = ['integer', 'fit', 'actual'];

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Scaled extends Size {
  /** Device pixels per guest pixel. */
  readonly factor: number;
  /** Whether guest pixels are to be copied unblurred: they cover whole device pixels, or are much larger than one. */
  readonly sharp: boolean;
}

/**
 * Where a picture of `size` CSS pixels begins in a view of `view` CSS pixels that itself begins at `origin` in the
 * window: in its middle, but on a whole device pixel, without which sharp pixels would be blurred.
 */
export function centred(origin: number, view: number, size: number, devicePixelRatio: number): number {
  const middle = origin + Math.max(0, (view - size) / 2);
  return Math.round(middle * devicePixelRatio) / devicePixelRatio - origin;
}

/**
 * The size in CSS pixels of a picture of `guest` pixels in a view of `view` CSS pixels on a display with
 * `devicePixelRatio`.
 */
export function scaled(mode: ScaleMode, guest: Size, view: Size, devicePixelRatio: number): Scaled {
  const largest = Math.min(
    (view.width * devicePixelRatio) / guest.width,
    (view.height * devicePixelRatio) / guest.height,
  );
  const factor =
    mode === 'actual' ? 1 : mode === 'integer' && largest >= 1 ? Math.floor(largest) : Math.max(largest, 0);
  return {
    factor,
    width: (guest.width * factor) / devicePixelRatio,
    height: (guest.height * factor) / devicePixelRatio,
    sharp: Number.isInteger(factor) || factor >= 3,
  };
}
