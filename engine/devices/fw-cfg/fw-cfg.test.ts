import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeMemory } from '../../testing/fakes.ts';
import { FW_CFG_PORT, FW_CFG_PORT_COUNT, FwCfg } from './fw-cfg.ts';
import {
  FW_CFG_FILE_DIR,
  FW_CFG_ID,
  FW_CFG_NB_CPUS,
  FwCfgItems,
  littleEndian16,
  zeroTerminated,
} from './fw-cfg-items.ts';

function build() {
  const memory = new FakeMemory(0x10000);
  const ports = new Ports();
  const items = new FwCfgItems()
    .set(FW_CFG_NB_CPUS, littleEndian16(4))
    .file('bootorder', zeroTerminated('/pci@i0cf8/ide@1,1/drive@0/disk@0'))
    .file('etc/e820', Uint8Array.of(1, 2, 3, 4, 5));
  const device = new FwCfg('fw-cfg', { memory }, items);
  ports.map(FW_CFG_PORT, FW_CFG_PORT_COUNT, device.ports, 'fw-cfg');
  const read = (key: number, length: number) => {
    ports.write(FW_CFG_PORT, 2, key);
    return Buffer.from(Array.from({ length }, () => ports.read(FW_CFG_PORT + 1, 1)));
  };
  const dma = (control: number, length: number, target: number, at = 0x100) => {
    const descriptor = Buffer.alloc(16);
    descriptor.writeUInt32BE(control >>> 0, 0);
    descriptor.writeUInt32BE(length, 4);
    descriptor.writeBigUInt64BE(BigInt(target), 8);
    memory.write(at, descriptor);
    const swapped = Buffer.alloc(4);
    swapped.writeUInt32LE(at);
    ports.write(FW_CFG_PORT + 8, 4, swapped.readUInt32BE());
    return Buffer.from(memory.bytes.subarray(at, at + 4)).readUInt32BE();
  };
  return { memory, ports, device, read, dma };
}

/** The key and size of `name` as found by walking the directory. */
function lookUp(
  read: (key: number, length: number) => Buffer,
  name: string,
): { key: number; size: number } | undefined {
  const count = read(FW_CFG_FILE_DIR, 4).readUInt32BE();
  const directory = read(FW_CFG_FILE_DIR, 4 + count * 64);
  for (let i = 0; i < count; i++) {
    const entry = directory.subarray(4 + i * 64, 4 + (i + 1) * 64);
    if (entry.toString('latin1', 8).replace(/\0.*$/, '') === name) {
      return { key: entry.readUInt16BE(4), size: entry.readUInt32BE(0) };
    }
  }
  return undefined;
}

test('signature, identification and numbered items', () => {
  const { read, ports } = build();
  assert.equal(read(0, 4).toString('latin1'), 'QEMU');
  assert.equal(read(FW_CFG_ID, 4).readUInt32LE(), 3);
  assert.equal(read(FW_CFG_NB_CPUS, 2).readUInt16LE(), 4);
  assert.deepEqual([...read(FW_CFG_NB_CPUS, 4)], [4, 0, 0, 0], 'zeros follow the end');
  assert.deepEqual([...read(0x7777, 2)], [0, 0]);
  assert.equal(ports.read(FW_CFG_PORT + 4, 4), 0x554d4551);
  assert.equal(ports.read(FW_CFG_PORT + 8, 4), 0x47464320);
});

test('files are found through the directory', () => {
  const { read } = build();
  const order = lookUp(read, 'bootorder');
  assert.ok(order);
  assert.equal(read(order.key, order.size).toString('latin1'), '/pci@i0cf8/ide@1,1/drive@0/disk@0\0');
  assert.deepEqual(lookUp(read, 'etc/e820')?.size, 5);
  assert.equal(lookUp(read, 'nothing'), undefined);
});

test('DMA selects, reads, skips and reports through the control word', () => {
  const { read, dma, memory } = build();
  const { key } = lookUp(read, 'etc/e820') ?? { key: 0 };
  memory.bytes.fill(0xaa, 0x200, 0x210);
  assert.equal(dma((key << 16) | 0x8 | 0x2, 3, 0x200), 0);
  assert.deepEqual([...memory.bytes.subarray(0x200, 0x204)], [1, 2, 3, 0xaa]);
  assert.equal(dma(0x2, 1, 0x200), 0);
  assert.equal(memory.bytes[0x200], 4);
  assert.equal(dma((key << 16) | 0x8 | 0x4, 4, 0), 0);
  assert.equal(dma(0x2, 4, 0x200), 0);
  assert.deepEqual([...memory.bytes.subarray(0x200, 0x204)], [5, 0, 0, 0], 'zeros follow the end');
});

test('DMA writes are refused and hostile lengths are bounded', () => {
  const { read, dma, memory } = build();
  const { key } = lookUp(read, 'etc/e820') ?? { key: 0 };
  assert.equal(dma((key << 16) | 0x8 | 0x10, 4, 0x200), 1);
  const started = performance.now();
  assert.equal(dma((key << 16) | 0x8 | 0x2, 0xffffffff, 0x1000), 0);
  assert.ok(performance.now() - started < 1000);
  assert.deepEqual([...memory.bytes.subarray(0x1000, 0x1006)], [1, 2, 3, 4, 5, 0]);
  assert.equal(dma(0x2, 16, 2 ** 40), 0);
  assert.equal(dma(0x2, 16, Number.MAX_SAFE_INTEGER - 3), 1);
});

deviceConformance('fw_cfg', () => {
  const { device, ports } = build();
  return {
    device,
    clock: new ManualClock(),
    poke(random) {
      const port = FW_CFG_PORT + random.below(FW_CFG_PORT_COUNT);
      const size = random.pick([1, 2, 4] as AccessSize[]);
      switch (random.below(4)) {
        case 0:
          ports.write(FW_CFG_PORT, 2, random.below(0x30));
          break;
        case 1:
          ports.read(port, size);
          break;
        default:
          ports.write(port, size, random.chance(1, 2) ? random.below(0x10000) << 16 : random.u32());
      }
    },
  };
});
