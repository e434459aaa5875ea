import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { pageReleaser } from './release-pages.ts';

/** Resident memory of this process in bytes. */
function resident(): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

test('pages of a shared WebAssembly memory go back to the host, and read as zeros', (t) => {
  const found = pageReleaser();
  if (!('release' in found)) {
    t.skip(found.problem);
    return;
  }
  const size = 64 << 20;
  const memory = new WebAssembly.Memory({ initial: size / 65536, maximum: size / 65536, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  bytes.fill(0x5a);
  const before = resident();
  found.release(bytes.subarray(1 << 20, 49 << 20));
  const freed = before - resident();
  assert.ok(freed > 40 << 20, `${freed} bytes were freed`);
  assert.equal(bytes[(1 << 20) - 1], 0x5a);
  assert.equal(bytes[1 << 20], 0);
  assert.equal(bytes[49 << 20], 0x5a);
  bytes[2 << 20] = 7;
  assert.equal(bytes[2 << 20], 7, 'it is memory as before');
  assert.throws(() => found.release(bytes.subarray(1, 4097)), TypeError);
});
