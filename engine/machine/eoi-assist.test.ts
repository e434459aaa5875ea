import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KVM_FEATURE_PV_EOI } from '../cpu/x86/hypervisor/kvm-interface.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { firmware } from './testing/firmware.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import { loadMachine, saveMachine } from './testing/machine-state.ts';

/**
 * The local APIC's timer, periodic. At 0:500: interrupts, EOIs left out, EOIs written; at 0:50c EAX of CPUID leaf
 * 0x40000001; the bit by which EOIs are left out at 0:510. SI is always 1, and the handler counts at 0:514 when not.
 */
function timerFirmware(handler = '', periodNanos = 2_000_000): Uint8Array {
  return firmware(`
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
    and byte [0], 0
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    mov word [0x40 * 4], tick
    mov [0x40 * 4 + 2], cs
    mov eax, 0x40000001
    cpuid
    mov [0x50c], eax
    test al, 0x40
    jz no_bit
    mov ecx, 0x4b564d04
    mov eax, 0x511
    xor edx, edx
    wrmsr
  no_bit:
    mov edi, 0xfee00000
    mov dword [es:edi + 0xf0], 0x1ff
    mov dword [es:edi + 0x3e0], 0x0b
    mov dword [es:edi + 0x320], 0x20040
    mov dword [es:edi + 0x380], ${periodNanos}
    sti
  again:
    mov cx, 50
    loop $
    jmp again
  tick:
    inc dword [0x500]
    ${handler}
    btr dword [0x510], 0
    jc left_out
    inc dword [0x508]
    push edi
    mov edi, 0xfee00000
    mov dword [es:edi + 0xb0], 0
    pop edi
    iret
  left_out:
    inc dword [0x504]
    iret
    align 8
    gdt: dq 0, 0x00cf93000000ffff
    gdtr: dw 15
          dd 0xf0000 + gdt
  `);
}

const BIOS = timerFirmware();

const ticks = ({ memory }: Machine) => memory.readU32(0x500);
const leftOut = ({ memory }: Machine) => memory.readU32(0x504);
const written = ({ memory }: Machine) => memory.readU32(0x508);
const isTold = ({ memory }: Machine) => (memory.readU32(0x50c) & KVM_FEATURE_PV_EOI) !== 0;

/** Runs until the guest has had so many more interrupts. */
function run(machine: Machine, count = 20): void {
  const end = performance.now() + 30_000;
  const enough = ticks(machine) + count;
  while (ticks(machine) < enough) {
    assert.ok(performance.now() < end, `the guest got its interrupts: ${ticks(machine)} of ${enough}`);
    const turn = machine.turn();
    assert.ok(turn.kind === 'running' || turn.kind === 'idle', turn.kind);
  }
}

test('software: no EOI is written, also after a move to another machine', () => {
  const bios = timerFirmware('', 400_000);
  const machine = bareMachine({ bios });
  run(machine);
  assert.equal(isTold(machine), true);
  assert.equal(written(machine), 0);
  assert.ok(Math.abs(ticks(machine) - leftOut(machine)) <= 1);
  for (let i = 0; i < 10; i++) {
    const saved = saveMachine(machine);
    loadMachine(machine, saved);
    run(machine, 1);
  }
  const saved = saveMachine(machine);
  const again = bareMachine({ bios });
  loadMachine(again, saved);
  const before = leftOut(again);
  run(again);
  assert.ok(leftOut(again) >= before + 19);
  machine.dispose();
  again.dispose();
});

test('software: a machine that is saved in the middle of a handler ends the interrupt in another one', () => {
  // Handlers take most of the time.
  const bios = timerFirmware('push cx\nmov cx, 60000\nloop $\npop cx');
  let machine = bareMachine({ bios, virtualTime: false });
  let inHandler = 0;
  for (let i = 0; i < 200 && inHandler < 3; i++) {
    run(machine, 1);
    machine.turn();
    const before = ticks(machine) - leftOut(machine) - written(machine);
    inHandler += before;
    const saved = saveMachine(machine);
    machine.dispose();
    machine = bareMachine({ bios, virtualTime: false });
    loadMachine(machine, saved);
    assert.equal(machine.memory.readU8(0x510) & 1, 0);
  }
  assert.ok(inHandler >= 3, `${inHandler} times`);
  assert.ok(written(machine) >= 1);
  run(machine, 5);
  machine.dispose();
});

for (const localApics of ['kernel', 'machine'] as const) {
  for (const cpus of [1, 2]) {
    test(`KVM, ${cpus} processor(s), APICs of the ${localApics}: interrupts end, here and in software, however`, (t) => {
      const kvm = kvmForTests(t, { localApics })?.();
      if (kvm === undefined) {
        return;
      }
      const machine = bareMachine({ bios: BIOS, cpus, kvm });
      run(machine);
      const onThreads = localApics === 'machine' && cpus > 1;
      assert.equal(isTold(machine), !onThreads);
      // Where the host is slow, one may come while another is served: then an EOI is written. KVM does as it likes.
      if (localApics === 'machine') {
        assert.equal(leftOut(machine) > 0, !onThreads);
      }
      t.diagnostic(`${leftOut(machine)} left out, ${written(machine)} written`);
      for (const kind of ['software', 'kvm', 'software', 'kvm'] as const) {
        machine.cpus.moveTo(kind);
        const before = leftOut(machine);
        run(machine);
        if (kind === 'software' && !onThreads) {
          assert.ok(leftOut(machine) > before);
        }
      }
      machine.dispose();
    });
  }
}
