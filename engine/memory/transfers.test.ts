import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE_MAP, createArena, RAM } from './arena.ts';
import { MachineMemory } from './machine-memory.ts';

const PAGE = 0x1000;

/** RAM up to 0xa0000 and from 0x100000 on, with ROM from elsewhere in the middle of the latter. */
function build(): MachineMemory {
  const memory = new MachineMemory(createArena(4 << 20), 4 << 20);
  memory.mapRam(0, 0xa0000);
  memory.mapRam(0x100000, 3 << 20);
  memory.mapRom(0x104000, PAGE, RAM + 0xf0000);
  return memory;
}

const counting = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) | 1);

test('devices copy to and from many pages, around ROM and holes', () => {
  const memory = build();
  memory.ram.fill(0x55, 0xf0000, 0xf1000);
  const data = counting(6 * PAGE);
  memory.write(0x101800, data);
  // Pages before the ROM, and after it.
  assert.deepEqual(memory.ram.subarray(0x101800, 0x104000), data.subarray(0, 0x2800));
  assert.ok(
    memory.ram.subarray(0xf0000, 0xf1000).every((byte) => byte === 0x55),
    'ROM is not written',
  );
  assert.ok(memory.ram.subarray(0x104000, 0x105000).every((byte) => byte === 0));
  assert.deepEqual(memory.ram.subarray(0x105000, 0x107800), data.subarray(0x3800));

  const back = new Uint8Array(6 * PAGE);
  memory.read(0x101800, back);
  const expected = data.slice();
  expected.fill(0x55, 0x2800, 0x3800);
  assert.deepEqual(back, expected);

  // Over the end of RAM, where nothing is.
  memory.write(0x9f000, data.subarray(0, 2 * PAGE));
  assert.ok(memory.ram.subarray(0xa0000, 0xa1000).every((byte) => byte === 0));
  const end = new Uint8Array(2 * PAGE);
  memory.read(0x9f000, end);
  assert.deepEqual(end.subarray(0, PAGE), data.subarray(0, PAGE));
  assert.ok(end.subarray(PAGE).every((byte) => byte === 0xff));
});

test('every page of a long write is noted, and its code decoded anew', () => {
  const memory = build();
  const codeMap = new Uint32Array(memory.arena.buffer, CODE_MAP);
  codeMap[2 * 0x11] = 1;
  codeMap[2 * 0x13 + 1] = 1;
  const written: { base: number; length: number }[] = [];
  memory.onCodeWritten((range) => written.push(range));
  memory.write(0x10800, counting(4 * PAGE));
  assert.deepEqual(written, [
    { base: 0x11000, length: PAGE },
    { base: 0x13000, length: PAGE },
  ]);
});
