import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../testing/random.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { firmware } from './testing/firmware.ts';

test('a guest that does nonsense never brings the engine down', () => {
  // Random code in every mode, with random port and memory accesses: whatever happens is the guest's own affair.
  for (let seed = 1; seed <= 16; seed++) {
    const random = new Random(seed);
    const modes = ['', 'mov eax, cr0\nor al, 1\nmov cr0, eax\njmp dword 0x8:0x100000'];
    const bios = firmware(`
      cli
      xor ax, ax
      mov ds, ax
      mov es, ax
      mov ss, ax
      mov sp, 0x7000
      lgdt [cs:gdtr]
      ${modes[seed % 2]}
      jmp 0x1000:0
      align 8
      gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
      gdtr: dw 23
            dd 0xf0000 + gdt
    `);
    const machine = bareMachine({ bios, cpus: 1 + (seed % 2) });
    const { ram } = machine.memory;
    for (let i = 0; i < 0x200000; i += 4) {
      const value = random.u32();
      ram[i] = value;
      ram[i + 1] = value >>> 8;
      ram[i + 2] = value >>> 16;
      // A good share of IN, OUT and string I/O among the rest.
      ram[i + 3] = random.chance(1, 4) ? random.pick([0xec, 0xed, 0xee, 0xef, 0x6c, 0x6e, 0x0f, 0xf3]) : value >>> 24;
    }
    for (let turn = 0; turn < 60; turn++) {
      const result = machine.turn();
      if (result.kind !== 'running' && result.kind !== 'idle') {
        machine.reset();
      }
    }
    machine.dispose();
  }
});

test('virtual time: the same input gives the same instruction count and the same state', () => {
  const bios = firmware(`
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    ; a handler that counts timer interrupts, and a loop that mixes their number into a sum
    mov word [8 * 4], tick
    mov [8 * 4 + 2], cs
    mov al, 0x11
    out 0x20, al
    mov al, 8
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0x00
    out 0x40, al
    mov al, 0x10
    out 0x40, al
    sti
  again:
    inc dword [0x504]
    mov eax, [0x500]
    add [0x508], eax
    rol dword [0x508], 3
    rdtsc
    xor [0x508], eax
    jmp again
  tick:
    push ax
    inc dword [0x500]
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
  `);
  const run = (turns: readonly number[]) => {
    const machine = bareMachine({ bios });
    // However the time is cut into slices, the machine comes to the same state at the same instruction.
    for (const at of turns) {
      machine.at(at / 1e9, () => {});
    }
    machine.at(0.05, () => machine.cpus.stopSoon());
    while (machine.clock.now() < 50_000_000) {
      machine.turn();
    }
    const state = [0x500, 0x504, 0x508].map((address) => machine.memory.readU32(address));
    const result = { executed: machine.cpus.executed, now: machine.clock.now(), state };
    machine.dispose();
    return result;
  };
  const first = run([]);
  assert.ok((first.state[0] ?? 0) > 10, 'timer interrupts arrived');
  assert.deepEqual(run([]), first);
  assert.deepEqual(run([1_000_000, 3_333_330, 7_777_770, 20_000_010]), first);
});

test('a triple fault is reported with the place where it happened', () => {
  const machine = bareMachine({ bios: firmware('cli\nlidt [cs:none]\nint3\nnone: dw 0\ndd 0') });
  let turn = machine.turn();
  for (let i = 0; i < 10 && turn.kind === 'running'; i++) {
    turn = machine.turn();
  }
  assert.equal(turn.kind, 'guest-crashed');
  assert.match(turn.kind === 'guest-crashed' ? turn.detail : '', /triple fault at f000:/);
  machine.dispose();
});

test('halted processors leave the machine idle until the next alarm', () => {
  const machine = bareMachine({ bios: firmware('cli\nhlt'), virtualTime: false });
  let turn = machine.turn();
  for (let i = 0; i < 10 && turn.kind === 'running'; i++) {
    turn = machine.turn();
  }
  assert.equal(turn.kind, 'idle');
  machine.dispose();
});

test('a host that gives a machine a twelfth of its time takes no timer ticks from the guest', () => {
  // What Linux does to find out whether its timer works: 160 ms by the time-stamp counter, in which 40 ticks are due.
  const bios = firmware(`
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word [8 * 4], tick
    mov word [8 * 4 + 2], 0xf000
    mov word [0x500], 0
    %macro put 2
      mov al, %2
      out %1, al
    %endmacro
    put 0x20, 0x11
    put 0x21, 8
    put 0x21, 4
    put 0x21, 1
    put 0x21, 0xfe
    put 0x43, 0x34
    put 0x40, ${4773 & 0xff}
    put 0x40, ${4773 >> 8}
    rdtsc
    mov ebx, eax
    sti
  again:
    pause
    rdtsc
    sub eax, ebx
    cmp eax, 160000000
    jb again
    mov dx, 0xcf9
    put dx, 6
  tick:
    push ax
    inc word [0x500]
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
  `);
  let looks = 0;
  // Each look at the clock is 20 µs after the one before, and after 250 of them the host has others to serve.
  const hostMillis = () => ++looks * 0.02 + Math.floor(looks / 250) * 55;
  const machine = bareMachine({ bios, virtualTime: false, hostMillis });
  let turns = 0;
  while (machine.turn().kind !== 'reset') {
    assert.ok(++turns < 100_000, 'the guest waits for ever');
  }
  const ticks = machine.memory.readU16(0x500);
  assert.ok(ticks >= 36 && ticks <= 41, `${ticks} ticks`);
  machine.dispose();
});
