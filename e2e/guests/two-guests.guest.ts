import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { GuestRun } from './guest-run.ts';
import { initramfsWithModules, LOAD_MODULES } from './kernel-modules.ts';
import { linuxKernel } from './linux.ts';
import { needs } from './needs.ts';

const SECONDS = 500;
const ROUNDS = 3;
const MEGABYTE = 1 << 20;
const PROMPT = /guest# /;

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

/** What a guest does at once: writes and reads back its disk, downloads, and computes; each says how every round went. */
function work(url: string, download: string, computed: string): string {
  const rounds = (name: string, ok: string) =>
    `(for i in $(seq ${ROUNDS}); do if ${ok}; then echo ${name}-good-$i; else echo ${name}-BAD-$i; fi; done) &`;
  const fetched = `[ "$(wget -q -O - ${url} | md5sum | cut -c1-32)" = ${download} ]`;
  const summed = `[ "$(head -c ${8 * MEGABYTE} /dev/zero | sha256sum | cut -c1-64)" = ${computed} ]`;
  const written = [
    'head -c 8388608 /dev/urandom > /tmp/data',
    'dd if=/tmp/data of=/dev/vda bs=64k seek=$((i*128)) conv=fsync 2>/dev/null',
    'echo 1 > /proc/sys/vm/drop_caches',
    'dd if=/dev/vda bs=4k skip=$((i*2048)) count=2048 2>/dev/null | cmp - /tmp/data',
  ].join(' && ');
  return `${rounds('net', fetched)} ${rounds('cpu', summed)} ${rounds('disk', written)} wait; echo all-$((6*7))\n`;
}

test('two guests at once, each with its disk, network and processor busy: neither disturbs the other', async (t) => {
  const kernel = needs(t, () => linuxKernel('cloud'));
  const initrd =
    kernel && needs(t, () => initramfsWithModules('cloud', ['virtio_pci', 'virtio_blk', 'virtio_net', 'af_packet']));
  if (kernel === undefined || initrd === undefined) {
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'lodge-two-'));
  // Another file for each guest, so that what is meant for one is not taken for the other's.
  const files = [0, 1].map((which) => Buffer.alloc(12 * MEGABYTE, `the file of guest ${which}, `));
  const web = createServer((request, response) => response.end(files[Number(request.url?.slice(1))]));
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo;
  const computed = createHash('sha256')
    .update(new Uint8Array(8 * MEGABYTE))
    .digest('hex');
  const run = async (which: number): Promise<number> => {
    const path = join(folder, `${which}.img`);
    const disk = openSync(path, 'w');
    ftruncateSync(disk, 64 * MEGABYTE);
    closeSync(disk);
    const options = {
      memory: 256,
      kernel,
      initrd,
      append: 'console=ttyS0 panic=-1 no_timer_check',
      noReboot: true,
      timeout: SECONDS * 3,
      disks: [{ path, bus: 'virtio' }] as const,
      net: 'nat,model=virtio,host-loopback',
    };
    return await GuestRun.with(options, async (guest) => {
      await guest.waitFor(PROMPT, SECONDS);
      guest.send(`${LOAD_MODULES}; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; echo loaded-$((6*7))\n`);
      await guest.waitFor(/loaded-42/, SECONDS);
      await guest.waitFor(PROMPT, SECONDS);
      const started = Date.now();
      const from = guest.serial.length;
      guest.send(work(`http://10.0.2.2:${port}/${which}`, md5(files[which] ?? new Uint8Array()), computed));
      await guest.waitFor(/all-42/, SECONDS);
      const seconds = (Date.now() - started) / 1000;
      const said = guest.serial.slice(from);
      assert.doesNotMatch(said, /-BAD-\d/);
      for (const name of ['net', 'cpu', 'disk']) {
        assert.equal(said.match(new RegExp(`${name}-good-\\d`, 'g'))?.length, ROUNDS, name);
      }
      await guest.waitFor(PROMPT, SECONDS);
      guest.send('poweroff -f\n');
      assert.equal(await guest.exitCode(SECONDS), 0);
      return seconds;
    });
  };
  try {
    const times = await Promise.all([run(0), run(1)]);
    t.diagnostic(times.map((seconds) => `${seconds.toFixed(1)} s`).join(' and '));
    const [fast = 0, slow = 0] = times.toSorted((a, b) => a - b);
    assert.ok(slow < 3 * fast + 10, `one guest took ${slow.toFixed(1)} s, the other ${fast.toFixed(1)} s`);
  } finally {
    web.close();
    web.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  }
});
