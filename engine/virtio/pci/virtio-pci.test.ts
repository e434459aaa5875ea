import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeMemory } from '../../testing/fakes.ts';
import { PciDriverTransport } from '../testing/driver-transport.ts';
import { GuestDriver, PLAIN_STYLE } from '../testing/guest-driver.ts';
import { HoldingDevice } from '../testing/holding-device.ts';
import { VIRTIO_ID } from '../virtio-device.ts';
import { virtioPciIdentity } from './pci-identity.ts';

function build(options: ConstructorParameters<typeof PciDriverTransport>[2] = {}) {
  const transport = new PciDriverTransport(new HoldingDevice(), new FakeMemory(), options);
  return { transport, pci: transport.device.pci };
}

test('a transitional function has the legacy device number and ports, a modern one has neither', () => {
  const { pci } = build();
  assert.equal(pci.readConfig(0, 4), 0x10051af4);
  assert.equal(pci.readConfig(8, 1), 0, 'revision');
  assert.equal(pci.readConfig(0x2e, 2), VIRTIO_ID.entropy);
  assert.equal(pci.readConfig(0x10, 4) & 1, 1);
  const modern = build({ transitional: false }).pci;
  assert.equal(modern.readConfig(0, 4), 0x10441af4);
  assert.equal(modern.readConfig(8, 1), 1);
  assert.equal(modern.readConfig(0x10, 4), 0);
  assert.equal(virtioPciIdentity(VIRTIO_ID.gpu, true).deviceId, 0x1050, 'a type that had no legacy interface');
});

test('the interrupt pin follows ISR status, the disable bit and MSI-X', () => {
  const device = new HoldingDevice();
  const guest = new GuestDriver(device, PLAIN_STYLE);
  const { transport } = guest;
  assert.ok(transport instanceof PciDriverTransport);
  const { pci } = transport.device;
  guest.start();
  guest.submit(0, [Uint8Array.of(1), 1]);
  device.answer();
  assert.equal(transport.line.asserted, true);
  assert.equal(pci.readConfig(6, 2) & 8, 8, 'interrupt status in the PCI status register');
  pci.writeConfig(4, 2, 0x0407);
  assert.equal(transport.line.asserted, false);
  pci.writeConfig(4, 2, 0x0007);
  assert.equal(transport.line.asserted, true);
  const saved = structuredClone(transport.device.save());
  const other = new GuestDriver(new HoldingDevice(), PLAIN_STYLE, guest.memory);
  other.transport.device.load(saved);
  assert.equal(other.transport.line.asserted, true, 'loaded');
  assert.equal(transport.interrupts(), 1);
  assert.equal(transport.line.asserted, false);
  assert.equal(transport.interrupts(), 0, 'reading acknowledges');
  guest.submit(0, [Uint8Array.of(1), 1]);
  device.answer();
  transport.setStatus(0);
  assert.equal(transport.line.asserted, false, 'a reset takes the interrupt back');
});

test('MSI-X sends the message of the queue, and keeps what is masked', () => {
  const device = new HoldingDevice();
  const guest = new GuestDriver(device, { ...PLAIN_STYLE, transport: 'pci-msix' });
  const { transport } = guest;
  assert.ok(transport instanceof PciDriverTransport);
  guest.start();
  const send = (queue: number) => {
    guest.submit(queue, [Uint8Array.of(1), 1]);
    device.answer();
  };
  send(1);
  assert.deepEqual(transport.msi.sent.splice(0), [{ address: 0xfee00000, data: 0x42 }]);
  const table = transport.regions[1];
  table?.write(2 * 16 + 12, 4, 1);
  send(1);
  send(0);
  assert.deepEqual(transport.msi.sent.splice(0), [{ address: 0xfee00000, data: 0x41 }]);
  assert.equal(table?.read(0x800, 4), 4, 'pending');
  table?.write(2 * 16 + 12, 4, 0);
  assert.deepEqual(transport.msi.sent.splice(0), [{ address: 0xfee00000, data: 0x42 }]);
  assert.equal(table?.read(0x800, 4), 0);
  assert.equal(transport.line.asserted, false);
});

test('a vector that does not exist reads back as none', () => {
  const { transport } = build();
  const common = transport.regions[0];
  common?.write(0x16, 2, 0);
  common?.write(0x1a, 2, 2);
  assert.equal(common?.read(0x1a, 2), 2);
  common?.write(0x1a, 2, 3);
  assert.equal(common?.read(0x1a, 2), 0xffff);
});

test('registers can be reached through the window in configuration space', () => {
  const { pci, transport } = build();
  let at = pci.readConfig(0x34, 1);
  while (pci.readConfig(at, 1) !== 9 || pci.readConfig(at + 3, 1) !== 5) {
    at = pci.readConfig(at + 1, 1);
  }
  pci.writeConfig(at + 4, 1, 4);
  pci.writeConfig(at + 8, 4, 0x14);
  pci.writeConfig(at + 12, 4, 1);
  pci.writeConfig(at + 16, 1, 1);
  assert.equal(transport.status(), 1);
  pci.writeConfig(at + 8, 4, 0x12);
  pci.writeConfig(at + 12, 4, 2);
  assert.equal(pci.readConfig(at + 16, 2), 2, 'number of queues');
  pci.writeConfig(at + 8, 4, 0x2000);
  pci.writeConfig(at + 12, 4, 4);
  assert.equal(pci.readConfig(at + 16, 4), 0x04030201, 'the device configuration');
  pci.writeConfig(at + 8, 4, 0x3ffe);
  assert.equal(pci.readConfig(at + 16, 4), 0x04030201, 'an access that does not fit does nothing');
});

test('the legacy configuration moves by four bytes while MSI-X is enabled', () => {
  const { transport, pci } = build({ msiX: true });
  const ports = transport.regions[2];
  assert.equal(ports?.read(24, 4), 0x04030201);
  let at = pci.readConfig(0x34, 1);
  while (pci.readConfig(at, 1) !== 0x11) {
    at = pci.readConfig(at + 1, 1);
  }
  pci.writeConfig(at + 2, 2, 0);
  assert.equal(ports?.read(20, 4), 0x04030201);
});
