import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArena, RAM } from '../../memory/arena.ts';
import { Random } from '../../testing/random.ts';
import * as L from '../x86/layout.ts';
import { UOP_CACHE } from './arena-layout.ts';
import { type CodeSource, Decoder } from './decoder.ts';
import { interpreterFor } from './interpreter-for.ts';
import { UOP_SIZE } from './micro-op.ts';

const RAM_BYTES = 1 << 20;
const INSTRUCTIONS = 60_000;
/** Micro-operations of one instruction, and the block's end. */
const ROOM = 8 * UOP_SIZE;

const MODES = {
  '64-bit': L.MODE_CODE64 | L.MODE_STACK64 | L.MODE_PROTECTED | L.MODE_LONG,
  'flat 32-bit': L.MODE_FLAT32 | L.MODE_CPL_MASK,
  '32-bit with segments': L.MODE_PROTECTED | L.MODE_CODE32 | L.MODE_STACK32,
  '16-bit': L.MODE_CODE16 | L.MODE_STACK16,
} as const;

/** Bytes that are more often prefixes and common opcodes than chance has it. */
function randomInstruction(random: Random): number[] {
  const bytes: number[] = [];
  while (random.below(4) === 0) {
    bytes.push(random.pick([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x2e, 0x36]));
  }
  if (random.below(2) === 0) {
    bytes.push(0x40 | random.below(16));
  }
  if (random.below(3) === 0) {
    bytes.push(0x0f);
  }
  while (bytes.length < 16) {
    bytes.push(random.below(256));
  }
  return bytes;
}

for (const [name, base] of Object.entries(MODES)) {
  test(`${name} code: what is copied is what is decoded`, () => {
    const arena = createArena(RAM_BYTES).buffer;
    const { table, interpreter } = interpreterFor(arena.byteLength / 0x10000);
    const decoder = new Decoder(arena, table, interpreter);
    const page = RAM;
    const memory = new Uint8Array(arena);
    const words = new Int32Array(arena);
    const byte = (offset: number) => memory[page + offset] as number;
    const quickly: CodeSource = { memory, base: page, byte };
    const thoroughly: CodeSource = { memory: undefined, base: 0, byte };
    const mode = base | L.MODE_SINGLE;
    const random = new Random(7);
    const decode = (source: CodeSource, offset: number) => {
      words.fill(0x5a5a5a5a, UOP_CACHE >> 2, (UOP_CACHE + ROOM) >> 2);
      const block = decoder.decodeBlock(source, offset, 0xfff, mode, UOP_CACHE);
      return { ...block, words: [...words.slice(UOP_CACHE >> 2, block.end >> 2)] };
    };
    for (let i = 0; i < INSTRUCTIONS; i++) {
      const offset = random.below(4000);
      const bytes = randomInstruction(random);
      memory.set(bytes, page + offset);
      const first = decode(quickly, offset);
      // The same again with other numbers behind ModRM and SIB byte, elsewhere: known by now, if it is of the usual kind.
      const elsewhere = random.below(4000);
      const fixed = Math.max(1, first.bytes - random.pick([0, 1, 2, 4, 5, 8]));
      memory.set([...bytes.slice(0, fixed), ...randomInstruction(random)].slice(0, 16), page + elsewhere);
      const quick = decode(quickly, elsewhere);
      const thorough = decode(thoroughly, elsewhere);
      assert.deepEqual(quick, thorough, `instruction ${i}: ${Buffer.from(bytes).toString('hex')}`);
    }
    assert.ok(decoder.copied > INSTRUCTIONS / 3, `${decoder.copied} of ${INSTRUCTIONS} were copied`);
  });
}
