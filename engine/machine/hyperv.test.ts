import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Machine } from './machine.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import { longModeGuest } from './testing/long-mode-guest.ts';

const PAGE = 0x3000;
const ROUNDS = 0x504;
const WRONG = 0x508;
const TIME = 0x510;
const SIGNATURE = 0x520;

/**
 * A guest in 64-bit mode that names itself, takes the page of calls and the reference page, and then calls and reads
 * the time by the register, again and again. At 0:508 it counts answers that were wrong and times that went back.
 */
const GUEST = `
  bits 64
  org 0x8000
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, 0x7000
    mov eax, 0x40000000
    cpuid
    mov [${SIGNATURE}], ebx
    mov [${SIGNATURE + 4}], ecx
    mov [${SIGNATURE + 8}], edx
    mov ecx, 0x40000000
    mov eax, 1
    mov edx, 0x81000000
    wrmsr
    mov ecx, 0x40000001
    mov eax, 0x2001
    xor edx, edx
    wrmsr
    mov ecx, 0x40000021
    mov eax, ${PAGE + 1}
    wrmsr
    mov r14, 0x2000
  again:
    ; HvCallNotifyLongSpinWait
    mov rax, 0x1111111111111111
    mov ecx, 8
    mov rdx, 0x2222222222222222
    call r14
    test rax, rax
    jnz wrong
    cmp ecx, 8
    jne wrong
    ; a call that does not exist
    mov ecx, 0x7777
    call r14
    cmp rax, 2
    jne wrong
    mov ecx, 0x40000020
    rdmsr
    shl rdx, 32
    or rax, rdx
    cmp rax, [${TIME}]
    jb wrong
    mov [${TIME}], rax
    ; the page says the same, and no less; the host may do something else in between
    mov ecx, [${PAGE}]
    test ecx, ecx
    jz next
    rdtsc
    shl rdx, 32
    or rax, rdx
    mul qword [${PAGE + 8}]
    add rdx, [${PAGE + 16}]
    cmp ecx, [${PAGE}]
    jne next
    sub rdx, [${TIME}]
    cmp rdx, 300000000
    ja wrong
  next:
    inc dword [${ROUNDS}]
    jmp again
  wrong:
    inc dword [${WRONG}]
    jmp next
`;

function prepare(options: Parameters<typeof longModeGuest>[1]): Machine {
  return longModeGuest(GUEST, { hyperv: true, ...options });
}

function runRounds(machine: Machine, count: number): void {
  const rounds = () => machine.memory.readU32(ROUNDS);
  const [before, end] = [rounds(), performance.now() + 60_000];
  while (rounds() < before + count) {
    assert.ok(performance.now() < end, 'the guest got there in time');
    assert.ok(['running', 'idle'].includes(machine.turn().kind));
  }
}

function assertRight(machine: Machine): void {
  assert.equal(machine.memory.readU32(WRONG), 0);
  const time = machine.memory.readU32(TIME) + machine.memory.readU32(TIME + 4) * 2 ** 32;
  assert.ok(Math.abs(time / 1e7 - machine.clock.now() / 1e9) < 1, `${time / 1e7} s`);
}

const where: Record<string, (t: TestContext) => Machine | undefined> = {
  'software, compiled': () => prepare({ virtualTime: false }),
  'software in virtual time': () => prepare({ virtualTime: true }),
  KVM: (t) => {
    const kvm = kvmForTests(t, { localApics: 'machine' })?.();
    return kvm && prepare({ kvm });
  },
  'KVM with its local APICs': (t) => {
    const kvm = kvmForTests(t, { localApics: 'kernel' })?.();
    return kvm && prepare({ kvm });
  },
  'KVM with two processors': (t) => {
    const kvm = kvmForTests(t)?.();
    return kvm && prepare({ kvm, cpus: 2 });
  },
};
for (const [name, make] of Object.entries(where)) {
  test(`${name}: a guest calls Hyper-V and reads its clocks`, (t) => {
    const machine = make(t);
    if (machine === undefined) {
      return;
    }
    runRounds(machine, name.startsWith('software') ? 20_000 : 500);
    assert.equal(
      Buffer.from(machine.memory.ram.subarray(SIGNATURE, SIGNATURE + 12)).toString('latin1'),
      'Microsoft Hv',
    );
    assertRight(machine);
    machine.dispose();
  });
}

test("Hyper-V's clocks and calls go on when the machine is moved between KVM and software", (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const machine = prepare({ kvm });
  for (let i = 0; i < 10; i++) {
    runRounds(machine, 60);
    machine.cpus.moveTo(i % 2 === 0 ? 'software' : 'kvm');
    machine.cpus.load(machine.cpus.save());
  }
  assertRight(machine);
  machine.dispose();
});

test('a machine without the option gives registers of Hyper-V no answer', () => {
  const machine = prepare({ virtualTime: true, hyperv: false });
  let crashed = false;
  for (let i = 0; i < 200 && !crashed; i++) {
    crashed = machine.turn().kind === 'guest-crashed';
  }
  // #GP without a handler.
  assert.ok(crashed);
  assert.equal(Buffer.from(machine.memory.ram.subarray(SIGNATURE, SIGNATURE + 3)).toString('latin1'), 'KVM');
  machine.dispose();
});
