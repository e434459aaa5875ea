import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ISO_SECTOR_BYTES, readIso } from './iso-image.ts';
import { inspectMedium } from './media-inspector.ts';
import { completePath } from './path-completion.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-media-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, contents: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

interface Entry {
  readonly name: string;
  readonly sector: number;
  readonly size: number;
  readonly folder?: boolean;
  readonly rockRidge?: string;
}

function directory(entries: readonly Entry[]): Uint8Array {
  const bytes = new Uint8Array(ISO_SECTOR_BYTES);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const all = [
    { name: '\0', sector: 0, size: 0, folder: true },
    { name: '\x01', sector: 0, size: 0, folder: true },
    ...entries,
  ] as Entry[];
  for (const { name, sector, size, folder: isFolder, rockRidge } of all) {
    const pad = (name.length & 1) ^ 1;
    const systemUse = rockRidge === undefined ? 0 : 5 + rockRidge.length;
    bytes[at] = 33 + name.length + pad + systemUse;
    view.setUint32(at + 2, sector, true);
    view.setUint32(at + 10, size, true);
    bytes[at + 25] = isFolder === true ? 2 : 0;
    bytes[at + 32] = name.length;
    bytes.set(new TextEncoder().encode(name), at + 33);
    if (rockRidge !== undefined) {
      const place = at + 33 + name.length + pad;
      bytes.set([0x4e, 0x4d, systemUse, 1, 0], place);
      bytes.set(new TextEncoder().encode(rockRidge), place + 5);
    }
    at += bytes[at] ?? 0;
  }
  return bytes;
}

/** A small ISO: descriptors in sectors 16–18, the root in 20, a folder in 21, a kernel in 22. */
function iso(
  label: string,
  options: { bootable?: boolean; kernel?: string; root?: readonly Entry[] } = {},
): Uint8Array {
  const image = new Uint8Array(30 * ISO_SECTOR_BYTES);
  const put = (sector: number, text: string, offset: number) =>
    image.set(new TextEncoder().encode(text), sector * ISO_SECTOR_BYTES + offset);
  const view = new DataView(image.buffer);
  image[16 * ISO_SECTOR_BYTES] = 1;
  put(16, 'CD001', 1);
  put(16, label.padEnd(32), 40);
  view.setUint32(16 * ISO_SECTOR_BYTES + 158, 20, true);
  view.setUint32(16 * ISO_SECTOR_BYTES + 166, ISO_SECTOR_BYTES, true);
  put(17, 'CD001', 1);
  put(17, options.bootable === false ? 'something else' : 'EL TORITO SPECIFICATION', 7);
  image[18 * ISO_SECTOR_BYTES] = 255;
  put(18, 'CD001', 1);
  const root = options.root ?? [
    { name: 'INSTALL', sector: 21, size: ISO_SECTOR_BYTES, folder: true },
    { name: 'README.TXT;1', sector: 22, size: 10 },
  ];
  image.set(directory(root), 20 * ISO_SECTOR_BYTES);
  image.set(
    directory([{ name: 'VMLINUZ.;1', sector: 22, size: 8 * ISO_SECTOR_BYTES, rockRidge: 'vmlinuz' }]),
    21 * ISO_SECTOR_BYTES,
  );
  if (options.kernel !== undefined) {
    put(22, 'HdrS', 0x202);
    view.setUint16(22 * ISO_SECTOR_BYTES + 0x20e, 0x300, true);
    put(22, `${options.kernel}\0`, 0x500);
  }
  return image;
}

test('installation media are recognized by label, boot files or kernel', () => {
  const look = (contents: Uint8Array) => inspectMedium(file('cd.iso', contents));
  const debian = look(iso('Debian 12.5.0 amd64 n'));
  assert.deepEqual(
    [debian.kind, debian.guestSystem, debian.suggestedName, debian.bootable],
    ['cdrom', 'debian', 'Debian 12.5.0', true],
  );
  assert.equal(look(iso('CCCOMA_X64FRE_EN-US_DV9')).guestSystem, 'windows-10');
  assert.equal(look(iso('ARCH_202601')).guestSystem, 'arch');
  assert.equal(
    look(iso('ISOIMAGE', { kernel: '6.1.0-44-amd64 (debian-kernel@lists.debian.org)' })).guestSystem,
    'debian',
  );
  assert.equal(look(iso('X', { kernel: '6.1.0-44-686 (debian-kernel@lists.debian.org)' })).guestSystem, 'linux-32');
  assert.equal(look(iso('X', { kernel: '6.8.5-301.fc40.x86_64' })).guestSystem, 'fedora');
  const casper = [{ name: 'CASPER', sector: 21, size: ISO_SECTOR_BYTES, folder: true }];
  assert.equal(look(iso('X', { root: casper })).guestSystem, 'ubuntu');
  const unknown = look(iso('', { bootable: false }));
  assert.deepEqual([unknown.guestSystem, unknown.bootable, unknown.suggestedName], [null, false, 'cd']);
});

test('disks and floppies are told apart, foreign formats are refused with what to do', () => {
  const boot = new Uint8Array(1440 * 1024);
  boot.set([0x55, 0xaa], 510);
  boot.set(new TextEncoder().encode('MSDOS5.0'), 3);
  const floppy = inspectMedium(file('boot.img', boot));
  assert.deepEqual([floppy.kind, floppy.bootable, floppy.guestSystem], ['floppy', true, 'dos']);
  const disk = inspectMedium(file('disk.img', new Uint8Array(1 << 20)));
  assert.deepEqual([disk.kind, disk.bootable], ['disk', false]);
  assert.throws(() => inspectMedium(file('d.qcow2', Uint8Array.of(0x51, 0x46, 0x49, 0xfb, ...new Uint8Array(600)))), {
    code: 'image-format',
    message: /qcow2/,
    remedy: /qemu-img convert/,
  });
  assert.throws(() => inspectMedium(file('d.vmdk', new TextEncoder().encode('KDMV'.padEnd(600)))), {
    code: 'image-format',
    field: 'path',
  });
  assert.throws(() => inspectMedium(file('empty', new Uint8Array())), { code: 'image-empty' });
  assert.throws(() => inspectMedium(folder), { code: 'image-directory' });
  assert.throws(() => inspectMedium(join(folder, 'no')), { code: 'image-missing', field: 'path' });
});

test('damaged images never throw anything but a refusal', () => {
  const good = iso('Debian', { kernel: '6.1' });
  let seed = 7;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % below;
  };
  for (let round = 0; round < 500; round++) {
    const bad = good.slice(0, round % 3 === 0 ? random(good.length) : good.length);
    for (let i = 0; i < 40; i++) {
      bad[(16 + random(7)) * ISO_SECTOR_BYTES + random(256)] = random(256);
    }
    readIso((offset, length) => bad.subarray(offset, offset + length));
  }
});

test('paths are completed by folder and prefix; hidden entries only when asked for', () => {
  mkdirSync(join(folder, 'deep', 'Debian'), { recursive: true });
  mkdirSync(join(folder, 'deep', '.hidden'));
  writeFileSync(join(folder, 'deep', 'debian.iso'), 'x');
  writeFileSync(join(folder, 'deep', 'other'), '');
  const names = (prefix: string, want: 'any' | 'folder' = 'any') =>
    completePath(prefix, want, folder).entries.map(({ name, kind }) => `${name}:${kind}`);
  const deep = join(folder, 'deep');
  assert.deepEqual(
    names(`${deep}/`),
    ['Debian:folder', 'debian.iso:file', 'other:file'].sort((a, b) => a.localeCompare(b)),
  );
  assert.deepEqual(names(`${deep}/d`), ['debian.iso:file']);
  assert.deepEqual(names(`${deep}/`, 'folder'), ['Debian:folder']);
  assert.deepEqual(names(`${deep}/.`), ['.hidden:folder']);
  assert.deepEqual(names('~/dee'), ['deep:folder']);
  assert.deepEqual(completePath('~/dee', 'any', folder).entries[0]?.path, `${deep}/`);
  assert.deepEqual(names('relative'), []);
  assert.deepEqual(names(`${deep}/nothing/x`), []);
  assert.deepEqual(names('/\0'), []);
});
