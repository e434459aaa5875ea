import assert from 'node:assert/strict';
import { test } from 'node:test';
import { geometricMean, meanRatio, median, type Row, ratio, table, targets, wrongResults } from './report.ts';
import { itemResults } from './run.ts';

function row(
  name: string,
  kind: Row['kind'],
  lodge: number[],
  tcg: number[],
  sums: [string, string] = ['a', 'a'],
): Row {
  const [ours, theirs] = sums;
  return {
    name,
    kind,
    expected: kind === 'boot' ? undefined : 'a',
    hosts: {
      lodge: { seconds: lodge, checksums: kind === 'boot' ? [] : lodge.map(() => ours) },
      tcg: { seconds: tcg, checksums: kind === 'boot' ? [] : tcg.map(() => theirs) },
    },
  };
}

const rows = [
  row('sieve', 'compute', [1, 9, 2], [1, 1, 1]),
  row('forks', 'system', [1, 1, 1], [2, 2, 2]),
  row('boot', 'boot', [1, 1], [4, 4]),
];

test('medians of odd and even numbers of values, whatever their order', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(geometricMean([1, 4]), 2);
});

test('ratios are of medians, above 1 where Lodge is faster; the mean leaves out the boot', () => {
  assert.equal(ratio(rows[0] as Row, 'tcg'), 0.5);
  assert.equal(meanRatio(rows, 'tcg'), 1);
  assert.equal(ratio(rows[0] as Row, 'v86'), undefined);
  assert.equal(meanRatio(rows, 'v86'), undefined);
});

test('the table has a line an item and the mean last', () => {
  const lines = table(rows, [
    { name: 'lodge', title: 'Lodge' },
    { name: 'tcg', title: 'TCG' },
  ]).split('\n');
  assert.equal(lines.length, 2 + rows.length + 1);
  assert.match(lines[2] ?? '', /^\| sieve +\| +2\.00 \| +1\.00 \| +0\.50 \|$/);
  assert.match(lines.at(-1) ?? '', /geometric mean .* 1\.00 \|$/);
});

test('targets name the slowest compute item', () => {
  const found = targets(rows, 64).map(({ what, found: value }) => [what, value]);
  assert.deepEqual(found, [
    ['geometric mean against TCG', 1],
    ['slowest compute item (sieve)', 0.5],
    ['boot', 4],
  ]);
});

test('a checksum that is not the right one is wrong on the host that computed it', () => {
  assert.deepEqual(wrongResults(rows), []);
  const [wrong, ...more] = wrongResults([row('fib', 'compute', [1], [1], ['b', 'a'])]);
  assert.equal(more.length, 0);
  assert.deepEqual([wrong?.item, wrong?.host], ['fib', 'lodge']);
  const unsettled = { ...row('fib', 'compute', [1], [1], ['b', 'a']), expected: undefined };
  assert.equal(wrongResults([unsettled]).length, 1, 'without a right one the hosts have to agree');
});

test('an item counts when it has begun and ended', () => {
  const line = (at: number, text: string) => ({
    at,
    text,
    threads: new Map([
      ['1', at / 2000],
      ['2', 1],
    ]),
  });
  const results = itemResults([
    line(0, 'LODGE-BENCH userspace'),
    line(1000, 'LODGE-BENCH begin sieve'),
    line(3500, 'LODGE-BENCH end sieve seconds=2.400000 checksum=0123456789abcdef'),
    line(4000, 'LODGE-BENCH begin fib'),
    line(5000, 'LODGE-BENCH end sha256 seconds=1.0 checksum=0000000000000001'),
  ]);
  assert.deepEqual(results, [
    { name: 'sieve', outside: { wall: 2.5, busy: 1.25 }, inside: 2.4, checksum: '0123456789abcdef' },
  ]);
});
