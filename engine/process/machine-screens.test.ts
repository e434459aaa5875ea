import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DisplayCursor } from '../backends/display.ts';
import { decodeFramePacket } from '../base/frame-packet.ts';
import type { ScreenSource } from './display-pump.ts';
import type { CursorMessage } from './machine-messages.ts';
import { MachineScreens } from './machine-screens.ts';

/** Two screens of one colour each. */
function build() {
  const packets: { viewer: number; width: number; sequence: number }[] = [];
  const cursors: CursorMessage[] = [];
  let absolute = false;
  const screens = new MachineScreens(2, {
    frame: (viewer, packet) => {
      const { width, sequence } = decodeFramePacket(packet);
      packets.push({ viewer, width, sequence });
    },
    cursor: (message) => cursors.push(message),
    pointsByItself: () => absolute,
  });
  const source = (head: number): ScreenSource => ({
    width: 8 + head,
    height: 4,
    refresh: () => {
      screens.sinks[head]?.show({ width: 8 + head, height: 4 });
      screens.sinks[head]?.damage(0, 0, 8 + head, 4);
    },
    reannounce() {},
    render: ({ rgba }) => rgba.fill(40 + head),
  });
  screens.connect([source(0), source(1)]);
  return {
    screens,
    packets,
    cursors,
    setAbsolute: (value: boolean) => {
      absolute = value;
    },
  };
}

test('each viewer gets the screen that it watches, and is paced by its own acknowledgements', () => {
  const { screens, packets } = build();
  assert.equal(screens.nextTickMillis, undefined, 'nobody watches');
  screens.attach(1, 0, 60);
  screens.attach(2, 1, 60);
  assert.equal(screens.nextTickMillis, 0);
  screens.tick(0);
  assert.deepEqual(packets.splice(0), [
    { viewer: 1, width: 8, sequence: 1 },
    { viewer: 2, width: 9, sequence: 1 },
  ]);
  screens.acknowledge(2, 1);
  screens.attach(2, 0, 60);
  screens.tick(100);
  assert.deepEqual(
    packets.filter(({ viewer }) => viewer === 2).map(({ width }) => width),
    [8],
    'it watches the other screen now',
  );
  screens.detach(1);
  screens.detach(2);
  assert.equal(screens.nextTickMillis, undefined);
});

test('a screen that there is not is refused', () => {
  const { screens } = build();
  assert.throws(() => screens.attach(1, 2, 60), { name: 'HostError', code: 'no-screen' });
  assert.equal(screens.nextTickMillis, undefined);
});

test('an image is sent once, and places only to those who cannot know them', () => {
  const { screens, cursors, setAbsolute } = build();
  const [, sink] = screens.sinks;
  const image = { width: 1, height: 1, hotX: 0, hotY: 0, rgba: new Uint8Array(4) };
  const show = (cursor: DisplayCursor | undefined) => {
    sink?.cursor?.(cursor);
    return cursors.splice(0);
  };
  assert.deepEqual(show({ visible: true, x: 1, y: 2, image }), [
    { head: 1, cursor: { visible: true, x: 1, y: 2, image } },
  ]);
  assert.deepEqual(show({ visible: true, x: 3, y: 2, image }), [{ head: 1, cursor: { visible: true, x: 3, y: 2 } }]);
  setAbsolute(true);
  assert.deepEqual(show({ visible: true, x: 4, y: 2, image }), []);
  assert.equal(show({ visible: false, x: 4, y: 2, image }).length, 1);
  assert.deepEqual(show(undefined), [{ head: 1, cursor: null }]);
});
