/** What a display device currently shows. */
export interface Scanout {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** A pointer that the display device draws over its picture, which does not hold it. */
export interface DisplayCursor {
  readonly visible: boolean;
  /** Place of the image's left upper corner in the picture, in pixels; may lie outside. */
  readonly x: number;
  readonly y: number;
  readonly image: CursorImage;
}

/** `width * height * 4` bytes of red, green, blue and alpha, not premultiplied. Never changed once it is shown. */
export interface CursorImage {
  readonly width: number;
  readonly height: number;
  /** The pixel of the image that points. */
  readonly hotX: number;
  readonly hotY: number;
  readonly rgba: Uint8Array<ArrayBuffer>;
}

/** Takes a display device's announcements: a new mode, and damaged rectangles in pixels of the present mode. */
export interface DisplaySink {
  show(scanout: Scanout): void;
  damage(x: number, y: number, width: number, height: number): void;
  /** The pointer looks different or stands elsewhere; undefined: the device has none (any more). */
  cursor?(cursor: DisplayCursor | undefined): void;
}

export const noDisplay: DisplaySink = { show() {}, damage() {} };
