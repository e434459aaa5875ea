import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { ByteBatch } from './byte-batch.ts';
import { FileSink } from './file-sink.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-serial-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('bytes are handed on in pieces, in order, and none is kept back after a flush', () => {
  const pieces: Uint8Array[] = [];
  const batch = new ByteBatch((bytes) => pieces.push(bytes));
  for (let i = 0; i < 10_000; i++) {
    batch.write(i & 0xff);
  }
  assert.equal(pieces.length, 2);
  batch.flush();
  batch.flush();
  assert.equal(pieces.length, 3);
  const all = Buffer.concat(pieces);
  assert.equal(all.length, 10_000);
  assert.ok(all.every((byte, index) => byte === (index & 0xff)));
});

test('a file takes the output and nothing of its former contents stays', () => {
  const path = join(folder, 'serial.log');
  writeFileSync(path, 'something much longer from an earlier run');
  const sink = new FileSink(path, silentLog);
  sink.write(new TextEncoder().encode('hello '));
  sink.write(new TextEncoder().encode('world'));
  assert.equal(readFileSync(path, 'utf8'), 'hello world');
  sink.dispose();
  sink.dispose();
  sink.write(Uint8Array.of(1));
  assert.equal(readFileSync(path, 'utf8'), 'hello world');
});

test('a file that cannot be created is a host error', () => {
  assert.throws(() => new FileSink(join(folder, 'none', 'x'), silentLog), { name: 'HostError', code: 'serial-file' });
});

test('a full disk drops the output and says so once', { skip: !existsSync('/dev/full') }, () => {
  const warnings: string[] = [];
  const sink = new FileSink('/dev/full', { info() {}, warn: (message) => warnings.push(message) });
  sink.write(Uint8Array.of(1));
  sink.write(Uint8Array.of(2));
  sink.dispose();
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /ENOSPC/);
});
