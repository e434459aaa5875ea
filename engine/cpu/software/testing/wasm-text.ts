import { defined } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import { LANE_OPS, LOADS, OPS, STORES, TYPE_CODES } from '../wasm/opcodes.ts';

/** Record offsets that code reads and writes by name. */
const RECORD_NAMES: ReadonlyMap<number, string> = new Map([
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'].map(
    (name, i): [number, string] => [L.GPR + i * 8, name],
  ),
  ...Object.entries({
    RIP: L.RIP,
    LF_RES: L.LF_RES,
    LF_AUX: L.LF_AUX,
    FLAGS_REST: L.FLAGS_REST,
    RIP_BASE: L.RIP_BASE,
    FUEL: L.FUEL,
    BIAS: L.BIAS,
    FAULT: L.FAULT,
    CURRENT_UOP: L.CURRENT_UOP,
    MODE: L.MODE,
    DTLB: L.DTLB,
    ITLB: L.ITLB,
    MXCSR: L.MXCSR,
  }).map(([name, offset]): [number, string] => [offset, name]),
  ...Array.from({ length: 16 }, (_, i): [number, string] => [L.XMM + i * L.XMM_STRIDE, `xmm${i}`]),
]);

const UNARY =
  /eqz|clz|ctz|popcnt|wrap|extend|convert|trunc|reinterpret|promote|demote|\.abs|\.neg|sqrt|ceil|floor|nearest|v128\.not|splat|any_true|all_true|bitmask|extadd/;
const TERNARY = /bitselect|madd|laneselect/;

function byCode<T>(table: Readonly<Record<string, T>>, code: (entry: T) => readonly number[]): Map<string, string> {
  return new Map(Object.entries(table).map(([name, entry]) => [code(entry).join(), name]));
}

const OP_NAMES = byCode(OPS, ([code]) => code);
const LANE_NAMES = byCode(LANE_OPS, ([code]) => code);
const LOAD_NAMES = byCode(LOADS, ([code]) => code);
const STORE_NAMES = byCode(STORES, (code) => code);
const TYPE_NAMES = new Map(Object.entries(TYPE_CODES).map(([name, code]) => [code, name]));

interface FunctionType {
  readonly params: readonly string[];
  readonly results: readonly string[];
}

class Reader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    return defined(this.bytes[this.at++], 'byte of the module');
  }

  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        return value >>> 0;
      }
    }
  }

  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return byte & 0x40 ? value - (1n << (shift + 7n)) : value;
      }
    }
  }

  name(): string {
    const length = this.unsigned();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }

  type(): string {
    return defined(TYPE_NAMES.get(this.byte()), 'value type');
  }

  vector<T>(read: () => T): T[] {
    return Array.from({ length: this.unsigned() }, read);
  }
}

/** What a module's sections say that its code needs. */
interface Sections {
  readonly types: FunctionType[];
  /** Type and name of each function, imported ones first. */
  readonly functions: { readonly type: FunctionType; readonly name: string }[];
  readonly imported: number;
  readonly bodies: { readonly from: number; readonly to: number }[];
}

function readImport(reader: Reader, sections: Sections): void {
  reader.name();
  const name = reader.name();
  const kind = reader.byte();
  if (kind === 0) {
    sections.functions.push({ type: defined(sections.types[reader.unsigned()], 'type'), name });
  } else {
    // A memory or table: element type (tables only), then limits.
    if (kind === 1) {
      reader.byte();
    }
    const flags = reader.byte();
    reader.unsigned();
    if (flags & 1) {
      reader.unsigned();
    }
  }
}

function readSections(module: Uint8Array): Sections {
  const sections: Sections = { types: [], functions: [], imported: 0, bodies: [] };
  let imported = 0;
  const reader = new Reader(module, 8);
  while (reader.at < module.length) {
    const id = reader.byte();
    const end = reader.unsigned() + reader.at;
    if (id === 1) {
      sections.types.push(
        ...reader.vector(() => {
          reader.byte();
          return { params: reader.vector(() => reader.type()), results: reader.vector(() => reader.type()) };
        }),
      );
    } else if (id === 2) {
      reader.vector(() => readImport(reader, sections));
      imported = sections.functions.length;
    } else if (id === 3) {
      reader.vector(() => {
        const type = defined(sections.types[reader.unsigned()], 'type');
        sections.functions.push({ type, name: `$${sections.functions.length}` });
      });
    } else if (id === 10) {
      sections.bodies.push(
        ...reader.vector(() => {
          const size = reader.unsigned();
          const from = reader.at;
          reader.at += size;
          return { from, to: from + size };
        }),
      );
    }
    reader.at = end;
  }
  return { ...sections, imported };
}

/** Prints one function: a statement a line, expressions folded, blocks indented. */
class FunctionPrinter {
  readonly #reader: Reader;
  readonly #sections: Sections;
  readonly #lines: string[] = [];
  #stack: string[] = [];
  #depth = 1;
  /** Kinds of the open blocks, for the names of branch targets. */
  readonly #open: string[] = ['function'];

  constructor(reader: Reader, sections: Sections) {
    this.#reader = reader;
    this.#sections = sections;
  }

  print(type: FunctionType, to: number): string[] {
    const reader = this.#reader;
    const locals = reader.vector(() => `${reader.unsigned()} ${reader.type()}`);
    const lines = [`(${type.params.join(', ')}) -> (${type.results.join(', ')})`];
    lines.push(`  locals: ${locals.length === 0 ? 'none' : locals.join(', ')}`);
    while (reader.at < to) {
      this.#instruction();
    }
    return [...lines, ...this.#lines];
  }

  #emit(text: string): void {
    // What is still on the stack was evaluated before this statement.
    for (const value of this.#stack) {
      this.#lines.push(`${'  '.repeat(this.#depth)}push ${value}`);
    }
    this.#stack = [];
    this.#lines.push('  '.repeat(this.#depth) + text);
  }

  #pop(count = 1): string[] {
    const taken = this.#stack.splice(Math.max(0, this.#stack.length - count));
    while (taken.length < count) {
      taken.unshift('pop');
    }
    return taken;
  }

  #label(): string {
    const depth = this.#reader.unsigned();
    const index = this.#open.length - 1 - depth;
    return `${this.#open[index] ?? '?'}${index}`;
  }

  #memory(address: string): string {
    this.#reader.unsigned();
    const offset = this.#reader.unsigned();
    const name = address === '$0' ? RECORD_NAMES.get(offset) : undefined;
    return name ?? `[${address}${offset === 0 ? '' : ` + 0x${offset.toString(16)}`}]`;
  }

  #call(name: string, type: FunctionType, operands: string[]): void {
    const text = `${name}(${operands.join(', ')})`;
    if (type.results.length === 0) {
      this.#emit(text);
    } else {
      this.#stack.push(text);
    }
  }

  #block(kind: string, text: string): void {
    this.#reader.byte();
    this.#emit(`${text} ${kind}${this.#open.length}`.trimStart());
    this.#open.push(kind);
    this.#depth++;
  }

  #instruction(): void {
    const reader = this.#reader;
    const opcode = reader.byte();
    if (opcode === 0xfd || opcode === 0xfc) {
      this.#prefixed(opcode);
      return;
    }
    switch (opcode) {
      case 0x00:
        this.#emit('unreachable');
        return;
      case 0x02:
        this.#block('block', '');
        return;
      case 0x03:
        this.#block('loop', '');
        return;
      case 0x04: {
        const [condition] = this.#pop();
        this.#block('if', `if ${condition}:`);
        return;
      }
      case 0x05:
        this.#depth--;
        this.#emit('else');
        this.#depth++;
        return;
      case 0x0b:
        if (this.#open.length > 1) {
          for (const value of this.#pop(this.#stack.length)) {
            this.#emit(`push ${value}`);
          }
          this.#depth--;
          this.#open.pop();
          this.#emit('end');
        }
        return;
      case 0x0c:
        this.#emit(`br ${this.#label()}`);
        return;
      case 0x0d: {
        const [condition] = this.#pop();
        this.#emit(`br ${this.#label()} if ${condition}`);
        return;
      }
      case 0x0e: {
        const [index] = this.#pop();
        const targets = reader.vector(() => this.#label());
        this.#emit(`br [${targets.join(' ')}] else ${this.#label()} by ${index}`);
        return;
      }
      case 0x0f:
        this.#emit(`return ${this.#pop(this.#stack.length).join(', ')}`);
        return;
      case 0x10: {
        const { type, name } = defined(this.#sections.functions[reader.unsigned()], 'function');
        this.#call(`call ${name}`, type, this.#pop(type.params.length));
        return;
      }
      case 0x11:
      case 0x13: {
        const type = defined(this.#sections.types[reader.unsigned()], 'type');
        reader.unsigned();
        const [slot] = this.#pop();
        const operands = this.#pop(type.params.length);
        if (opcode === 0x13) {
          this.#emit(`return call table[${slot}](${operands.join(', ')})`);
        } else {
          this.#call(`call table[${slot}]`, type, operands);
        }
        return;
      }
      case 0x1a:
        this.#emit(`drop ${this.#pop()[0]}`);
        return;
      case 0x1b:
      case 0x1c: {
        if (opcode === 0x1c) {
          reader.vector(() => reader.byte());
        }
        const [a, b, condition] = this.#pop(3);
        this.#stack.push(`(${condition} ? ${a} : ${b})`);
        return;
      }
      case 0x20:
        this.#stack.push(`$${reader.unsigned()}`);
        return;
      case 0x21: {
        const [value] = this.#pop();
        this.#emit(`$${reader.unsigned()} = ${value}`);
        return;
      }
      case 0x22: {
        const [value] = this.#pop();
        this.#stack.push(`($${reader.unsigned()} = ${value})`);
        return;
      }
      case 0x41:
      case 0x42:
        this.#stack.push(`${reader.signed()}`);
        return;
      default:
        this.#plain([opcode]);
    }
  }

  #prefixed(prefix: number): void {
    const reader = this.#reader;
    const from = reader.at;
    const code = reader.unsigned();
    if (prefix === 0xfc) {
      if (code === 10 || code === 11) {
        const operands = this.#pop(3);
        reader.at += code === 10 ? 2 : 1;
        this.#emit(`memory.${code === 10 ? 'copy' : 'fill'}(${operands.join(', ')})`);
        return;
      }
    } else if (code === 0x0c || code === 0x0d) {
      const bytes = Array.from({ length: 16 }, () => reader.byte());
      if (code === 0x0c) {
        this.#stack.push(`v128(${Buffer.from(bytes).toString('hex')})`);
      } else {
        this.#stack.push(`shuffle(${this.#pop(2).join(', ')}; ${bytes.join(' ')})`);
      }
      return;
    }
    this.#plain([prefix, ...reader.bytes.subarray(from, reader.at)]);
  }

  #plain(code: readonly number[]): void {
    const key = code.join();
    const load = LOAD_NAMES.get(key);
    if (load !== undefined) {
      const [address = ''] = this.#pop();
      this.#stack.push(`${load} ${this.#memory(address)}`);
      return;
    }
    const store = STORE_NAMES.get(key);
    if (store !== undefined) {
      const [address = '', value = ''] = this.#pop(2);
      this.#emit(`${store} ${this.#memory(address)} = ${value}`);
      return;
    }
    const lane = LANE_NAMES.get(key);
    if (lane !== undefined) {
      const index = this.#reader.byte();
      const operands = this.#pop(lane.includes('replace') ? 2 : 1);
      this.#stack.push(`${lane}(${operands.join(', ')}; ${index})`);
      return;
    }
    const name = defined(OP_NAMES.get(key), `operation ${key}`);
    const operands = this.#pop(TERNARY.test(name) ? 3 : UNARY.test(name) ? 1 : 2);
    this.#stack.push(`${name}(${operands.join(', ')})`);
  }
}

/**
 * The functions that a module defines as text, for tests that look at generated code: a statement a line with
 * expressions folded, and fields of the processor's record (parameter 0) by name.
 */
export function wasmText(module: Uint8Array): string[] {
  const sections = readSections(module);
  return sections.bodies.map(({ from, to }, i) => {
    const { type, name } = defined(sections.functions[sections.imported + i], 'function');
    const printer = new FunctionPrinter(new Reader(module, from), sections);
    return [`${name} ${printer.print(type, to).join('\n')}`].join('\n');
  });
}
