import { defined } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import type { CachedBlock, CodeCache } from '../code-cache.ts';
import type { Interpreter, SpecialHandler } from '../interpreter.ts';
import {
  BLOCK_FUNCTION,
  BLOCK_HEADER_SIZE,
  BLOCK_ORIGINAL_HANDLER,
  BLOCK_SAMPLES,
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  UOP_HANDLER,
  UOP_IMMEDIATE,
} from '../micro-op.ts';
import type { Variant } from '../variants.ts';
import { ModuleBuilder } from '../wasm/module-builder.ts';
import { type Effects, effectsOf } from './effects.ts';
import { isCompilable, type Region, RegionFinder, type RegionLimits } from './region.ts';
import { RegionFunction } from './region-function.ts';
import { HANDLER_TYPE, REGION_TYPE } from './region-type.ts';

/** When code is compiled, and how much of it is kept. */
export interface JitOptions {
  /** A block is compiled when it was found running this many times at the end of a stretch of `sampleFuel` instructions. */
  readonly samples: number;
  readonly sampleFuel: number;
  /** … or when it was looked up this many times: by computed branches, and by those that leave their page. */
  readonly lookups: number;
  /** Blocks and instructions in a region at most. */
  readonly region: RegionLimits;
  /** Compiled regions that are kept at most; beyond that all are forgotten, and what is still in use comes back. */
  readonly maximumRegions: number;
}

export const DEFAULT_JIT: JitOptions = {
  samples: 2,
  sampleFuel: 10_000,
  lookups: 300,
  region: { blocks: 64, instructions: 500 },
  maximumRegions: 3000,
};

/** What the compiler needs of the machine that it works for. */
export interface JitHost {
  readonly arena: WebAssembly.Memory;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  /** The interpreter's function table. */
  readonly table: WebAssembly.Table;
  /** What stands in the table for code that is gone: says that it is to be looked up. */
  readonly gone: CallableFunction;
  /** Changes JUMP_GENERATION: remembered jumps, and running compiled code, are not to be trusted any more. */
  codeChanged(): void;
}

/** A region in use. */
interface CompiledRegion {
  readonly slot: number;
  readonly blocks: readonly CachedBlock[];
}

/** Instructions whose meaning depends on their immediate: shifts by 0 leave the flags alone. */
const SHIFTS: ReadonlySet<string> = new Set(['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd']);

/** Compiles what runs often to WebAssembly functions, a region at a time, and forgets it when the code changes. */
export class Jit {
  readonly options: JitOptions;
  readonly #host: JitHost;
  readonly #view: DataView;
  readonly #finder: RegionFinder;
  readonly #specials: readonly (SpecialHandler | undefined)[];
  readonly #effects = new Map<string, Effects>();
  readonly #regions = new Set<CompiledRegion>();
  readonly #byBlock = new Map<CachedBlock, Set<CompiledRegion>>();
  readonly #freeSlots: number[] = [];
  /** Since power-on: regions compiled, bytes of code, milliseconds spent, regions forgotten. */
  compiled = 0;
  compiledBytes = 0;
  forgotten = 0;

  constructor(host: JitHost, options: JitOptions) {
    this.#host = host;
    this.options = options;
    this.#view = new DataView(host.arena.buffer);
    this.#finder = new RegionFinder(host.arena.buffer, host.code, host.interpreter);
    const specials: (SpecialHandler | undefined)[] = [];
    for (const [name, number] of Object.entries(host.interpreter.special)) {
      specials[number] = name as SpecialHandler;
    }
    this.#specials = specials;
    host.code.lookupsUntilHot = options.lookups;
    host.code.onDropped = (block) => this.#dropBlock(block);
    host.code.onFlush = () => this.forgetAll();
  }

  /** The block that starts with micro-operation `start` was running when a stretch ended. */
  sample(record: number, start: number): void {
    const header = start - BLOCK_HEADER_SIZE;
    const samples = this.#view.getInt32(header + BLOCK_SAMPLES, true) + 1;
    this.#view.setInt32(header + BLOCK_SAMPLES, samples, true);
    if (samples === this.options.samples) {
      this.compile(record, start);
    }
  }

  /**
   * Compiles the region that starts at a block, whose first micro-operation is at `start`, for the processor whose
   * record is at `record` and whose RIP is at the block.
   */
  compile(record: number, start: number): void {
    const entry = this.#host.code.blockAt(start);
    if (entry === undefined || !isCompilable(entry.mode) || this.#isCompiled(entry)) {
      return;
    }
    const region = this.find(record, entry);
    if (region === undefined) {
      return;
    }
    if (this.#regions.size >= this.options.maximumRegions) {
      this.forgetAll();
    }
    const bytes = this.build(region);
    const { arena, table } = this.#host;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory: arena, table } });
    const slot = this.#freeSlots.pop() ?? table.grow(1);
    table.set(slot, instance.exports['region']);
    this.compiled++;
    this.compiledBytes += bytes.length;
    this.#install(entry, { slot, blocks: region.blocks.map((block) => block.cached) });
  }

  #isCompiled(entry: CachedBlock): boolean {
    return this.#view.getUint16(entry.block.start + UOP_HANDLER, true) === this.#host.interpreter.special.compiled;
  }

  /** What would be compiled together with a block. */
  find(record: number, entry: CachedBlock): Region | undefined {
    const view = this.#view;
    const rip = view.getBigInt64(record + L.RIP, true);
    const page = rip - BigInt(entry.physical & 0xfff);
    const long = (entry.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    const itlb = view.getInt32(record + L.ITLB, true);
    const physicalPage = (delta: number): number => {
      if (delta === 0) {
        return entry.physical - (entry.physical & 0xfff);
      }
      const linear = long ? BigInt.asIntN(64, page + BigInt(delta)) : BigInt.asUintN(32, page + BigInt(delta));
      const place = itlb + Number((linear >> 12n) & BigInt(ITLB_ENTRIES - 1)) * 16;
      return view.getBigInt64(place, true) === linear ? view.getUint32(place + ITLB_PHYSICAL, true) : -1;
    };
    return this.#finder.find(entry, physicalPage, this.options.region);
  }

  /** The WebAssembly module with the function `region` for a region. */
  build(region: Region): Uint8Array<ArrayBuffer> {
    const module = new ModuleBuilder(this.#host.arena.buffer.byteLength / 0x10000, 'imported');
    const { helpers } = this.#host.interpreter;
    const environment = {
      view: this.#view,
      helper: (name: string) => {
        const known = defined(helpers.get(name), `helper function ${name}`);
        return { ...known, indirectType: module.typeIndex(known.type) };
      },
      effects: (variant: Variant, uop: number) => this.#effectsOf(variant, uop),
      special: (uop: number) => this.#special(uop),
      handlerType: module.typeIndex(HANDLER_TYPE),
      regionType: module.typeIndex(REGION_TYPE),
    };
    const reference = module.function('region', REGION_TYPE, (f) => new RegionFunction(f, region, environment).build());
    module.export('region', reference);
    return module.build();
  }

  #special(uop: number): SpecialHandler | undefined {
    const handler = this.#view.getUint16(uop + UOP_HANDLER, true);
    return this.#specials[
      handler === this.#host.interpreter.special.compiled
        ? this.#view.getUint16(uop - BLOCK_HEADER_SIZE + BLOCK_ORIGINAL_HANDLER, true)
        : handler
    ];
  }

  #effectsOf(variant: Variant, uop: number): Effects {
    const immediate =
      SHIFTS.has(variant.definition.name) &&
      variant.operands.some((operand) => operand.kind === 'immediate' && operand.value === undefined)
        ? this.#view.getInt32(uop + UOP_IMMEDIATE, true) & 63
        : undefined;
    const key = immediate === undefined ? variant.key : `${variant.key} ${immediate}`;
    let effects = this.#effects.get(key);
    if (effects === undefined) {
      effects = effectsOf(variant, this.#host.interpreter.helpers, immediate);
      this.#effects.set(key, effects);
    }
    return effects;
  }

  #install(entry: CachedBlock, region: CompiledRegion): void {
    const view = this.#view;
    const { start } = entry.block;
    view.setInt32(start - BLOCK_HEADER_SIZE + BLOCK_FUNCTION, region.slot, true);
    view.setUint16(start + UOP_HANDLER, this.#host.interpreter.special.compiled, true);
    this.#regions.add(region);
    for (const block of region.blocks) {
      const users = this.#byBlock.get(block) ?? new Set();
      this.#byBlock.set(block, users);
      users.add(region);
    }
  }

  #dropBlock(block: CachedBlock): void {
    const users = this.#byBlock.get(block);
    if (users !== undefined) {
      for (const region of [...users]) {
        this.#forget(region);
      }
    }
  }

  #forget(region: CompiledRegion): void {
    this.#regions.delete(region);
    for (const block of region.blocks) {
      const users = this.#byBlock.get(block);
      users?.delete(region);
      if (users?.size === 0) {
        this.#byBlock.delete(block);
      }
    }
    const entry = defined(region.blocks[0], 'entry');
    const { start } = entry.block;
    if (this.#isCompiled(entry)) {
      const original = this.#view.getUint16(start - BLOCK_HEADER_SIZE + BLOCK_ORIGINAL_HANDLER, true);
      this.#view.setUint16(start + UOP_HANDLER, original, true);
      this.#view.setInt32(start - BLOCK_HEADER_SIZE + BLOCK_SAMPLES, 0, true);
    }
    this.#host.table.set(region.slot, this.#host.gone);
    this.#freeSlots.push(region.slot);
    this.forgotten++;
    this.#host.codeChanged();
  }

  /** Forgets all compiled code. */
  forgetAll(): void {
    for (const region of [...this.#regions]) {
      this.#forget(region);
    }
  }
}
