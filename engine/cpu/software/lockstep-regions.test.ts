import { test } from 'node:test';
import { neverDiffer } from './testing/never-differ.ts';

test('large regions do what the interpreter does', (context) => {
  neverDiffer(context, 'jit', 400_000, 20_000);
});

test('regions that are compiled late do what the interpreter does', (context) => {
  neverDiffer(context, 'jit-later', 500_000, 25_000);
});

test('middling regions do what the interpreter does', (context) => {
  neverDiffer(context, 'jit-middling', 600_000, 30_000);
});

test('code compiled at first sight does what the interpreter does', (context) => {
  neverDiffer(context, 'jit-at-once', 700_000, 10_000);
});

test('code that is forgotten and compiled again and again does what the interpreter does', (context) => {
  neverDiffer(context, 'jit-small', 800_000, 10_000);
});

test('code that comes late from the compiler does what the interpreter does', (context) => {
  neverDiffer(context, 'jit-behind', 970_000, 6_000);
});

test('compiled code stops where slices end', (context) => {
  neverDiffer(context, 'jit-pieces', 900_000, 8_000);
  neverDiffer(context, 'jit-one-by-one', 950_000, 4_000);
});
