import { test } from 'node:test';
import { neverDiffer } from './testing/never-differ.ts';

test('compiled code does what the interpreter does', (context) => {
  neverDiffer(context, 'jit-middling', 300_000, 100_000);
});
