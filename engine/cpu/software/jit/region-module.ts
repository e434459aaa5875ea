import { defined } from '../../../base/assert.ts';
import type { Interpreter, SpecialHandler } from '../interpreter.ts';
import { BLOCK_HEADER_SIZE, BLOCK_ORIGINAL_HANDLER, UOP_HANDLER, UOP_IMMEDIATE } from '../micro-op.ts';
import type { Variant } from '../variants.ts';
import { ModuleBuilder } from '../wasm/module-builder.ts';
import { type Effects, effectsOf } from './effects.ts';
import type { Region } from './region.ts';
import { RegionFunction } from './region-function.ts';
import { HANDLER_TYPE, REGION_TYPE } from './region-type.ts';

/** Instructions whose meaning depends on their immediate: shifts by 0 leave the flags alone. */
const SHIFTS: ReadonlySet<string> = new Set(['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd']);

/** Tells which handlers belong to no instruction, and looks behind `compiled`. */
export class MicroOpReader {
  readonly view: DataView;
  readonly #interpreter: Interpreter;
  readonly #compiled: number;

  /** `view` shows micro-operations at their arena addresses. */
  constructor(view: DataView, interpreter: Interpreter) {
    this.view = view;
    this.#interpreter = interpreter;
    this.#compiled = interpreter.special.compiled;
  }

  /** The handler that was decoded for a micro-operation. */
  handler(uop: number): number {
    const handler = this.view.getUint16(uop + UOP_HANDLER, true);
    return handler === this.#compiled
      ? this.view.getUint16(uop - BLOCK_HEADER_SIZE + BLOCK_ORIGINAL_HANDLER, true)
      : handler;
  }

  /** The special handler of a micro-operation, if it is one or begins with one. */
  special(uop: number): SpecialHandler | undefined {
    return this.#interpreter.specialOf(this.handler(uop));
  }
}

/** Builds modules of regions. */
export class RegionModules {
  readonly reader: MicroOpReader;
  readonly #interpreter: Interpreter;
  readonly #memoryPages: number;
  readonly #effects = new Map<string, Effects>();

  /** `memoryPages` of 64 KiB: the size of the arena. */
  constructor(reader: MicroOpReader, interpreter: Interpreter, memoryPages: number) {
    this.reader = reader;
    this.#interpreter = interpreter;
    this.#memoryPages = memoryPages;
  }

  /** A WebAssembly module over `env.memory` and `env.table` that exports the function `region`. */
  build(region: Region): Uint8Array<ArrayBuffer> {
    const module = new ModuleBuilder(this.#memoryPages, 'imported');
    const { helpers } = this.#interpreter;
    const environment = {
      view: this.reader.view,
      helper: (name: string) => {
        const known = defined(helpers.get(name), `helper function ${name}`);
        return { ...known, indirectType: module.typeIndex(known.type) };
      },
      effects: (variant: Variant, uop: number) => this.#effectsOf(variant, uop),
      special: (uop: number) => this.reader.special(uop),
      handlerType: module.typeIndex(HANDLER_TYPE),
      regionType: module.typeIndex(REGION_TYPE),
    };
    const reference = module.function('region', REGION_TYPE, (f) => new RegionFunction(f, region, environment).build());
    module.export('region', reference);
    return module.build();
  }

  #effectsOf(variant: Variant, uop: number): Effects {
    const immediate =
      SHIFTS.has(variant.definition.name) &&
      variant.operands.some((operand) => operand.kind === 'immediate' && operand.value === undefined)
        ? this.reader.view.getInt32(uop + UOP_IMMEDIATE, true) & 63
        : undefined;
    const key = immediate === undefined ? variant.key : `${variant.key} ${immediate}`;
    let effects = this.#effects.get(key);
    if (effects === undefined) {
      effects = effectsOf(variant, this.#interpreter.helpers, immediate);
      this.#effects.set(key, effects);
    }
    return effects;
  }
}
