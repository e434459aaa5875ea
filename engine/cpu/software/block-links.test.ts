import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x100000;
const FUNCTION = 0x140000;
const OTHER = 0x150000;
const STACK = 0x180000;
const PAGE_TABLE = 0x10000;
const RAX = 0;
const RSP = 4;

/** Instructions of a turn of each program: it calls or jumps to FUNCTION, which adds to RAX and comes back. */
const PROGRAMS = {
  'direct calls': { turn: 4, source: `top: call ${FUNCTION}\njmp top`, back: 'ret' },
  'indirect calls': { turn: 5, source: `top: mov ecx, ${FUNCTION}\ncall rcx\njmp top`, back: 'ret' },
  'direct jumps': { turn: 3, source: `top: jmp ${FUNCTION}`, back: `jmp ${CODE}` },
  'conditional jumps': { turn: 4, source: `top: cmp eax, eax\njz ${FUNCTION}\nhlt`, back: `jmp ${CODE}` },
  'indirect jumps': { turn: 5, source: `top: mov ecx, ${FUNCTION}\njmp rcx`, back: `mov edx, ${CODE}\njmp rdx` },
} as const;

const TURNS = 10;

function assembled(source: string, at: number): Uint8Array {
  return assemble(`bits 64\norg ${at}\n${source}`).bytes;
}

for (const [name, { turn, source, back }] of Object.entries(PROGRAMS)) {
  describe(`${name} to another page lead to the code that is there now`, () => {
    const start = () => {
      const machine = new TestMachine();
      const { memory } = machine;
      machine.enterLong();
      // The first 2 MiB in pages of 4 KiB.
      for (let i = 0; i < 512; i++) {
        memory.writeU32(PAGE_TABLE + i * 8, (i * 4096) | 7);
        memory.writeU32(PAGE_TABLE + i * 8 + 4, 0);
      }
      memory.writeU32(0x3000, PAGE_TABLE | 7);
      machine.cpu.translation.flush(true);
      machine.state.setGpr(RSP, BigInt(STACK));
      machine.write(FUNCTION, assembled(`add eax, 1\n${back}`, FUNCTION));
      // As from FUNCTION: the page is going to be mapped there.
      machine.write(OTHER, assembled(`add eax, 100\n${back}`, FUNCTION));
      machine.runCode(CODE, assembled(source, CODE), 0);
      return machine;
    };
    const run = (machine: TestMachine): bigint => {
      machine.state.setGpr(RAX, 0n);
      machine.run(TURNS * turn);
      return machine.state.gpr(RAX);
    };
    const map = (machine: TestMachine, physical: number): void => {
      machine.memory.writeU32(PAGE_TABLE + (FUNCTION >> 12) * 8, physical | 7);
      machine.cpu.translation.invalidatePage(BigInt(FUNCTION));
    };

    test('after it has been overwritten', () => {
      const machine = start();
      assert.equal(run(machine), 10n);
      machine.write(FUNCTION, assembled(`add eax, 2\n${back}`, FUNCTION));
      assert.equal(run(machine), 20n);
      machine.write(FUNCTION, assembled(`add eax, 3\n${back}`, FUNCTION));
      assert.equal(run(machine), 30n);
    });

    test('after its page has been mapped elsewhere', () => {
      const machine = start();
      assert.equal(run(machine), 10n);
      map(machine, OTHER);
      assert.equal(run(machine), 1000n);
      map(machine, FUNCTION);
      assert.equal(run(machine), 10n);
    });

    test('after all blocks have been forgotten', () => {
      const machine = start();
      assert.equal(run(machine), 10n);
      machine.cpus.code.flush();
      // Other blocks take the places of those that were.
      map(machine, OTHER);
      assert.equal(run(machine), 1000n);
    });
  });
}

test('returns need not go back to where the last call was made', () => {
  const machine = new TestMachine();
  machine.enterLong();
  machine.state.setGpr(RSP, BigInt(STACK));
  // Calls that never return fill the ring; the returns take addresses that were pushed.
  const source = `
    mov esi, 40
push_all:
    push ${OTHER}
    call next
next:
    pop rdx
    dec esi
    jnz push_all
    ret`;
  machine.write(OTHER, assembled('inc eax\nret', OTHER));
  // 40 times three pushed and popped; each return goes to OTHER, the last one to the HLT below.
  machine.memory.writeU32(STACK, FUNCTION);
  machine.memory.writeU32(STACK + 4, 0);
  machine.write(FUNCTION, assembled('hlt', FUNCTION));
  machine.runCode(CODE, assembled(source, CODE), 1000);
  assert.equal(machine.state.gpr(RAX), 40n);
  assert.equal(machine.state.rip, BigInt(FUNCTION + 1));
});
