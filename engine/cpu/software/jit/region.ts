import { defined } from '../../../base/assert.ts';
import * as L from '../../x86/layout.ts';
import type { CachedBlock, CodeCache } from '../code-cache.ts';
import type { Interpreter, SpecialHandler } from '../interpreter.ts';
import { UOP_DISPLACEMENT, UOP_IP, UOP_LENGTH, UOP_REMAINING, UOP_SIZE } from '../micro-op.ts';
import type { Variant } from '../variants.ts';
import type { MicroOpReader } from './region-module.ts';

/** One instruction of a region, or the closing micro-operation of a block that simply goes on. */
export interface RegionInstruction {
  /** Arena address of its first micro-operation (address computations come first) and of the operation proper. */
  readonly first: number;
  readonly uop: number;
  /** The operation; undefined for what belongs to no instruction. */
  readonly variant: Variant | undefined;
  readonly special: SpecialHandler | undefined;
  /** Slot in the function table of the handler that the interpreter calls, if it is not part of its loop. */
  readonly coldSlot: number | undefined;
}

/** How control leaves a block, as far as it is known beforehand. */
export type BlockEnd =
  /** Goes on at `next`, always. */
  | { readonly kind: 'next'; readonly next: number }
  /** Jumps to `taken`, always. */
  | { readonly kind: 'jump'; readonly taken: number }
  /** Jumps to `taken` or goes on at `next`. */
  | { readonly kind: 'branch'; readonly taken: number; readonly next: number }
  /** Calls `taken`, to come back to `next`. */
  | { readonly kind: 'call'; readonly taken: number; readonly next: number }
  | { readonly kind: 'return' }
  /** A jump or call to an address computed by the program, to known places among others; calls come back to `next`. */
  | { readonly kind: 'computed'; readonly targets: readonly number[]; readonly next: number | undefined }
  /** An instruction that leaves compiled code. */
  | { readonly kind: 'elsewhere' };

/** The block of the code cache that a block of a region stands for. */
export interface RegionSource {
  readonly block: { readonly start: number; readonly end: number };
  readonly physical: number;
}

/** A block of a region as it is found: which it is, and how control leaves it. */
export interface FoundBlock<Source extends RegionSource = RegionSource> {
  readonly cached: Source;
  /** Offset of its page from the entry's page, in linear addresses. */
  readonly pageDelta: number;
  /** Offset of its first byte from the start of the entry's page. */
  readonly at: number;
  /** What it costs in fuel. */
  readonly instructionCount: number;
  /** Places are offsets from the start of the entry's page. */
  readonly end: BlockEnd;
}

/** What is to be compiled together. Block 0 is the entry. */
export interface FoundRegion<Source extends RegionSource = RegionSource> {
  readonly mode: number;
  readonly blocks: readonly FoundBlock<Source>[];
}

export interface RegionBlock extends FoundBlock {
  readonly instructions: readonly RegionInstruction[];
}

/** Code that is compiled as one function, read. */
export interface Region {
  readonly mode: number;
  readonly blocks: readonly RegionBlock[];
  /** Block number by offset of its first byte from the start of the entry's page. */
  readonly at: ReadonlyMap<number, number>;
  /** For each block that ends in a return or computed branch: the blocks of the region that it leads to. */
  readonly leadsTo: ReadonlyMap<number, readonly number[]>;
}

export interface RegionLimits {
  readonly blocks: number;
  readonly instructions: number;
}

/** At most this many known places that one branch compares its target with. */
const KNOWN_TARGETS = 32;

const CONDITIONAL = /^(j\d+|loop|loope|loopne|jcxz)$/;

/** Whether code of this mode is compiled at all: 64-bit and flat 32-bit protected code. */
export function isCompilable(mode: number): boolean {
  if (mode & L.MODE_SINGLE) {
    return false;
  }
  const code = mode & L.MODE_CODE_MASK;
  return (
    code === L.MODE_CODE64 ||
    (code === L.MODE_CODE32 && (mode & L.MODE_FLAT) !== 0 && (mode & L.MODE_STACK_MASK) === L.MODE_STACK32_FLAT)
  );
}

/** Reads blocks of micro-operations as instructions. */
export class RegionReader {
  readonly #reader: MicroOpReader;
  readonly #interpreter: Interpreter;

  constructor(reader: MicroOpReader, interpreter: Interpreter) {
    this.#reader = reader;
    this.#interpreter = interpreter;
  }

  /** A region with its instructions. */
  read({ mode, blocks: found }: FoundRegion): Region {
    const blocks = found.map((block) => {
      const { start, end } = block.cached.block;
      return { ...block, instructions: this.#instructions(start, end) };
    });
    const at = new Map(blocks.map((block, index) => [block.at, index]));
    return { mode, blocks, at, leadsTo: computedTargets(blocks, at) };
  }

  /** The micro-operation at `uop`, the first of whose instruction is at `first`. */
  instruction(first: number, uop: number): RegionInstruction {
    const operation = this.#interpreter.operationOf(this.#reader.handler(uop));
    const special = this.#reader.special(uop);
    return { first, uop, variant: operation?.variant, special, coldSlot: operation?.slot };
  }

  #instructions(start: number, end: number): RegionInstruction[] {
    const instructions: RegionInstruction[] = [];
    let first = start;
    for (let uop = start; uop < end; uop += UOP_SIZE) {
      if (!this.#reader.special(uop)?.startsWith('address')) {
        instructions.push(this.instruction(first, uop));
        first = uop + UOP_SIZE;
      }
    }
    return instructions;
  }
}

/** Finds what is to be compiled together: blocks that have run, reached from an entry by direct branches and calls. */
export class RegionFinder {
  readonly #view: DataView;
  readonly #code: CodeCache;
  readonly #reader: RegionReader;
  readonly #targets: (uop: number) => readonly number[];

  /** `targets`: where the computed branch at a micro-operation went, from the start of its page. */
  constructor(view: DataView, code: CodeCache, reader: RegionReader, targets: (uop: number) => readonly number[]) {
    this.#targets = targets;
    this.#view = view;
    this.#code = code;
    this.#reader = reader;
  }

  /**
   * Collects the region that starts with `entry`. `physicalPage` tells where the page lies that is `pageDelta` bytes
   * behind the entry's in linear addresses, or −1 when that is not known. Returns undefined when the entry itself cannot
   * be compiled.
   */
  find(
    entry: CachedBlock,
    physicalPage: (pageDelta: number) => number,
    limits: RegionLimits,
  ): FoundRegion<CachedBlock> | undefined {
    const mode = entry.mode;
    const blocks: FoundBlock<CachedBlock>[] = [];
    const known = new Set<number>();
    const queue: number[] = [];
    let instructions = 0;
    const add = (cached: CachedBlock, place: number): boolean => {
      const block = this.#readBlock(cached, place - (place & 0xfff), mode);
      if (block === undefined) {
        return false;
      }
      known.add(place);
      blocks.push(block);
      instructions += block.instructionCount;
      const { end } = block;
      if (end.kind === 'jump' || end.kind === 'branch' || end.kind === 'call') {
        queue.push(end.taken);
      }
      if (end.kind === 'computed') {
        queue.push(...end.targets);
      }
      const next = nextOf(end);
      if (next !== undefined) {
        queue.push(next);
      }
      return true;
    };
    if (!add(entry, entry.physical & 0xfff)) {
      return undefined;
    }
    for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
      if (blocks.length >= limits.blocks || instructions >= limits.instructions) {
        break;
      }
      if (known.has(place)) {
        continue;
      }
      const offset = place & 0xfff;
      const page = physicalPage(place - offset);
      const cached = page < 0 ? undefined : this.#code.find(page + offset, mode);
      if (cached !== undefined) {
        add(cached, place);
      }
    }
    return { mode, blocks };
  }

  /** Undefined for a block that cannot be compiled. */
  #readBlock(cached: CachedBlock, pageDelta: number, mode: number): FoundBlock<CachedBlock> | undefined {
    const { start, end, straddles } = cached.block;
    if (straddles) {
      return undefined;
    }
    // What a block ends with is no address computation.
    const last = this.#reader.instruction(end - UOP_SIZE, end - UOP_SIZE);
    return {
      cached,
      pageDelta,
      at: pageDelta + (cached.physical & 0xfff),
      instructionCount: this.#view.getUint8(start + UOP_REMAINING),
      end: this.#endOf(last, pageDelta, mode),
    };
  }

  #endOf({ variant, special, uop }: RegionInstruction, pageDelta: number, mode: number): BlockEnd {
    const view = this.#view;
    if (special === 'end') {
      return { kind: 'next', next: pageDelta + view.getUint16(uop + UOP_IP, true) };
    }
    if (variant === undefined) {
      return { kind: 'elsewhere' };
    }
    const { definition, operands, size } = variant;
    const { name } = definition;
    if (name === 'ret') {
      // Callers from elsewhere are not drawn in: that would compile much that is hardly ever run together.
      return { kind: 'return' };
    }
    const targets = () => this.#targets(uop).map((target) => pageDelta + target);
    // A jump with a smaller operand size truncates its target: rare enough to be left to the interpreter. Those with a
    // displacement of one byte have that as their size.
    const natural = (mode & L.MODE_CODE_MASK) === L.MODE_CODE64 ? 8 : 4;
    if (size !== natural && size !== 1) {
      return { kind: 'elsewhere' };
    }
    const next = pageDelta + view.getUint16(uop + UOP_IP, true) + view.getUint8(uop + UOP_LENGTH);
    const taken = next + view.getInt32(uop + UOP_DISPLACEMENT, true);
    if (CONDITIONAL.test(name)) {
      return { kind: 'branch', taken, next };
    }
    const direct = operands.length === 1 && defined(operands[0], 'operand').kind === 'none';
    if (direct && name === 'jmp') {
      return { kind: 'jump', taken };
    }
    if (direct && name === 'call') {
      return { kind: 'call', taken, next };
    }
    return name === 'call' || name === 'jmp'
      ? { kind: 'computed', targets: targets(), next: name === 'call' ? next : undefined }
      : { kind: 'elsewhere' };
  }
}

/** Where a call comes back to, or a block goes on. */
function nextOf(end: BlockEnd): number | undefined {
  return end.kind === 'next' || end.kind === 'branch' || end.kind === 'call' || end.kind === 'computed'
    ? end.next
    : undefined;
}

/** Where each return and computed branch leads within the region: what has been seen, and behind the region's calls. */
function computedTargets(blocks: readonly FoundBlock[], at: ReadonlyMap<number, number>): Map<number, number[]> {
  const result = new Map<number, number[]>();
  const add = (block: number, target: number | undefined) => {
    const list = result.get(block) ?? [];
    result.set(block, list);
    if (target !== undefined && !list.includes(target) && list.length < KNOWN_TARGETS) {
      list.push(target);
    }
  };
  const callers = new Map<number, number[]>();
  for (const [index, { end }] of blocks.entries()) {
    if (end.kind === 'computed') {
      for (const target of end.targets) {
        add(index, at.get(target));
      }
    }
    const next = end.kind === 'call' || end.kind === 'computed' ? end.next : undefined;
    const site = next === undefined ? undefined : at.get(next);
    if (site !== undefined) {
      for (const target of end.kind === 'call' ? [end.taken] : end.kind === 'computed' ? end.targets : []) {
        const callee = at.get(target);
        if (callee !== undefined) {
          callers.set(callee, [...(callers.get(callee) ?? []), site]);
        }
      }
    }
  }
  for (const [callee, sites] of callers) {
    for (const block of returnsOf(callee, blocks, at)) {
      for (const site of sites) {
        add(block, site);
      }
    }
  }
  return result;
}

/** The blocks with which a function that starts at a block returns, as far as the region has them. */
function returnsOf(callee: number, blocks: readonly FoundBlock[], at: ReadonlyMap<number, number>): number[] {
  const returns: number[] = [];
  const seen = new Set<number>([callee]);
  const stack = [callee];
  const follow = (place: number | undefined) => {
    const block = place === undefined ? undefined : at.get(place);
    if (block !== undefined && !seen.has(block)) {
      seen.add(block);
      stack.push(block);
    }
  };
  for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
    const { end } = defined(blocks[index], 'block');
    if (end.kind === 'return') {
      returns.push(index);
      continue;
    }
    follow(nextOf(end));
    if (end.kind === 'jump' || end.kind === 'branch') {
      follow(end.taken);
    } else if (end.kind === 'computed' && end.next === undefined) {
      end.targets.forEach(follow);
    }
  }
  return returns;
}
