import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostTroubles } from './host-troubles.ts';

test('troubles of the host are told once a minute, each by itself; those of the other end are not', () => {
  const told: string[] = [];
  let now = 0;
  const troubles = new HostTroubles(
    (message) => told.push(message),
    () => now,
  );
  troubles.failed('ECONNREFUSED', '192.0.2.1', 80);
  troubles.failed(undefined, '192.0.2.1', 80);
  assert.deepEqual(told, []);
  troubles.failed('ENETUNREACH', '192.0.2.1', 80);
  troubles.failed('ENETUNREACH', '192.0.2.2', 81);
  troubles.failed('EMFILE', '192.0.2.3', 82);
  assert.deepEqual(told, [
    'network: the guest does not reach 192.0.2.1 port 80: the host knows no way there (ENETUNREACH)',
    'network: the guest does not reach 192.0.2.3 port 82: this process has too many files and sockets open (EMFILE)',
  ]);
  now = 60_000;
  troubles.failed('ENETUNREACH', '192.0.2.2', 81);
  assert.equal(told.length, 3);
});
