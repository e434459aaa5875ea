import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockError } from '../backends/block/block-backend.ts';
import { FakeDisk } from '../testing/fakes.ts';
import { DiskTroubles } from './disk-troubles.ts';

const FULL: BlockError = { code: 'no-space', message: 'the host has no space left for the image (ENOSPC)' };

function build() {
  const told: string[] = [];
  let now = 1000;
  const reported: string[] = [];
  const troubles = new DiskTroubles(
    (message) => told.push(message),
    (message) => reported.push(message),
    () => now,
  );
  const disk = new FakeDisk(4096);
  const backend = troubles.watch('/disks/a.img', disk);
  const results: (string | undefined)[] = [];
  const write = () => {
    backend.submit({ kind: 'write', offset: 0, buffer: new Uint8Array(512).fill(9) }, (error) =>
      results.push(error?.code),
    );
    disk.complete();
  };
  const later = (millis: number) => {
    now += millis;
    troubles.tick(now);
    disk.complete();
  };
  return { told, reported, backend, troubles, disk, results, write, later };
}

test('a full disk is told once, tried again every two seconds, and over once there is room', () => {
  const { told, troubles, disk, results, write, later } = build();
  disk.failure = FULL;
  write();
  assert.equal(troubles.troubled, true);
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /^\/disks\/a\.img: .*no space.*; free some space|free some space$/);
  later(1999);
  assert.equal(disk.pending.length, 0);
  later(1);
  later(2000);
  assert.equal(told.length, 1, 'the same failure is told once');
  assert.equal(results.length, 0, 'the guest hears nothing');
  assert.deepEqual(troubles.present, { path: '/disks/a.img', reason: 'no-space', problem: FULL.message });
  disk.failure = undefined;
  later(2000);
  assert.deepEqual(results, [undefined]);
  assert.equal(disk.bytes[0], 9, 'the write is not lost');
  assert.equal(troubles.troubled, false);
  assert.equal(troubles.present, undefined);
  later(1);
  disk.failure = FULL;
  write();
  assert.equal(told.length, 2, 'a new failure is told again');
});

test('the user can have the guest told instead', () => {
  const { troubles, disk, results, write } = build();
  disk.failure = FULL;
  write();
  troubles.giveUp();
  assert.deepEqual(results, ['no-space']);
  assert.equal(troubles.troubled, false);
  assert.equal(troubles.nextTickMillis, undefined);
});

test('a flush that failed is not tried again, as that would succeed without having saved anything', () => {
  const { told, backend, disk, troubles, results, later } = build();
  disk.failure = { code: 'io', message: 'flush failed on the host (EIO)' };
  backend.submit({ kind: 'flush' }, (error) => results.push(error?.code));
  disk.complete();
  assert.match(told[0] ?? '', /may be lost; the machine waits: resume it to let the guest know$/);
  disk.failure = undefined;
  later(2000);
  later(2000);
  assert.equal(troubles.troubled, true);
  assert.deepEqual(results, []);
  troubles.giveUp();
  assert.deepEqual(results, ['io']);
});

test("reads that fail are the guest's to hear of, and the user is told once", () => {
  const { told, reported, backend, disk, troubles, results } = build();
  disk.failure = { code: 'io', message: "the image's file was cut short on the host" };
  for (let i = 0; i < 3; i++) {
    backend.submit({ kind: 'read', offset: 0, buffer: new Uint8Array(512) }, (error) => results.push(error?.code));
    disk.complete();
  }
  assert.deepEqual(results, ['io', 'io', 'io']);
  assert.equal(troubles.troubled, false);
  assert.deepEqual(told, []);
  assert.deepEqual(reported, [
    "/disks/a.img: the image's file was cut short on the host; the guest gets an error of its disk",
  ]);
});
