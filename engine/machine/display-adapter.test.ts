import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DisplaySink } from '../backends/display.ts';
import { MmioWindows } from '../bus/mmio-bus.ts';
import { Ports } from '../bus/port-bus.ts';
import { ManualClock } from '../clock/alarm-queue.ts';
import type { VgaKind } from '../config/display-config.ts';
import type { Device } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import { VGA_PORT_BASE } from '../devices/vga/vga-adapter.ts';
import { PCI_COMMAND } from '../pci/pci-function.ts';
import { FakeLine, FakeMemory, FakeMsiSink } from '../testing/fakes.ts';
import { DisplayAdapter } from './display-adapter.ts';

const REGISTERS = 0xfe000000;

function build(kind: VgaKind, heads = 1) {
  const mmio = new MmioWindows();
  const shown: string[] = [];
  const sink = (head: number): DisplaySink => ({
    show: ({ width, height }) => shown.push(`${head}: ${width}x${height}`),
    damage() {},
    cursor: (cursor) => shown.push(`${head}: ${cursor === undefined ? 'no pointer' : 'pointer'}`),
  });
  const devices: Device[] = [];
  const adapter = new DisplayAdapter(
    { kind, heads, rom: Uint8Array.of(0x55, 0xaa, 1), sinks: Array.from({ length: heads }, (_, head) => sink(head)) },
    {
      buses: { ports: new Ports(), mmio },
      memory: new FakeMemory(1 << 20),
      vram: { bytes: new Uint8Array(1 << 20), takeDirty: () => undefined },
      placeVram() {},
      clock: new ManualClock(),
      msi: new FakeMsiSink(),
      line: new FakeLine(),
      log: { info() {}, warn() {} },
      add: (device) => {
        devices.push(device);
        return device;
      },
    },
  );
  return { adapter, mmio, shown, devices };
}

type Shown = {
  resource: number;
  x: number;
  y: number;
  width: number;
  height: number;
};

/** Brings the GPU into the state in which its driver shows parts of resources of 100 × 100 pixels. */
function show({ gpu }: DisplayAdapter, ...heads: readonly (Shown | null)[]): void {
  const resource = { width: 100, height: 100, format: 2, pixels: new Uint8Array(100 * 100 * 4).fill(9), backing: null };
  const state = {
    takenOver: true,
    events: 0,
    resources: [1, 2].map((id) => ({ id, resource })),
    heads: heads.map((source) => ({ width: 640, height: 480, source, cursor: null })),
  };
  gpu?.load(new StateReader('gpu', state), undefined);
}

test('a virtio adapter is a VGA with its registers in BAR 2, and a modern virtio function behind them', () => {
  const { adapter, mmio } = build('virtio');
  const { pci } = adapter;
  assert.equal(pci.readU32(0), 0x10501af4);
  assert.equal(pci.readU32(8) >>> 8, 0x030000);
  pci.writeConfig(0x18, 4, REGISTERS);
  pci.writeConfig(PCI_COMMAND, 2, 7);
  assert.equal(pci.readU16(PCI_COMMAND) & 7, 7, 'it owns legacy ports, memory and the bus');
  // The monitor's EDID begins the page of VGA registers; the Bochs interface says its version.
  assert.equal(mmio.read(REGISTERS + 1, 1), 0xff);
  assert.equal(mmio.read(REGISTERS + 0x500, 2), 0xb0c5);
  // Capabilities lead to the structures of virtio: the number of queues stands in the common configuration.
  let common = -1;
  for (let at = pci.readU16(0x34) & 0xff; at !== 0; at = pci.config[at + 1] ?? 0) {
    if (pci.config[at] === 9 && pci.config[at + 3] === 1) {
      assert.equal(pci.config[at + 4], 2);
      common = pci.readU32(at + 8);
    }
  }
  assert.ok(common >= 0x1000);
  assert.equal(mmio.read(REGISTERS + common + 0x12, 2), 2);
  // Ports of the VGA in the same window: the attribute controller answers at 0x3C1.
  assert.equal(
    mmio.read(REGISTERS + 0x400 + 0x3cc - 0x3c0, 1),
    adapter.vga.legacyPorts.readPort(0x3cc - VGA_PORT_BASE, 1),
  );
});

test('a standard adapter has one screen and cannot be resized', () => {
  const { adapter } = build('std');
  assert.equal(adapter.pci.readU32(0), 0x11111234);
  assert.equal(adapter.screens.length, 1);
  adapter.resize(0, { width: 800, height: 600 });
  assert.equal(adapter.gpu, undefined);
  assert.deepEqual(adapter.onDesktop(0, 0.25, 0.75), { x: 0.25, y: 0.75 });
  assert.equal(adapter.snapshot(1), undefined);
});

test('the first screen is the VGA until the GPU shows something, and again after a reset', () => {
  const { adapter, shown } = build('virtio', 2);
  const [first, second] = adapter.screens;
  assert.ok(first !== undefined && second !== undefined);
  first.refresh();
  second.refresh();
  const vga = `0: ${adapter.vga.width}x${adapter.vga.height}`;
  assert.deepEqual(shown.splice(0), [vga, '1: 1024x768']);
  assert.ok(adapter.showsVga);
  show(adapter, { resource: 1, x: 10, y: 20, width: 30, height: 40 }, null);
  assert.equal(adapter.showsVga, false);
  assert.equal(adapter.screenText(), undefined);
  first.refresh();
  assert.deepEqual(shown.splice(0), ['0: 30x40', '0: no pointer']);
  assert.deepEqual([...(adapter.snapshot(0)?.rgba.subarray(0, 4) ?? [])], [9, 9, 9, 255]);
  assert.equal(adapter.snapshot(0)?.width, 30);
  assert.equal(adapter.snapshot(1)?.width, 640);
  show(adapter, null, null);
  first.refresh();
  assert.deepEqual(shown.splice(0), ['0: 640x480', '0: no pointer'], 'switched off is not the VGA');
  adapter.gpu?.reset();
  first.refresh();
  assert.deepEqual(shown.splice(0), ['0: no pointer', vga]);
});

test('a point of a screen is found on the desktop: side by side, or where the guest has put the screens', () => {
  const { adapter } = build('virtio', 2);
  show(
    adapter,
    { resource: 1, x: 0, y: 0, width: 60, height: 100 },
    { resource: 2, x: 0, y: 0, width: 20, height: 50 },
  );
  assert.deepEqual(adapter.onDesktop(0, 1, 1), { x: 0.75, y: 1 });
  assert.deepEqual(adapter.onDesktop(1, 0.5, 1), { x: 70 / 80, y: 0.5 });
  show(
    adapter,
    { resource: 1, x: 50, y: 0, width: 50, height: 50 },
    { resource: 1, x: 0, y: 50, width: 100, height: 50 },
  );
  assert.deepEqual(adapter.onDesktop(0, 0, 1), { x: 0.5, y: 0.5 });
  assert.deepEqual(adapter.onDesktop(1, 0.25, 1), { x: 0.25, y: 1 });
  show(adapter, null, { resource: 1, x: 50, y: 50, width: 50, height: 50 });
  assert.deepEqual(adapter.onDesktop(1, 0.25, 1), { x: 0.25, y: 1 });
});
