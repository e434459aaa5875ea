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

test('positions count within the picture only, but for what is dragged out of it', () => {
  const picture = { left: 100, top: 50, width: 200, height: 100 };
  const at = (type: string, clientX: number, clientY: number, buttons: number) =>
    absoluteInput({ type, clientX, clientY, buttons }, picture, 0, 1);
  expect(at('mousemove', 150, 100, 0)).toMatchObject({ head: 1, x: 0.25, y: 0.5, buttons: 0 });
  expect(at('mousemove', 90, 100, 0)).toBeUndefined();
  expect(at('mousedown', 90, 100, 1)).toBeUndefined();
  expect(at('mousemove', 90, 200, 1)).toMatchObject({ x: 0, y: 1, buttons: 1 });
  expect(at('mouseup', 310, 100, 0)).toMatchObject({ x: 1, y: 0.5, buttons: 0 });
  expect(absoluteInput({ type: 'mouseup', clientX: 0, clientY: 0, buttons: 0 }, new DOMRect())).toBeUndefined();
});
