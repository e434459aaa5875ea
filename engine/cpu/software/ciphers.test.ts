import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const HLT = 0xf4;
const RBX = 3;
/** ModRM: XMM1 and XMM2, XMM1 and [RBX]. */
const XMM1_XMM2 = 0xca;
const XMM1_RBX = 0x0b;

const FIRST = '7b5b54657374566563746f725d53475d';
const SECOND = '48692853686179295b477565726f6e5d';
/** Rows of the map that the S-box of AES is, after inversion. */
const SUBSTITUTION = 'f1e3c78f1f3e7cf8';

const machine = new TestMachine();
const { state } = machine;
machine.enterLong();
state.setU64(L.CR4, state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
state.setU64(L.XCR0, 7n);
machine.update();
let next = CODE;

/** VEX prefix of three bytes; the first source is XMM1. */
function vex(map: number, wide: 0 | 1, length: 0 | 1): number[] {
  return [0xc4, 0xe0 | map, (wide << 7) | (14 << 3) | (length << 2) | 1];
}

/** Sets a vector register from up to 32 bytes in hexadecimal, the highest first. */
function setVector(register: number, text: string): void {
  const bytes = Buffer.from(text.padStart(64, '0'), 'hex').reverse();
  for (let i = 0; i < 32; i += 4) {
    state.setU32(L.XMM + register * L.XMM_STRIDE + i, bytes.readUInt32LE(i));
  }
}

function vector(register: number): string {
  const bytes = Buffer.alloc(32);
  for (let i = 0; i < 32; i += 4) {
    bytes.writeUInt32LE(state.u32(L.XMM + register * L.XMM_STRIDE + i), i);
  }
  return bytes.reverse().toString('hex');
}

/** Carries code out up to a HLT behind it; returns the vector of the exception that comes first. */
function run(...code: readonly number[]): number | undefined {
  let raised: number | undefined;
  machine.cpu.system.deliverFault = (fault) => {
    raised = fault.vector;
    machine.cpus.stopSoon();
  };
  state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  machine.runCode(next, [...code, HLT], 100);
  next += 32;
  return raised;
}

const AES: readonly (readonly [name: string, opcode: number, result: string])[] = [
  ['AESENC', 0xdc, 'a8311c2f9fdba3c58b104b58ded7e595'],
  ['AESENCLAST', 0xdd, 'c7fb881e938c5964177ec42553fdc611'],
  ['AESDEC', 0xde, '138ac342faea2787b58eb95eb730392a'],
  ['AESDECLAST', 0xdf, 'c5a391ef6b317f95d410637b72a593d0'],
];
const PRODUCTS: readonly (readonly [control: number, result: string])[] = [
  [0x00, '1d4d84c85c3440c0929633d5d36f0451'],
  [0x10, '1bd17c8d556ab5a17fa540ac2a281315'],
  [0x01, '1a2bf6db3a30862fbabf262df4b7d5c9'],
  [0x11, '1d1e1f2c592e7c45d66ee03e410fd4ed'],
];

test('AES rounds and carry-less products, in 128 bits and in each half of 256', () => {
  const zeros = '0'.repeat(32);
  for (const [name, opcode, result] of AES) {
    setVector(1, FIRST);
    setVector(2, SECOND);
    assert.equal(run(0x66, 0x0f, 0x38, opcode, XMM1_XMM2), undefined);
    assert.equal(vector(1), zeros + result, name);
    setVector(1, FIRST + zeros);
    setVector(2, SECOND + zeros);
    assert.equal(run(...vex(2, 0, 1), opcode, XMM1_XMM2), undefined);
    assert.equal(vector(1).slice(0, 32), result, `V${name}`);
    setVector(1, FIRST + FIRST);
    setVector(2, SECOND + SECOND);
    assert.equal(run(...vex(2, 1, 1), opcode, XMM1_XMM2), undefined, 'VEX.W is ignored');
    assert.equal(vector(1), result + result, `V${name}`);
    assert.equal(run(...vex(2, 0, 0), opcode, XMM1_XMM2), undefined);
    assert.equal(vector(1).slice(0, 32), zeros, `V${name} of 128 bits clears the rest`);
  }
  for (const [control, result] of PRODUCTS) {
    setVector(1, FIRST + FIRST);
    setVector(2, SECOND + SECOND);
    assert.equal(run(...vex(3, 0, 1), 0x44, XMM1_XMM2, control), undefined);
    assert.equal(vector(1), result + result);
    setVector(1, FIRST);
    assert.equal(run(0x66, 0x0f, 0x3a, 0x44, XMM1_XMM2, control), undefined);
    assert.equal(vector(1), zeros + result);
  }
});

test('GF2P8MULB multiplies as FIPS 197, 4.2 does', () => {
  setVector(1, `${'57'.repeat(30)}5700`);
  setVector(2, `${'83'.repeat(16)}${'13'.repeat(15)}83`);
  assert.equal(run(...vex(2, 0, 1), 0xcf, XMM1_XMM2), undefined);
  assert.equal(vector(1), `${'c1'.repeat(16)}${'fe'.repeat(14)}fe00`);
});

test('GF2P8AFFINEINVQB and GF2P8AFFINEQB: the S-box of AES, identity, and bits turned round', () => {
  setVector(1, '00000000000000000102039a53ff100f');
  setVector(2, SUBSTITUTION + SUBSTITUTION);
  assert.equal(run(0x66, 0x0f, 0x3a, 0xcf, XMM1_XMM2, 0x63), undefined);
  assert.equal(vector(1).slice(32), '63636363636363637c777bb8ed16ca76');
  setVector(1, '0123456789abcdef0123456789abcdef');
  setVector(2, '01020408102040808040201008040201');
  assert.equal(run(0x66, 0x0f, 0x3a, 0xce, XMM1_XMM2, 0x00), undefined);
  assert.equal(vector(1).slice(32), '0123456789abcdef80c4a2e691d5b3f7');
});

test('GFNI: alignment, VEX.W, and what the operating system has not enabled', () => {
  const forms: readonly (readonly [
    legacy: readonly number[],
    map: number,
    wide: 0 | 1,
    immediate: readonly number[],
  ])[] = [
    [[0x66, 0x0f, 0x38, 0xcf], 2, 0, []],
    [[0x66, 0x0f, 0x3a, 0xce], 3, 1, [0]],
    [[0x66, 0x0f, 0x3a, 0xcf], 3, 1, [0]],
  ];
  for (const [legacy, map, wide, immediate] of forms) {
    const opcode = legacy[3] as number;
    const long = [...vex(map, wide, 1), opcode, XMM1_RBX, ...immediate];
    state.setGpr(RBX, BigInt(DATA + 1));
    assert.equal(run(...legacy, XMM1_RBX, ...immediate), L.VECTOR_GP);
    assert.equal(run(...long), undefined);
    state.setGpr(RBX, BigInt(DATA));
    assert.equal(run(...legacy, XMM1_RBX, ...immediate), undefined);
    assert.equal(run(0xf0, ...legacy, XMM1_RBX, ...immediate), L.VECTOR_UD);
    assert.equal(run(...vex(map, wide === 1 ? 0 : 1, 0), opcode, XMM1_RBX, ...immediate), L.VECTOR_UD);
    state.setU64(L.XCR0, 3n);
    machine.update();
    assert.equal(run(...long), L.VECTOR_UD);
    assert.equal(run(...vex(2, 0, 1), 0xdc, XMM1_RBX), L.VECTOR_UD);
    state.setU64(L.XCR0, 7n);
    machine.update();
  }
});
