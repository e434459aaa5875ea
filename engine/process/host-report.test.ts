import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceleratorReports } from './host-report.ts';

const facts = { tscKilohertz: 2_000_000, longModeOnly: false, emulates: false, syscallsFault: false };

test('what can be used is told apart from what auto takes', () => {
  const told = (state: 'fast' | 'slow' | 'unusable') =>
    acceleratorReports({ state, detail: 'so it is', why: 'so', facts }).map(
      ({ name, usable, chosen }) => `${name}${usable ? ' usable' : ''}${chosen ? ' chosen' : ''}`,
    );
  assert.deepEqual(told('fast'), ['kvm usable chosen', 'software usable']);
  assert.deepEqual(told('slow'), ['kvm usable', 'software usable chosen']);
  assert.deepEqual(told('unusable'), ['kvm', 'software usable chosen']);
});

test('a remedy stands behind what it mends', () => {
  const [kvm] = acceleratorReports({ state: 'unusable', detail: 'broken', why: 'so', remedy: 'mend it' });
  assert.equal(kvm?.detail, 'broken; mend it');
});
