import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CpuProfile, summarize } from './cpu-profile.ts';
import { interpreterNames } from './interpreter-names.ts';

const ROOT = 'file:///lodge';

function node(id: number, functionName: string, url: string, children: number[] = []) {
  return { id, callFrame: { functionName, url, lineNumber: 6 }, children };
}

/** root → main → loop(interpreter) → add(interpreter) and walk(ours); main → a module of compiled code. */
const profile: CpuProfile = {
  nodes: [
    node(1, '(root)', '', [2, 7]),
    node(2, 'main', `${ROOT}/engine/cpu/main.ts`, [3, 6]),
    node(3, 'wasm-function[9]', 'wasm://wasm/1', [4, 5]),
    node(4, 'wasm-function[2]', 'wasm://wasm/1'),
    node(5, 'walk', `${ROOT}/engine/cpu/walk.ts`),
    node(6, 'wasm-function[0]', 'wasm://wasm/2'),
    node(7, 'wasm-function[5]', 'wasm://wasm/3'),
  ],
  startTime: 1000,
  endTime: 9_001_000,
  samples: [3, 4, 5, 6, 7, 1],
  timeDeltas: [0, 1e6, 2e6, 3e6, 1e6, 2e6],
};
const names = new Map([
  [9, 'loop'],
  [2, 'add'],
]);

test('a sample counts until the next one, for its function and everything that called it', () => {
  const { seconds, functions, areas } = summarize(profile, ROOT, names);
  assert.equal(seconds, 9);
  const of = (name: string) => functions.find((entry) => entry.name === name);
  assert.deepEqual(of('loop (interpreter)'), { name: 'loop (interpreter)', self: 1, total: 6 });
  assert.deepEqual(of('add (interpreter)'), { name: 'add (interpreter)', self: 2, total: 2 });
  assert.equal(of('walk engine/cpu/walk.ts:7')?.self, 3);
  assert.equal(of('main engine/cpu/main.ts:7')?.total, 7);
  const area = (name: string) => areas.find((entry) => entry.name === name)?.self;
  assert.equal(area('interpreter: its loop'), 1);
  assert.equal(area('interpreter: functions of its own'), 2);
  assert.equal(area('compiled guest code'), 1);
  assert.equal(area('Node and V8'), 2, 'WebAssembly of others is not guest code');
});

test('only samples within the moments asked for count', () => {
  const { seconds, functions } = summarize(profile, ROOT, names, 1000 + 1e6, 1000 + 3e6);
  assert.equal(seconds, 2);
  assert.deepEqual(
    functions.filter(({ self }) => self > 0).map(({ name }) => name),
    ['add (interpreter)'],
  );
});

test("the interpreter's loop and its handlers have names", () => {
  const found = interpreterNames();
  assert.equal([...found.values()].filter((name) => name === 'loop').length, 1);
  assert.ok([...found.values()].filter((name) => name.includes('|')).length > 500, 'handlers');
});
