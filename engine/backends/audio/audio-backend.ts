import type { Disposable } from '../../base/disposable.ts';

/** How a sample is stored, little endian: unsigned 8, signed 16, 24 (in three bytes) or 32 bits, or a 32-bit float. */
export const AUDIO_ENCODINGS = ['u8', 's16', 's24', 's32', 'f32'] as const;
export type AudioEncoding = (typeof AUDIO_ENCODINGS)[number];

export interface AudioFormat {
  readonly encoding: AudioEncoding;
  /** Channels are interleaved: one sample of each makes a frame. */
  readonly channels: number;
  /** Frames a second. */
  readonly rate: number;
}

const SAMPLE_BYTES: Readonly<Record<AudioEncoding, number>> = { u8: 1, s16: 2, s24: 3, s32: 4, f32: 4 };

export function frameBytes({ encoding, channels }: AudioFormat): number {
  return SAMPLE_BYTES[encoding] * channels;
}

export function sameFormat(a: AudioFormat, b: AudioFormat): boolean {
  return a.encoding === b.encoding && a.channels === b.channels && a.rate === b.rate;
}

/** Fills `bytes` with silence. */
export function silence({ encoding }: AudioFormat, bytes: Uint8Array): void {
  bytes.fill(encoding === 'u8' ? 0x80 : 0);
}

/**
 * Takes what the guest plays. The device keeps the pace: it hands frames on when they have been played by the guest's
 * clock, so that a sink never waits. Nothing here throws: a host that cannot take sound has a guest that is not heard.
 */
export interface AudioSink extends Disposable {
  /** Frames that were played; whole ones. The array is the caller's. */
  play(format: AudioFormat, samples: Uint8Array): void;
}

/** Gives what the guest records. */
export interface AudioSource extends Disposable {
  /** The one format that it has; undefined: any. */
  readonly format: AudioFormat | undefined;
  /** Fills `into` with the next frames; whole ones. */
  record(format: AudioFormat, into: Uint8Array): void;
}

/** Sound that goes nowhere. */
export const nullSink: AudioSink = { play() {}, dispose() {} };

/** A microphone in a silent room. */
export const nullSource: AudioSource = { format: undefined, record: silence, dispose() {} };
