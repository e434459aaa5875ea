import { defined } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import type { CachedBlock, CodeCache } from '../code-cache.ts';
import type { Interpreter } from '../interpreter.ts';
import {
  BLOCK_FUNCTION,
  BLOCK_HEADER_SIZE,
  BLOCK_LOOKUPS,
  BLOCK_ORIGINAL_HANDLER,
  BLOCK_SAMPLES,
  ITLB_ENTRIES,
  ITLB_PHYSICAL,
  LOOKUPS_A_LOOK,
  UOP_HANDLER,
} from '../micro-op.ts';
import { type CompilerThread, toRequest } from './compile-request.ts';
import { type FoundRegion, isCompilable, RegionFinder, type RegionLimits, RegionReader } from './region.ts';
import { MicroOpReader, RegionModules } from './region-module.ts';

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
  samples: 50,
  sampleFuel: 10000,
  lookups: 16 * LOOKUPS_A_LOOK,
  region: { blocks: 20, instructions: 120 },
  maximumRegions: 8000,
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
  /** Without it, regions are compiled here and now. */
  readonly compiler?: CompilerThread | undefined;
  warn(message: string): void;
  /** Changes JUMP_GENERATION: remembered jumps, and running compiled code, are not to be trusted any more. */
  codeChanged(): void;
}

/** A region in use. */
interface CompiledRegion {
  readonly slot: number;
  readonly blocks: readonly CachedBlock[];
}

/** Targets that are remembered of one computed branch. */
const MOST_TARGETS = 32;

/** Compiles what runs often to WebAssembly functions, a region at a time, and forgets it when the code changes. */
export class Jit {
  readonly options: JitOptions;
  readonly #host: JitHost;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #finder: RegionFinder;
  readonly #reader: RegionReader;
  readonly #modules: RegionModules;
  /** Regions that are being compiled in the other thread. */
  readonly #requested = new Map<number, FoundRegion<CachedBlock>>();
  #requests = 0;
  readonly #regions = new Set<CompiledRegion>();
  readonly #byBlock = new Map<CachedBlock, Set<CompiledRegion>>();
  readonly #freeSlots: number[] = [];
  /** Where computed branches went, by their micro-operation: offsets from the start of its page. */
  readonly #targets = new Map<number, number[]>();
  /** Since power-on: regions compiled, bytes of code, milliseconds spent, regions forgotten. */
  compiled = 0;
  compiledBytes = 0;
  forgotten = 0;

  constructor(host: JitHost, options: JitOptions) {
    this.#host = host;
    this.options = options;
    this.#view = new DataView(host.arena.buffer);
    this.#words = new Int32Array(host.arena.buffer);
    const reader = new MicroOpReader(this.#view, host.interpreter);
    this.#reader = new RegionReader(reader, host.interpreter);
    this.#finder = new RegionFinder(this.#view, host.code, this.#reader, (uop) => this.#targets.get(uop) ?? []);
    this.#modules = new RegionModules(reader, host.interpreter, host.arena.buffer.byteLength / 0x10000);
    host.code.lookupsUntilHot = options.lookups;
    host.code.onDropped = (block) => this.#dropBlock(block);
    host.code.onFlush = () => {
      this.forgetAll();
      this.#targets.clear();
    };
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
   * The block that starts with micro-operation `start` has been looked up often; RIP is there. Remembers which computed
   * branch led to it, and compiles it when it is time.
   */
  look(record: number, start: number): void {
    const view = this.#view;
    const source = view.getInt32(record + L.JUMP_SOURCE, true);
    if (source !== 0) {
      const rip = view.getBigInt64(record + L.RIP, true);
      this.#noteTarget(source, Number(rip - view.getBigInt64(record + L.RIP_BASE, true)));
    }
    if (view.getInt32(start - BLOCK_HEADER_SIZE + BLOCK_LOOKUPS, true) === 0) {
      this.compile(record, start);
    }
  }

  #noteTarget(source: number, offset: number): void {
    const known = this.#targets.get(source);
    if (known === undefined) {
      this.#targets.set(source, [offset]);
    } else if (known.length < MOST_TARGETS && !known.includes(offset)) {
      known.push(offset);
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
    const { compiler } = this.#host;
    if (compiler === undefined) {
      const bytes = this.#modules.build(this.#reader.read(region));
      this.#install(region, new WebAssembly.Module(bytes), bytes.length);
      return;
    }
    const id = this.#requests++;
    this.#requested.set(id, region);
    compiler.request(toRequest(id, region, this.#words));
  }

  /** Takes over what the other thread has compiled, as far as the code is still the same. */
  poll(): void {
    const { compiler, code } = this.#host;
    for (let answer = compiler?.poll(); answer !== undefined; answer = compiler?.poll()) {
      const region = this.#requested.get(answer.id);
      this.#requested.delete(answer.id);
      if (region === undefined) {
        continue;
      }
      if ('failure' in answer) {
        this.#host.warn(`a region of guest code stays interpreted, compiling it failed: ${answer.failure}`);
      } else if (region.blocks.every(({ cached }) => code.blockAt(cached.block.start) === cached)) {
        this.#install(region, answer.module, answer.bytes);
      } else {
        this.#startOver(defined(region.blocks[0], 'entry').cached);
      }
    }
  }

  /** Counts from the beginning until a block is compiled. */
  #startOver({ block }: CachedBlock): void {
    if (this.#host.code.blockAt(block.start) !== undefined) {
      const header = block.start - BLOCK_HEADER_SIZE;
      this.#view.setInt32(header + BLOCK_SAMPLES, 0, true);
      this.#view.setInt32(header + BLOCK_LOOKUPS, this.options.lookups, true);
    }
  }

  #isCompiled(entry: CachedBlock): boolean {
    return this.#view.getUint16(entry.block.start + UOP_HANDLER, true) === this.#host.interpreter.special.compiled;
  }

  /** What would be compiled together with a block. */
  find(record: number, entry: CachedBlock): FoundRegion<CachedBlock> | undefined {
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

  #install(region: FoundRegion<CachedBlock>, module: WebAssembly.Module, bytes: number): void {
    if (this.#regions.size >= this.options.maximumRegions) {
      this.forgetAll();
    }
    const { arena, table, interpreter } = this.#host;
    const instance = new WebAssembly.Instance(module, { env: { memory: arena, table } });
    const slot = this.#freeSlots.pop() ?? table.grow(1);
    table.set(slot, instance.exports['region']);
    this.compiled++;
    this.compiledBytes += bytes;
    const view = this.#view;
    const { start } = defined(region.blocks[0], 'entry').cached.block;
    view.setInt32(start - BLOCK_HEADER_SIZE + BLOCK_FUNCTION, slot, true);
    view.setUint16(start + UOP_HANDLER, interpreter.special.compiled, true);
    const compiled = { slot, blocks: region.blocks.map((block) => block.cached) };
    this.#regions.add(compiled);
    for (const block of compiled.blocks) {
      const users = this.#byBlock.get(block) ?? new Set();
      this.#byBlock.set(block, users);
      users.add(compiled);
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
      this.#startOver(entry);
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
