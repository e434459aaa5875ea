import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DRIVER_STYLES, GuestDriver, styleName } from '../testing/guest-driver.ts';
import { virtioConformance } from '../testing/virtio-suite.ts';
import { VirtioRng } from './virtio-rng.ts';

/** Counts up instead of being random, so that nothing is lost or given twice unnoticed. */
function countingRng(): VirtioRng {
  let next = 0;
  return new VirtioRng({
    fill: (bytes) => {
      for (let i = 0; i < bytes.length; i++) {
        bytes[i] = ++next & 0xff;
      }
    },
  });
}

for (const style of DRIVER_STYLES) {
  test(`rng, ${styleName(style)}: fills buffers whole and in order, more of them than the ring holds`, () => {
    const guest = new GuestDriver(countingRng(), style);
    guest.start({ queueSize: 8 });
    let expected = 0;
    for (let i = 0; i < 100; i++) {
      const { length, data } = guest.request(0, [5, 11]);
      assert.equal(length, 16);
      for (const byte of data) {
        assert.equal(byte, ++expected & 0xff);
      }
      assert.equal(guest.transport.interrupts() & 1, 1);
    }
    guest.transport.device.dispose();
  });
}

test('rng: a huge buffer is filled in part, and the driver told how far', () => {
  const guest = new GuestDriver(countingRng());
  guest.start();
  const { length } = guest.request(0, [0x20000]);
  assert.equal(length, 0x10000);
  guest.transport.device.dispose();
});

test('rng: a buffer without room comes back empty', () => {
  const guest = new GuestDriver(countingRng());
  guest.start();
  assert.equal(guest.request(0, [new Uint8Array(4)]).length, 0);
  guest.transport.device.dispose();
});

virtioConformance('rng', () => ({
  device: countingRng(),
  prove: (guest) => assert.equal(guest.request(0, [32]).length, 32),
}));
