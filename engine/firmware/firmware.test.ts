import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pcAcpiConfig } from './acpi/pc-config.ts';
import { floppyPath, idePath } from './boot-order.ts';
import { findFirmware } from './find-firmware.ts';
import { firmwareItems } from './firmware-items.ts';
import { buildSmbios, placeSmbiosAnchor } from './smbios.ts';
import { encodeLoaderScript, runLoaderScript } from './table-loader.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-firmware-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('SMBIOS structures form a chain, and the entry point sums to zero', () => {
  const { anchor, tables } = buildSmbios({
    cpus: 2,
    memoryBytes: 512 << 20,
    uuid: Uint8Array.from({ length: 16 }, (_, i) => i),
  });
  const placed = Buffer.from(placeSmbiosAnchor(anchor, 0xf1000));
  assert.equal(
    placed.reduce((sum, byte) => (sum + byte) & 0xff, 0),
    0,
  );
  assert.equal(
    placed.subarray(0x10).reduce((sum, byte) => (sum + byte) & 0xff, 0),
    0,
  );
  assert.equal(placed.readUInt32LE(0x18), 0xf1000);
  assert.equal(placed.readUInt16LE(0x16), tables.length);
  const data = Buffer.from(tables);
  const types: number[] = [];
  const lengths: number[] = [];
  let largest = 0;
  for (let at = 0; at < data.length; ) {
    types.push(data[at] ?? -1);
    lengths.push(data[at + 1] ?? -1);
    const end = data.indexOf('\0\0', at + (data[at + 1] ?? 0), 'latin1') + 2;
    largest = Math.max(largest, end - at);
    at = end;
  }
  assert.deepEqual(types, [0, 1, 3, 4, 4, 16, 17, 19, 32, 127]);
  assert.deepEqual(lengths, [0x18, 0x1b, 0x16, 0x2a, 0x2a, 0x17, 0x28, 0x1f, 0x0b, 4]);
  assert.equal(placed.readUInt16LE(0x1c), types.length);
  assert.equal(placed.readUInt16LE(0x08), largest);
  assert.equal(data.subarray(0x18 + 20).includes(Buffer.from('03020100050407060809', 'hex')), true);
});

test('the firmware is given memory, processors, tables and boot order', () => {
  const items = firmwareItems({
    cpus: 2,
    memoryBytes: 128 << 20,
    acpi: pcAcpiConfig({ cpus: 2, memoryBytes: 128 << 20 }),
    bootOrder: [idePath(1, 0), floppyPath(0)],
    bootMenuMillis: 500,
    files: new Map([['opt/test', Uint8Array.of(1)]]),
  });
  assert.deepEqual(items.fileNames, [
    'bootorder',
    'etc/acpi/rsdp',
    'etc/acpi/tables',
    'etc/boot-fail-wait',
    'etc/boot-menu-wait',
    'etc/e820',
    'etc/smbios/smbios-anchor',
    'etc/smbios/smbios-tables',
    'etc/system-states',
    'etc/table-loader',
    'opt/test',
  ]);
  assert.equal(
    Buffer.from(items.readFile('bootorder') ?? []).toString('latin1'),
    '/pci@i0cf8/ide@1,1/drive@1/disk@0\n/pci@i0cf8/isa@1/fdc@03f0/floppy@0\0',
  );
  assert.equal(
    Buffer.from(items.readFile('etc/e820') ?? []).toString('hex'),
    `${'00'.repeat(8)}${'0000000800000000'}01000000`,
  );
  assert.equal((items.readFile('etc/table-loader')?.length ?? 1) % 128, 0);
});

test('loader commands have the layout that firmware reads', () => {
  const script = Buffer.from(
    encodeLoaderScript([
      { kind: 'allocate', file: 'a', align: 64, zone: 'fseg' },
      { kind: 'add-pointer', file: 'a', source: 'b', offset: 16, size: 4 },
      { kind: 'add-checksum', file: 'a', offset: 8, start: 0, length: 20 },
    ]),
  );
  assert.equal(script.length, 3 * 128);
  assert.deepEqual([script.readUInt32LE(0), script.readUInt32LE(60), script[64]], [1, 64, 2]);
  assert.deepEqual(
    [script.readUInt32LE(128), script[128 + 60], script.readUInt32LE(128 + 116), script[128 + 120]],
    [2, 0x62, 16, 4],
  );
  assert.deepEqual(
    [256, 316, 320, 324].map((at) => script.readUInt32LE(at)),
    [3, 8, 0, 20],
  );
});

test('a script that names blobs that are not there is refused', () => {
  assert.throws(() => runLoaderScript([{ kind: 'allocate', file: 'a', align: 1, zone: 'high' }], new Map(), () => 0), {
    code: 'bad-tables',
  });
  assert.throws(
    () => runLoaderScript([{ kind: 'add-checksum', file: 'a', offset: 0, start: 0, length: 0 }], new Map(), () => 0),
    { code: 'bad-tables' },
  );
});

test('missing firmware says in one line what to install', () => {
  assert.throws(
    () => findFirmware({ folders: [folder] }),
    (error: Error & { code?: string }) =>
      error.code === 'no-firmware' && /install/.test(error.message) && !error.message.includes('\n'),
  );
});

test('firmware is found in a folder, and files of the wrong form are refused', () => {
  const vga = new Uint8Array(1024);
  vga.set([0x55, 0xaa, 2]);
  writeFileSync(join(folder, 'bios-256k.bin'), new Uint8Array(256 << 10));
  writeFileSync(join(folder, 'vgabios-stdvga.bin'), vga);
  const found = findFirmware({ folders: ['/nonexistent', folder] });
  assert.equal(found.bios.length, 256 << 10);
  assert.equal(found.vgaBios.length, 1024);
  assert.equal(found.from.bios, join(folder, 'bios-256k.bin'));
  for (const [name, bytes] of [
    ['empty', new Uint8Array(0)],
    ['short', new Uint8Array(100)],
    ['odd', new Uint8Array((128 << 10) + 1)],
  ] as const) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    assert.throws(() => findFirmware({ folders: [folder], bios: path }), { code: 'bad-firmware' });
  }
  assert.throws(() => findFirmware({ folders: [folder], bios: join(folder, 'none') }), { code: 'bad-firmware' });
  assert.throws(() => findFirmware({ folders: [folder], bios: folder }), { code: 'bad-firmware' });
  assert.throws(() => findFirmware({ folders: [folder], vgaBios: join(folder, 'bios-256k.bin') }), {
    code: 'bad-firmware',
  });
});

test('the firmware of this host is usable', {
  skip: existsSync('/usr/share/seabios/bios-256k.bin') ? false : 'seabios is not installed',
}, () => {
  const { bios, vgaBios } = findFirmware();
  assert.equal(bios[bios.length - 16], 0xea, 'a far jump stands at the reset vector');
  assert.equal(vgaBios.length % 512, 0);
});
