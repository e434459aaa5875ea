import { expect, test } from 'vitest';
import { centred, scaled } from './scaling.ts';

const text = { width: 720, height: 400 };

test('integer scaling takes the largest whole number of device pixels', () => {
  expect(scaled('integer', text, { width: 1600, height: 900 }, 1)).toEqual({
    factor: 2,
    width: 1440,
    height: 800,
    sharp: true,
  });
});

test('on a display with fractional scaling the picture still covers whole device pixels', () => {
  const { factor, width } = scaled('integer', text, { width: 1000, height: 700 }, 1.5);
  expect(factor).toBe(2);
  expect(width * 1.5).toBe(1440);
});

test('a picture larger than the window is shrunk rather than cut', () => {
  const { factor, sharp, width } = scaled('integer', { width: 1024, height: 768 }, { width: 512, height: 700 }, 1);
  expect(factor).toBe(0.5);
  expect(width).toBe(512);
  expect(sharp).toBe(false);
});

test('fit fills one direction and keeps the proportions', () => {
  const { width, height } = scaled('fit', text, { width: 1000, height: 1000 }, 1);
  expect(width).toBeCloseTo(1000);
  expect(height).toBeCloseTo(1000 * (400 / 720));
});

test('actual size is one device pixel each', () => {
  expect(scaled('actual', text, { width: 100, height: 100 }, 2)).toEqual({
    factor: 1,
    width: 360,
    height: 200,
    sharp: true,
  });
});

test('the picture is centred on whole device pixels, wherever its view begins', () => {
  expect(centred(0, 1000, 720, 1)).toBe(140);
  for (const [origin, view, size] of [
    [37, 1001, 720],
    [36.5, 1000, 721],
  ] as const) {
    expect(Number.isInteger((origin + centred(origin, view, size, 1.5)) * 1.5)).toBe(true);
  }
  expect(centred(37, 500, 720, 1)).toBe(0);
});
