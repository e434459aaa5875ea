import { BLOCK_HEADER_SIZE } from '../micro-op.ts';
import type { BlockEnd, FoundBlock, FoundRegion } from './region.ts';

/** A region as it is sent to another thread, in numbers because they are quick to send. */
export interface CompileRequest {
  readonly id: number;
  readonly mode: number;
  /** Of each block eight numbers (see `BLOCK_NUMBERS`), and the known targets of a computed branch. */
  readonly blocks: Float64Array<ArrayBuffer>;
  /** Each block's header and micro-operations. */
  readonly uops: Int32Array<ArrayBuffer>;
}

/** What comes back: the module, and how long it is in bytes, or why there is none. */
export type CompileAnswer = { readonly id: number } & (
  | { readonly module: WebAssembly.Module; readonly bytes: number }
  | { readonly failure: string }
);

/** Compiles regions in another thread. */
export interface CompilerThread {
  /** Takes the request over. */
  request(request: CompileRequest): void;
  /** The next answer, if one has come. Cheap when none has. */
  poll(): CompileAnswer | undefined;
}

const KINDS: readonly BlockEnd['kind'][] = ['next', 'jump', 'branch', 'call', 'return', 'computed', 'elsewhere'];
/** Start, end, physical address, page delta, instructions, kind of end, place taken, place next. */
const BLOCK_NUMBERS = 8;
/** The place behind a jump, which has none. */
const NOWHERE = Number.NEGATIVE_INFINITY;

/** `arena` in words. */
export function toRequest(id: number, { mode, blocks }: FoundRegion, arena: Int32Array): CompileRequest {
  const numbers: number[] = [];
  let uopWords = 0;
  for (const { cached, pageDelta, instructionCount, end } of blocks) {
    const { start, end: stop } = cached.block;
    uopWords += (BLOCK_HEADER_SIZE + stop - start) >> 2;
    const taken = 'taken' in end ? end.taken : 0;
    const next = 'next' in end ? (end.next ?? NOWHERE) : NOWHERE;
    numbers.push(start, stop, cached.physical, pageDelta, instructionCount, KINDS.indexOf(end.kind), taken, next);
    if (end.kind === 'computed') {
      numbers.push(end.targets.length, ...end.targets);
    }
  }
  const uops = new Int32Array(uopWords);
  let at = 0;
  for (const { cached } of blocks) {
    const { start, end } = cached.block;
    uops.set(arena.subarray((start - BLOCK_HEADER_SIZE) >> 2, end >> 2), at);
    at += (BLOCK_HEADER_SIZE + end - start) >> 2;
  }
  return { id, mode, blocks: new Float64Array(numbers), uops };
}

/** The region of a request, with its micro-operations put into `mirror` (in words) at their arena addresses. */
export function fromRequest(request: CompileRequest, mirror: Int32Array): FoundRegion {
  const { mode, blocks: numbers, uops } = request;
  const blocks: FoundBlock[] = [];
  for (let at = 0; at < numbers.length; ) {
    const [start = 0, stop = 0, physical = 0, pageDelta = 0, instructionCount = 0, kind = 0, taken = 0, next = 0] =
      numbers.subarray(at, at + BLOCK_NUMBERS);
    at += BLOCK_NUMBERS;
    let targets: number[] = [];
    if (KINDS[kind] === 'computed') {
      const length = numbers[at] as number;
      targets = [...numbers.subarray(at + 1, at + 1 + length)];
      at += 1 + length;
    }
    blocks.push({
      cached: { block: { start, end: stop }, physical },
      pageDelta,
      at: pageDelta + (physical & 0xfff),
      instructionCount,
      end: endOf(KINDS[kind], taken, next, targets),
    });
  }
  let at = 0;
  for (const { cached } of blocks) {
    const { start, end } = cached.block;
    const length = (BLOCK_HEADER_SIZE + end - start) >> 2;
    mirror.set(uops.subarray(at, at + length), (start - BLOCK_HEADER_SIZE) >> 2);
    at += length;
  }
  return { mode, blocks };
}

function endOf(kind: BlockEnd['kind'] | undefined, taken: number, next: number, targets: number[]): BlockEnd {
  switch (kind) {
    case 'next':
      return { kind, next };
    case 'jump':
      return { kind, taken };
    case 'branch':
    case 'call':
      return { kind, taken, next };
    case 'computed':
      return { kind, targets, next: next === NOWHERE ? undefined : next };
    case 'return':
      return { kind };
    default:
      return { kind: 'elsewhere' };
  }
}
