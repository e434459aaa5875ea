import { type AudioEncoding, type AudioFormat, frameBytes } from './audio-backend.ts';

/** RIFF WAVE files: a header, "fmt " and "data" chunks, each with its length, little endian. */

const PCM = 1;
const IEEE_FLOAT = 3;
const EXTENSIBLE = 0xfffe;
export const WAV_HEADER_BYTES = 44;
/** Lengths are 32-bit. */
export const MAX_WAV_DATA = 0xffff_ffff - WAV_HEADER_BYTES;

const BITS: Readonly<Record<AudioEncoding, number>> = { u8: 8, s16: 16, s24: 24, s32: 32, f32: 32 };

/** The header of a file with `dataBytes` of samples behind it. */
export function wavHeader(format: AudioFormat, dataBytes: number): Uint8Array {
  const header = new Uint8Array(WAV_HEADER_BYTES);
  const view = new DataView(header.buffer);
  const text = (at: number, what: string) => header.set(new TextEncoder().encode(what), at);
  text(0, 'RIFF');
  view.setUint32(4, WAV_HEADER_BYTES - 8 + dataBytes, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, format.encoding === 'f32' ? IEEE_FLOAT : PCM, true);
  view.setUint16(22, format.channels, true);
  view.setUint32(24, format.rate, true);
  view.setUint32(28, format.rate * frameBytes(format), true);
  view.setUint16(32, frameBytes(format), true);
  view.setUint16(34, BITS[format.encoding], true);
  text(36, 'data');
  view.setUint32(40, dataBytes, true);
  return header;
}

export interface WavContents {
  readonly format: AudioFormat;
  /** Whole frames. */
  readonly samples: Uint8Array;
}

/** What a file holds, or in a few words why it is no WAV file that can be used. */
export function parseWav(file: Uint8Array): WavContents | string {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const text = (at: number) => new TextDecoder('latin1').decode(file.subarray(at, at + 4));
  if (file.length < 12 || text(0) !== 'RIFF' || text(8) !== 'WAVE') {
    return 'it is no WAV file';
  }
  let format: AudioFormat | undefined;
  for (let at = 12; at + 8 <= file.length; ) {
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    if (text(at) === 'fmt ') {
      if (length < 16 || start + length > file.length) {
        return 'its description of the format is cut short';
      }
      const found = formatOf(view, start, length);
      if (typeof found === 'string') {
        return found;
      }
      format = found;
    } else if (text(at) === 'data') {
      if (format === undefined) {
        return 'its format is not described';
      }
      // Files that were not finished say too much, or nothing.
      const bytes = Math.min(length, file.length - start);
      const size = frameBytes(format);
      const samples = file.subarray(start, start + Math.floor(bytes / size) * size);
      return samples.length === 0 ? 'it holds no sound' : { format, samples };
    }
    // Chunks are padded to even lengths.
    at = start + length + (length & 1);
  }
  return 'it holds no sound';
}

function formatOf(view: DataView, at: number, length: number): AudioFormat | string {
  const tag = view.getUint16(at, true);
  // The extensible format has the tag proper at the start of a GUID.
  const kind = tag === EXTENSIBLE && length >= 40 ? view.getUint16(at + 24, true) : tag;
  const channels = view.getUint16(at + 2, true);
  const rate = view.getUint32(at + 4, true);
  const bits = view.getUint16(at + 14, true);
  const encoding =
    kind === IEEE_FLOAT && bits === 32
      ? 'f32'
      : kind === PCM
        ? ({ 8: 'u8', 16: 's16', 24: 's24', 32: 's32' } as const)[bits]
        : undefined;
  if (encoding === undefined) {
    return 'its samples are neither PCM of 8, 16, 24 or 32 bits nor floats of 32';
  }
  return { encoding, channels, rate };
}
