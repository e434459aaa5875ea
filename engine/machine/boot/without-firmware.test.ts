import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PioHandler } from '../../bus/bus.ts';
import { MmioWindows } from '../../bus/mmio-bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { Piix3 } from '../../devices/piix/piix3.ts';
import { Piix4Pm } from '../../devices/piix/piix4-pm.ts';
import { HostBridge } from '../../pci/host-bridge.ts';
import { PciBus } from '../../pci/pci-bus.ts';
import { PciFunction } from '../../pci/pci-function.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { prepareWithoutFirmware } from './without-firmware.ts';

test('without firmware, the chipset is left as firmware would leave it', () => {
  const ports = new Ports();
  const mmio = new MmioWindows();
  const bus = new PciBus();
  const lines = Array.from({ length: 16 }, () => new FakeLine());
  const pam: string[] = [];
  const isa = new Piix3('piix3', {
    ports,
    mmio,
    bus,
    isaLine: (irq) => lines[irq] ?? new FakeLine(),
    onReset() {},
    setA20() {},
  });
  const bridge = new HostBridge('host', {
    ports,
    mmio,
    bus,
    resetControl: isa.resetControl,
    setPam: (segment, _base, _length, { read, write }) => {
      pam[segment] = `${read}/${write}`;
    },
  });
  ports.map(0xcf8, 8, bridge.ports, 'host');
  new Piix4Pm('pm', { ports, mmio, bus, clock: new ManualClock(), sci: new FakeLine(), onPowerOff() {} });
  const elcr: number[] = [];
  const elcrPorts: PioHandler = {
    readPort: () => 0,
    writePort(offset, _size, value) {
      elcr[offset] = value;
    },
  };
  ports.map(0x4d0, 2, elcrPorts, 'pic');
  const vbe: number[] = [0xb0c5];
  let index = 0;
  const words = {
    read: (port: number, size: 1 | 2 | 4) => (port === 0x1cf ? (vbe[index] ?? 0) : ports.read(port, size)),
    write: (port: number, size: 1 | 2 | 4, value: number) => {
      if (port === 0x1ce) {
        index = value;
      } else if (port === 0x1cf) {
        vbe[index] = value;
      } else {
        ports.write(port, size, value);
      }
    },
  };
  const handler = { readMmio: () => 0, writeMmio() {}, readPort: () => 0, writePort() {} };
  let vram: number | undefined;
  const placeVram = (base: number | undefined) => {
    vram = base;
  };
  const vga = new PciFunction('vga', { vendorId: 0x1234, deviceId: 0x1111, classCode: 0x030000 }, { ports, mmio }, [
    { kind: 'ram', size: 16 << 20, prefetchable: true, place: placeVram },
    undefined,
    { kind: 'mmio', size: 0x1000, handler },
  ]);
  bus.add(2, 0, vga);
  const nic = new PciFunction(
    'nic',
    { vendorId: 0x8086, deviceId: 0x100e, classCode: 0x020000, interruptPin: 1 },
    { ports, mmio },
    [
      { kind: 'mmio', size: 0x20000, handler },
      { kind: 'io', size: 0x40, handler },
    ],
  );
  bus.add(3, 0, nic);
  const nicLine = isa.pciInterruptLine(3, 1);

  const display = prepareWithoutFirmware(words, {
    pciMemory: { first: 0x80000000, last: 0xfebfffff },
    pmBase: 0x600,
    framebuffer: { width: 800, height: 600 },
  });
  assert.deepEqual(pam, new Array(13).fill('ram/ram'));
  assert.deepEqual(elcr, [0, 0x0e]);
  assert.equal(ports.read(0x604, 2), 0, 'the power management block is decoded');
  assert.equal(vram, 0xfd000000);
  assert.deepEqual(display, { kind: 'framebuffer', base: 0xfd000000, width: 800, height: 600, stride: 3200 });
  assert.deepEqual(vbe.slice(1), [800, 600, 32, 0x41]);
  assert.equal(nic.barAddress(0), 0xfcfe0000);
  assert.equal(nic.barAddress(1), 0xc000);
  assert.equal(nic.busMaster, true);
  assert.equal(vga.barAddress(2), 0xfcfdf000);
  // Slot 3 INTA is PIRQC.
  assert.equal(nic.config[0x3c], 11);
  nicLine.set(true);
  assert.equal(lines[11]?.asserted, true);
});
