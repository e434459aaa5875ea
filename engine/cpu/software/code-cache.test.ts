import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArena, RAM } from '../../memory/arena.ts';
import { MachineMemory } from '../../memory/machine-memory.ts';
import * as L from '../x86/layout.ts';
import { CodeCache } from './code-cache.ts';
import { blockSlot } from './interpreter.ts';
import { interpreterFor } from './interpreter-for.ts';

const MODE = L.MODE_CODE64 | L.MODE_FLAT | L.MODE_LONG;
const RAM_BYTES = 16 << 20;
const NO_LIMIT = Number.POSITIVE_INFINITY;
const noPage = () => -1;

/** A cache over memory full of one-byte NOPs and jumps. */
function build() {
  const arena = createArena(RAM_BYTES);
  const memory = new MachineMemory(arena, RAM_BYTES);
  memory.mapRam(0, RAM_BYTES);
  new Uint8Array(arena.buffer, RAM, RAM_BYTES).fill(0x90);
  const { table, interpreter } = interpreterFor(arena.buffer.byteLength / 0x10000);
  return { memory, code: new CodeCache(arena.buffer, table, interpreter, () => 0) };
}

/** Two places whose blocks have the same slot. */
function rivals(): [number, number] {
  const seen = new Map<number, number>();
  for (let physical = 0x1000; ; physical += 64) {
    const other = seen.get(blockSlot(physical, MODE));
    if (other !== undefined && other >> 12 !== physical >> 12) {
      return [other, physical];
    }
    seen.set(blockSlot(physical, MODE), physical);
  }
}

test('blocks that share a slot are decoded once, and found in turns', () => {
  const { code } = build();
  const [one, two] = rivals();
  code.add(one, MODE, NO_LIMIT, noPage);
  const first = code.find(one, MODE);
  code.add(two, MODE, NO_LIMIT, noPage);
  assert.equal(code.find(one, MODE), undefined, 'another has its slot');
  const second = code.find(two, MODE);
  for (let turn = 0; turn < 3; turn++) {
    code.add(one, MODE, NO_LIMIT, noPage);
    assert.equal(code.find(one, MODE), first);
    code.add(two, MODE, NO_LIMIT, noPage);
    assert.equal(code.find(two, MODE), second);
  }
  assert.equal(code.blocksDecoded, 2);
});

test('a block that was overwritten while another had its slot is decoded anew', () => {
  const { memory, code } = build();
  const [one, two] = rivals();
  code.add(one, MODE, NO_LIMIT, noPage);
  code.add(two, MODE, NO_LIMIT, noPage);
  memory.writeU8(one, 0xf4);
  code.written(one, 1);
  assert.notEqual(code.find(two, MODE), undefined);
  code.add(one, MODE, NO_LIMIT, noPage);
  assert.equal(code.find(one, MODE)?.block.bytes, 1, 'HLT ends it');
  assert.equal(code.blocksDecoded, 3);
  code.flush();
  code.add(two, MODE, NO_LIMIT, noPage);
  assert.equal(code.blocksDecoded, 4);
});
