import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize, PioHandler } from '../bus/bus.ts';
import { MmioWindows } from '../bus/mmio-bus.ts';
import { Ports } from '../bus/port-bus.ts';
import { ManualClock } from '../clock/alarm-queue.ts';
import { deviceConformance } from '../testing/conformance.ts';
import { CONFIG_ADDRESS_PORT, CONFIG_PORT_COUNT, HostBridge, type PamMode, pamSegment } from './host-bridge.ts';
import { PciBus } from './pci-bus.ts';
import { PciFunction } from './pci-function.ts';

function build() {
  const ports = new Ports();
  const mmio = new MmioWindows();
  const bus = new PciBus();
  const pam: (PamMode & { base: number; length: number })[] = [];
  const resets: number[] = [];
  const resetControl: PioHandler = { readPort: () => 0x55, writePort: (_o, _s, value) => void resets.push(value) };
  const bridge = new HostBridge('host-bridge', {
    ports,
    mmio,
    bus,
    resetControl,
    setPam: (segment, base, length, mode) => {
      pam[segment] = { base, length, ...mode };
    },
  });
  ports.map(CONFIG_ADDRESS_PORT, CONFIG_PORT_COUNT, bridge.ports, 'host-bridge');
  const select = (devfn: number, offset: number) => ports.write(0xcf8, 4, 0x80000000 | (devfn << 8) | offset);
  return { ports, mmio, bus, pam, resets, bridge, select };
}

test('configuration mechanism #1 identifies the bridge in every access size', () => {
  const { ports, select } = build();
  select(0, 0);
  assert.equal(ports.read(0xcf8, 4), 0x80000000);
  assert.equal(ports.read(0xcfc, 4), 0x12378086);
  assert.equal(ports.read(0xcfe, 2), 0x1237);
  assert.equal(ports.read(0xcfd, 1), 0x80);
  assert.equal(ports.read(0xcfd, 2), 0x3780);
  select(0, 8);
  assert.equal(ports.read(0xcfc, 4), 0x06000002);
});

test('functions and buses that are not there read as ones, as does a disabled address', () => {
  const { ports, select } = build();
  select(8, 0);
  assert.equal(ports.read(0xcfc, 4), 0xffffffff);
  assert.equal(ports.read(0xcfc, 2), 0xffff);
  ports.write(0xcfc, 4, 0);
  ports.write(0xcf8, 4, 0x80010000);
  assert.equal(ports.read(0xcfc, 4), 0xffffffff);
  ports.write(0xcf8, 4, 0);
  assert.equal(ports.read(0xcfc, 4), 0xffffffff);
});

test('byte accesses in the address register pass it by, and 0xCF9 reaches the reset control register', () => {
  const { ports, resets } = build();
  ports.write(0xcf8, 4, 0x80000000);
  ports.write(0xcfb, 1, 0x01);
  ports.write(0xcf8, 1, 0x00);
  assert.equal(ports.read(0xcf8, 4), 0x80000000);
  ports.write(0xcf9, 1, 6);
  assert.deepEqual(resets, [6]);
  assert.equal(ports.read(0xcf9, 1), 0x55);
  assert.equal(ports.read(0xcf8, 2), 0x55ff);
});

test('PAM registers switch the thirteen segments between ROM and RAM', () => {
  const { ports, pam, select, bridge } = build();
  assert.equal(pam.length, 13);
  assert.deepEqual(pam[0], { base: 0xf0000, length: 0x10000, read: 'rom', write: 'rom' });
  assert.deepEqual(pam[1], { base: 0xc0000, length: 0x4000, read: 'rom', write: 'rom' });
  assert.equal(pamSegment(12).base + pamSegment(12).length, 0xf0000);
  select(0, 0x58);
  ports.write(0xcfd, 1, 0x30); // PAM0: segment 0 read and write
  ports.write(0xcfe, 1, 0x21); // PAM1: C0000 read only from RAM, C4000 write only to RAM
  assert.deepEqual(pam[0], { base: 0xf0000, length: 0x10000, read: 'ram', write: 'ram' });
  assert.deepEqual(pam[1], { base: 0xc0000, length: 0x4000, read: 'ram', write: 'rom' });
  assert.deepEqual(pam[2], { base: 0xc4000, length: 0x4000, read: 'rom', write: 'ram' });
  const saved = bridge.save();
  bridge.reset();
  assert.equal(pam[0]?.read, 'rom');
  bridge.load(saved);
  assert.deepEqual(pam[1], { base: 0xc0000, length: 0x4000, read: 'ram', write: 'rom' });
});

test('a locked SMRAM register keeps its value until reset', () => {
  const { ports, select } = build();
  select(0, 0x70);
  ports.write(0xcfe, 1, 0x58);
  ports.write(0xcfe, 1, 0x08);
  assert.equal(ports.read(0xcfe, 1), 0x5a);
});

test('two functions in one slot are a mistake', () => {
  const { bus, ports, mmio } = build();
  const target = new PciFunction('x', { vendorId: 1, deviceId: 2, classCode: 3 }, { ports, mmio });
  assert.throws(() => bus.add(0, 0, target), { name: 'InvariantError' });
  assert.equal(bus.freeSlot(0), 1);
  const place = bus.add(2, 1, target);
  assert.equal(bus.freeSlot(2), 3);
  place.dispose();
  assert.equal(bus.freeSlot(2), 2);
});

deviceConformance('host bridge', () => {
  const { ports, bridge } = build();
  return {
    device: bridge,
    clock: new ManualClock(),
    poke(random) {
      const size = random.pick([1, 2, 4] as AccessSize[]);
      if (random.chance(1, 3)) {
        ports.write(0xcf8, 4, random.chance(1, 2) ? 0x80000000 | random.below(256) : random.u32());
      }
      const port = 0xcf8 + random.below(9);
      if (random.chance(1, 2)) {
        ports.read(port, size);
      } else {
        ports.write(port, size, random.u32());
      }
    },
  };
});
