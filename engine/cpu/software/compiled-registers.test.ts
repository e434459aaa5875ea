/** What regions keep in locals, where code looks for it elsewhere: the interpreter must find the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';
import { AT_ONCE } from './testing/at-once.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const STACK = 0x180000;
/** Page tables of the machine's own, in front of which the test's own follow. */
const TABLES = 0x1000;
const SMALL_PAGES = 0xc000;
const INSTRUCTIONS = 20_000;

/** Maps the 2 MiB at 0x400000 in pages of 4 KiB: page n to the physical page n of DATA, with these rights. */
function mapSmallPages(machine: TestMachine, rights: (page: number) => number): void {
  machine.memory.writeU32(TABLES + 0x2000 + 2 * 8, SMALL_PAGES | 7);
  for (let page = 0; page < 512; page++) {
    machine.memory.writeU32(SMALL_PAGES + page * 8, (DATA + page * 0x1000) | rights(page));
  }
  machine.update();
}

interface Outcome {
  readonly registers: readonly string[];
  readonly vectors: readonly string[];
  readonly data: string;
}

/** Runs `body` again and again, RCX counting, and returns what registers and memory hold then. */
function run(compiled: boolean, body: string, prepare: (machine: TestMachine) => void): Outcome {
  const machine = new TestMachine(compiled ? { jit: AT_ONCE } : {});
  machine.enterLong(TABLES);
  const { state } = machine;
  state.setGpr(4, BigInt(STACK));
  state.setGpr(3, BigInt(DATA));
  for (let i = 0; i < 16 * 16; i++) {
    state.setU8(L.XMM + (i >> 4) * L.XMM_STRIDE + (i & 15), (i * 37) & 0xff);
  }
  prepare(machine);
  const source = `bits 64\norg ${CODE}\nagain:\ninc rcx\n${body}\njmp again`;
  machine.runCode(CODE, assemble(source).bytes, INSTRUCTIONS);
  if (compiled) {
    assert.ok((machine.cpus.jit?.compiled ?? 0) > 0, 'it was compiled');
  }
  const vectors = Array.from({ length: 2 * L.XMM_STRIDE }, (_, i) => state.u64(L.XMM + i * 8).toString(16));
  return {
    registers: Array.from({ length: 16 }, (_, i) => state.gpr(i).toString(16)),
    vectors,
    data: Buffer.from(machine.read(DATA, 0x8000)).toString('hex'),
  };
}

function same(name: string, body: string, prepare: (machine: TestMachine) => void = () => {}): void {
  test(name, () => {
    const interpreted = run(false, body, prepare);
    assert.ok(BigInt(`0x${interpreted.registers[1]}`) > 100n, 'the loop has run often');
    assert.deepEqual(run(true, body, prepare), interpreted);
  });
}

same(
  'FXSAVE stores, and FXRSTOR changes, vector registers that a region has in locals',
  `
  movq xmm1, rcx
  paddq xmm2, xmm1
  fxsave [rbx]
  pxor xmm1, xmm1
  pxor xmm2, xmm3
  fxrstor [rbx]
  paddq xmm4, xmm2`,
);

same(
  'lanes by number',
  `
  movq xmm1, rcx
  movdqa xmm2, xmm5
  pshufb xmm5, xmm1
  paddb xmm2, xmm5
  db 0x66, 0x0f, 0x3a, 0x14, 0xd0, 3 ; pextrb eax, xmm2, 3
  db 0x66, 0x0f, 0x3a, 0x20, 0xf0, 14 ; pinsrb xmm6, eax, 14
  pextrw edx, xmm6, 7
  pinsrw xmm7, edx, 2
  movd [rbx + 8], xmm7
  movq [rbx + 16], xmm2`,
);

same(
  'scalars go through lanes and memory',
  `
  cvtsi2sd xmm0, rcx
  movsd [rbx], xmm0
  movsd xmm1, [rbx]
  mulsd xmm1, [rbx]
  sqrtsd xmm2, xmm1
  addsd xmm3, xmm2
  cvtsd2ss xmm4, xmm3
  movss [rbx + 8], xmm4
  movss xmm5, [rbx + 8]
  divss xmm5, xmm4
  ucomisd xmm2, xmm0
  setp al
  movhps [rbx + 16], xmm3
  movlps xmm6, [rbx + 16]
  cvttsd2si rdx, xmm1`,
);

same(
  'a vector register changes on one of two paths',
  `
  movq xmm0, rcx
  test cl, 1
  jz even
  paddq xmm1, xmm0
  even:
  psubq xmm2, xmm1`,
);

same(
  'a stack that goes from page to page, and accesses that reach across',
  `
  lea rsp, [rsp - 24]
  cmp rsp, ${DATA + 0x1000}
  ja enough
  mov rsp, ${DATA + 0x5004}
  enough:
  push rcx
  push rax
  mov rax, [rsp + 8]
  add [rsp + 4], rax
  mov edx, [rsp + 1]
  pop rsi
  add rdx, rsi`,
);

same(
  'INVLPG, and another page where the stack was',
  `
  mov rsp, 0x400800
  push rcx
  mov rax, [${SMALL_PAGES}]
  xor rax, 0x3000
  mov [${SMALL_PAGES}], rax
  invlpg [0x400000]
  push rcx
  pop rdx
  pop rdi
  add rsi, rdi`,
  (machine) => mapSmallPages(machine, () => 7),
);

same(
  'CR3 is loaded between two pushes',
  `
  mov rsp, 0x402800
  push rcx
  mov rax, [${SMALL_PAGES + 16}]
  xor rax, 0x1000
  mov [${SMALL_PAGES + 16}], rax
  mov rax, cr3
  mov cr3, rax
  push rcx
  add rsi, [rsp + 8]`,
  (machine) => mapSmallPages(machine, () => 7),
);

test('a push to a page that may only be read faults, though the page was read from the stack before', () => {
  for (const compiled of [false, true]) {
    const machine = new TestMachine(compiled ? { jit: AT_ONCE } : {});
    machine.enterLong(TABLES);
    mapSmallPages(machine, (page) => (page === 1 ? 5 : 7));
    let faults = 0;
    machine.cpu.system.deliverFault = (fault) => {
      faults++;
      assert.equal(fault.vector, L.VECTOR_PF);
      assert.equal(fault.errorCode, 3, 'a write to a page that is there');
      assert.equal(fault.address, 0x401ff8n);
      machine.cpus.stopSoon();
    };
    machine.state.setGpr(1, 200n);
    const source = `mov rsp, 0x402000
      again: mov rax, [rsp - 16]
      mov rdx, [rsp - 8]
      dec rcx
      jnz again
      push rcx
      hlt`;
    machine.runCode(CODE, assemble(`bits 64\norg ${CODE}\n${source}`).bytes, INSTRUCTIONS);
    assert.equal(faults, 1);
    assert.equal(machine.state.gpr(4), 0x402000n, 'RSP has not moved');
    assert.equal(compiled, (machine.cpus.jit?.compiled ?? 0) > 0);
  }
});
