/** To the worker that draws a guest's screen. */
export type ToScreenWorker =
  | { readonly kind: 'canvas'; readonly canvas: OffscreenCanvas }
  | { readonly kind: 'packet'; readonly packet: Uint8Array<ArrayBuffer> };

/** From it. */
export type FromScreenWorker =
  | { readonly kind: 'drawn'; readonly sequence: number; readonly width: number; readonly height: number }
  | { readonly kind: 'failed'; readonly message: string };
