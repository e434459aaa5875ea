import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import type { Random } from '../../testing/random.ts';
import { Random as Generator } from '../../testing/random.ts';
import {
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_FEATURES_OK,
  STATUS_NEEDS_RESET,
  VIRTIO_F_VERSION_1,
  type VirtioDevice,
} from '../virtio-device.ts';
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

/** Another seed tries other drivers: LODGE_SEED=n. LODGE_CASES=f multiplies the number of rounds. */
const SEED = Number(process.env['LODGE_SEED'] ?? 1);
const SCALE = Number(process.env['LODGE_CASES'] ?? 1);
const SIZES = [1, 2, 4] as const satisfies readonly AccessSize[];
const MAX_QUEUE_SIZE = 32768;

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
      for (let seed = SEED; seed < SEED + rounds * SCALE; seed++) {
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

    const rules = (rule: string, check: (guest: GuestDriver, specimen: VirtioSpecimen, random: Random) => void) =>
      test(`${name}, ${styleName(style)}: ${rule}`, () => {
        for (let seed = SEED; seed < SEED + 2 * SCALE; seed++) {
          const specimen = create();
          const guest = new GuestDriver(specimen.device, style);
          check(guest, specimen, new Generator(seed * 37));
          guest.start();
          specimen.prove?.(guest);
          guest.transport.device.dispose();
        }
      });
    rules('features are refused that were not offered, and no others make it fail', negotiates);
    rules('the device writes only what is its own, and says no more than there is room for', keepsToItsOwn);
    rules('a reset by the driver, with requests in flight, ends everything', endsWithReset);
    if (style.transport !== 'legacy') {
      rules('a queue that is reset alone is left alone', leavesResetQueues);
    }
  }
}

/** Sections 2.2.2, 2.5.1, 2.7 and 3.1.1. */
function negotiates({ transport }: GuestDriver, { device }: VirtioSpecimen): void {
  for (const size of device.queueSizes) {
    assert.ok(size > 0 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0, `a queue of ${size}`);
  }
  const before = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
  const accepts = (features: bigint): boolean => {
    transport.setStatus(0);
    transport.setStatus(STATUS_ACKNOWLEDGE);
    transport.setStatus(before);
    transport.setFeatures(features);
    transport.setStatus(before | STATUS_FEATURES_OK);
    const status = transport.status();
    assert.equal(status & ~STATUS_FEATURES_OK, before);
    return (status & STATUS_FEATURES_OK) !== 0;
  };
  transport.setStatus(before);
  for (let at = 0; at < device.config.length; at++) {
    assert.equal(transport.readConfig(at, 1), device.config[at], `configuration at ${at}, before features are settled`);
  }
  const offered = transport.offered();
  if (!transport.legacy) {
    assert.equal(accepts(offered), true, 'all that is offered');
    assert.equal(accepts(offered), true, 'and once more');
    assert.equal(accepts(offered & ~VIRTIO_F_VERSION_1), false, 'a legacy driver at a modern interface');
    for (let bit = 0n; bit < 64n; bit++) {
      const feature = 1n << bit;
      if ((offered & feature) === 0n) {
        assert.equal(accepts(offered | feature), false, `feature ${bit}, which is not offered`);
      } else {
        accepts(offered & ~feature); // it may be needed by another one
      }
    }
  }
  transport.setStatus(0);
}

/** Copies of the parts of rings that belong to the driver (sections 2.7.5, 2.7.6, 2.8.10). */
function driverParts({ queues, memory, style }: GuestDriver): Uint8Array[] {
  return queues.flatMap(({ areas, size }) => {
    const parts = style.packed
      ? ([[areas.driver, 4]] as const)
      : ([
          [areas.descriptors, 16 * size],
          [areas.driver, 6 + 2 * size],
        ] as const);
    return parts.map(([at, length]) => memory.bytes.slice(at, at + length));
  });
}

/** A driver that keeps the rules of rings sends requests, sensible or not, and the host does something. */
function work(guest: GuestDriver, specimen: VirtioSpecimen, random: Random, turns: number): void {
  for (let i = 0; i < turns && guest.queues.length > 0; i++) {
    const index = random.below(guest.queues.length);
    const queue = guest.queue(index);
    for (const { length, data } of queue.collect()) {
      assert.ok(length <= data.length, `queue ${index}: ${length} bytes written where ${data.length} have room`);
    }
    const segments = specimen.buffer?.(random, index) ?? randomBuffer(random);
    try {
      queue.add(segments, guest.style.indirect && random.chance(1, 2));
    } catch {
      // The ring is full; nothing was handed over.
    }
    const before = driverParts(guest);
    guest.transport.notify(index);
    if (random.chance(1, 2)) {
      specimen.stir?.(random);
    }
    specimen.clock?.advance(random.below(1_000_000));
    assert.deepEqual(driverParts(guest), before, 'what belongs to the driver');
  }
}

function keepsToItsOwn(guest: GuestDriver, specimen: VirtioSpecimen, random: Random): void {
  guest.start({ queueSize: guest.style.packed ? 23 : 32 });
  work(guest, specimen, random, 200);
  assert.equal(guest.transport.status() & STATUS_NEEDS_RESET, 0, 'rings were in order');
}

/** The host goes on for a while; nobody may hear or see anything of it. */
function hostGoesOnUnseen({ transport, memory }: GuestDriver, specimen: VirtioSpecimen, random: Random): void {
  transport.interrupts();
  const before = memory.bytes.slice();
  for (let i = 0; i < 20; i++) {
    specimen.stir?.(random);
    specimen.clock?.advance(random.below(2_000_000_000));
  }
  assert.equal(Buffer.compare(memory.bytes, before), 0, 'guest memory has changed');
}

/** Section 2.4.1. */
function endsWithReset(guest: GuestDriver, specimen: VirtioSpecimen, random: Random): void {
  for (let times = 0; times < 3; times++) {
    guest.start();
    work(guest, specimen, random, 1 + random.below(40));
    guest.transport.setStatus(0);
    assert.equal(guest.transport.status(), 0);
    hostGoesOnUnseen(guest, specimen, random);
    assert.equal(guest.transport.interrupts(), 0, 'an interrupt after a reset');
  }
}

/** Section 2.6.1. */
function leavesResetQueues(guest: GuestDriver, specimen: VirtioSpecimen, random: Random): void {
  guest.start();
  if (!guest.hasQueueReset) {
    return;
  }
  const { core } = guest.transport;
  work(guest, specimen, random, 30);
  for (let index = 0; index < guest.queues.length; index++) {
    core.resetQueue(index);
    assert.equal(core.queues[index]?.enabled, false);
    assert.equal(core.queues[index]?.inFlight, 0);
  }
  // With all of them reset, nothing is left that the device might write to.
  hostGoesOnUnseen(guest, specimen, random);
  for (let index = 0; index < guest.queues.length; index++) {
    guest.queues[index] = guest.startQueue(index, 16);
  }
  work(guest, specimen, random, 30);
  assert.equal(guest.transport.status() & STATUS_NEEDS_RESET, 0);
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
