import { expect, test } from 'vitest';
import { absoluteInput, relativeInput, WheelNotches } from './mouse-input.ts';

test('a smooth wheel adds up to whole notches', () => {
  const wheel = new WheelNotches();
  expect([40, 40, 40, 80].map((deltaY) => wheel.take({ deltaY, deltaMode: 0 }))).toEqual([0, 0, 1, 1]);
  expect(new WheelNotches().take({ deltaY: -3, deltaMode: 1 })).toBe(-1);
});

test('a movement goes on as it is, within what the contract allows', () => {
  expect(relativeInput({ movementX: 5, movementY: -70_000, buttons: 1 })).toEqual({
    kind: 'relative',
    dx: 5,
    dy: -10_000,
    wheel: 0,
    buttons: 1,
  });
});

test('positions count within the picture only', () => {
  const picture = { left: 100, top: 50, width: 200, height: 100 };
  expect(absoluteInput({ clientX: 150, clientY: 100, buttons: 0 }, picture)).toMatchObject({ x: 0.25, y: 0.5 });
  expect(absoluteInput({ clientX: 90, clientY: 100, buttons: 0 }, picture)).toBeUndefined();
});
