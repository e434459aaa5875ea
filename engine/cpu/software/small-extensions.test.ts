import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const HLT = 0xf4;
const RAX = 0;
const RCX = 1;
const RBX = 3;

const RDPID_RAX = [0xf3, 0x0f, 0xc7, 0xf8];
const RDSEED_EAX = [0x0f, 0xc7, 0xf8];
const CLFLUSHOPT = [0x66, 0x0f, 0xae, 0x3b]; // clflushopt [rbx]
const CLWB = [0x66, 0x0f, 0xae, 0x33]; // clwb [rbx]
const PREFETCHW = [0x0f, 0x0d, 0x0b]; // prefetchw [rbx]
const ADCX = [0x66, 0x0f, 0x38, 0xf6, 0xc1]; // adcx eax, ecx
const ADOX = [0xf3, 0x0f, 0x38, 0xf6, 0xc1]; // adox eax, ecx
const W = 0x48;
const LOCK = 0xf0;

let machine = new TestMachine();
let next = CODE;

beforeEach(() => {
  machine = new TestMachine();
  machine.enterLong();
  next = CODE;
});

/** Carries code out up to a HLT behind it; returns the vector of the exception that comes first. */
function run(...code: readonly number[]): number | undefined {
  let vector: number | undefined;
  machine.cpu.system.deliverFault = (fault) => {
    vector = fault.vector;
    machine.cpus.stopSoon();
  };
  machine.state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.runCode(next, [...code, HLT], 100);
  next += 32;
  return vector;
}

test('ADCX changes CF alone, ADOX OF alone', () => {
  const { state } = machine;
  const others = L.FLAG_SF | L.FLAG_ZF | L.FLAG_AF | L.FLAG_PF;
  for (const [code, flag] of [
    [ADCX, L.FLAG_CF],
    [ADOX, L.FLAG_OF],
  ] as const) {
    const other = L.FLAG_CF | L.FLAG_OF | others;
    const cases: [bigint, bigint, boolean, bigint, boolean][] = [
      [1n, 2n, false, 3n, false],
      [1n, 2n, true, 4n, false],
      [0xffffffffn, 0n, true, 0n, true],
      [0xffffffffn, 0xffffffffn, true, 0xffffffffn, true],
      [0x7fffffffn, 1n, false, 0x80000000n, false],
    ];
    for (const [a, b, carryIn, sum, carryOut] of cases) {
      for (const rest of [0, other & ~flag]) {
        state.setGpr(RAX, a | (0xabcdn << 32n));
        state.setGpr(RCX, b);
        state.flags = 2 | rest | (carryIn ? flag : 0);
        assert.equal(run(...code), undefined);
        assert.equal(state.gpr(RAX), sum, 'the upper half is cleared');
        assert.equal(state.flags & L.FLAGS_ARITHMETIC, rest | (carryOut ? flag : 0), `${a} ${b} ${carryIn}`);
      }
    }
    state.setGpr(RAX, 0xffffffffffffffffn);
    state.setGpr(RCX, 0n);
    state.flags = 2 | flag;
    assert.equal(run(code[0] as number, W, ...code.slice(1)), undefined);
    assert.equal(state.gpr(RAX), 0n);
    assert.equal(state.flags & L.FLAGS_ARITHMETIC, flag);
    assert.equal(run(LOCK, ...code), L.VECTOR_UD);
  }
});

test('RDPID reads IA32_TSC_AUX into the whole register, whatever the prefixes', () => {
  const { state } = machine;
  state.setU32(L.MSR_TSC_AUX, 0x89abcdef);
  for (const code of [RDPID_RAX, [0x66, ...RDPID_RAX], [0xf3, W, ...RDPID_RAX.slice(1)]]) {
    state.setGpr(RAX, 0xffffffffffffffffn);
    state.flags = 2 | L.FLAGS_ARITHMETIC;
    assert.equal(run(...code), undefined);
    assert.equal(state.gpr(RAX), 0x89abcdefn);
    assert.equal(state.flags & L.FLAGS_ARITHMETIC, L.FLAGS_ARITHMETIC);
  }
  assert.equal(run(LOCK, ...RDPID_RAX), L.VECTOR_UD);
  machine.setCpl(3);
  assert.equal(run(...RDPID_RAX), L.VECTOR_GP, 'of the HLT behind it: the instruction itself is for everybody');
  assert.equal(state.gpr(RAX), 0x89abcdefn);
  machine.enterProtected();
  state.setGpr(RAX, 0n);
  assert.equal(run(...RDPID_RAX), undefined);
  assert.equal(state.gpr32(RAX), 0x89abcdef);
});

test('RDSEED answers each time, in the size that was asked for', () => {
  const { state } = machine;
  const seeds = new Set<bigint>();
  for (let i = 0; i < 16; i++) {
    state.setGpr(RAX, 0xffffffffffffffffn);
    state.flags = 2 | L.FLAGS_ARITHMETIC;
    assert.equal(run(...RDSEED_EAX), undefined);
    assert.equal(state.flags & L.FLAGS_ARITHMETIC, L.FLAG_CF);
    assert.equal(state.gpr(RAX) >> 32n, 0n);
    seeds.add(state.gpr(RAX));
  }
  assert.ok(seeds.size > 8);
  state.setGpr(RAX, 0xffffffffffff0000n);
  assert.equal(run(0x66, ...RDSEED_EAX), undefined);
  assert.equal(state.gpr(RAX) >> 16n, 0xffffffffffffn);
  assert.equal(run(LOCK, ...RDSEED_EAX), L.VECTOR_UD);
});

test('CLFLUSHOPT and CLWB want an address that may be read; PREFETCHW takes any', () => {
  const { state, memory } = machine;
  memory.writeU32(DATA, 0x12345678);
  // The page of 2 MiB at 4 MiB is not there.
  memory.writeU32(0x3000 + 2 * 8, 0);
  machine.update();
  for (const code of [CLFLUSHOPT, CLWB]) {
    state.setGpr(RBX, BigInt(DATA));
    assert.equal(run(...code), undefined);
    assert.equal(memory.readU32(DATA), 0x12345678);
    state.setGpr(RBX, 0x400000n);
    assert.equal(run(...code), L.VECTOR_PF);
    assert.equal(state.u32(L.FAULT_ERROR) & 2, 0);
    assert.equal(run(LOCK, ...code), L.VECTOR_UD);
  }
  assert.equal(run(...PREFETCHW), undefined);
});
