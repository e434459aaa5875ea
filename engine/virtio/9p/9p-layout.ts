/**
 * The transport of 9P. The specification only reserves the device type; driver and device go by Linux's
 * include/uapi/linux/virtio_9p.h.
 */
export const VIRTIO_9P_F_MOUNT_TAG = 1n << 0n;

/** The configuration: the length of the mount tag, 16 bits, and the tag. */
export const TAG_OFFSET = 2;
export const MAX_TAG_BYTES = 31;

/** What the device looks at in a message: its type, its tag, and how long the answer to a read may get. */
export const MESSAGE = { size: 0, type: 4, tag: 5, readCount: 19 } as const;
export const MESSAGE_HEADER_BYTES = 7;
export const MESSAGE_TREAD = 116;
export const MESSAGE_TREADDIR = 40;
/** An answer to a read without its data. */
export const READ_REPLY_HEADER_BYTES = 11;
/** Every other answer: contents of a link are the longest there is. */
export const SMALL_REPLY_BYTES = 8192;

/** Rlerror: size, type, tag, error number. */
export const ERROR_REPLY_TYPE = 7;
export const ERROR_REPLY_BYTES = 11;
/** Linux's EMSGSIZE. */
export const ERROR_TOO_LONG = 90;
