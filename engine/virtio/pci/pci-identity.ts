import type { PciIdentity } from '../../pci/pci-function.ts';
import { VIRTIO_ID } from '../virtio-device.ts';

const VENDOR_REDHAT = 0x1af4;
const MODERN_DEVICE_BASE = 0x1040;

/** Device numbers of the transitional devices (virtio 1.2, section 4.1.2.1). */
const TRANSITIONAL: Readonly<Record<number, number>> = {
  [VIRTIO_ID.net]: 0x1000,
  [VIRTIO_ID.block]: 0x1001,
  [VIRTIO_ID.balloon]: 0x1002,
  [VIRTIO_ID.console]: 0x1003,
  [VIRTIO_ID.scsi]: 0x1004,
  [VIRTIO_ID.entropy]: 0x1005,
  [VIRTIO_ID.p9]: 0x1009,
};

/** Class codes: the specification leaves them open; these are what guests show to people. */
const CLASSES: Readonly<Record<number, number>> = {
  [VIRTIO_ID.net]: 0x020000,
  [VIRTIO_ID.block]: 0x010000,
  [VIRTIO_ID.console]: 0x078000,
  [VIRTIO_ID.scsi]: 0x010000,
  [VIRTIO_ID.p9]: 0x018000,
  [VIRTIO_ID.gpu]: 0x038000,
  [VIRTIO_ID.input]: 0x098000,
  [VIRTIO_ID.vsock]: 0x028000,
  [VIRTIO_ID.sound]: 0x040100,
};
const CLASS_OTHER = 0x00ff00;

/** True for device types that had a legacy interface. */
export function canBeTransitional(type: number): boolean {
  return TRANSITIONAL[type] !== undefined;
}

/** What a virtio device calls itself on PCI. */
export function virtioPciIdentity(type: number, transitional: boolean): PciIdentity {
  const legacyId = transitional ? TRANSITIONAL[type] : undefined;
  return {
    vendorId: VENDOR_REDHAT,
    deviceId: legacyId ?? MODERN_DEVICE_BASE + type,
    classCode: CLASSES[type] ?? CLASS_OTHER,
    revision: legacyId === undefined ? 1 : 0,
    subsystemVendorId: VENDOR_REDHAT,
    // A legacy driver tells the type by it; others want at least 0x40 (section 4.1.2.1).
    subsystemId: legacyId === undefined ? 0x1100 : type,
    interruptPin: 1,
  };
}
