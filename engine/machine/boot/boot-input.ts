import { HostError } from '../../base/host-error.ts';

/** A file that the user named, with its contents. */
export interface NamedBytes {
  /** As the user wrote it, for messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface BootModule extends NamedBytes {
  /** Arguments that a Multiboot kernel gets with the module. */
  readonly commandLine?: string;
}

/** What is to be started directly. For Linux the modules are parts of one initial ramdisk. */
export interface BootInput {
  readonly kernel: NamedBytes;
  readonly modules: readonly BootModule[];
  readonly commandLine: string;
}

/** Reads numbers from an untrusted kernel file; whatever lies outside it is HostError('bad-kernel'). */
export class KernelReader {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(file: NamedBytes) {
    this.name = file.name;
    this.bytes = file.bytes;
    this.#view = new DataView(file.bytes.buffer, file.bytes.byteOffset, file.bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    this.#check(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, true);
  }

  /** A 64-bit number; those above 2^53 are cut to it, which is outside of everything. */
  u64(offset: number): number {
    this.#check(offset, 8);
    return Math.min(Number.MAX_SAFE_INTEGER, Number(this.#view.getBigUint64(offset, true)));
  }

  slice(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    return this.bytes.subarray(offset, offset + length);
  }

  /** True when the text stands at `offset`; false also outside the file. */
  hasText(offset: number, text: string): boolean {
    return Buffer.from(this.bytes.subarray(offset, offset + text.length)).equals(Buffer.from(text, 'latin1'));
  }

  refuse(why: string): never {
    throw new HostError('bad-kernel', `the kernel '${this.name}' cannot be started: ${why}`);
  }

  #check(offset: number, length: number): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.bytes.length)) {
      this.refuse('the file is truncated');
    }
  }
}

export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 0x10_0000)} MB`;
}
