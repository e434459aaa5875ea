import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import {
  REDUCED_POWER_LENGTH,
  RESET_REGISTER,
  RESET_VALUE,
  ReducedPower,
  SLEEP_CONTROL,
  SLEEP_STATUS,
  SOFT_OFF_TYPE,
} from './reduced-power.ts';

function build() {
  const events: string[] = [];
  const device = new ReducedPower('power', {
    button: { set: (asserted) => void events.push(asserted ? 'up' : 'down') },
    onPowerOff: () => void events.push('off'),
    onReset: () => void events.push('reset'),
  });
  return { device, events };
}

test('soft-off is what the enable bit does with its type; nothing else ends the machine', () => {
  const { device, events } = build();
  device.ports.writePort(SLEEP_CONTROL, 1, SOFT_OFF_TYPE << 2);
  device.ports.writePort(SLEEP_CONTROL, 1, (1 << 5) | (3 << 2));
  device.ports.writePort(SLEEP_STATUS, 1, 0xff);
  device.ports.writePort(RESET_REGISTER, 1, 0);
  assert.deepEqual(events, []);
  device.ports.writePort(SLEEP_CONTROL, 1, (1 << 5) | (SOFT_OFF_TYPE << 2));
  device.ports.writePort(RESET_REGISTER, 1, RESET_VALUE);
  assert.deepEqual(events, ['off', 'reset']);
});

test('the power button is an edge', () => {
  const { device, events } = build();
  device.pressPowerButton();
  assert.deepEqual(events, ['up', 'down']);
});

deviceConformance('reduced-power', () => {
  const { device } = build();
  return {
    device,
    clock: new ManualClock(),
    poke: (random) => {
      const size = random.pick([1, 2, 4] as const satisfies readonly AccessSize[]);
      const offset = random.below(REDUCED_POWER_LENGTH);
      if (random.chance(1, 2)) {
        device.ports.readPort(offset, size);
      } else {
        device.ports.writePort(offset, size, random.u32());
      }
    },
  };
});
