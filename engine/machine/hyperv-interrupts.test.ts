import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Machine } from './machine.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import { longModeGuest } from './testing/long-mode-guest.ts';
import { loadMachine, saveMachine } from './testing/machine-state.ts';

const DIRECT = 0x504;
const WRONG = 0x508;
const MESSAGES = 0x50c;
const SECOND = 0x510;
const AUTO = 0x514;
const DUE = 0x518;
const IDT = 0x14000;
const CALLS = 0x2000;
const MESSAGE_PAGE = 0x4000;
const SLOT = MESSAGE_PAGE + 4 * 256;

const wrmsr = (msr: number, low: number | string, high: number | string = 0) =>
  `mov ecx, ${msr}\nmov eax, ${low}\nmov edx, ${high}\nwrmsr\n`;
const gate = (vector: number, handler: string) => `
    mov rax, ${handler}
    mov rdi, ${IDT + vector * 16}
    mov [rdi], ax
    mov word [rdi + 2], 8
    mov word [rdi + 4], 0x8e00
    shr rax, 16
    mov [rdi + 6], ax
    mov qword [rdi + 8], 0
`;
/** Segments, a stack, an identity, the page of calls, an x2APIC that is switched on, and gates. */
const begin = (gates: string) => `
  bits 64
  org 0x8000
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    ${wrmsr(0x40000000, 1, 0x81000000)}
    ${wrmsr(0x40000001, CALLS + 1)}
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    mov ecx, 0x1b
    rdmsr
    or eax, 0xc00
    wrmsr
    ${wrmsr(0x80f, 0x1ff)}
    ${gates}
    lidt [idtr]
    mov ecx, 0x40000002
    rdmsr
    mov rsp, 0x7000
    mov ebx, eax
    shl eax, 10
    sub rsp, rax
`;
const END_OF_INTERRUPT = `xor eax, eax
    xor edx, edx
    mov ecx, 0x80b
    wrmsr`;
const END = `
    align 8
    idtr: dw 0xfff
          dq ${IDT}
`;

/**
 * A guest with timers: the first one in direct mode, 2 ms ahead each time it goes off; the second one sends a message
 * every millisecond. On every message of it the guest starts a third one, which is past already and whose message has to
 * wait for the slot, empties the slot, and tells of it if there is more. And it calls. With AUTO_EOI a fourth timer
 * interrupts by a source that wants no EOI.
 */
const TIMERS = (autoEoi: boolean) => `${begin(`
    ${gate(0x40, 'direct')}
    ${gate(0x61, 'message')}
    ${gate(0x32, 'automatic')}
  `)}
    ${wrmsr(0x40000080, 1)}
    ${wrmsr(0x40000083, MESSAGE_PAGE + 1)}
    ${wrmsr(0x40000094, 0x61)}
    ; first timer: direct, by its count
    ${wrmsr(0x400000b0, 0x1000 + 0x400 + 8)}
    call arm
    ; third timer: messages to source 4, by its count
    ${wrmsr(0x400000b4, 0x40000 + 8)}
    ; second timer: every millisecond
    ${wrmsr(0x400000b3, 10000)}
    ${wrmsr(0x400000b2, 0x40000 + 3)}
    ${autoEoi ? `${wrmsr(0x40000095, 0x20000 + 0x32)} ${wrmsr(0x400000b7, 30000)} ${wrmsr(0x400000b6, 0x50000 + 3)}` : ''}
  again:
    sti
    hlt
    ; a call that flushes this processor's translations, in registers
    mov ecx, 0x10002
    xor edx, edx
    mov r8d, 1
    mov rax, ${CALLS}
    call rax
    test rax, rax
    jz again
    inc dword [${WRONG}]
    jmp again
  arm:
    mov ecx, 0x40000020
    rdmsr
    add eax, 20000
    adc edx, 0
    mov [${DUE}], eax
    mov [${DUE + 4}], edx
    mov ecx, 0x400000b1
    wrmsr
    ret
  direct:
    push rax
    push rcx
    push rdx
    inc dword [${DIRECT}]
    ; never before its time
    mov ecx, 0x40000020
    rdmsr
    shl rdx, 32
    or rax, rdx
    cmp rax, [${DUE}]
    jae intime
    inc dword [${WRONG}]
  intime:
    call arm
    jmp done
  message:
    push rax
    push rcx
    push rdx
    cmp dword [${SLOT}], 0x80000010
    jne bad
    cmp byte [${SLOT + 4}], 24
    jne bad
    mov rax, [${SLOT + 24}]
    cmp rax, [${SLOT + 32}]
    ja bad
    cmp dword [${SLOT + 16}], 2
    je second
    cmp dword [${SLOT + 16}], 1
    jne bad
    inc dword [${MESSAGES}]
    ; the third timer, long past: its message finds the slot occupied
    ${wrmsr(0x400000b5, 1)}
    test byte [${SLOT + 5}], 1
    jz bad
    jmp empty
  second:
    inc dword [${SECOND}]
    jmp empty
  bad:
    inc dword [${WRONG}]
  empty:
    mov dword [${SLOT}], 0
    mfence
    test byte [${SLOT + 5}], 1
    jz done
    ${wrmsr(0x40000084, 0)}
  done:
    ${END_OF_INTERRUPT}
    pop rdx
    pop rcx
    pop rax
    iretq
  automatic:
    mov dword [${MESSAGE_PAGE + 5 * 256}], 0
    inc dword [${AUTO}]
    iretq
  ${END}
`;

type Options = Parameters<typeof longModeGuest>[1];

function run(machine: Machine, enough: () => boolean): void {
  const end = performance.now() + 60_000;
  while (!enough()) {
    assert.ok(performance.now() < end, 'the guest got there in time');
    const turn = machine.turn();
    assert.ok(turn.kind === 'running' || turn.kind === 'idle', turn.kind);
  }
}

const counter = (machine: Machine, at: number) => machine.memory.readU32(at);

/** Lets the timers go off some times more. */
function runTimers(machine: Machine, times: number, counters = [DIRECT, MESSAGES, SECOND]): void {
  const ends = counters.map((at) => counter(machine, at) + times);
  run(machine, () => counters.every((at, i) => counter(machine, at) >= (ends[i] as number)));
  assert.equal(counter(machine, WRONG), 0);
}

const software = (virtualTime: boolean) => () => ({ virtualTime, hyperv: true });
const onKvm =
  (localApics: 'machine' | 'kernel', cpus = 1) =>
  (t: TestContext): Options | undefined => {
    const kvm = kvmForTests(t, { localApics })?.();
    return kvm && { kvm, cpus, hyperv: true };
  };

for (const [name, options] of Object.entries({
  'software, compiled': software(false),
  'software in virtual time': software(true),
  KVM: onKvm('machine'),
  'KVM with its local APICs': onKvm('kernel'),
  'KVM with two processors': onKvm('machine', 2),
  'KVM with its local APICs and two processors': onKvm('kernel', 2),
})) {
  test(`${name}: synthetic timers interrupt and send messages, which wait for their slots`, (t) => {
    const made = options(t);
    if (made === undefined) {
      return;
    }
    const hasAutoEoi = !name.includes('local APICs');
    const machine = longModeGuest(TIMERS(hasAutoEoi), made);
    // A KVM without hardware behind it executes a million instructions a second.
    runTimers(machine, 'kvm' in made ? 10 : 30, [DIRECT, MESSAGES, SECOND, ...(hasAutoEoi ? [AUTO] : [])]);
    machine.dispose();
  });
}

test('in virtual time the timers go off at the same moments in every run', () => {
  const runs = [1, 2].map(() => {
    const machine = longModeGuest(TIMERS(true), { virtualTime: true, hyperv: true });
    runTimers(machine, 50);
    const seen = [DIRECT, MESSAGES, SECOND, AUTO, DUE].map((at) => counter(machine, at));
    const state = [machine.clock.now(), machine.cpus.executed, ...seen];
    machine.dispose();
    return state;
  });
  assert.deepEqual(runs[0], runs[1]);
});

test('timers go on in a machine that is saved and loaded', () => {
  const first = longModeGuest(TIMERS(true), { virtualTime: true, hyperv: true });
  runTimers(first, 10);
  const second = longModeGuest(TIMERS(true), { virtualTime: true, hyperv: true });
  loadMachine(second, saveMachine(first));
  assert.deepEqual(second.cpus.save(), first.cpus.save());
  runTimers(second, 10, [DIRECT, MESSAGES, SECOND, AUTO]);
  first.dispose();
  second.dispose();
});

for (const localApics of ['machine', 'kernel'] as const) {
  test(`timers go on when a machine with local APICs of the ${localApics} moves between KVM and software`, (t) => {
    const made = onKvm(localApics)(t);
    if (made === undefined) {
      return;
    }
    const machine = longModeGuest(TIMERS(false), made);
    for (let i = 0; i < 6; i++) {
      runTimers(machine, 4);
      machine.cpus.moveTo(i % 2 === 0 ? 'software' : 'kvm');
      machine.cpus.load(machine.cpus.save());
    }
    machine.dispose();
  });
}

test('a source that wants no EOI is refused where KVM has the local APICs, and so is a state with one', (t) => {
  const made = onKvm('kernel')(t);
  if (made === undefined) {
    return;
  }
  const machine = longModeGuest(TIMERS(true), made);
  let crashed = false;
  for (let i = 0; i < 2000 && !crashed; i++) {
    crashed = machine.turn().kind === 'guest-crashed';
  }
  // #GP without a handler.
  assert.ok(crashed);
  const other = longModeGuest(TIMERS(true), { kvm: kvmForTests(t, { localApics: 'machine' })?.(), hyperv: true });
  runTimers(other, 2, [AUTO]);
  const saved = other.cpus.save();
  assert.throws(() => machine.cpus.load(saved), { code: 'bad-state' });
  machine.dispose();
  other.dispose();
});

/** A guest whose timer goes off while its local APIC is switched off, and then hears of it by a message alone. */
const DEAF = `${begin('')}
    ${wrmsr(0x40000080, 1)}
    ${wrmsr(0x40000083, MESSAGE_PAGE + 1)}
    ${wrmsr(0x40000094, 0x61)}
    ${wrmsr(0x1b, 0xfee00100)}
    ${wrmsr(0x400000b0, 0x1000 + 0x400 + 8)}
    ${wrmsr(0x400000b1, 1)}
    ${wrmsr(0x400000b2, 0x40000 + 8)}
    ${wrmsr(0x400000b3, 2)}
  look:
    cmp dword [${SLOT}], 0x80000010
    jne look
    inc dword [${MESSAGES}]
    jmp $
  ${END}
`;

for (const [name, options] of Object.entries({
  software: software(true),
  KVM: onKvm('machine'),
  'KVM with its local APICs': onKvm('kernel'),
})) {
  test(`${name}: an interrupt for a local APIC that is switched off is lost, and nothing else`, (t) => {
    const made = options(t);
    if (made === undefined) {
      return;
    }
    const machine = longModeGuest(DEAF, made);
    run(machine, () => counter(machine, MESSAGES) > 0);
    machine.dispose();
  });
}

const ROUNDS = 0x520;
const SEQUENCE = 0x524;
const TAKEN = 0x528;
/** What the second processor found at the address that the first one moves. */
const SEEN = 0x52c;
const READY = 0x530;
const MOVED = 0x1ff000;
const TABLE = 0x13000;

/**
 * Two processors: the first one maps a page now here, now there, has the second one forget it by a call, and interrupts it
 * by another. The second one looks at the page all the time: while nothing is being changed it must see the present one.
 */
const TWO = `${begin(gate(0x63, 'taken'))}
    cmp ebx, 0
    jne other
    ; the last 4 KiB of the first 2 MiB are mapped by a table of their own
    mov edi, ${TABLE}
    mov eax, 3
    mov ecx, 512
  fill:
    mov [rdi], rax
    add eax, 4096
    add edi, 8
    loop fill
    mov dword [0x100000], 0x100000
    mov dword [0x101000], 0x101000
    mov qword [0x12000], ${TABLE + 3}
    mov rax, cr3
    mov cr3, rax
    ; INIT, start-up
    ${wrmsr(0x830, 0x4500, 1)}
    ${wrmsr(0x830, 0x46f0, 1)}
  wait:
    pause
    cmp dword [${READY}], 1
    jne wait
  again:
    lock inc dword [${SEQUENCE}]
    mov eax, [${SEQUENCE}]
    shr eax, 1
    and eax, 1
    shl eax, 12
    add eax, 0x100003
    mov [${TABLE + 511 * 8}], rax
    mov ecx, 3
    bts rcx, 32
    mov edx, input
    mov rax, ${CALLS}
    call rax
    mov rcx, 0x100000000
    cmp rax, rcx
    jne wrong
    lock inc dword [${SEQUENCE}]
    ; the other one is interrupted, and tells of it
    mov esi, [${TAKEN}]
    mov ecx, 0x1000b
    mov edx, 0x63
    mov r8d, 2
    mov rax, ${CALLS}
    call rax
    test rax, rax
    jnz wrong
  tell:
    pause
    cmp esi, [${TAKEN}]
    je tell
    inc dword [${ROUNDS}]
    jmp again
  wrong:
    inc dword [${WRONG}]
    jmp again
  other:
    mov dword [${READY}], 1
    sti
  look:
    mov eax, [${SEQUENCE}]
    mov edx, [${MOVED}]
    cmp eax, [${SEQUENCE}]
    jne look
    test eax, 1
    jnz look
    cmp eax, 0
    je look
    ; an even number n was reached by the change of n − 1
    dec eax
    shr eax, 1
    and eax, 1
    shl eax, 12
    add eax, 0x100000
    inc dword [${SEEN}]
    cmp eax, edx
    je look
    inc dword [${WRONG}]
    jmp look
  taken:
    push rax
    push rcx
    push rdx
    inc dword [${TAKEN}]
    ${END_OF_INTERRUPT}
    pop rdx
    pop rcx
    pop rax
    iretq
    align 8
  input:
    dq 0, 2, 2, ${MOVED}
  ${END}
`;

for (const [name, options] of Object.entries({
  'software, compiled': () => ({ cpus: 2, hyperv: true, virtualTime: false }),
  'software in virtual time': () => ({ cpus: 2, hyperv: true, virtualTime: true }),
  KVM: onKvm('machine', 2),
  'KVM with its local APICs': onKvm('kernel', 2),
})) {
  test(`${name}: one processor has another one forget translations, and interrupts it, by calls`, (t) => {
    const made = options(t);
    if (made === undefined) {
      return;
    }
    const machine = longModeGuest(TWO, made);
    run(machine, () => counter(machine, ROUNDS) >= 60 && counter(machine, SEEN) >= 60);
    assert.equal(counter(machine, WRONG), 0);
    machine.dispose();
  });
}
