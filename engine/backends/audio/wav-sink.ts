import { closeSync, openSync, writeSync } from 'node:fs';
import { extname } from 'node:path';
import { HostError } from '../../base/host-error.ts';
import type { Log } from '../../base/log.ts';
import { type AudioFormat, type AudioSink, sameFormat } from './audio-backend.ts';
import { MAX_WAV_DATA, WAV_HEADER_BYTES, wavHeader } from './wav-format.ts';

interface Recording {
  readonly path: string;
  readonly fd: number;
  readonly format: AudioFormat;
  /** Bytes of samples. */
  length: number;
}

/** A guest that changes its format all the time is not to fill a folder. */
const MAX_FILES = 100;
/** The lengths in the header are brought up to date so often, in bytes: a file is whole to about this point at any time. */
const HEADER_EVERY = 1 << 20;

/**
 * Records what the guest plays into a WAV file, sample for sample; pauses are left out. What it plays in another format
 * goes into a file of its own: NAME-2.wav, NAME-3.wav and so on. When the host cannot take more (disk full), the rest is
 * dropped and the log says so once; the guest does not notice.
 */
export class WavSink implements AudioSink {
  readonly #path: string;
  readonly #log: Log;
  #recording: Recording | undefined;
  #files = 0;
  #failed = false;

  /** Throws HostError `sound-file` when the file cannot be created. Until something is played it is empty. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    try {
      closeSync(openSync(path, 'w'));
    } catch (error) {
      throw new HostError('sound-file', `the sound's file ${path} cannot be written (${codeOf(error)})`, {
        remedy: 'give another path',
        cause: error,
      });
    }
  }

  play(format: AudioFormat, samples: Uint8Array): void {
    if (this.#failed) {
      return;
    }
    try {
      let recording = this.#recording;
      if (
        recording === undefined ||
        !sameFormat(recording.format, format) ||
        recording.length + samples.length > MAX_WAV_DATA
      ) {
        recording = this.#next(format);
      }
      const before = recording.length;
      writeAll(recording.fd, samples, WAV_HEADER_BYTES + before);
      recording.length += samples.length;
      if (Math.floor(before / HEADER_EVERY) !== Math.floor(recording.length / HEADER_EVERY)) {
        writeHeader(recording);
      }
    } catch (error) {
      this.#failed = true;
      this.#log.warn(`${this.#recording?.path ?? this.#path}: sound is dropped from here on (${codeOf(error)})`);
    }
  }

  #next(format: AudioFormat): Recording {
    this.#finish();
    if (++this.#files > MAX_FILES) {
      throw new Error(`more than ${MAX_FILES} files`);
    }
    const extension = extname(this.#path);
    const stem = this.#path.slice(0, this.#path.length - extension.length);
    const path = this.#files === 1 ? this.#path : `${stem}-${this.#files}${extension}`;
    const recording = { path, fd: openSync(path, 'w'), format, length: 0 };
    this.#recording = recording;
    writeHeader(recording);
    return recording;
  }

  #finish(): void {
    const recording = this.#recording;
    this.#recording = undefined;
    if (recording !== undefined) {
      try {
        writeHeader(recording);
      } finally {
        closeSync(recording.fd);
      }
    }
  }

  dispose(): void {
    try {
      this.#finish();
    } catch (error) {
      if (!this.#failed) {
        this.#log.warn(`${this.#path}: the recording is not finished (${codeOf(error)})`);
      }
    }
  }
}

function writeHeader({ fd, format, length }: Recording): void {
  writeAll(fd, wavHeader(format, length), 0);
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  }
}

function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message ?? String(error);
}
