import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TLB_GLOBAL_LIST, TLB_LOCAL_LIST, TLBS } from './arena-layout.ts';
import { fuzz } from './testing/fuzzing.ts';
import type { Tier } from './testing/guest-machine.ts';
import { INTERPRETER, Lockstep } from './testing/lockstep.ts';
import { neverDiffer } from './testing/never-differ.ts';
import { randomProgram } from './testing/random-programs.ts';
import { describeProgram } from './testing/report.ts';

const SEED = Number(process.env['LODGE_SEED'] ?? 1) * 1_000_000;

test('the interpreter does the same in blocks and instruction by instruction', (context) => {
  const summary = neverDiffer(context, 'one-by-one', 0, 8000);
  // All ways a program may go are among them.
  for (const end of ['user64 done', 'kernel64 done', 'user32 done', 'kernel32 slices', 'compatibility slices']) {
    assert.ok((summary.ends.get(end) ?? 0) > 0, `no program: ${end}`);
  }
});

test('where slices end makes no difference', (context) => {
  neverDiffer(context, 'pieces', 100_000, 12_000);
});

/** Whether the comparison notices a processor that is broken in one way. */
function notices(broken: Tier): void {
  const summary = fuzz(INTERPRETER, broken, { seed: SEED, failures: 1, more: (sum) => sum.programs < 300 });
  assert.equal(summary.failures.length, 1, 'not noticed');
}

test('a processor that does not notice overwritten code is found out', () => {
  notices({
    name: 'deaf to overwritten code',
    prepare: ({ cpus }) => {
      cpus.code.written = () => {};
    },
  });
});

test('a processor that keeps translations too long is found out', () => {
  notices({
    name: 'keeps translations',
    prepare: ({ cpus, memory }) => {
      const words = new Int32Array(memory.arena.buffer);
      const run = cpus.run.bind(cpus);
      // What is on no list is never flushed.
      cpus.run = (until) => {
        words[(TLBS + TLB_LOCAL_LIST) >> 2] = 0;
        words[(TLBS + TLB_GLOBAL_LIST) >> 2] = 0;
        return run(until);
      };
    },
  });
});

test('a processor that takes interrupts late is found out', () => {
  notices({
    name: 'late',
    prepare: ({ cpu }) => {
      cpu.breakSoon = () => {};
    },
  });
});

test('what a failure is reduced to is small and says what differs', () => {
  const broken: Tier = {
    name: 'deaf to overwritten code',
    prepare: ({ cpus }) => {
      cpus.code.written = () => {};
    },
  };
  const [failure] = fuzz(INTERPRETER, broken, { seed: SEED, failures: 1, more: () => true }).failures;
  assert.ok(failure !== undefined);
  const items = failure.text.match(/^ {4}2000.*$/gm) ?? [];
  assert.ok(items.length >= 1 && items.length <= 6, failure.text);
  assert.match(failure.text, new RegExp(`seed ${failure.seed}\n`));
  assert.match(failure.text, /first difference after slice/);
});

test('the program of a seed is the same every time', () => {
  assert.equal(describeProgram(randomProgram(SEED + 7)), describeProgram(randomProgram(SEED + 7)));
  assert.notEqual(describeProgram(randomProgram(SEED + 7)), describeProgram(randomProgram(SEED + 8)));
});

test('programs reach the end, faults, interrupts and all services', () => {
  const pair = new Lockstep(INTERPRETER, INTERPRETER);
  const vectors = new Set<number>();
  for (let i = 0; i < 150; i++) {
    const outcome = pair.run(randomProgram(SEED + 200_000 + i));
    assert.deepEqual(outcome?.differences ?? [], []);
    for (const vector of pair.a.recordedVectors()) {
      vectors.add(vector);
    }
  }
  for (const vector of [0, 1, 2, 3, 6, 7, 13, 14, 16, 0x20, 0x80, 0x81, 0x82]) {
    assert.ok(vectors.has(vector), `vector ${vector} never came`);
  }
});
