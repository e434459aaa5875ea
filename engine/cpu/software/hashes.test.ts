import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import * as L from '../x86/layout.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const HLT = 0xf4;
const RBX = 3;

const SHA1NEXTE = [0x0f, 0x38, 0xc8];
const SHA1MSG1 = [0x0f, 0x38, 0xc9];
const SHA1MSG2 = [0x0f, 0x38, 0xca];
const SHA256RNDS2 = [0x0f, 0x38, 0xcb];
const SHA256MSG1 = [0x0f, 0x38, 0xcc];
const SHA256MSG2 = [0x0f, 0x38, 0xcd];
const SHA1RNDS4 = [0x0f, 0x3a, 0xcc];
/** ModRM: XMM1 and XMM2, XMM1 and [RBX]. */
const XMM1_XMM2 = 0xca;
const XMM1_RBX = 0x0b;

/** Four doublewords, the highest first. */
type Words = readonly [number, number, number, number];

class Sha {
  readonly machine = new TestMachine();
  readonly state = this.machine.state;
  #next = CODE;

  constructor() {
    this.machine.enterLong();
  }

  #set(register: number, words: Words): void {
    for (const [i, word] of words.entries()) {
      this.state.setU32(L.XMM + register * L.XMM_STRIDE + (3 - i) * 4, word);
    }
  }

  /** Carries an instruction out on XMM1 and a second source; returns XMM1. */
  run(opcode: readonly number[], first: Words, second: Words, xmm0?: Words, ...immediate: number[]): Words {
    this.#set(1, first);
    this.#set(2, second);
    this.#set(0, xmm0 ?? [0, 0, 0, 0]);
    this.runBytes([...opcode, XMM1_XMM2, ...immediate]);
    const word = (i: number) => this.state.u32(L.XMM + L.XMM_STRIDE + i * 4);
    return [word(3), word(2), word(1), word(0)];
  }

  /** Carries code out; returns the vector of the exception that it raises. */
  runBytes(bytes: readonly number[]): number | undefined {
    let vector: number | undefined;
    this.machine.cpu.system.deliverFault = (fault) => {
      vector = fault.vector;
      this.machine.cpus.stopSoon();
    };
    this.state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.machine.runCode(this.#next, [...bytes, HLT], 100);
    this.#next += 32;
    return vector;
  }
}

/** Reverses a group of words: message words come lowest first. */
function reversed([a, b, c, d]: Words): Words {
  return [d, c, b, a];
}

function plus(a: Words, b: Words): Words {
  return a.map((word, i) => (word + (b[i] as number)) >>> 0) as unknown as Words;
}

/** A message of at most 55 bytes as the words of its only block (FIPS 180-4, 5.1.1). */
function blockOf(message: string): number[] {
  const block = Buffer.alloc(64);
  block.write(message);
  block[message.length] = 0x80;
  block.writeUInt32BE(message.length * 8, 60);
  return Array.from({ length: 16 }, (_, i) => block.readUInt32BE(i * 4));
}

function hexOf(words: readonly number[]): string {
  return words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

const group = (words: readonly number[], from: number) => words.slice(from, from + 4) as unknown as Words;

/** SHA-1 of a short message by the instructions meant for it. */
function sha1(cpu: Sha, message: string): string {
  const words = blockOf(message);
  // Groups of four message words, the first word highest.
  for (let i = 16; i < 80; i += 4) {
    const first = cpu.run(SHA1MSG1, group(words, i - 16), group(words, i - 12));
    const mixed = first.map((word, k) => (word ^ (words[i - 8 + k] as number)) >>> 0) as unknown as Words;
    words.push(...cpu.run(SHA1MSG2, mixed, group(words, i - 4)));
  }
  const start: Words = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  let state = start;
  let before: Words | undefined;
  for (let i = 0; i < 80; i += 4) {
    const message = group(words, i);
    const withE: Words =
      before === undefined ? plus(message, [0xc3d2e1f0, 0, 0, 0]) : cpu.run(SHA1NEXTE, before, message);
    before = state;
    state = cpu.run(SHA1RNDS4, state, withE, undefined, Math.floor(i / 20));
  }
  const e = cpu.run(SHA1NEXTE, before as Words, [0xc3d2e1f0, 0, 0, 0])[0];
  return hexOf([...plus(state, start), e]);
}

/** The first 32 bits of the fractional parts of the roots of the first primes (FIPS 180-4, 4.2.2 and 5.3.3). */
function primeRoots(count: number, root: (prime: number) => number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n++) {
    if (primes.every((prime) => n % prime !== 0)) {
      primes.push(n);
    }
  }
  return primes.map((prime) => Math.floor((root(prime) % 1) * 2 ** 32));
}

/** SHA-256 of a short message by the instructions meant for it. */
function sha256(cpu: Sha, message: string): string {
  const constants = primeRoots(64, Math.cbrt);
  const words = blockOf(message);
  // Here the first of four message words is the lowest.
  const four = (from: number) => reversed(group(words, from));
  for (let i = 16; i < 64; i += 4) {
    const first = cpu.run(SHA256MSG1, four(i - 16), four(i - 12));
    const middle = words.slice(i - 7, i - 3) as unknown as Words;
    words.push(...reversed(cpu.run(SHA256MSG2, plus(first, reversed(middle)), four(i - 4))));
  }
  const start = primeRoots(8, Math.sqrt);
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = start;
  let abef: Words = [a, b, e, f];
  let cdgh: Words = [c, d, g, h];
  for (let i = 0; i < 64; i += 2) {
    const word = (k: number) => ((words[k] as number) + (constants[k] as number)) >>> 0;
    const next = cpu.run(SHA256RNDS2, cdgh, abef, [0, 0, word(i + 1), word(i)]);
    [cdgh, abef] = [abef, next];
  }
  const end = [abef[0], abef[1], cdgh[0], cdgh[1], abef[2], abef[3], cdgh[2], cdgh[3]];
  return hexOf(end.map((word, i) => word + (start[i] as number)));
}

test('SHA-1 of known messages', () => {
  const cpu = new Sha();
  assert.equal(sha1(cpu, 'abc'), 'a9993e364706816aba3e25717850c26c9cd0d89d');
  for (const message of ['', 'The quick brown fox jumps over the lazy dog']) {
    assert.equal(sha1(cpu, message), createHash('sha1').update(message).digest('hex'));
  }
});

test('SHA-256 of known messages', () => {
  const cpu = new Sha();
  assert.equal(sha256(cpu, 'abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  for (const message of ['', 'The quick brown fox jumps over the lazy dog']) {
    assert.equal(sha256(cpu, message), createHash('sha256').update(message).digest('hex'));
  }
});

test('memory operands are aligned, LOCK is refused, and without CR4.OSFXSR there are no such instructions', () => {
  const cpu = new Sha();
  const { state, machine } = cpu;
  for (const opcode of [SHA1NEXTE, SHA1MSG1, SHA1MSG2, SHA256RNDS2, SHA256MSG1, SHA256MSG2, SHA1RNDS4]) {
    const code = [...opcode, XMM1_RBX, ...(opcode === SHA1RNDS4 ? [0] : [])];
    state.setGpr(RBX, BigInt(DATA));
    assert.equal(cpu.runBytes(code), undefined);
    state.setGpr(RBX, BigInt(DATA + 8));
    assert.equal(cpu.runBytes(code), L.VECTOR_GP);
    assert.equal(cpu.runBytes([0xf0, ...code]), L.VECTOR_UD);
    assert.equal(cpu.runBytes([0x66, ...code]), L.VECTOR_UD);
    state.setU64(L.CR4, state.u64(L.CR4) & ~BigInt(L.CR4_OSFXSR));
    machine.update();
    assert.equal(cpu.runBytes(code), L.VECTOR_UD);
    state.setU64(L.CR4, state.u64(L.CR4) | BigInt(L.CR4_OSFXSR));
    machine.update();
  }
});
