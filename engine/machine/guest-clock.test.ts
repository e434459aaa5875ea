import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { defined } from '../base/assert.ts';
import { readGuestClock } from '../cpu/x86/hypervisor/testing/fake-host.ts';
import * as L from '../cpu/x86/layout.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { firmware } from './testing/firmware.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import { loadMachine, saveMachine } from './testing/machine-state.ts';

/** The clock's page, where the guest leaves its counter, and how often its clock went back. */
const PAGE = 0x600;
const COUNTER = 0x510;
const ROUNDS = 0x504;
const BACKWARDS = 0x508;

/**
 * A guest that switches the clock on and reads it again and again as kernels do, in 32-bit arithmetic: the time's bits
 * 8 to 39 after (delta >> 8) × multiplier >> 32. It says at 0:508 how often that was less than before.
 */
const CLOCK_READER = `
  bits 16
  org 0
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov ecx, 0x4b564d01
    mov eax, 0x601
    xor edx, edx
    wrmsr
    mov ecx, 0x4b564d00
    mov eax, 0x640
    wrmsr
  again:
    mov esi, [0x600]
    rdtsc
    mov [0x510], eax
    mov [0x514], edx
    sub eax, [0x608]
    sbb edx, [0x60c]
    mov cl, [0x61c]
    add cl, 24
    ; 2^8 ticks: (edx:eax >> 8) << shift, kept in 32 bits
    mov cl, 8
    shrd eax, edx, cl
    mov cl, [0x61c]
    neg cl
    jns right
    neg cl
    shl eax, cl
    jmp scaled
  right:
    shr eax, cl
  scaled:
    mul dword [0x618]
    mov eax, [0x610]
    mov ebx, [0x614]
    mov cl, 8
    shrd eax, ebx, cl
    add eax, edx
    test esi, 1
    jnz again
    cmp esi, [0x600]
    jne again
    mov ebx, eax
    sub ebx, [0x518]
    js back
    mov [0x518], eax
    inc dword [0x504]
    jmp again
  back:
    inc dword [0x508]
    mov [0x518], eax
    jmp again
`;

function runUntil(machine: Machine, done: () => boolean, seconds = 60): void {
  const end = performance.now() + seconds * 1000;
  while (!done()) {
    assert.ok(performance.now() < end, 'the guest got there in time');
    assert.ok(['running', 'idle'].includes(machine.turn().kind));
  }
}

const rounds = (machine: Machine) => machine.memory.readU32(ROUNDS);

function runRounds(machine: Machine, count: number): void {
  const before = rounds(machine);
  runUntil(machine, () => rounds(machine) >= before + count);
}

/** The guest's clock at this moment, in seconds, by its page and the processor's counter. */
function clockOf(machine: Machine): number {
  const page = new DataView(machine.memory.ram.buffer, machine.memory.ram.byteOffset + PAGE, 32);
  const tsc = BigInt.asUintN(64, machine.cpus.timestamp() + machine.cpus.tscOffset(0));
  return Number(readGuestClock(page, tsc).nanos) / 1e9;
}

/** By how many seconds the counter that the guest read last lies behind what it is taken to be. */
function counterLag(machine: Machine): number {
  const { memory, cpus } = machine;
  const seen = (BigInt(memory.readU32(COUNTER + 4)) << 32n) | BigInt(memory.readU32(COUNTER));
  const now = BigInt.asUintN(64, cpus.timestamp() + cpus.tscOffset(0));
  return Number(BigInt.asIntN(64, now - seen)) / cpus.tscFrequencyHz;
}

function assertCounter(machine: Machine): void {
  const lag = counterLag(machine);
  assert.ok(lag >= 0 && lag < 10, `the counter is known: ${lag} s`);
}

function assertClock(machine: Machine): void {
  const [time, machineTime] = [clockOf(machine), machine.clock.now() / 1e9];
  // Both follow the host, the one by its counter and the other by its clock.
  assert.ok(Math.abs(time - machineTime) < 0.25, `${time} s, and the machine's ${machineTime} s`);
  assertCounter(machine);
}

function guest(test: TestContext | undefined): Machine | undefined {
  const bios = firmware(CLOCK_READER);
  if (test === undefined) {
    return bareMachine({ bios, virtualTime: false });
  }
  const kvm = kvmForTests(test)?.();
  return kvm && bareMachine({ bios, kvm });
}

for (const where of ['software', 'KVM'] as const) {
  test(`${where}: a guest reads KVM's clock without leaving, and it follows the machine's`, (t) => {
    const machine = guest(where === 'KVM' ? t : undefined);
    if (machine === undefined) {
      return;
    }
    runRounds(machine, 2000);
    assertClock(machine);
    const wall = machine.memory.readU32(0x644);
    const started = Date.now() / 1000 - machine.clock.now() / 1e9;
    assert.ok(Math.abs(wall - started) < 3, `${wall} is when it was switched on, ${started}`);
    // While it is paused nothing passes.
    const before = clockOf(machine);
    machine.pause();
    const until = performance.now() + 400;
    while (performance.now() < until) {}
    machine.resume();
    const passed = clockOf(machine) - before;
    assert.ok(passed >= 0 && passed < 0.35, `${passed} s`);
    runRounds(machine, 200);
    assert.equal(machine.memory.readU32(BACKWARDS), 0);
    machine.dispose();
  });
}

test('a clock that a guest reads goes on when its machine is moved between KVM and software', (t) => {
  const machine = guest(t);
  if (machine === undefined) {
    return;
  }
  for (let i = 0; i < 12; i++) {
    runRounds(machine, 50);
    assertClock(machine);
    machine.cpus.moveTo(i % 2 === 0 ? 'software' : 'kvm');
  }
  assert.equal(machine.memory.readU32(BACKWARDS), 0);
  machine.dispose();
});

for (const [from, to] of [
  ['kvm', 'software'],
  ['software', 'kvm'],
] as const) {
  test(`a clock of a machine saved on ${from} goes on on ${to}`, (t) => {
    const first = guest(t);
    if (first === undefined) {
      return;
    }
    first.cpus.moveTo(from);
    runRounds(first, 100);
    const time = clockOf(first);
    const saved = saveMachine(first);
    first.dispose();
    const second = defined(guest(t), 'machine');
    second.cpus.moveTo(to);
    loadMachine(second, saved);
    runRounds(second, 100);
    // No time passes for the counter and its clock between saving and loading, however long that takes.
    const passed = clockOf(second) - time;
    assert.ok(passed >= 0 && passed < 30, `${passed} s`);
    assertCounter(second);
    assert.equal(second.memory.readU32(BACKWARDS), 0);
    second.dispose();
  });
}

test('in virtual time the clock is the same in every run', () => {
  const run = () => {
    const machine = bareMachine({ bios: firmware(CLOCK_READER) });
    runRounds(machine, 1000);
    const page = machine.memory.ram.slice(PAGE, PAGE + 0x60);
    const time = clockOf(machine);
    // The calendar counts milliseconds.
    const wall = machine.memory.readU32(0x644) * 1000 + machine.memory.readU32(0x648) / 1e6;
    assert.ok(Math.abs(wall - Date.UTC(2026, 0, 1)) <= 1, `${wall}`);
    assert.equal(Math.round(time * 1e9), machine.clock.now());
    machine.dispose();
    return [page, time, rounds(machine)];
  };
  assert.deepEqual(run(), run());
});

test('a guest that writes its counter keeps its clock', (t) => {
  const kvm = kvmForTests(t);
  for (const open of kvm === undefined ? [undefined] : [undefined, kvm]) {
    const machine = bareMachine({
      bios: firmware(
        CLOCK_READER.replace(
          'again:',
          'mov ecx, 0x10\nmov eax, 5\nmov edx, 0x11\nwrmsr\nrdmsr\nmov [0x520], edx\nagain:',
        ),
      ),
      virtualTime: false,
      kvm: open?.(),
    });
    runRounds(machine, 200);
    assertClock(machine);
    const moved = machine.memory.readU32(0x520);
    // Some KVMs cannot move the counter.
    assert.ok(moved === 0x11 || open !== undefined, `${moved}`);
    assert.equal(machine.cpus.processors[0]?.state.u64(L.MSR_KVM_SYSTEM_TIME), 0x601n);
    machine.dispose();
  }
});
