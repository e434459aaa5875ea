import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { Random } from '../testing/random.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { firmware } from './testing/firmware.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';

const PAGE = 0x1000;

/**
 * Writes to the pages whose numbers are in a list at 0:1000, ended by 0, one after the other, and counts the lists that
 * it has done at 0:500; the list is read when 0:504 changes.
 */
const WRITER = firmware(`
  cli
  xor ax, ax
  mov ds, ax
  mov ss, ax
  mov sp, 0x7000
  lgdt [cs:gdtr]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  mov ax, 8
  mov es, ax
  mov eax, cr0
  and al, 0xfe
  mov cr0, eax
wait:
  mov ax, [0x504]
  cmp ax, [0x506]
  je wait
  mov [0x506], ax
  mov si, 0x1000
next:
  mov edi, [si]
  test edi, edi
  jz done
  shl edi, 12
  mov al, [0x504]
  mov [es:edi + 0x123], al
  add si, 4
  jmp next
done:
  inc word [0x500]
  jmp wait
  align 8
gdt: dq 0, 0x00cf93000000ffff
gdtr: dw 15
      dd 0xf0000 + gdt
`);

function runUntil(machine: Machine, done: () => boolean): void {
  const end = performance.now() + 60_000;
  while (!done()) {
    assert.ok(performance.now() < end, 'the guest got there in time');
    machine.turn();
  }
}

/** Has the guest write these pages. */
function writePages(machine: Machine, pages: readonly number[]): void {
  const { memory } = machine;
  for (const [i, page] of [...pages, 0].entries()) {
    memory.writeU32(0x1000 + i * 4, page);
  }
  const lists = memory.readU16(0x500);
  memory.writeU16(0x504, (memory.readU16(0x504) + 1) & 0xffff);
  runUntil(machine, () => memory.readU16(0x500) === ((lists + 1) & 0xffff));
}

/** Numbers of the pages that were written, those aside that the guest works with. */
function taken(machine: Machine): number[] {
  const flags = machine.cpus.dirtyRam.take();
  return [...flags.keys()].filter((page) => flags[page] === 1 && page >= 2);
}

function machineOn(where: 'software' | 'kvm', t: TestContext): Machine | undefined {
  if (where === 'software') {
    return bareMachine({ bios: WRITER, virtualTime: false });
  }
  const kvm = kvmForTests(t)?.();
  return kvm && bareMachine({ bios: WRITER, kvm });
}

for (const where of ['software', 'kvm'] as const) {
  test(`${where}: pages that a guest and devices write are told once`, (t) => {
    const machine = machineOn(where, t);
    if (machine === undefined) {
      return;
    }
    const { cpus, memory } = machine;
    writePages(machine, [0x300, 0x301]);
    cpus.dirtyRam.start();
    assert.deepEqual(taken(machine), []);
    const random = new Random(7);
    for (let round = 0; round < 20; round++) {
      const pages = [...new Set(Array.from({ length: 30 }, () => 0x100 + random.below(0xe00)))].sort((a, b) => a - b);
      writePages(machine, pages);
      memory.writeU32(0x50ffe, 1);
      assert.deepEqual(taken(machine), [0x50, 0x51, ...pages]);
      assert.deepEqual(taken(machine), []);
    }
    // A change of the map in between loses nothing.
    writePages(machine, [0x200]);
    memory.placeVram(0xe0000000);
    writePages(machine, [0x201]);
    assert.deepEqual(taken(machine), [0x200, 0x201]);
    cpus.dirtyRam.stop();
    assert.throws(() => cpus.dirtyRam.take(), /not recorded/);
    writePages(machine, [0x300]);
    cpus.dirtyRam.start();
    assert.deepEqual(taken(machine), []);
    writePages(machine, [0x300]);
    assert.deepEqual(taken(machine), [0x300]);
    machine.dispose();
  });
}

test('pages are told across moves between KVM and software', (t) => {
  const machine = machineOn('kvm', t);
  if (machine === undefined) {
    return;
  }
  machine.cpus.dirtyRam.start();
  for (let i = 0; i < 6; i++) {
    writePages(machine, [0x200 + i]);
    machine.cpus.moveTo(i % 2 === 0 ? 'software' : 'kvm');
    writePages(machine, [0x300 + i]);
    assert.deepEqual(taken(machine), [0x200 + i, 0x300 + i]);
  }
  machine.dispose();
});

test('software: bits that page walks set in page tables are writes', () => {
  // A page directory at 0x200000 that maps 4 MiB with a table at 0x201000; reads through it set its accessed bits.
  const machine = bareMachine({
    bios: firmware(`
      cli
      xor ax, ax
      mov ds, ax
      mov eax, 0x200000
      mov cr3, eax
      mov eax, cr0
      or eax, 0x80000001
      mov cr0, eax
      mov ax, [0x2500]
    again:
      jmp again
    `),
  });
  const { memory, cpus } = machine;
  memory.writeU32(0x200000, 0x201003);
  for (let i = 0; i < 1024; i++) {
    memory.writeU32(0x201000 + i * 4, (i << 12) | 3);
  }
  cpus.dirtyRam.start();
  runUntil(machine, () => (memory.readU32(0x201008) & 0x20) !== 0);
  const flags = cpus.dirtyRam.take();
  assert.deepEqual([flags[0x200], flags[0x201], flags[0x202]], [1, 1, 0]);
  machine.dispose();
});

test('KVM: the RAM of a machine lies on large pages of the host', (t) => {
  const enabled = '/sys/kernel/mm/transparent_hugepage/enabled';
  let mode: string;
  try {
    mode = readFileSync(enabled, 'utf8');
  } catch {
    t.skip(`${enabled} is not there`);
    return;
  }
  if (mode.includes('[never]')) {
    t.skip('transparent huge pages are switched off on this host');
    return;
  }
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const machine = bareMachine({ bios: WRITER, kvm, memoryMegabytes: 64 });
  assert.equal(machine.memory.ramAddress % (2 << 20), 0);
  const largeKilobytes = () =>
    [...readFileSync('/proc/self/smaps', 'utf8').matchAll(/^AnonHugePages:\s+(\d+) kB/gm)].reduce(
      (sum, [, kilobytes]) => sum + Number(kilobytes),
      0,
    );
  const before = largeKilobytes();
  for (let page = 0; page < (64 << 20) / PAGE; page++) {
    machine.memory.writeU32(page * PAGE, page);
  }
  const gained = largeKilobytes() - before;
  // The host may be short of large pages, but hardly of all of them; legacy memory below 1 MiB is in one with the rest.
  if (gained === 0) {
    t.skip('this host has no large pages left');
  } else {
    assert.ok(gained >= 2048, `${gained} KiB`);
  }
  machine.dispose();
});
