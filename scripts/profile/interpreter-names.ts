import { buildInterpreter } from '../../engine/cpu/software/interpreter.ts';
import { buildInstructionTable } from '../../engine/cpu/x86/instructions/table.ts';

/**
 * Names of the interpreter's functions by their index, which is all that a profile shows of them: the handlers by the
 * instruction's variant, and what the module exports. WebAssembly core specification, 5.5: sections 2 (imports are not
 * needed: indices count them already), 7 (exports) and 9 (the table).
 */
export function interpreterNames(): Map<number, string> {
  const { module, handlers } = buildInterpreter(buildInstructionTable(), 0x10000);
  const names = new Map<number, string>();
  const keys = [...handlers];
  for (const { id, reader } of sections(module)) {
    if (id === 7) {
      for (let left = reader.unsigned(); left > 0; left--) {
        const name = reader.text();
        reader.byte();
        names.set(reader.unsigned(), name);
      }
    } else if (id === 9) {
      // One segment: flags, i32.const 0, end, functions. Handlers in the table are the last ones, in its order.
      reader.skip(5);
      const count = reader.unsigned();
      const inTable = keys.sort((a, b) => a[1] - b[1]).slice(-count);
      for (const [key] of inTable) {
        names.set(reader.unsigned(), key);
      }
    }
  }
  return names;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  skip(count: number): void {
    this.#at += count;
  }

  /** LEB128. */
  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        return value;
      }
    }
  }

  take(length: number): Uint8Array {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(): string {
    return new TextDecoder().decode(this.take(this.unsigned()));
  }
}

function* sections(module: Uint8Array): Generator<{ id: number; reader: Reader }> {
  const reader = new Reader(module.subarray(8));
  while (!reader.done) {
    const id = reader.byte();
    yield { id, reader: new Reader(reader.take(reader.unsigned())) };
  }
}
