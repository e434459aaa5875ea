import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE_MAP, createArena, RAM } from './arena.ts';
import { MachineMemory } from './machine-memory.ts';

const PAGE = 0x1000;

test('pages that a guest gives up are released together, but never ROM, holes or what is not mapped', () => {
  const memory = new MachineMemory(createArena(4 << 20), 4 << 20);
  memory.mapRam(0, 0xa0000);
  memory.mapRam(0x100000, 3 << 20);
  memory.mapRom(0x120000, PAGE, RAM + 0x120000);
  memory.ram.fill(0x77);
  const released: [number, number][] = [];
  const release = (bytes: Uint8Array) => {
    released.push([bytes.byteOffset - RAM, bytes.length]);
    bytes.fill(0);
  };
  memory.discard(0x9e000, 0x64000, release);
  assert.deepEqual(released, [
    [0x9e000, 0x2000],
    [0x100000, 0x2000],
  ]);
  assert.equal(memory.readU8(0x9dfff), 0x77);
  assert.equal(memory.readU8(0x9e000), 0);
  released.length = 0;
  memory.discard(0x11e000, 0x4000, release);
  assert.deepEqual(released, [
    [0x11e000, 0x2000],
    [0x121000, 0x1000],
  ]);
  assert.equal(memory.readU8(0x120000), 0x77, 'ROM stays');
});

test('code in pages that are given up is decoded anew', () => {
  const memory = new MachineMemory(createArena(2 << 20), 2 << 20);
  memory.mapRam(0, 2 << 20);
  new Uint32Array(memory.arena.buffer, CODE_MAP)[2 * 5] = 1;
  const written: { base: number; length: number }[] = [];
  memory.onCodeWritten((range) => written.push(range));
  memory.discard(4 * PAGE, 3 * PAGE, () => {});
  assert.deepEqual(written, [{ base: 4 * PAGE, length: 3 * PAGE }]);
});
