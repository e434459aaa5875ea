/**
 * A program of its own, run with `--expose-gc` by the test beside: makes machines and lets them go, one after the other,
 * and prints what the process holds before and after, as JSON. Arguments: software or kvm, and how many.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type KvmFacts, openKvm, probeHost } from '../../cpu/kvm/kvm-host.ts';
import { assemble } from '../../testing/assembler/assembler.ts';
import { bareMachine } from './bare-machine.ts';

/** What a process holds of its host. */
export interface Held {
  readonly files: number;
  readonly threads: number;
  /** Reservations of address space that only memories of machines are large enough for. */
  readonly arenas: number;
  /** Memory in use, less what JavaScript keeps for objects to come. */
  readonly residentKilobytes: number;
}

const [where = '', count = ''] = process.argv.slice(2);

/** Goes on for ever with its timer ticking, so that something is under way whenever a machine ends. */
const bios = new Uint8Array(0x10000).fill(0xf4);
bios.set(assemble('bits 16\norg 0\nagain: inc word [0x500]\nout 0x80, al\njmp again').bytes, 0);
bios.set(assemble('bits 16\norg 0\njmp 0xf000:0').bytes, 0xfff0);

function facts(): KvmFacts {
  const probe = probeHost();
  if (!probe.usable) {
    throw new Error(probe.problem);
  }
  return { ...probe, longModeOnly: false, emulates: false };
}

const known = where === 'software' ? undefined : facts();

function once(cpus: number): void {
  const machine = bareMachine({ bios, cpus, virtualTime: false, kvm: known && openKvm(known) });
  machine.turn(200_000);
  if (known !== undefined && machine.cpus.kind !== 'kvm') {
    throw new Error('the machine is not on KVM');
  }
  machine.dispose();
}

async function held(): Promise<Held> {
  // Memory of machines that are gone is given back when their last object is collected.
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.();
    await delay(1);
  }
  const list = (folder: string) => readdirSync(`/proc/self/${folder}`).length;
  const spans = readFileSync('/proc/self/maps', 'utf8').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm);
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  return {
    files: list('fd'),
    threads: list('task'),
    arenas: [...spans].filter(([, from, to]) => Number(`0x${to}`) - Number(`0x${from}`) > 2 ** 32).length,
    residentKilobytes: Math.round((rss - heapTotal + heapUsed) / 1024),
  };
}

for (let i = 0; i < 10; i++) {
  once(1 + (i % 2));
}
const before = await held();
for (let i = 0; i < Number(count); i++) {
  once(1 + (i % 2));
  if (i % 25 === 24) {
    await held();
  }
}
console.log(JSON.stringify({ before, after: await held() }));
