/**
 * Speed of the software processor's interpreter on simple code in 64-bit mode: instructions a second for loops of
 * integer arithmetic, loads and stores, calls, and a mixture.
 */
import { TestMachine } from '../../engine/cpu/x86/testing/test-machine.ts';
import { assemble } from '../../engine/testing/assembler/assembler.ts';

const CODE = 0x200000;
const DATA = 0x100000;

/** Loops that begin at `top` and run until RCX is zero. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'integer mix': `
top:
    add rax, rdx
    xor edx, eax
    mov r8, [rbx + 8]
    shl eax, 3
    add r8, rax
    mov [rbx + 16], r8
    cmp r8, rdi
    jb skip
    sub r8d, 77
skip:
    lea r9, [rax + rdx*4 + 5]
    and r9, 0xfff
    test r9b, 1
    mov r10d, r9d
    dec rcx
    jnz top`,
  arithmetic: `
top:
    add rax, rdx
    xor edx, eax
    shr eax, 1
    sub rsi, rax
    or edi, edx
    inc r8
    dec rcx
    jnz top`,
  'loads and stores': `
top:
    mov rax, [rbx + rsi*8]
    add rax, [rbx + 64]
    mov [rbx + 128], rax
    mov edx, [rbx + 4]
    mov [rbx + rsi*8], edx
    add rsi, 1
    and esi, 31
    dec rcx
    jnz top`,
  'calls and branches': `
top:
    push rax
    call function
    pop rax
    test eax, 4
    jz even
    add rax, 3
even:
    dec rcx
    jnz top
    hlt
function:
    add rax, 1
    ret`,
  'byte loop': `
top:
    movzx eax, byte [rbx + rsi]
    cmp al, 10
    je other
    xor dl, al
other:
    inc rsi
    and esi, 255
    dec rcx
    jnz top`,
};

export interface Measurement {
  readonly name: string;
  readonly millionsPerSecond: number;
}

/** Runs every loop for about `seconds` after a warm-up. */
export function measureCpu(seconds: number): Measurement[] {
  return Object.entries(PROGRAMS).map(([name, source]) => {
    const machine = new TestMachine();
    machine.enterLong();
    const { bytes } = assemble(`bits 64\norg ${CODE}\n${source}\nhlt\n`);
    machine.state.setGpr(1, 1n << 40n);
    machine.state.setGpr(3, BigInt(DATA));
    machine.state.setGpr(4, BigInt(DATA - 0x1000));
    machine.runCode(CODE, bytes, 20_000_000);
    const slice = 1_000_000;
    let executed = 0;
    const started = performance.now();
    let elapsed = 0;
    while (elapsed < seconds * 1000) {
      const before = machine.cpus.executed;
      machine.run(slice);
      executed += machine.cpus.executed - before;
      elapsed = performance.now() - started;
    }
    return { name, millionsPerSecond: executed / elapsed / 1000 };
  });
}

if (import.meta.main) {
  for (const { name, millionsPerSecond } of measureCpu(1)) {
    console.log(`${name.padEnd(20)} ${millionsPerSecond.toFixed(0).padStart(5)} million instructions a second`);
  }
}
