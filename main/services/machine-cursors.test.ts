import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CursorChange, MachineCursors } from './machine-cursors.ts';

test('pointers are kept for late viewers, with their images, until the machine is off', () => {
  const cursors = new MachineCursors();
  const changes: CursorChange[] = [];
  cursors.onChange((change) => changes.push(change));
  const image = { width: 1, height: 1, hotX: 0, hotY: 0, rgba: Uint8Array.of(1, 2, 3, 4) };
  const kept = { ...image, rgba: 'AQIDBA==' };
  assert.equal(cursors.present(0), null);
  cursors.take({ head: 0, cursor: { visible: true, x: 3, y: 4, image } });
  cursors.take({ head: 0, cursor: { visible: false, x: 5, y: 4 } });
  assert.deepEqual(cursors.present(0), { visible: false, x: 5, y: 4, image: kept });
  assert.equal(cursors.present(1), null);
  cursors.clear();
  assert.equal(cursors.present(0), null);
  assert.deepEqual(changes, [
    { head: 0, cursor: { visible: true, x: 3, y: 4, image: kept } },
    { head: 0, cursor: { visible: false, x: 5, y: 4 } },
    { head: 0, cursor: null },
  ]);
});
