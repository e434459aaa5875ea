import { AUDIO_ENCODINGS, type AudioEncoding } from '../../backends/audio/audio-backend.ts';

/** Numbers and structures of the sound device (virtio 1.2, section 5.14), little endian. */

/** Queues (section 5.14.2). */
export const CONTROL_QUEUE = 0;
export const EVENT_QUEUE = 1;
export const PLAYBACK_QUEUE = 2;
export const CAPTURE_QUEUE = 3;

/** Requests (section 5.14.6). */
export const R_JACK_INFO = 1;
export const R_JACK_REMAP = 2;
export const R_PCM_INFO = 0x100;
export const R_PCM_SET_PARAMS = 0x101;
export const R_PCM_PREPARE = 0x102;
export const R_PCM_RELEASE = 0x103;
export const R_PCM_START = 0x104;
export const R_PCM_STOP = 0x105;
export const R_CHMAP_INFO = 0x200;

/** Events. */
export const EVT_JACK_CONNECTED = 0x1000;
export const EVT_JACK_DISCONNECTED = 0x1001;

/** Statuses. */
export const S_OK = 0x8000;
export const S_BAD_MSG = 0x8001;
export const S_NOT_SUPP = 0x8002;
export const S_IO_ERR = 0x8003;

/** Bytes of the structures. */
export const HEADER_BYTES = 4;
export const QUERY_BYTES = 16;
export const PCM_HEADER_BYTES = 8;
export const SET_PARAMS_BYTES = 24;
export const JACK_INFO_BYTES = 24;
export const PCM_INFO_BYTES = 32;
export const CHMAP_INFO_BYTES = 24;
export const EVENT_BYTES = 8;
export const XFER_BYTES = 4;
export const STATUS_BYTES = 8;

/** Numbers of the formats that this device has (section 5.14.6.6.3). */
const FORMATS: Readonly<Record<AudioEncoding, number>> = { u8: 4, s16: 5, s24: 11, s32: 17, f32: 19 };

/** Frames a second, by the number of the rate; the device has those from 8000 to 192000. */
const RATES = [5512, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 88200, 96000, 176400, 192000, 384000];
const FIRST_RATE = 1;
const LAST_RATE = 12;

export function encodingOf(number: number): AudioEncoding | undefined {
  return AUDIO_ENCODINGS.find((encoding) => FORMATS[encoding] === number);
}

/** Undefined: the device has no such rate. */
export function rateOf(number: number): number | undefined {
  return number >= FIRST_RATE && number <= LAST_RATE ? RATES[number] : undefined;
}

/** The bits of all formats, or of one. */
export function formatBits(only?: AudioEncoding): bigint {
  return AUDIO_ENCODINGS.filter((encoding) => only === undefined || encoding === only).reduce(
    (bits, encoding) => bits | (1n << BigInt(FORMATS[encoding])),
    0n,
  );
}

/** The bits of all rates, or of one; 0 when the device does not have it. */
export function rateBits(only?: number): bigint {
  return RATES.reduce(
    (bits, rate, number) =>
      rateOf(number) !== undefined && (only === undefined || rate === only) ? bits | (1n << BigInt(number)) : bits,
    0n,
  );
}

/** HDA's pin configuration: connection, default device and colour (High Definition Audio, section 7.3.3.31). */
export const LINE_OUT_GREEN = 0x0101_4010;
export const MICROPHONE_PINK = 0x01a1_9020;
/** HDA's pin capabilities: output, input, and that it tells whether something is plugged in. */
export const PIN_PRESENCE = 1 << 2;
export const PIN_OUTPUT = 1 << 4;
export const PIN_INPUT = 1 << 5;

/** Positions of speakers (section 5.14.6.7.1). */
export const POSITION_MONO = 2;
export const POSITION_FRONT_LEFT = 3;
export const POSITION_FRONT_RIGHT = 4;
