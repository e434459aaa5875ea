/** What a display device currently shows. */
export interface Scanout {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** Takes a display device's announcements: a new mode, and damaged rectangles in pixels of the present mode. */
export interface DisplaySink {
  show(scanout: Scanout): void;
  damage(x: number, y: number, width: number, height: number): void;
}

export const noDisplay: DisplaySink = { show() {}, damage() {} };
