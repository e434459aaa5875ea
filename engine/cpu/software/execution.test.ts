import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../testing/assembler/assembler.ts';
import * as L from '../x86/layout.ts';
import type { GuestFault } from '../x86/linear-memory.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const STACK = 0x180000;
const RAX = 0;
const RCX = 1;
const RBX = 3;
const RSP = 4;
const RSI = 6;
const RDI = 7;

/** Faults that would be delivered to the guest, instead recorded; the run ends at the first. */
function recordFaults(machine: TestMachine): GuestFault[] {
  const faults: GuestFault[] = [];
  machine.cpu.system.deliverFault = (fault) => {
    faults.push(fault);
    machine.cpus.stopSoon();
  };
  return faults;
}

function long(ramBytes = 4 << 20): TestMachine {
  const machine = new TestMachine({ ramBytes });
  machine.enterLong();
  machine.state.setGpr(RSP, BigInt(STACK));
  return machine;
}

const code64 = (source: string, at = CODE) => assemble(`bits 64\norg ${at}\n${source}`).bytes;
const code16 = (source: string, at = 0) => assemble(`bits 16\norg ${at}\n${source}`).bytes;

/** Maps the 2 MiB around `linear` in 4-KiB pages to themselves and returns how to change one. */
function smallPages(machine: TestMachine, linear: number, table: number): (linear: number, entry: number) => void {
  const { memory } = machine;
  const base = linear & ~0x1fffff;
  for (let i = 0; i < 512; i++) {
    memory.writeU32(table + i * 8, (base + i * 4096) | 7);
    memory.writeU32(table + i * 8 + 4, 0);
  }
  memory.writeU32(0x3000 + (base >>> 21) * 8, table | 7);
  machine.cpu.translation.flush(true);
  return (at, entry) => memory.writeU32(table + ((at >>> 12) & 511) * 8, entry);
}

test('a run stops exactly after the instructions it was given', () => {
  const machine = long();
  machine.runCode(CODE, code64('again: inc rax\ninc rbx\ninc rdx\njmp again'), 0);
  for (const count of [1, 2, 3, 5, 17, 100, 1001]) {
    const before = machine.cpus.executed;
    machine.run(count);
    assert.equal(machine.cpus.executed - before, count);
  }
  const total = machine.cpus.executed;
  assert.equal(machine.state.gpr(RAX), BigInt(Math.ceil(total / 4)));
  assert.equal(machine.state.gpr(RBX), BigInt(Math.ceil((total - 1) / 4)));
});

test('devices see the exact number of instructions', () => {
  const machine = long();
  const seen: number[] = [];
  machine.bus.onAccess = () => seen.push(machine.cpus.executed);
  machine.runCode(CODE, code64('nop\nnop\nout 0x80, al\nnop\nmov al, [0x40000000]\nnop\nhlt'), 100);
  // The third instruction and the fifth: those before them have been carried out.
  assert.deepEqual(seen, [2, 4]);
  assert.equal(machine.cpus.executed, 7);
});

test('a fault in the middle of a block leaves what came before it', () => {
  const machine = long();
  const map = smallPages(machine, DATA, 0x10000);
  map(DATA, 0);
  const faults = recordFaults(machine);
  const source = 'mov eax, 1\nadd eax, 2\nmov [0x100010], eax\nmov eax, 9\nnop';
  machine.runCode(CODE, code64(source), 100);
  assert.deepEqual(
    faults.map(({ vector, errorCode, address }) => [vector, errorCode, address]),
    [[L.VECTOR_PF, 2, 0x100010n]],
  );
  assert.equal(machine.state.gpr(RAX), 3n);
  assert.equal(machine.state.rip, BigInt(CODE + code64('mov eax, 1\nadd eax, 2').length));
});

test('read-modify-write to a read-only page changes nothing', () => {
  const machine = long();
  const map = smallPages(machine, DATA, 0x10000);
  machine.memory.writeU32(DATA, 5);
  map(DATA, DATA | 5);
  machine.cpu.translation.flush(true);
  const faults = recordFaults(machine);
  machine.state.flags = 2 | L.FLAG_CF;
  machine.runCode(CODE, code64('mov eax, [0x100000]\nadc [0x100000], eax\nnop'), 100);
  assert.deepEqual([faults[0]?.vector, faults[0]?.errorCode], [L.VECTOR_PF, 3]);
  assert.equal(machine.memory.readU32(DATA), 5);
  assert.equal(machine.state.flags & L.FLAG_CF, L.FLAG_CF);
});

test('operands across pages that are apart in memory', () => {
  const machine = long();
  const map = smallPages(machine, DATA, 0x10000);
  map(DATA, (DATA + 0x5000) | 7);
  map(DATA + 0x1000, (DATA + 0x3000) | 7);
  machine.cpu.translation.flush(true);
  machine.runCode(
    CODE,
    code64(`mov rax, 0x1122334455667788
mov [0x100ffd], rax
mov rbx, [0x100ffd]
add dword [0x100ffe], 1
push qword [0x100ffd]
pop rcx
hlt`),
    100,
  );
  assert.equal(machine.state.gpr(RBX), 0x1122334455667788n);
  assert.equal(machine.state.gpr(RCX), 0x1122334455667888n);
  assert.deepEqual([...machine.read(DATA + 0x5ffd, 3)], [0x88, 0x78, 0x66]);
  assert.deepEqual([...machine.read(DATA + 0x3000, 5)], [0x55, 0x44, 0x33, 0x22, 0x11]);
});

test('a store across pages whose second one faults writes nothing and reports its start', () => {
  const machine = long();
  const map = smallPages(machine, DATA, 0x10000);
  map(DATA + 0x1000, 0);
  machine.cpu.translation.flush(true);
  const faults = recordFaults(machine);
  machine.state.setGpr(RAX, 0xffffffffffffffffn);
  machine.runCode(CODE, code64('mov [0x100ffd], rax\nnop'), 10);
  assert.equal(faults[0]?.address, 0x101000n);
  assert.deepEqual([...machine.read(DATA + 0xffd, 3)], [0, 0, 0]);
});

test('instructions across pages that are apart in memory', () => {
  const machine = long();
  const map = smallPages(machine, CODE, 0x10000);
  map(CODE, (CODE + 0x7000) | 7);
  map(CODE + 0x1000, (CODE + 0x4000) | 7);
  machine.cpu.translation.flush(true);
  const at = CODE + 0xffc;
  const bytes = code64('again: mov rax, 0x1122334455667788\ninc rbx\ncmp rbx, 3\njne again\nhlt', at);
  machine.write(CODE + 0x7ffc, bytes.slice(0, 4));
  machine.write(CODE + 0x4000, bytes.slice(4));
  machine.state.rip = BigInt(at);
  machine.run(100);
  assert.equal(machine.state.gpr(RAX), 0x1122334455667788n);
  assert.equal(machine.state.gpr(RBX), 3n);
  // The second page moves: the same code now ends differently.
  machine.write(CODE + 0x5000, bytes.slice(4));
  machine.write(CODE + 0x5000, [0x11]);
  map(CODE + 0x1000, (CODE + 0x5000) | 7);
  machine.cpu.translation.flush(true);
  machine.state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.state.setGpr(RBX, 0n);
  machine.state.rip = BigInt(at);
  machine.run(100);
  assert.equal(machine.state.gpr(RAX), 0x1122334455117788n);
});

test('instructions in front of one whose second page is missing do not fault', () => {
  const machine = long();
  const map = smallPages(machine, CODE, 0x10000);
  map(CODE + 0x1000, 0);
  machine.cpu.translation.flush(true);
  const faults = recordFaults(machine);
  // A load that is not in the TLB yet, and then 2 bytes of an instruction of 10.
  const at = CODE + 0xff6;
  machine.memory.writeU32(DATA, 77);
  machine.write(at, code64('mov rax, [0x100000]\nmov rcx, 0x1122334455667788', at).slice(0, 10));
  machine.state.rip = BigInt(at);
  machine.run(10);
  assert.equal(faults[0]?.address, BigInt(CODE + 0x1000));
  assert.equal(machine.state.rip, BigInt(at + 8));
  assert.equal(machine.state.gpr(RAX), 77n);
});

test('an instruction whose second page is missing faults there', () => {
  const machine = long();
  const map = smallPages(machine, CODE, 0x10000);
  map(CODE + 0x1000, 0);
  machine.cpu.translation.flush(true);
  const faults = recordFaults(machine);
  const at = CODE + 0xffa;
  machine.runCode(at, code64('inc rbx\nmov rax, 1', at).slice(0, 6), 10);
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.deepEqual([faults[0]?.vector, faults[0]?.address], [L.VECTOR_PF, BigInt(CODE + 0x1000)]);
  assert.equal(machine.state.rip, BigInt(at + 3));
});

test('code that changes the very next instruction', () => {
  const machine = long();
  // mov byte [next + 1], 7 / next: mov al, 1
  machine.runCode(CODE, code64('mov byte [rel next + 1], 7\nnext: mov al, 1\nhlt'), 10);
  assert.equal(machine.state.gpr(RAX), 7n);
  assert.equal(machine.cpus.executed, 3);
});

test('code that changes code it has run before, in its own page, the next page and through another mapping', () => {
  for (const [target, store] of [
    [CODE + 0x800, CODE + 0x800],
    [CODE + 0x1800, CODE + 0x1800],
    [CODE + 0x800, CODE + 0x40800],
  ] as const) {
    const machine = long();
    const map = smallPages(machine, CODE, 0x10000);
    map(CODE + 0x40000, CODE | 7);
    machine.cpu.translation.flush(true);
    machine.write(target, code64('mov al, 1\nadd bl, al\nret', target));
    machine.runCode(
      CODE,
      code64(`mov rdx, ${target}
mov rsi, ${store}
call rdx
call rdx
mov byte [rsi + 1], 5
call rdx
mov word [rsi], 0x08b0
call rdx
hlt`),
      100,
    );
    assert.equal(machine.state.gpr(RBX), BigInt(1 + 1 + 5 + 8));
  }
});

test('rep stos over code that runs next', () => {
  const machine = long();
  machine.runCode(
    CODE,
    code64('mov edi, target\nmov ecx, 64\nmov al, 0x90\ncld\nrep stosb\nmov ebx, 1\ntarget:\ntimes 32 hlt'),
    0,
  );
  machine.write(CODE + 0x100, code64('inc rdx\nhlt'));
  machine.run(200);
  // The HLTs are gone; what follows the 64 bytes are zeros, which are instructions too: stop by count.
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.equal(machine.state.i32(L.ACTIVITY), L.ACTIVITY_HALTED);
});

test('a device that writes over code', () => {
  const machine = long();
  const bytes = code64('again: inc rbx\nin al, 0x40\njmp again');
  machine.bus.onAccess = () => {
    machine.bus.onAccess = () => {};
    // inc rbx becomes inc rdx.
    machine.write(CODE, code64('inc rdx'));
  };
  machine.runCode(CODE, bytes, 9);
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.equal(machine.state.gpr(2), 2n);
});

test('repeated moves stop at a fault with exact registers and go on after it', () => {
  for (const [prefix, size, shift] of [
    ['b', 1, 0],
    ['w', 2, 1],
    ['d', 4, 2],
    ['q', 8, 3],
  ] as const) {
    const machine = long();
    const map = smallPages(machine, DATA, 0x10000);
    map(DATA + 0x11000, 0);
    machine.cpu.translation.flush(true);
    const faults = recordFaults(machine);
    const source = Uint8Array.from({ length: 0x2000 }, (_, i) => (i * 7) & 0xff);
    machine.write(DATA, source);
    machine.state.setGpr(RSI, BigInt(DATA));
    machine.state.setGpr(RDI, BigInt(DATA + 0x10000 + size * 3));
    machine.state.setGpr(RCX, BigInt(0x1800 >> shift));
    machine.runCode(CODE, code64(`rep movs${prefix}\nhlt`), 1000);
    assert.equal(faults.length, 1);
    assert.equal(faults[0]?.address, BigInt(DATA + 0x11000));
    assert.equal(machine.state.gpr(RDI), BigInt(DATA + 0x11000));
    assert.equal(machine.state.gpr(RSI), BigInt(DATA + 0x1000 - size * 3));
    assert.equal(machine.state.gpr(RCX), BigInt((0x1800 - 0x1000 + size * 3) >> shift));
    assert.equal(machine.state.rip, BigInt(CODE));
    map(DATA + 0x11000, (DATA + 0x11000) | 7);
    machine.run(1000);
    assert.equal(machine.state.gpr(RCX), 0n);
    assert.deepEqual(machine.read(DATA + 0x10000 + size * 3, 0x1800), source.slice(0, 0x1800));
  }
});

test('a string instruction that stops in the middle of a block costs what it ran', () => {
  const run = (slice: number) => {
    const machine = long();
    machine.state.setGpr(RDI, BigInt(DATA));
    machine.runCode(CODE, code64('mov ecx, 200\nrep scasb\nnop\nnop\nhlt'), 0);
    while (machine.run(slice).reason !== 'halted') {}
    return machine.cpus.executed;
  };
  // Zeros: 200 elements, 64 at a time.
  assert.equal(run(1), 1 + 4 + 3);
  assert.equal(run(1000), 1 + 4 + 3);
});

test('overlapping repeated moves copy element by element', () => {
  const machine = long();
  machine.write(DATA, [1, 2, 3, 4]);
  machine.state.setGpr(RSI, BigInt(DATA));
  machine.state.setGpr(RDI, BigInt(DATA + 4));
  machine.state.setGpr(RCX, 100n);
  machine.runCode(CODE, code64('rep movsb\nhlt'), 1000);
  assert.deepEqual(
    [...machine.read(DATA, 104)],
    Array.from({ length: 104 }, (_, i) => (i % 4) + 1),
  );
});

test('repeated moves and stores of any size, distance and direction do what single ones do', () => {
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let round = 0; round < 200; round++) {
    const machine = long(8 << 20);
    const size = 1 << random(4);
    const count = random(0x1800 / size);
    const down = random(2) === 1;
    const isMove = random(4) !== 0;
    const source = 0x4000 + random(0x2000);
    // Near, overlapping, and where the TLB has the same place for both pages.
    const target =
      random(3) === 0 ? source + random(64) - 32 : random(2) === 0 ? source + 0x400000 : 0x8000 + random(99);
    const bytes = Uint8Array.from({ length: 0x10000 }, () => random(256));
    machine.write(DATA, bytes);
    const value = random(2) === 0 ? 0x5a5a5a5a5a5a5a5an : 0x0102030405060708n;
    const expected = new Map<number, number>();
    const read = (at: number) => expected.get(at) ?? (at < 0x10000 ? (bytes[at] as number) : 0);
    for (let i = 0; i < count; i++) {
      const by = (down ? -i : i) * size;
      const element = Array.from({ length: size }, (_, k) =>
        isMove ? read(source + by + k) : Number((value >> BigInt(k * 8)) & 0xffn),
      );
      for (const [k, byte] of element.entries()) {
        expected.set(target + by + k, byte);
      }
    }
    machine.state.setGpr(RAX, value);
    machine.state.setGpr(RSI, BigInt(DATA + source));
    machine.state.setGpr(RDI, BigInt(DATA + target));
    machine.state.setGpr(RCX, BigInt(count));
    const name = `${isMove ? 'movs' : 'stos'}${'bwdq'[Math.log2(size)]}`;
    machine.runCode(CODE, code64(`${down ? 'std' : 'cld'}\nrep ${name}\nhlt`), 100000);
    const context = `round ${round}: ${name} ${count} ${source.toString(16)} ${target.toString(16)} ${down}`;
    assert.equal(machine.state.gpr(RCX), 0n, context);
    const end = BigInt((down ? -count : count) * size);
    assert.equal(machine.state.gpr(RDI), BigInt(DATA + target) + end, context);
    assert.equal(machine.state.gpr(RSI), BigInt(DATA + source) + (isMove ? end : 0n), context);
    for (const [at, byte] of expected) {
      assert.equal(machine.read(DATA + at, 1)[0], byte, `${context} at ${at.toString(16)}`);
    }
  }
});

test('translations change only when they are invalidated', () => {
  const machine = long();
  const map = smallPages(machine, DATA, 0x10000);
  machine.memory.writeU32(DATA, 0x1111);
  machine.memory.writeU32(DATA + 0x1000, 0x2222);
  const source = `mov eax, [0x100000]
mov dword [0x10000 + 0x100 * 8], 0x101007
invlpg [0x100000]
mov ebx, [0x100000]
mov dword [0x10000 + 0x100 * 8], 0x100007
mov rdx, cr3
mov cr3, rdx
mov ecx, [0x100000]
hlt`;
  map(DATA, DATA | 7);
  machine.runCode(CODE, code64(source), 100);
  assert.deepEqual(
    [RAX, RBX, RCX].map((register) => machine.state.gpr(register)),
    [0x1111n, 0x2222n, 0x1111n],
  );
});

test('accessed and dirty bits appear with the access that sets them', () => {
  const machine = long();
  smallPages(machine, DATA, 0x10000);
  const entry = 0x10000 + 0x100 * 8;
  machine.runCode(
    CODE,
    code64(`mov eax, [0x100000]
mov ebx, [${entry}]
mov [0x100000], eax
mov ecx, [${entry}]
hlt`),
    100,
  );
  assert.equal(machine.state.gpr(RBX), 0x100027n);
  assert.equal(machine.state.gpr(RCX), 0x100067n);
});

test('address line 20', () => {
  const machine = new TestMachine();
  machine.enterReal();
  const { state } = machine;
  machine.memory.writeU32(0x500, 0x1234);
  machine.memory.writeU32(0x100500, 0x5678);
  state.ds.selector = 0xffff;
  state.ds.base = 0xffff0n;
  const bytes = code16('mov ax, [0x510]\nhlt', 0x1000);
  machine.cpus.setA20(false);
  machine.runCode(0x1000, bytes, 10);
  assert.equal(state.gpr16(RAX), 0x1234);
  machine.cpus.setA20(true);
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.runCode(0x1000, bytes, 10);
  assert.equal(state.gpr16(RAX), 0x5678);
});

test('limits of 16-bit segments', () => {
  const cases: [string, number | undefined][] = [
    ['mov al, [0xffff]', undefined],
    ['mov ax, [0xffff]', L.VECTOR_GP],
    ['mov ax, [bx + 1]', undefined], // 0xffff + 1 wraps to 0
    ['mov eax, [0xfffd]', L.VECTOR_GP],
    ['mov ax, [bp]', L.VECTOR_SS],
    ['mov eax, [dword 0x10000]', L.VECTOR_GP],
    ['push ax', undefined], // SP 0 wraps to 0xfffe
    ['mov [cs:0x10], al', undefined],
  ];
  for (const [source, vector] of cases) {
    const machine = new TestMachine();
    machine.enterReal();
    const faults = recordFaults(machine);
    machine.state.setGpr(RBX, 0xffffn);
    machine.state.setGpr(5, 0xffffn);
    machine.state.setGpr(RSP, 0n);
    machine.runCode(0x1000, code16(`${source}\nhlt`, 0x1000), 10);
    assert.deepEqual([source, faults[0]?.vector], [source, vector]);
    if (source === 'push ax') {
      assert.equal(machine.state.gpr(RSP), 0xfffen);
    }
  }
});

test('limits and types of protected-mode segments', () => {
  const attributes = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_ACCESSED | L.ATTR_DB;
  const cases: [number, number, string, number | undefined][] = [
    [attributes | L.ATTR_WRITABLE, 0xfff, 'mov eax, [0xffc]', undefined],
    [attributes | L.ATTR_WRITABLE, 0xfff, 'mov eax, [0xffd]', L.VECTOR_GP],
    [attributes | L.ATTR_WRITABLE, 0xfff, 'mov [0xffc], eax', undefined],
    [attributes, 0xfff, 'mov eax, [0]', undefined],
    [attributes, 0xfff, 'mov [0], eax', L.VECTOR_GP],
    [attributes | L.ATTR_WRITABLE | L.ATTR_EXPAND_DOWN, 0xfff, 'mov eax, [0xfff]', L.VECTOR_GP],
    [attributes | L.ATTR_WRITABLE | L.ATTR_EXPAND_DOWN, 0xfff, 'mov eax, [0x1000]', undefined],
    [attributes | L.ATTR_WRITABLE | L.ATTR_EXPAND_DOWN, 0xfff, 'mov eax, [0xfffffffe]', L.VECTOR_GP],
    [attributes | L.ATTR_CODE, 0xfff, 'mov eax, [0]', L.VECTOR_GP],
    [attributes | L.ATTR_CODE | L.ATTR_WRITABLE, 0xfff, 'mov eax, [0]', undefined],
    [attributes | L.ATTR_CODE | L.ATTR_WRITABLE, 0xfff, 'mov [0], eax', L.VECTOR_GP],
    [L.ATTR_UNUSABLE, 0xfff, 'mov eax, [0]', L.VECTOR_GP],
    // The string instructions check too.
    [attributes | L.ATTR_WRITABLE, 0x3, 'xor esi, esi\nlodsd', undefined],
    [attributes | L.ATTR_WRITABLE, 0x2, 'xor esi, esi\nlodsd', L.VECTOR_GP],
  ];
  for (const [bits, limit, source, vector] of cases) {
    const machine = new TestMachine();
    machine.enterProtected();
    const faults = recordFaults(machine);
    machine.state.ds.assign(0x20, BigInt(DATA), limit, bits);
    machine.update();
    machine.runCode(CODE, assemble(`bits 32\norg ${CODE}\n${source}\nhlt`).bytes, 10);
    assert.deepEqual([source, limit, faults[0]?.vector], [source, limit, vector]);
  }
});

test('the code segment ends at its limit', () => {
  const machine = new TestMachine();
  machine.enterProtected();
  const faults = recordFaults(machine);
  machine.state.cs.limit = CODE + 4;
  machine.update();
  machine.runCode(CODE, assemble('bits 32\ninc ebx\nmov eax, 5').bytes, 10);
  assert.equal(machine.state.gpr(RBX), 1n);
  assert.deepEqual([faults[0]?.vector, faults[0]?.errorCode, machine.state.rip], [L.VECTOR_GP, 0, BigInt(CODE + 1)]);
});
