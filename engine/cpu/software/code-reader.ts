/** Raised when the page behind cannot be fetched, or is not to be fetched for this instruction. */
export class FetchFault {}

/** More than 15 bytes, or beyond the code segment's limit. */
export class TooLong {}

/** Where the decoder reads code: byte `offset` counts from the start of the page and may reach into the next one. */
export interface CodeSource {
  /** The bytes that `memory` holds from `base` on are those of the page; undefined if they have to be asked for. */
  readonly memory: Uint8Array | undefined;
  readonly base: number;
  /** Throws FetchFault when the byte's page cannot be fetched. */
  byte(offset: number): number;
}

export const MAX_INSTRUCTION_BYTES = 15;

/** Reads the bytes of one instruction after the other, little endian. */
export class CodeReader {
  #source: CodeSource = { memory: undefined, base: 0, byte: () => 0 };
  #memory: Uint8Array = new Uint8Array();
  #base = 0;
  #limit = 0;
  #mayLeavePage = true;
  /** Bytes before this offset need no check and are in memory. */
  #plainEnd = 0;
  #plainLimit = 0;
  /** Page offset of the instruction's first byte, and of the next one to read. */
  start = 0;
  at = 0;

  /** `limit`: the last page offset that may be read. */
  open(source: CodeSource, limit: number): void {
    this.#source = source;
    this.#limit = limit;
    this.#memory = source.memory ?? this.#memory;
    this.#base = source.base;
    this.#plainLimit = source.memory === undefined ? 0 : Math.min(4096, limit + 1);
  }

  /** `mayLeavePage`: the instruction's bytes may be fetched from the page behind. */
  begin(offset: number, mayLeavePage: boolean): void {
    this.start = offset;
    this.at = offset;
    this.#mayLeavePage = mayLeavePage;
    this.#plainEnd = Math.min(this.#plainLimit, offset + MAX_INSTRUCTION_BYTES);
  }

  /** Throws TooLong or FetchFault. */
  u8(): number {
    return this.at < this.#plainEnd ? (this.#memory[this.#base + this.at++] as number) : this.#checked();
  }

  #checked(): number {
    if (this.at - this.start >= MAX_INSTRUCTION_BYTES || this.at > this.#limit) {
      throw new TooLong();
    }
    if (this.at >= 4096 && !this.#mayLeavePage) {
      throw new FetchFault();
    }
    const value = this.#source.byte(this.at);
    this.at++;
    return value;
  }

  i8(): number {
    return (this.u8() << 24) >> 24;
  }

  u16(): number {
    const low = this.u8();
    return low | (this.u8() << 8);
  }

  i16(): number {
    return (this.u16() << 16) >> 16;
  }

  i32(): number {
    const low = this.u16();
    return low | (this.u16() << 16);
  }
}
