/** Numbers of the GPU device (virtio 1.2, section 5.7). All fields are little endian, sizes in bytes. */

export const VIRTIO_GPU_F_EDID = 1n << 1n;

export const GPU_CONTROL_QUEUE = 0;
export const GPU_CURSOR_QUEUE = 1;

/** Offsets in the configuration (section 5.7.4). */
export const GPU_CONFIG = { eventsRead: 0, eventsClear: 4, scanouts: 8, capsets: 12, length: 16 } as const;
/** The display configuration has changed. */
export const GPU_EVENT_DISPLAY = 1;

/** Scanouts that a device can have at most; the answer about displays always has room for all of them. */
export const GPU_MAX_SCANOUTS = 16;

/** Command types (section 5.7.6.7). */
export const GPU_CMD_GET_DISPLAY_INFO = 0x0100;
export const GPU_CMD_RESOURCE_CREATE_2D = 0x0101;
export const GPU_CMD_RESOURCE_UNREF = 0x0102;
export const GPU_CMD_SET_SCANOUT = 0x0103;
export const GPU_CMD_RESOURCE_FLUSH = 0x0104;
export const GPU_CMD_TRANSFER_TO_HOST_2D = 0x0105;
export const GPU_CMD_RESOURCE_ATTACH_BACKING = 0x0106;
export const GPU_CMD_RESOURCE_DETACH_BACKING = 0x0107;
export const GPU_CMD_GET_EDID = 0x010a;
export const GPU_CMD_UPDATE_CURSOR = 0x0300;
export const GPU_CMD_MOVE_CURSOR = 0x0301;

export const GPU_RESP_OK_NODATA = 0x1100;
export const GPU_RESP_OK_DISPLAY_INFO = 0x1101;
export const GPU_RESP_OK_EDID = 0x1104;
export const GPU_RESP_ERR_UNSPEC = 0x1200;
export const GPU_RESP_ERR_OUT_OF_MEMORY = 0x1201;
export const GPU_RESP_ERR_INVALID_SCANOUT_ID = 0x1202;
export const GPU_RESP_ERR_INVALID_RESOURCE_ID = 0x1203;
export const GPU_RESP_ERR_INVALID_PARAMETER = 0x1205;

/** The header of requests and responses: type, flags, fence (64 bits), context, ring. */
export const GPU_HEADER_BYTES = 24;
export const GPU_FLAG_FENCE = 1;
export const GPU_DISPLAY_ENTRY_BYTES = 24;
export const GPU_BACKING_ENTRY_BYTES = 16;
export const GPU_EDID_BYTES = 1024;

/** The hardware cursor has this many pixels in each direction (section 5.7.6.10). */
export const GPU_CURSOR_SIDE = 64;

/** Pixel formats, named by the order of their bytes in memory: how far each component is shifted in a 32-bit word. */
export const GPU_FORMATS: ReadonlyMap<number, GpuFormat> = new Map([
  [1, { red: 16, green: 8, blue: 0, alpha: 24 }], // B8G8R8A8
  [2, { red: 16, green: 8, blue: 0, alpha: 24 }], // B8G8R8X8
  [3, { red: 8, green: 16, blue: 24, alpha: 0 }], // A8R8G8B8
  [4, { red: 8, green: 16, blue: 24, alpha: 0 }], // X8R8G8B8
  [67, { red: 0, green: 8, blue: 16, alpha: 24 }], // R8G8B8A8
  [68, { red: 24, green: 16, blue: 8, alpha: 0 }], // X8B8G8R8
  [121, { red: 24, green: 16, blue: 8, alpha: 0 }], // A8B8G8R8
  [134, { red: 0, green: 8, blue: 16, alpha: 24 }], // R8G8B8X8
]);

export interface GpuFormat {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
  /** Of pointers only. Drivers make them in formats without it too (X), and mean it all the same: Linux's dumb buffers. */
  readonly alpha: number;
}
