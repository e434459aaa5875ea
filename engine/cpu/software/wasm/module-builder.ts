import { assert } from '../../../base/assert.ts';
import { ByteWriter, unsignedLeb } from './byte-writer.ts';
import { type FunctionBody, FunctionBuilder, type FunctionReference, type FunctionType } from './function-builder.ts';
import { TYPE_CODES, type ValueType } from './opcodes.ts';

function named(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text)];
  return [...unsignedLeb(bytes.length), ...bytes];
}

function section(id: number, content: readonly number[]): number[][] {
  return [[id, ...unsignedLeb(content.length)], content as number[]];
}

/**
 * Assembles a WebAssembly module (core specification, chapter 5) over one imported shared memory: imported functions
 * first, then functions of its own, which may be declared before they are defined, one function table and exports.
 */
export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #typeBytes: number[][] = [];
  readonly #imports: { module: string; name: string; type: number }[] = [];
  readonly #functions: { type: FunctionType; body: FunctionBody | undefined; name: string }[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  readonly #elements: FunctionReference[] = [];
  #reserved = 0;
  readonly #maximumPages: number;
  readonly #tableFrom: 'own' | 'imported';

  /**
   * `maximumPages` of 64 KiB: the maximum of the imported memory `env.memory`. The function table is the module's own,
   * exported as `table`, or imported as `env.table`.
   */
  constructor(maximumPages: number, table: 'own' | 'imported' = 'own') {
    this.#maximumPages = maximumPages;
    this.#tableFrom = table;
  }

  typeIndex(type: FunctionType): number {
    const bytes = [
      0x60,
      ...unsignedLeb(type.params.length),
      ...type.params.map((param) => TYPE_CODES[param]),
      ...unsignedLeb(type.results.length),
      ...type.results.map((result) => TYPE_CODES[result]),
    ];
    const key = bytes.join();
    const known = this.#types.indexOf(key);
    if (known >= 0) {
      return known;
    }
    this.#types.push(key);
    return this.#typeBytes.push(bytes) - 1;
  }

  /** Imports come before all functions. */
  import(name: string, type: FunctionType): FunctionReference {
    assert(this.#functions.length === 0, 'imports precede functions');
    return { index: this.#imports.push({ module: 'env', name, type: this.typeIndex(type) }) - 1, type };
  }

  /** Declares a function to be defined later, so that others can call it. */
  declare(name: string, type: FunctionType): FunctionReference {
    return { index: this.#imports.length + this.#functions.push({ type, body: undefined, name }) - 1, type };
  }

  define(target: FunctionReference, build: (f: FunctionBuilder) => void): void {
    const entry = this.#functions[target.index - this.#imports.length];
    assert(entry !== undefined && entry.body === undefined, 'a function is defined twice');
    const builder = new FunctionBuilder(entry.type);
    build(builder);
    entry.body = builder.finish();
  }

  function(name: string, type: FunctionType, build: (f: FunctionBuilder) => void): FunctionReference {
    const target = this.declare(name, type);
    this.define(target, build);
    return target;
  }

  export(name: string, target: FunctionReference): void {
    this.#exports.push({ name, index: target.index });
  }

  /** Puts a function into the table and returns its slot. */
  addToTable(target: FunctionReference): number {
    assert(this.#reserved === 0, 'reserved slots end the table');
    return this.#elements.push(target) - 1;
  }

  /** Leaves `count` slots at the end of the table empty and returns the first. */
  reserveTable(count: number): number {
    this.#reserved += count;
    return this.#elements.length + this.#reserved - count;
  }

  /** Names of the functions by their index, imported ones first. */
  names(): Map<number, string> {
    return new Map([...this.#imports, ...this.#functions].map(({ name }, index) => [index, name]));
  }

  build(): Uint8Array<ArrayBuffer> {
    const imported = this.#tableFrom === 'imported';
    const functionTypes = this.#functions.map((entry) => this.typeIndex(entry.type));
    const chunks: number[][] = [[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]];
    chunks.push(...section(1, [...unsignedLeb(this.#typeBytes.length), ...this.#typeBytes.flat()]));
    chunks.push(
      ...section(2, [
        ...unsignedLeb(this.#imports.length + (imported ? 2 : 1)),
        ...this.#imports.flatMap((entry) => [
          ...named(entry.module),
          ...named(entry.name),
          0x00,
          ...unsignedLeb(entry.type),
        ]),
        ...named('env'),
        ...named('memory'),
        0x02,
        0x03, // shared, with a maximum
        ...unsignedLeb(0),
        ...unsignedLeb(this.#maximumPages),
        ...(imported ? [...named('env'), ...named('table'), 0x01, 0x70, 0x00, 0x00] : []),
      ]),
    );
    chunks.push(...section(3, [...unsignedLeb(functionTypes.length), ...functionTypes.flatMap(unsignedLeb)]));
    if (!imported) {
      chunks.push(...section(4, [1, 0x70, 0x00, ...unsignedLeb(this.#elements.length + this.#reserved)]));
    }
    chunks.push(
      ...section(7, [
        ...unsignedLeb(this.#exports.length + (imported ? 0 : 1)),
        ...(imported ? [] : [...named('table'), 0x01, 0x00]),
        ...this.#exports.flatMap((entry) => [...named(entry.name), 0x00, ...unsignedLeb(entry.index)]),
      ]),
    );
    if (this.#elements.length > 0) {
      chunks.push(
        ...section(9, [
          1,
          0,
          0x41,
          0,
          0x0b,
          ...unsignedLeb(this.#elements.length),
          ...this.#elements.flatMap((entry) => unsignedLeb(entry.index)),
        ]),
      );
    }
    const code = new ByteWriter();
    code.unsigned(this.#functions.length);
    for (const { body, name } of this.#functions) {
      assert(body !== undefined, `function ${name} was declared but never defined`);
      const header = localGroups(body.locals);
      code.unsigned(header.length + body.code.length);
      code.code(header);
      code.bytes(body.code);
    }
    const whole = new ByteWriter();
    for (const chunk of chunks) {
      whole.code(chunk);
    }
    whole.code(this.#branchHints());
    whole.byte(10);
    whole.unsigned(code.length);
    whole.bytes(code.view());
    return whole.finish();
  }

  /** The custom section with branches that are hardly ever taken (WebAssembly branch hinting, in front of the code). */
  #branchHints(): number[] {
    const functions: number[] = [];
    let count = 0;
    for (const [i, { body }] of this.#functions.entries()) {
      if (body !== undefined && body.unlikely.length > 0) {
        count++;
        const header = localGroups(body.locals).length;
        functions.push(...unsignedLeb(this.#imports.length + i), ...unsignedLeb(body.unlikely.length));
        for (const place of body.unlikely) {
          // Offset from the start of the function's locals, one byte of value: 0 for unlikely.
          functions.push(...unsignedLeb(header + place), 1, 0);
        }
      }
    }
    if (count === 0) {
      return [];
    }
    const content = [...named('metadata.code.branch_hint'), ...unsignedLeb(count), ...functions];
    return [0, ...unsignedLeb(content.length), ...content];
  }
}

/** The declaration of a function's locals: runs of one type (core specification, 5.5.13). */
function localGroups(types: readonly ValueType[]): number[] {
  const groups: number[] = [];
  let count = 0;
  for (let i = 0; i < types.length; ) {
    const type = types[i] as ValueType;
    let run = 1;
    while (types[i + run] === type) {
      run++;
    }
    groups.push(...unsignedLeb(run), TYPE_CODES[type]);
    count++;
    i += run;
  }
  return [...unsignedLeb(count), ...groups];
}
