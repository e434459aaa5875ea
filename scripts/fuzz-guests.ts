/**
 * `npm run fuzz:guests [-- --seed N --minutes M --guests G --accel kvm|software]`: machines whose guests do what no guest
 * should, on both accelerators in turns, until a limit is reached or for ever. Prints the seed of every guest that
 * brought the engine down; exits with 1 when there was one. Whoever holds the engine for two minutes ends the whole run.
 */
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { openKvm, probeHost } from '../engine/cpu/kvm/kvm-host.ts';
import { runHostileGuest } from '../engine/machine/testing/hostile-guest.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string' },
    guests: { type: 'string' },
    accel: { type: 'string' },
  },
});
const amount = (text: string | undefined, otherwise: number) => (text === undefined ? otherwise : Number(text));
const first = amount(values.seed, Math.floor(Math.random() * 2 ** 30));
const last = first + amount(values.guests, Number.POSITIVE_INFINITY);
const end = performance.now() + amount(values.minutes, Number.POSITIVE_INFINITY) * 60_000;
if (Number.isNaN(first) || Number.isNaN(last) || Number.isNaN(end)) {
  console.error('--seed, --minutes and --guests take numbers');
  process.exit(2);
}

const probe = probeHost();
if (!probe.usable) {
  console.log(`KVM is left out: ${probe.problem}`);
}
const onKvm = (localApics: 'machine' | 'kernel') =>
  probe.usable ? () => ({ ...openKvm({ ...probe, longModeOnly: false, emulates: false }), localApics }) : undefined;
const places = [
  { name: 'software', kvm: undefined },
  { name: 'kvm', kvm: onKvm('machine') },
  { name: 'kvm with its local APICs', kvm: onKvm('kernel') },
].filter(({ name, kvm }) => (name === 'software' || kvm !== undefined) && name.startsWith(values.accel ?? ''));

/** Guests begun. A guest that holds this thread can only be told of by another. */
const begun = new Int32Array(new SharedArrayBuffer(4));
const HELD_MILLIS = 120_000;
const watchdog = new Worker(
  `const { workerData: { begun, first, places, millis } } = require('node:worker_threads');
   for (;;) {
     const guest = Atomics.load(begun, 0);
     if (Atomics.wait(begun, 0, guest, millis) === 'timed-out' && guest > 0) {
       const seed = first + Math.floor((guest - 1) / places.length);
       require('node:fs').writeSync(2, 'seed ' + seed + ' on ' + places[(guest - 1) % places.length] + ' never ends\\n');
       process.kill(process.pid, 'SIGKILL');
     }
   }`,
  { eval: true, workerData: { begun, first, places: places.map(({ name }) => name), millis: HELD_MILLIS } },
);
watchdog.unref();

const sum: Record<string, number> = {};
let failures = 0;
let told = performance.now();
console.log(`${places.map(({ name }) => name).join(', ')}, from seed ${first}`);
for (let seed = first; seed < last && performance.now() < end; seed++) {
  for (const { name, kvm } of places) {
    Atomics.add(begun, 0, 1);
    Atomics.notify(begun, 0);
    try {
      for (const [what, count] of Object.entries(runHostileGuest({ seed, kvm, turns: 40 }))) {
        sum[what] = (sum[what] ?? 0) + count;
      }
    } catch (error) {
      failures++;
      console.log(`seed ${seed} on ${name}:`, error);
    }
  }
  if (performance.now() - told > 10_000) {
    told = performance.now();
    console.log(`${seed + 1 - first} guests: ${JSON.stringify(sum)}`);
  }
}
console.log(`${failures} failures; ${JSON.stringify(sum)}`);
process.exit(failures === 0 ? 0 : 1);
