import type { InstructionTable } from './definition.ts';
import { defineSseCiphers } from './sse-ciphers.ts';
import { defineSseCompare } from './sse-compare.ts';
import { defineSseConversions } from './sse-conversions.ts';
import { defineSseFloat } from './sse-float.ts';
import { defineSseGalois } from './sse-galois.ts';
import { defineSseHashes } from './sse-hashes.ts';
import { defineSseInteger } from './sse-integer.ts';
import { defineSseMoves } from './sse-moves.ts';
import { defineSseShuffles } from './sse-shuffles.ts';
import { defineSseStrings } from './sse-strings.ts';

/** Every instruction on XMM registers up to SSE4.2, with AES, carry-less multiplication, SHA and GFNI. */
export function defineSseInstructions(table: InstructionTable): void {
  defineSseMoves(table);
  defineSseInteger(table);
  defineSseShuffles(table);
  defineSseFloat(table);
  defineSseCompare(table);
  defineSseConversions(table);
  defineSseStrings(table);
  defineSseCiphers(table);
  defineSseHashes(table);
  defineSseGalois(table);
}
