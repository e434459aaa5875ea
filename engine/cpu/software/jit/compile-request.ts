import { BLOCK_HEADER_SIZE } from '../micro-op.ts';
import type { BlockEnd, Region } from './region.ts';
import { computedTargets, type RegionReader } from './region.ts';

/** A region as it is sent to another thread, with a copy of its micro-operations. */
export interface CompileRequest {
  readonly id: number;
  readonly mode: number;
  readonly blocks: readonly {
    readonly start: number;
    readonly end: number;
    readonly physical: number;
    readonly pageDelta: number;
    readonly instructionCount: number;
    readonly finish: BlockEnd;
  }[];
  /** Each block's header and micro-operations, one after the other. */
  readonly uops: Uint8Array;
}

/** What comes back: the module, and how long it is in bytes, or why there is none. */
export type CompileAnswer = { readonly id: number } & (
  | { readonly module: WebAssembly.Module; readonly bytes: number }
  | { readonly failure: string }
);

/** Compiles regions in another thread. */
export interface CompilerThread {
  request(request: CompileRequest): void;
  /** The next answer, if one has come. Cheap when none has. */
  poll(): CompileAnswer | undefined;
}

export function toRequest(id: number, region: Region, arena: Uint8Array): CompileRequest {
  let length = 0;
  const blocks = region.blocks.map(({ cached, pageDelta, instructionCount, end }) => {
    const { start, end: stop } = cached.block;
    length += BLOCK_HEADER_SIZE + stop - start;
    return { start, end: stop, physical: cached.physical, pageDelta, instructionCount, finish: end };
  });
  const uops = new Uint8Array(length);
  let at = 0;
  for (const { start, end } of blocks) {
    uops.set(arena.subarray(start - BLOCK_HEADER_SIZE, end), at);
    at += BLOCK_HEADER_SIZE + end - start;
  }
  return { id, mode: region.mode, blocks, uops };
}

/** The region of a request, with its micro-operations put into `mirror` at their arena addresses. */
export function fromRequest(request: CompileRequest, mirror: Uint8Array, reader: RegionReader): Region {
  let from = 0;
  const at = new Map<number, number>();
  const blocks = request.blocks.map(({ start, end, physical, pageDelta, instructionCount, finish }, index) => {
    const length = BLOCK_HEADER_SIZE + end - start;
    mirror.set(request.uops.subarray(from, from + length), start - BLOCK_HEADER_SIZE);
    from += length;
    const place = pageDelta + (physical & 0xfff);
    at.set(place, index);
    return {
      cached: { block: { start, end }, physical },
      pageDelta,
      at: place,
      instructionCount,
      instructions: reader.instructions(start, end) ?? [],
      end: finish,
    };
  });
  return { mode: request.mode, blocks, at, leadsTo: computedTargets(blocks, at) };
}
