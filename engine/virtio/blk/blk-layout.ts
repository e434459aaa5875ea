/** Feature bits of the block device (virtio 1.2, section 5.2.3). */
export const VIRTIO_BLK_F_SEG_MAX = 1n << 2n;
export const VIRTIO_BLK_F_RO = 1n << 5n;
export const VIRTIO_BLK_F_BLK_SIZE = 1n << 6n;
export const VIRTIO_BLK_F_FLUSH = 1n << 9n;
export const VIRTIO_BLK_F_TOPOLOGY = 1n << 10n;
export const VIRTIO_BLK_F_CONFIG_WCE = 1n << 11n;
export const VIRTIO_BLK_F_MQ = 1n << 12n;
export const VIRTIO_BLK_F_DISCARD = 1n << 13n;
export const VIRTIO_BLK_F_WRITE_ZEROES = 1n << 14n;

/** Offsets in the configuration (section 5.2.4). */
export const BLK_CONFIG = {
  capacity: 0,
  segMax: 12,
  blockSize: 20,
  physicalBlockExponent: 24,
  writeback: 32,
  queues: 34,
  maxDiscardSectors: 36,
  maxDiscardSegments: 40,
  discardAlignment: 44,
  maxZeroSectors: 48,
  maxZeroSegments: 52,
  zeroMayUnmap: 56,
  length: 60,
} as const;

/** Request types and answers (section 5.2.6). */
export const BLK_T_IN = 0;
export const BLK_T_OUT = 1;
export const BLK_T_FLUSH = 4;
export const BLK_T_GET_ID = 8;
export const BLK_T_DISCARD = 11;
export const BLK_T_WRITE_ZEROES = 13;
export const BLK_S_OK = 0;
export const BLK_S_IOERR = 1;
export const BLK_S_UNSUPP = 2;
/** Type, reserved, sector. */
export const BLK_HEADER_BYTES = 16;
export const BLK_SERIAL_BYTES = 20;

/** A range to discard or to zero: sector, number of sectors, flags. */
export const BLK_RANGE_BYTES = 16;
export const BLK_RANGE_UNMAP = 1;
