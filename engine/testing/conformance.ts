import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ManualClock } from '../clock/alarm-queue.ts';
import type { Device, StateValue } from '../devices/device.ts';
import { Random } from './random.ts';

/** One freshly built device with its fakes. */
export interface Specimen {
  readonly device: Device;
  readonly clock: ManualClock;
  /** Makes one random access to one of the device's registers, windows or inputs, any size, any value. */
  poke(random: Random): void;
}

function comparable(state: StateValue): unknown {
  return JSON.parse(
    JSON.stringify(state, (_key, value: unknown) =>
      value instanceof Uint8Array
        ? { bytes: Buffer.from(value).toString('hex') }
        : typeof value === 'bigint'
          ? { big: value.toString() }
          : value,
    ) ?? 'null',
  );
}

/**
 * The tests that every device passes: save → change → load → save gives the same state, nothing in flight is lost,
 * reset is idempotent, disposal leaves no alarm behind, and random register accesses never throw.
 */
export function deviceConformance(name: string, create: () => Specimen, options: { rounds?: number } = {}): void {
  const rounds = options.rounds ?? 20;
  const accesses = 200;

  test(`${name}: random accesses never throw, and saved state survives a round trip`, () => {
    for (let seed = 1; seed <= rounds; seed++) {
      const random = new Random(seed);
      const specimen = create();
      for (let i = 0; i < accesses; i++) {
        specimen.poke(random);
        if (random.below(10) === 0) {
          specimen.clock.advance(random.below(3_000_000));
        }
      }
      const saved = structuredClone(specimen.device.save());
      for (let i = 0; i < 50; i++) {
        specimen.poke(random);
      }
      specimen.clock.advance(50_000);
      specimen.device.load(structuredClone(saved));
      assert.deepEqual(comparable(specimen.device.save()), comparable(saved), `seed ${seed}: same device`);

      const other = create();
      other.clock.advance(specimen.clock.now());
      other.device.load(structuredClone(saved));
      assert.deepEqual(comparable(other.device.save()), comparable(saved), `seed ${seed}: fresh device`);
      specimen.device.dispose();
      other.device.dispose();
    }
  });

  test(`${name}: reset is idempotent`, () => {
    const random = new Random(77);
    const specimen = create();
    for (let i = 0; i < accesses; i++) {
      specimen.poke(random);
    }
    specimen.device.reset();
    const once = comparable(structuredClone(specimen.device.save()));
    specimen.device.reset();
    assert.deepEqual(comparable(specimen.device.save()), once);
    specimen.device.dispose();
  });

  test(`${name}: disposal leaves nothing behind`, () => {
    const random = new Random(78);
    const specimen = create();
    for (let i = 0; i < accesses; i++) {
      specimen.poke(random);
    }
    specimen.device.dispose();
    specimen.device.dispose();
    assert.equal(specimen.clock.pendingCount, 0, 'an alarm is still set after disposal');
  });

  test(`${name}: hostile saved states are refused with an error, not taken over`, () => {
    const specimen = create();
    const good = comparable(structuredClone(specimen.device.save()));
    for (const hostile of [null, 'state', 42, [], { registers: 'x' }] as StateValue[]) {
      assert.throws(() => specimen.device.load(hostile), { name: 'HostError', code: 'bad-state' });
      assert.deepEqual(comparable(specimen.device.save()), good);
    }
    specimen.device.dispose();
  });
}
