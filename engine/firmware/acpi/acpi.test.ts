import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runLoaderScript } from '../table-loader.ts';
import { ACPI_RSDP_FILE, ACPI_TABLES_FILE, buildAcpiTables } from './acpi-tables.ts';
import { bytes, eisaId, integer, name, packageOf, path, scope, string } from './aml.ts';
import { levelInterrupt, resourceTemplate } from './aml-resources.ts';
import { pcAcpiConfig } from './pc-config.ts';

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
const HIGH = 0x0ffe0000;
const RSDP = 0xf5a00;

function sum(data: Uint8Array): number {
  return data.reduce((total, byte) => (total + byte) & 0xff, 0);
}

/** All tables of a machine, placed, by signature. */
function placed(cpus = 4) {
  const blobs = buildAcpiTables(pcAcpiConfig({ cpus, memoryBytes: 256 << 20 }));
  const files = runLoaderScript(
    blobs.script,
    new Map([
      [ACPI_TABLES_FILE, blobs.tables],
      [ACPI_RSDP_FILE, blobs.rsdp],
    ]),
    (_length, _align, zone) => (zone === 'high' ? HIGH : RSDP),
  );
  const rsdp = Buffer.from(files.get(ACPI_RSDP_FILE)?.bytes ?? []);
  const memory = Buffer.from(files.get(ACPI_TABLES_FILE)?.bytes ?? []);
  const at = (address: number) => {
    const offset = address - HIGH;
    return memory.subarray(offset, offset + memory.readUInt32LE(offset + 4));
  };
  const rsdt = at(rsdp.readUInt32LE(16));
  const xsdt = at(Number(rsdp.readBigUInt64LE(24)));
  const tables = new Map<string, Buffer>();
  for (let offset = 36; offset < rsdt.length; offset += 4) {
    const table = at(rsdt.readUInt32LE(offset));
    tables.set(table.toString('latin1', 0, 4), table);
  }
  return { rsdp, rsdt, xsdt, tables, at };
}

test('AML terms have the encodings of the specification', () => {
  assert.equal(hex(integer(0)), '00');
  assert.equal(hex(integer(1)), '01');
  assert.equal(hex(integer(0x80)), '0a80');
  assert.equal(hex(integer(0x1234)), '0b3412');
  assert.equal(hex(integer(0x12345678)), '0c78563412');
  assert.equal(hex(integer(0x123456789a)), '0e9a78563412000000');
  assert.equal(hex(path('\\_SB.PCI0')), '5c2e5f53425f50434930');
  assert.equal(hex(path('A.B.C')), '2f03415f5f5f425f5f5f435f5f5f');
  assert.equal(hex(path('^X')), '5e585f5f5f');
  assert.equal(hex(eisaId('PNP0A03')), '0c41d00a03');
  assert.equal(hex(name('_S5', packageOf(integer(0), integer(5)))), `08${hex(Buffer.from('_S5_'))}120502000a05`);
  assert.equal(hex(string('hi')), '0d686900');
  assert.equal(hex(resourceTemplate(levelInterrupt(10))), '110e0a0b8906000901' + '0a000000' + '7900');
  assert.throws(() => path('toolong'), { name: 'InvariantError' });
});

test('package lengths take as many bytes as they need, and count themselves', () => {
  for (const [content, head] of [
    [0, '1005'],
    [58, '103f'],
    [59, '104104'],
    [5000, '108f3801'],
  ] as const) {
    const term = scope('A', bytes(new Uint8Array(content)));
    assert.equal(hex(term.subarray(0, head.length / 2)), head);
    const lead = term[1] ?? 0;
    const following = lead >> 6;
    let length = following === 0 ? lead & 0x3f : lead & 0xf;
    for (let i = 0; i < following; i++) {
      length |= (term[2 + i] ?? 0) << (4 + 8 * i);
    }
    assert.equal(length, term.length - 1);
  }
});

test('every table carries a right checksum and is reachable from both roots', () => {
  const { rsdp, rsdt, xsdt, tables, at } = placed();
  assert.equal(rsdp.toString('latin1', 0, 8), 'RSD PTR ');
  assert.equal(sum(rsdp.subarray(0, 20)), 0);
  assert.equal(sum(rsdp), 0);
  assert.deepEqual([...tables.keys()], ['FACP', 'APIC', 'HPET', 'WAET']);
  const fadt = tables.get('FACP') ?? Buffer.alloc(0);
  const dsdt = at(fadt.readUInt32LE(40));
  assert.equal(dsdt.toString('latin1', 0, 4), 'DSDT');
  assert.equal(Number(fadt.readBigUInt64LE(140)), fadt.readUInt32LE(40));
  const facs = at(fadt.readUInt32LE(36));
  assert.equal(facs.toString('latin1', 0, 4), 'FACS');
  assert.equal(fadt.readUInt32LE(36) % 64, 0);
  for (const table of [rsdt, xsdt, dsdt, ...tables.values()]) {
    assert.equal(sum(table), 0, table.toString('latin1', 0, 4));
  }
  assert.equal((xsdt.length - 36) / 8, tables.size);
  for (let i = 0; i < tables.size; i++) {
    assert.equal(Number(xsdt.readBigUInt64LE(36 + i * 8)), rsdt.readUInt32LE(36 + i * 4));
  }
});

test('the FADT describes the chipset', () => {
  const fadt = placed().tables.get('FACP') ?? Buffer.alloc(0);
  assert.equal(fadt.length, 244);
  assert.equal(fadt.readUInt16LE(46), 9);
  assert.equal(fadt.readUInt32LE(48), 0xb2);
  assert.deepEqual([fadt[52], fadt[53]], [0xf1, 0xf0]);
  assert.equal(fadt.readUInt32LE(56), 0x600);
  assert.equal(fadt.readUInt32LE(64), 0x604);
  assert.equal(fadt.readUInt32LE(76), 0x608);
  assert.equal(fadt.readUInt32LE(80), 0xafe0);
  assert.equal(fadt.readBigUInt64LE(120), 0xcf9n);
  assert.equal(fadt[128], 6);
  assert.notEqual(fadt.readUInt32LE(112) & (1 << 10), 0, 'the reset register is announced');
});

test('the MADT lists processors, the I/O APIC and the overrides', () => {
  const madt = placed(3).tables.get('APIC') ?? Buffer.alloc(0);
  const entries: string[] = [];
  for (let at = 44; at < madt.length; at += madt[at + 1] ?? 1) {
    entries.push(hex(madt.subarray(at, at + (madt[at + 1] ?? 0))));
  }
  assert.deepEqual(entries, [
    '0008000001000000',
    '0008010101000000',
    '0008020201000000',
    '010c00000000c0fe00000000',
    '020a0000020000000000',
    '020a0005050000000d00',
    '020a0009090000000d00',
    '020a000a0a0000000d00',
    '020a000b0b0000000d00',
    '0406ff000001',
  ]);
});
