/**
 * What shows the guest's pictures: 'std' is a VGA with the Bochs display interface; 'virtio' is a virtio GPU, which until
 * its driver takes over is such a VGA as well.
 */
export const VGA_KINDS = ['std', 'virtio'] as const;
export type VgaKind = (typeof VGA_KINDS)[number];

/** Monitors that a virtio GPU can have; others have one. */
export const MAX_HEADS = 16;
