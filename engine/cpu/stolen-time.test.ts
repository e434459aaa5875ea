import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StolenTime, TurnTimes } from './stolen-time.ts';

const MS = 1_000_000;

/** Threads of a host, of which a test says how long they waited. */
function machine(options: { cpus?: number; lagging?: boolean; threads?: boolean; silent?: boolean } = {}) {
  const { cpus = 1 } = options;
  const turns = new TurnTimes(cpus);
  const stolen: number[] = new Array(cpus).fill(0);
  const state = { now: 0, lag: 0, own: 0, threads: new Array<number>(cpus).fill(0), ids: 0, runsAll: true, looks: 0 };
  const open = new Set<unknown>();
  const watch = (nanos: () => number) => {
    const one = { nanos, dispose: () => open.delete(one) };
    open.add(one);
    return one;
  };
  const time = new StolenTime({
    turns,
    now: () => state.now,
    delays:
      options.silent === true
        ? undefined
        : {
            own: () =>
              watch(() => {
                state.looks++;
                return state.own;
              }),
            of: (id) => watch(() => state.threads[id - 1] ?? 0),
          },
    runsAll: () => state.runsAll,
    stolen: (cpu, nanos) => {
      stolen[cpu] = (stolen[cpu] ?? 0) + nanos;
    },
    ...(options.lagging === true ? { lag: () => state.lag } : {}),
    ...(options.threads === true ? { threadId: (cpu: number) => (state.ids === 0 ? 0 : cpu + 1) } : {}),
  });
  /** A slice of so many milliseconds of the machine's time, of which the host took some. */
  const slice = (millis: number, taken = 0, waits = false) => {
    time.begin();
    state.now += millis * MS;
    state.own += taken * MS;
    time.end(waits);
  };
  /** Until the host is asked again, and all is told that it said. */
  const settle = () => {
    slice(100);
    slice(600);
  };
  settle();
  return { turns, stolen, state, time, slice, settle, open };
}

test('what the host keeps from a thread is stolen from its processor', () => {
  const { stolen, slice, settle } = machine();
  for (let i = 0; i < 100; i++) {
    slice(2, 1);
  }
  settle();
  assert.deepEqual(stolen, [100 * MS]);
});

test('the host is asked ten times a second, however short the slices', () => {
  const { slice, state } = machine();
  const before = state.looks;
  for (let i = 0; i < 10_000; i++) {
    slice(0.1);
  }
  assert.ok(state.looks - before <= 10, `${state.looks - before}`);
});

test('no more is stolen at once than has passed', () => {
  const { stolen, slice, turns } = machine({ cpus: 2 });
  slice(98, 60);
  turns.ran.set([2 * MS, 0]);
  turns.waited.set([0, 1.5 * MS]);
  slice(2);
  assert.deepEqual(stolen, [2 * MS, 1.5 * MS]);
  slice(4);
  assert.deepEqual(stolen, [6 * MS, 1.5 * MS]);
  slice(500);
  assert.deepEqual(stolen, [60 * MS, 1.5 * MS]);
});

test('processors in one thread share what the host takes by how long they ran', () => {
  const { stolen, slice, settle, turns } = machine({ cpus: 3 });
  turns.ran.set([30 * MS, 10 * MS, 0]);
  slice(60, 20);
  settle();
  assert.deepEqual(stolen, [15 * MS, 5 * MS, 0]);
});

test('waiting for the turns of others is told at once, and once', () => {
  const { stolen, slice, turns } = machine({ cpus: 2, silent: true });
  turns.waited.set([0, 7 * MS]);
  slice(2);
  assert.deepEqual(stolen, [0, 7 * MS]);
  slice(2);
  assert.deepEqual(stolen, [0, 7 * MS]);
});

test('what the clock has not shown is not stolen yet', () => {
  const { stolen, slice, settle, state } = machine({ lagging: true });
  // The host stops the machine for 500 ms, of which the clock shows 3.
  state.lag = 497 * MS;
  slice(3, 500);
  settle();
  assert.deepEqual(stolen, [3 * MS]);
  // It catches up while the machine runs.
  state.lag = 200 * MS;
  settle();
  assert.deepEqual(stolen, [300 * MS]);
  state.lag = 0;
  settle();
  assert.deepEqual(stolen, [500 * MS]);
});

test('what passes while processors wait anyway is not stolen', () => {
  const { stolen, slice, settle, state } = machine({ lagging: true });
  state.lag = 497 * MS;
  slice(3, 500, true);
  // The alarm that they wait for was 400 ms away.
  state.lag = 97 * MS;
  settle();
  assert.deepEqual(stolen, [3 * MS]);
  state.lag = 0;
  settle();
  assert.deepEqual(stolen, [100 * MS]);
});

test('a lag that is not the host scheduler’s doing is never stolen time', () => {
  const { stolen, slice, settle, state } = machine({ lagging: true });
  // The host slept for ten seconds.
  state.lag = 10_000 * MS;
  slice(3);
  state.lag = 0;
  settle();
  assert.deepEqual(stolen, [0]);
});

test('threads of processors have their own figures, from when they begin', () => {
  const { stolen, settle, state } = machine({ cpus: 2, threads: true });
  state.runsAll = false;
  settle();
  state.ids = 1;
  state.threads = [5 * MS, 40 * MS];
  settle();
  assert.deepEqual(stolen, [5 * MS, 40 * MS]);
  state.threads = [5 * MS, 50 * MS];
  settle();
  assert.deepEqual(stolen, [5 * MS, 50 * MS]);
});

test('a thread that serves processors with threads of their own steals only what it ran of them', () => {
  const { stolen, slice, settle, state, turns } = machine({ cpus: 2, threads: true });
  state.runsAll = false;
  slice(2, 100);
  settle();
  assert.deepEqual(stolen, [0, 0]);
  turns.ran.set([0, 10 * MS]);
  slice(2, 100);
  settle();
  assert.deepEqual(stolen, [0, 10 * MS]);
});

test('pauses are not stolen', () => {
  const { stolen, slice, settle, state, time } = machine();
  slice(2);
  state.own += 300 * MS;
  time.restart();
  settle();
  assert.deepEqual(stolen, [0]);
});

test('nothing stays open', () => {
  const { settle, state, time, open } = machine({ cpus: 2, threads: true });
  state.ids = 1;
  settle();
  assert.equal(open.size, 3);
  time.dispose();
  assert.equal(open.size, 0);
});

test('turns: who would run on waits for the others, who halts does not', () => {
  const turns = new TurnTimes(3);
  const turn = (cpu: number, nanos: number, wantsMore = true) => {
    turns.begin(cpu);
    turns.end(cpu, nanos, wantsMore);
  };
  turn(0, 10);
  turn(1, 20, false);
  turn(2, 30);
  assert.deepEqual([...turns.waited], [0, 0, 0]);
  turn(0, 10);
  turn(1, 5);
  turn(2, 1);
  turn(1, 1);
  assert.deepEqual([...turns.waited], [50, 1, 15]);
  assert.deepEqual([...turns.ran], [20, 26, 31]);
});
