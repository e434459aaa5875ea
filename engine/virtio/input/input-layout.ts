/**
 * Numbers of the input device (virtio 1.2, section 5.8). Events are those of Linux (linux/input-event-codes.h), as the
 * specification wants it.
 */

export const INPUT_EVENT_QUEUE = 0;
export const INPUT_STATUS_QUEUE = 1;
/** Type, code (16 bits each) and value (32 bits), little endian. */
export const INPUT_EVENT_BYTES = 8;

/** Offsets in the configuration (section 5.8.4): what the driver asks for, how many bytes the answer has, the answer. */
export const INPUT_CONFIG = { select: 0, subselect: 1, size: 2, answer: 8, length: 136 } as const;

export const INPUT_CFG_ID_NAME = 0x01;
export const INPUT_CFG_ID_SERIAL = 0x02;
export const INPUT_CFG_ID_DEVIDS = 0x03;
export const INPUT_CFG_PROP_BITS = 0x10;
export const INPUT_CFG_EV_BITS = 0x11;
export const INPUT_CFG_ABS_INFO = 0x12;

export const EV_SYN = 0x00;
export const EV_KEY = 0x01;
export const EV_REL = 0x02;
export const EV_ABS = 0x03;
export const EV_LED = 0x11;
export const EV_REP = 0x14;

export const REL_X = 0x00;
export const REL_Y = 0x01;
export const REL_WHEEL = 0x08;
export const ABS_X = 0x00;
export const ABS_Y = 0x01;
export const LED_NUM_LOCK = 0;
export const LED_CAPS_LOCK = 1;
export const LED_SCROLL_LOCK = 2;
export const REP_DELAY = 0;
export const REP_PERIOD = 1;

export const BTN_LEFT = 0x110;
export const BTN_RIGHT = 0x111;
export const BTN_MIDDLE = 0x112;
export const BTN_SIDE = 0x113;
export const BTN_EXTRA = 0x114;

export const BUS_VIRTUAL = 0x06;
