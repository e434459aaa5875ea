/** What a directly booted kernel is told about the screen. */
export type BootDisplay =
  /** 80 × 25 colour text at 0xB8000. */
  | { readonly kind: 'text' }
  /** 32 bits a pixel, blue in the lowest byte; `stride` in bytes. */
  | {
      readonly kind: 'framebuffer';
      readonly base: number;
      readonly width: number;
      readonly height: number;
      readonly stride: number;
    };
