import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeDisk } from '../../testing/fakes.ts';
import { IdeHost } from './ide-host.ts';

function disc(blocks: number, extraBytes = 0): FakeDisk {
  const medium = new FakeDisk(blocks * 2048 + extraBytes, true);
  for (let i = 0; i < medium.bytes.length; i++) {
    medium.bytes[i] = (i >> 11) + i * 3;
  }
  return medium;
}

function cdHost(medium?: FakeDisk, onTray?: (open: boolean) => void): IdeHost {
  const host = new IdeHost([undefined, undefined, { kind: 'cdrom', backend: medium, ...(onTray ? { onTray } : {}) }]);
  host.select(1, 0);
  return host;
}

/** Runs a packet without data and returns [sense key, additional sense code]. */
function sense(host: IdeHost, packet: readonly number[]): [number, number] {
  host.packet(packet);
  const failed = (host.status() & 1) !== 0;
  assert.equal(host.reg(2) & 3, 3, 'the interrupt reason of the end');
  if (!failed) {
    return [0, 0];
  }
  host.packet([0x03, 0, 0, 0, 18]);
  const data = host.reply();
  assert.equal(data.length, 18);
  return [data[2] ?? 0, ((data[12] ?? 0) << 8) | (data[13] ?? 0)];
}

const READY: [number, number] = [0, 0];

test('the drive is told from a disk by its signature', () => {
  const host = cdHost(disc(10));
  assert.deepEqual([host.reg(2), host.reg(3), host.reg(4), host.reg(5)], [1, 1, 0x14, 0xeb]);
  host.command(0xec);
  assert.equal(host.status(), 0x51);
  assert.deepEqual([host.reg(4), host.reg(5)], [0x14, 0xeb]);
  host.command(0xa1);
  assert.equal(host.line.asserted, true);
  assert.equal(host.status(), 0x58);
  const words = host.readWords(256);
  assert.equal(words[0], 0x85c0);
  assert.equal(host.status(), 0x50);
  host.command(0x08);
  assert.equal(host.status(), 0);
  assert.equal(host.reg(5), 0xeb);
});

test('INQUIRY in one block, cut to the allocation length', () => {
  const host = cdHost();
  host.packet([0x12, 0, 0, 0, 36]);
  assert.equal(host.line.asserted, true);
  assert.equal(host.altStatus(), 0x58);
  assert.equal(host.reg(2) & 3, 2);
  const data = host.reply();
  assert.equal(data.length, 36);
  assert.equal(data[0], 5);
  assert.equal(data[1], 0x80);
  assert.equal(String.fromCharCode(...data.subarray(8, 28)), 'LODGE   LODGE CD-ROM');
  host.packet([0x12, 0, 0, 0, 5]);
  assert.equal(host.reply().length, 5, 'an odd length ends with half a word');
  assert.equal(host.status(), 0x50);
});

test('READ (10) by PIO in blocks of the size that the host asked for', () => {
  const medium = disc(200);
  const host = cdHost(medium);
  host.packet([0x28, 0, 0, 0, 0, 16, 0, 0, 100], { limit: 2048 });
  const edges = host.line.edges;
  for (let block = 0; block < 100; block++) {
    medium.complete();
    assert.equal(host.status(), 0x58);
    assert.equal(host.reg(4) | (host.reg(5) << 8), 2048);
    assert.deepEqual(host.readBytes(2048), medium.bytes.slice((16 + block) * 2048, (17 + block) * 2048));
  }
  assert.equal(host.line.edges - edges, 101, 'one for each block and one for the end');
  assert.equal(host.status(), 0x50);
  assert.equal(host.reg(2) & 3, 3);
});

test('an odd block limit is rounded down except for the last block', () => {
  const medium = disc(4);
  const host = cdHost(medium);
  host.packet([0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 1], { limit: 1001 });
  const data = host.reply(() => medium.complete());
  assert.deepEqual(data, medium.bytes.slice(2048, 4096));
});

test('READ (10) by DMA', () => {
  const medium = disc(64);
  const host = cdHost(medium);
  host.prd(0x1000, [
    [0x8000, 4096],
    [0x20000, 4096],
  ]);
  host.dma(0x1000, true, () => host.packet([0x28, 0, 0, 0, 0, 60, 0, 0, 4], { dma: true }));
  medium.complete();
  assert.equal(host.bmRead(2) & 5, 4);
  assert.equal(host.status(), 0x50);
  assert.deepEqual(host.memory.bytes.slice(0x8000, 0x9000), medium.bytes.slice(60 * 2048, 62 * 2048));
  assert.deepEqual(host.memory.bytes.slice(0x20000, 0x21000), medium.bytes.slice(62 * 2048, 64 * 2048));
  host.prd(0x1000, [[0x8000, 36]]);
  host.dma(0x1000, true, () => host.packet([0x12, 0, 0, 0, 36], { dma: true }));
  assert.equal(host.bmRead(2) & 5, 4);
  assert.equal(host.memory.bytes[0x8000], 5);
});

test('READ CAPACITY counts a cut-short last block, which reads as zeros at its end', () => {
  const medium = disc(10, 512);
  const host = cdHost(medium);
  host.packet([0x25]);
  assert.deepEqual([...host.reply()], [0, 0, 0, 10, 0, 0, 8, 0]);
  host.packet([0x28, 0, 0, 0, 0, 10, 0, 0, 1]);
  const data = host.reply(() => medium.complete());
  assert.deepEqual(data.subarray(0, 512), medium.bytes.slice(10 * 2048));
  assert.ok(data.subarray(512).every((byte) => byte === 0));
  assert.deepEqual(sense(host, [0x28, 0, 0, 0, 0, 10, 0, 0, 2]), [5, 0x2100]);
  assert.deepEqual(sense(host, [0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 2]), [5, 0x2100]);
});

test('READ CD gives user data and whole sectors', () => {
  const medium = disc(100);
  const host = cdHost(medium);
  host.packet([0xbe, 0, 0, 0, 0, 7, 0, 0, 2, 0x10]);
  assert.deepEqual(
    host.reply(() => medium.complete()),
    medium.bytes.slice(7 * 2048, 9 * 2048),
  );
  host.packet([0xbe, 0, 0, 0, 0, 7, 0, 0, 60, 0xf8]);
  const raw = host.reply(() => medium.complete());
  assert.equal(raw.length, 60 * 2352);
  const last = raw.subarray(59 * 2352);
  assert.deepEqual([...last.subarray(0, 16)], [0, ...new Array(10).fill(0xff), 0, 0, 2, 0x66, 1]);
  assert.deepEqual(last.slice(16, 16 + 2048), medium.bytes.slice(66 * 2048, 67 * 2048));
});

test('the table of contents in its three formats', () => {
  const host = cdHost(disc(300));
  host.packet([0x43, 0, 0, 0, 0, 0, 0, 0, 100]);
  assert.deepEqual([...host.reply()], [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 1, 44]);
  host.packet([0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100]);
  assert.deepEqual([...host.reply()], [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 6, 0]);
  host.packet([0x43, 0, 1, 0, 0, 0, 0, 0, 100]);
  assert.equal(host.reply().length, 12);
  host.packet([0x43, 2, 2, 0, 0, 0, 0, 0, 100]);
  const raw = host.reply();
  assert.equal(raw.length, 48);
  assert.deepEqual([...raw.subarray(26, 37)], [1, 0x14, 0, 0xa2, 0, 0, 0, 0, 0, 6, 0]);
  assert.deepEqual(sense(host, [0x43, 0, 5, 0, 0, 0, 0, 0, 100]), [5, 0x2400]);
});

test('MODE SENSE, GET CONFIGURATION and the rest answer with their own lengths', () => {
  const host = cdHost(disc(300));
  const reply = (...packet: number[]) => {
    host.packet(packet);
    return host.reply();
  };
  const page = reply(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128);
  assert.equal(page.length, 28);
  assert.equal(((page[0] ?? 0) << 8) | (page[1] ?? 0), 26);
  assert.deepEqual([page[8], page[9]], [0x2a, 18]);
  const all = reply(0x1a, 0, 0x3f, 0, 255);
  assert.equal(all[0], all.length - 1);
  const configuration = reply(0x46, 0, 0, 0, 0, 0, 0, 1, 0);
  assert.equal(configuration[3], configuration.length - 4);
  assert.deepEqual([configuration[6], configuration[7]], [0, 8], 'profile CD-ROM');
  assert.deepEqual([...reply(0x46, 2, 0, 3, 0, 0, 0, 1, 0)].slice(8), [0, 3, 3, 4, 0x39, 0, 0, 0]);
  assert.equal(reply(0x51, 0, 0, 0, 0, 0, 0, 0, 34).length, 34);
  const track = reply(0x52, 1, 0, 0, 0, 1, 0, 0, 36);
  assert.deepEqual([...track.subarray(24, 28)], [0, 0, 1, 44]);
  assert.equal(reply(0x42, 2, 0x40, 1, 0, 0, 0, 0, 16).length, 16);
  assert.equal(reply(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8).length, 8);
  assert.deepEqual(sense(host, [0x5a, 0, 0x05, 0, 0, 0, 0, 0, 100]), [5, 0x2400]);
  assert.deepEqual(sense(host, [0xc7]), [5, 0x2000]);
  assert.deepEqual(sense(host, [0x2b, 0, 0, 0, 1, 43]), READY);
});

test('MODE SELECT takes its parameter list', () => {
  const host = cdHost(disc(3));
  host.packet([0x55, 0x10, 0, 0, 0, 0, 0, 0, 24], { limit: 16 });
  assert.equal(host.status(), 0x58);
  assert.equal(host.reg(2) & 3, 0);
  assert.equal(host.reg(4), 16);
  host.writeBytes(new Uint8Array(16));
  assert.equal(host.reg(4), 8);
  host.writeBytes(new Uint8Array(8));
  assert.equal(host.status(), 0x50);
});

test('an empty drive says so, and a new medium is announced once', () => {
  const host = cdHost();
  assert.deepEqual(sense(host, [0x00]), [2, 0x3a01]);
  const medium = disc(20);
  const drive = host.device.cdrom(2);
  drive?.insert(medium);
  host.packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  assert.deepEqual([...host.reply()], [0, 6, 4, 0x10, 2, 2, 0, 0]);
  assert.deepEqual(sense(host, [0x00]), [6, 0x2800]);
  assert.deepEqual(sense(host, [0x00]), READY);
  host.packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  assert.deepEqual([...host.reply()], [0, 6, 4, 0x10, 0, 2, 0, 0]);
});

test('a swap of media is seen as one', () => {
  const host = cdHost(disc(20));
  assert.deepEqual(sense(host, [0x00]), READY);
  host.device.cdrom(2)?.insert(disc(30));
  assert.deepEqual(sense(host, [0x25]), [2, 0x3a01]);
  assert.deepEqual(sense(host, [0x25]), [6, 0x2800]);
  host.packet([0x25]);
  assert.equal(host.reply()[3], 29);
});

test('a locked tray opens by force only; the guest is told of the wish', () => {
  const host = cdHost(disc(20));
  const drive = host.device.cdrom(2);
  assert.deepEqual(sense(host, [0x1e, 0, 0, 0, 1]), READY);
  assert.equal(drive?.locked, true);
  assert.deepEqual(sense(host, [0x1b, 0, 0, 0, 2]), [5, 0x5302]);
  assert.equal(drive?.eject(), false);
  assert.notEqual(drive?.medium, undefined);
  host.packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  assert.equal(host.reply()[4], 1, 'eject request');
  assert.equal(drive?.eject({ force: true }), true);
  assert.equal(drive?.medium, undefined);
  assert.deepEqual(sense(host, [0x00]), [2, 0x3a02]);
});

test('the guest opens and closes the tray', () => {
  const seen: boolean[] = [];
  const host = cdHost(disc(20), (open) => seen.push(open));
  assert.deepEqual(sense(host, [0x1b, 0, 0, 0, 2]), READY);
  assert.deepEqual(sense(host, [0x00]), [2, 0x3a02]);
  assert.deepEqual(sense(host, [0x1b, 0, 0, 0, 3]), READY);
  assert.deepEqual(sense(host, [0x00]), [6, 0x2800]);
  assert.deepEqual(sense(host, [0x00]), READY);
  assert.deepEqual(seen, [true, false]);
});

test('a read whose medium is taken away ends with an error', () => {
  const medium = disc(20);
  const host = cdHost(medium);
  host.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 4]);
  assert.equal(host.altStatus() & 0x80, 0x80);
  host.device.cdrom(2)?.eject({ force: true });
  assert.equal(host.line.asserted, true);
  assert.equal(host.status(), 0x51);
  medium.complete();
  assert.equal(host.altStatus(), 0x51, 'the late completion changes nothing');
});

test('errors of the image are medium errors', () => {
  const medium = disc(20);
  const host = cdHost(medium);
  medium.failure = { code: 'io', message: 'EIO' };
  host.packet([0x28, 0, 0, 0, 0, 0, 0, 0, 4]);
  medium.complete();
  assert.equal(host.status(), 0x51);
  assert.equal(host.reg(1) >> 4, 3);
  host.packet([0x03, 0, 0, 0, 18]);
  assert.equal(host.reply()[12], 0x11);
});

test('a read in flight survives being saved and loaded', () => {
  const medium = disc(100);
  const host = cdHost(medium);
  host.packet([0xbe, 0, 0, 0, 0, 7, 0, 0, 60, 0xf8], { limit: 2352 });
  const busy = structuredClone(host.device.save());
  medium.complete();
  host.readBytes(1000);
  const middle = structuredClone(host.device.save());
  for (const [state, skipped] of [
    [busy, 0],
    [middle, 1000],
  ] as const) {
    const copy = disc(100);
    const other = cdHost(copy);
    other.device.load(state);
    copy.complete();
    const raw = [...new Uint8Array(skipped), ...other.readBytes(2352 - skipped), ...other.reply(() => copy.complete())];
    assert.equal(raw.length, 60 * 2352);
    for (let block = 0; block < 60; block++) {
      const data = Buffer.from(raw.slice(block * 2352 + 16, block * 2352 + 16 + 2048));
      const start = (7 + block) * 2048;
      const from = block === 0 ? skipped : 0;
      assert.ok(data.subarray(from).equals(copy.bytes.subarray(start + from, start + 2048)), `block ${block}`);
    }
    assert.equal(other.status(), 0x50);
  }
});

test('a DVD-sized medium shows the DVD profile', () => {
  const medium = { size: 400_000 * 2048, readOnly: true, submit() {}, dispose() {} };
  const host = new IdeHost([{ kind: 'cdrom', backend: medium }]);
  host.packet([0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
  assert.equal(host.reply()[7], 0x10);
  host.packet([0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4]);
  assert.equal(host.reply().length, 2052);
});
