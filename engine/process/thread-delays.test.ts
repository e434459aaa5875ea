import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { threadDelays } from './thread-delays.ts';

test('the host tells how long this thread has waited for a processor, at little cost', (t) => {
  const delays = threadDelays();
  if (delays === undefined) {
    t.skip('the host keeps no such figures');
    return;
  }
  const files = () => readdirSync('/proc/self/fd').length;
  const before = files();
  const own = delays.own();
  const main = delays.of(process.pid);
  let last = own.nanos();
  for (let i = 0; i < 1000; i++) {
    const now = own.nanos();
    assert.ok(Number.isSafeInteger(now) && now >= last);
    last = now;
  }
  // Tests run in the first thread of their process.
  const ofMain = main.nanos();
  assert.ok(ofMain >= last && ofMain <= own.nanos());
  own.dispose();
  main.dispose();
  assert.equal(files(), before);
});

test('a thread that does not exist has no figures', (t) => {
  const delays = threadDelays();
  if (delays === undefined) {
    t.skip('the host keeps no such figures');
    return;
  }
  assert.throws(() => delays.of(0x7fffffff), { code: 'ENOENT' });
});
