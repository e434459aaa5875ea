import { readFileSync } from 'node:fs';
import { HostError } from '../../base/host-error.ts';
import { type AudioFormat, type AudioSource, sameFormat, silence } from './audio-backend.ts';
import { parseWav } from './wav-format.ts';

/** Gives the guest what is in a WAV file, over and over, whenever it records. */
export class WavSource implements AudioSource {
  readonly format: AudioFormat;
  readonly #samples: Uint8Array;
  #at = 0;

  /** Throws HostError `bad-sound` when the file cannot be read or is no WAV file of a known kind. */
  constructor(path: string) {
    let file: Uint8Array;
    try {
      file = readFileSync(path);
    } catch (error) {
      throw refused(path, `cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
    }
    const contents = parseWav(file);
    if (typeof contents === 'string') {
      throw refused(path, contents);
    }
    this.format = contents.format;
    this.#samples = contents.samples;
  }

  record(format: AudioFormat, into: Uint8Array): void {
    if (!sameFormat(format, this.format)) {
      silence(format, into);
      return;
    }
    for (let done = 0; done < into.length; ) {
      const piece = this.#samples.subarray(this.#at, this.#at + into.length - done);
      into.set(piece, done);
      done += piece.length;
      this.#at = (this.#at + piece.length) % this.#samples.length;
    }
  }

  dispose(): void {}
}

function refused(path: string, why: string): HostError {
  return new HostError('bad-sound', `--sound input ${path}: ${why}`, { remedy: 'give a WAV file' });
}
