import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import type { Random } from '../../testing/random.ts';
import { Random as Generator } from '../../testing/random.ts';
import { STATUS_NEEDS_RESET, type VirtioDevice } from '../virtio-device.ts';
import { type DriverStyle, GuestDriver, styleName, stylesOf } from './guest-driver.ts';

/** One freshly built virtio device with its fakes. */
export interface VirtioSpecimen {
  readonly device: VirtioDevice;
  readonly clock?: ManualClock;
  /** Lets the host do something: complete a request, deliver a frame. */
  stir?(random: Random): void;
  /** A buffer such as a driver of this device would make, more or less; without it buffers are random bytes. */
  buffer?(random: Random, queue: number): readonly (Uint8Array | number)[];
  /** Checks that the device does its work, after a fresh start by `guest`. */
  prove?(guest: GuestDriver): void;
}

const SIZES = [1, 2, 4] as const satisfies readonly AccessSize[];

function randomBuffer(random: Random): (Uint8Array | number)[] {
  const bytes = (length: number) => Uint8Array.from({ length }, () => random.u32() & 0xff);
  const readable = Array.from({ length: random.below(3) }, () => bytes(random.below(80)));
  const writable = Array.from({ length: random.below(3) }, () => random.below(600));
  return readable.length + writable.length === 0 ? [bytes(16)] : [...readable, ...writable];
}

/** One thing that a driver might do, sensible or not. */
function act(guest: GuestDriver, specimen: VirtioSpecimen, random: Random): void {
  const { transport, memory } = guest;
  const queues = guest.queues.length;
  const kind = random.below(queues === 0 ? 3 : 12);
  if (kind === 0) {
    guest.start({ queueSize: random.pick([2, 8, 64]) });
  } else if (kind < 3) {
    const region = random.pick(transport.regions);
    const offset = random.below(region.length);
    if (random.chance(1, 2)) {
      region.read(offset, random.pick(SIZES));
    } else {
      region.write(offset, random.pick(SIZES), random.chance(1, 2) ? random.below(8) : random.u32());
    }
  } else if (kind < 9) {
    const index = random.below(queues);
    const queue = guest.queue(index);
    const segments = specimen.buffer?.(random, index) ?? randomBuffer(random);
    try {
      queue.collect();
      if (queue.inFlight + segments.length < queue.size / 2) {
        queue.add(segments, guest.style.indirect && random.chance(1, 2));
      }
    } catch {
      // Its ring was made a mess of before: the driver's books are wrong now.
    }
    transport.notify(index);
  } else if (kind === 9) {
    // Nonsense in the ring, then the doorbell.
    const index = random.below(queues);
    const { areas, size } = guest.queue(index);
    const [area, length] = random.pick([
      [areas.descriptors, 16 * size],
      [areas.driver, guest.style.packed ? 4 : 6 + 2 * size],
      [areas.device, guest.style.packed ? 4 : 6 + 8 * size],
    ] as const);
    for (let i = random.below(8); i >= 0; i--) {
      memory.writeU16(
        area + 2 * random.below(length / 2),
        random.pick([0, 1, 2, 4, 0x80, 0x8080, random.u32() & 0xffff]),
      );
    }
    transport.notify(index);
  } else if (kind === 10) {
    transport.interrupts();
  } else {
    specimen.stir?.(random);
  }
}

/**
 * What every virtio device passes, over every transport and in both ring formats: the conformance suite, and a driver
 * that does everything wrong, after which a reset brings the device back to work.
 */
export function virtioConformance(name: string, create: () => VirtioSpecimen, rounds = 8): void {
  const { device } = create();
  device.dispose();
  for (const style of stylesOf(device.type)) {
    deviceConformance(`${name}, ${styleName(style)}`, () => conformanceSpecimen(create(), style), { rounds });

    test(`${name}, ${styleName(style)}: rings and requests full of nonsense, then a fresh start`, () => {
      for (let seed = 1; seed <= rounds; seed++) {
        const random = new Generator(seed * 31);
        const specimen = create();
        const guest = new GuestDriver(specimen.device, style);
        guest.start();
        for (let i = 0; i < 400; i++) {
          act(guest, specimen, random);
          specimen.clock?.advance(random.below(1_000_000));
        }
        // Whatever has happened, the state can be taken over by another machine.
        const saved = structuredClone(guest.transport.device.save());
        const other = new GuestDriver(create().device, style, guest.memory);
        other.transport.device.load(saved);
        assert.deepEqual(other.transport.device.save(), saved);
        other.transport.device.dispose();
        for (const region of guest.transport.regions) {
          assert.doesNotThrow(() => region.read(0, 4));
        }
        guest.transport.device.reset();
        guest.transport.plug();
        guest.start();
        assert.equal(guest.transport.status() & STATUS_NEEDS_RESET, 0);
        specimen.prove?.(guest);
        guest.transport.device.dispose();
      }
    });
  }
}

function conformanceSpecimen(specimen: VirtioSpecimen, style: DriverStyle) {
  const guest = new GuestDriver(specimen.device, style);
  guest.start();
  return {
    device: guest.transport.device,
    clock: specimen.clock ?? new ManualClock(),
    poke: (random: Random) => act(guest, specimen, random),
  };
}
