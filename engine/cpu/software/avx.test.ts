import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as L from '../x86/layout.ts';
import type { GuestFault } from '../x86/linear-memory.ts';
import { TestMachine } from '../x86/testing/test-machine.ts';

const CODE = 0x200000;
const DATA = 0x300000;
const HLT = 0xf4;

const VPADDD_256 = [0xc5, 0xed, 0xfe, 0x03]; // vpaddd ymm0, ymm2, [rbx]
const VPADDD_128 = [0xc5, 0xe9, 0xfe, 0x03]; // vpaddd xmm0, xmm2, [rbx]
const PADDD = [0x66, 0x0f, 0xfe, 0x03]; // paddd xmm0, [rbx]
const ANDN = [0xc4, 0xe2, 0x60, 0xf2, 0xc1]; // andn eax, ebx, ecx
const VMOVDQA_LOAD = [0xc5, 0xfd, 0x6f, 0x03]; // vmovdqa ymm0, [rbx]
const VMOVDQU_STORE = [0xc5, 0xfe, 0x7f, 0x03]; // vmovdqu [rbx], ymm0
const VZEROUPPER = [0xc5, 0xf8, 0x77];
const VZEROALL = [0xc5, 0xfc, 0x77];

/** A processor with AVX enabled that stops at exceptions and tells which. RBX points at DATA. */
class Avx {
  readonly machine = new TestMachine({ ramBytes: 8 << 20 });
  readonly state = this.machine.state;
  fault: GuestFault | undefined;
  #next = CODE;

  constructor(mode: 'long' | 'protected' | 'real' = 'long') {
    const { machine, state } = this;
    if (mode === 'long') {
      machine.enterLong();
    } else if (mode === 'protected') {
      machine.enterProtected();
    } else {
      machine.enterReal();
      this.#next = 0x6000;
    }
    machine.cpu.system.deliverFault = (fault) => {
      this.fault = fault;
      machine.cpu.stopSoon();
    };
    state.setU64(L.CR4, state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
    state.setU64(L.XCR0, 7n);
    state.setU32(L.MXCSR, 0x1f80);
    state.setGpr(3, BigInt(DATA));
    machine.update();
  }

  /** Runs instructions up to a HLT behind them; returns the vector of the exception that came first, if any. */
  run(...code: number[]): number | undefined {
    const at = this.#next;
    this.#next += 32;
    return this.runAt(at, code);
  }

  runAt(at: number, code: readonly number[]): number | undefined {
    this.fault = undefined;
    this.state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.machine.runCode(at, [...code, HLT], 100);
    return (this.fault as GuestFault | undefined)?.vector;
  }

  set(register: number, ...quadwords: bigint[]): void {
    for (const [i, value] of quadwords.entries()) {
      this.state.setU64(L.XMM + register * L.XMM_STRIDE + i * 8, BigInt.asUintN(64, value));
    }
  }

  get(register: number): bigint[] {
    return [0, 8, 16, 24].map((offset) => this.state.u64(L.XMM + register * L.XMM_STRIDE + offset));
  }

  doubles(register: number, ...values: number[]): void {
    this.set(register, ...new BigUint64Array(Float64Array.from(values).buffer));
  }

  asDoubles(register: number): number[] {
    return [...new Float64Array(BigUint64Array.from(this.get(register)).buffer)];
  }

  /** Takes the page at `address` away, in 2-MiB pages: of the page directory at 0x3000. */
  map(address: number, present: boolean): void {
    const entry = 0x3000 + (address >>> 21) * 8;
    this.machine.memory.writeU32(entry, present ? ((address & ~0x1fffff) | 0x87) >>> 0 : 0);
    this.machine.update();
  }
}

describe('VEX instructions', () => {
  it('are undefined until the system has enabled AVX', () => {
    const avx = new Avx();
    assert.equal(avx.run(...VPADDD_256), undefined);
    for (const xcr0 of [1n, 3n]) {
      avx.state.setU64(L.XCR0, xcr0);
      avx.machine.update();
      assert.equal(avx.run(...VPADDD_128), L.VECTOR_UD);
      assert.equal(avx.run(...ANDN), undefined, 'general registers need no AVX state');
    }
    avx.state.setU64(L.XCR0, 7n);
    avx.state.setU64(L.CR4, avx.state.u64(L.CR4) & ~BigInt(L.CR4_OSXSAVE));
    avx.machine.update();
    assert.equal(avx.run(...VPADDD_128), L.VECTOR_UD);
    assert.equal(avx.run(...ANDN), undefined);
  });

  it('raise #NM with CR0.TS and heed neither CR0.EM nor CR4.OSFXSR', () => {
    const avx = new Avx();
    const cr0 = avx.state.u64(L.CR0);
    avx.state.setU64(L.CR0, cr0 | BigInt(L.CR0_TS));
    avx.machine.update();
    assert.equal(avx.run(...VPADDD_256), L.VECTOR_NM);
    assert.equal(avx.run(...ANDN), undefined);
    avx.state.setU64(L.CR0, cr0 | BigInt(L.CR0_EM));
    avx.state.setU64(L.CR4, avx.state.u64(L.CR4) & ~BigInt(L.CR4_OSFXSR));
    avx.machine.update();
    assert.equal(avx.run(...VPADDD_256), undefined);
    assert.equal(avx.run(...PADDD), L.VECTOR_UD);
  });

  it('take no legacy prefixes but segments and the address size', () => {
    const avx = new Avx();
    for (const prefix of [0x66, 0xf2, 0xf3, 0xf0, 0x40, 0x48]) {
      assert.equal(avx.run(prefix, ...VPADDD_256), L.VECTOR_UD, prefix.toString(16));
    }
    for (const prefix of [0x67, 0x3e]) {
      assert.equal(avx.run(prefix, ...VPADDD_256), undefined, prefix.toString(16));
    }
    assert.equal(avx.run(0xc5, 0xed, 0x77), L.VECTOR_UD, 'a register in VEX.vvvv that nothing uses');
    assert.equal(avx.run(0xc4, 0xe2, 0x6c, 0xf2, 0xc1), L.VECTOR_UD, 'ANDN of 256 bits');
  });

  it('share their first byte with LES and LDS outside 64-bit code', () => {
    const avx = new Avx('protected');
    avx.set(2, 1n, 1n, 1n, 1n);
    avx.machine.write(DATA, new Uint8Array(64));
    assert.equal(avx.run(...VPADDD_256), undefined);
    assert.deepEqual(avx.get(0), [1n, 1n, 1n, 1n]);
    avx.machine.write(DATA, [0x78, 0x56, 0x34, 0x12, 0, 0]);
    assert.equal(avx.run(0xc5, 0x03), undefined, 'LDS EAX, [EBX]');
    assert.equal(avx.state.gpr(0), 0x12345678n);
    assert.equal(new Avx('real').run(...VPADDD_128), L.VECTOR_UD, 'there is no VEX in real mode');
  });

  it('clear registers above what they write; legacy instructions leave them alone', () => {
    const avx = new Avx();
    avx.machine.write(DATA, new Uint8Array(64).fill(1));
    const ones = 0x0101010101010101n;
    avx.set(0, 5n, 6n, 7n, 8n);
    avx.set(2, 0n, 0n, 0n, 0n);
    assert.equal(avx.run(...PADDD), undefined);
    assert.deepEqual(avx.get(0), [ones + 5n, ones + 6n, 7n, 8n]);
    assert.equal(avx.run(...VPADDD_256), undefined);
    assert.deepEqual(avx.get(0), [ones, ones, ones, ones]);
    assert.equal(avx.run(...VPADDD_128), undefined);
    assert.deepEqual(avx.get(0), [ones, ones, 0n, 0n]);
  });

  it('clear all registers that the mode reaches with VZEROUPPER and VZEROALL', () => {
    for (const [mode, count] of [
      ['long', 16],
      ['protected', 8],
    ] as const) {
      const avx = new Avx(mode);
      const fill = () => {
        for (let i = 0; i < 16; i++) {
          avx.set(i, 1n, 2n, 3n, 4n);
        }
      };
      const all = () => Array.from({ length: 16 }, (_, i) => avx.get(i));
      const expected = (cleared: bigint[]) =>
        Array.from({ length: 16 }, (_, i) => (i < count ? cleared : [1n, 2n, 3n, 4n]));
      fill();
      assert.equal(avx.run(...VZEROUPPER), undefined);
      assert.deepEqual(all(), expected([1n, 2n, 0n, 0n]));
      fill();
      assert.equal(avx.run(...VZEROALL), undefined);
      assert.deepEqual(all(), expected([0n, 0n, 0n, 0n]));
    }
  });

  it('are run by every machine of a process', () => {
    for (let i = 0; i < 3; i++) {
      const avx = new Avx();
      avx.set(2, 3n, 3n, 3n, 3n);
      assert.equal(avx.run(...VPADDD_256), undefined);
      assert.deepEqual(avx.get(0), [3n, 3n, 3n, 3n]);
    }
  });
});

describe('memory operands of VEX instructions', () => {
  it('need alignment only where the instruction insists', () => {
    const avx = new Avx();
    avx.state.setGpr(3, BigInt(DATA + 16));
    assert.equal(avx.run(...VPADDD_256), undefined);
    assert.equal(avx.run(...VMOVDQA_LOAD), L.VECTOR_GP, '16 bytes are not enough');
    avx.state.setGpr(3, BigInt(DATA + 1));
    assert.equal(avx.run(...VPADDD_256), undefined);
    assert.equal(avx.run(...VPADDD_128), undefined);
    assert.equal(avx.run(...PADDD), L.VECTOR_GP);
  });

  it('are written altogether or not at all', () => {
    const avx = new Avx();
    const end = 0x400000;
    avx.set(0, -1n, -1n, -1n, -1n);
    for (const before of [31, 24, 16, 8, 1]) {
      avx.map(end, false);
      avx.state.setGpr(3, BigInt(end - before));
      assert.equal(avx.run(...VMOVDQU_STORE), L.VECTOR_PF);
      assert.equal(avx.fault?.address, BigInt(end));
      assert.deepEqual([...avx.machine.read(end - 32, 32)], new Array(32).fill(0));
    }
    avx.map(end, true);
    assert.equal(avx.run(...VMOVDQU_STORE), undefined);
    assert.equal(avx.machine.read(end + 30, 1)[0], 0xff);
  });

  it('are not touched where a mask says so', () => {
    const avx = new Avx();
    const end = 0x400000;
    avx.map(end, false);
    avx.machine.memory.writeU32(end - 8, 7);
    avx.machine.memory.writeU32(end - 4, 8);
    avx.state.setGpr(3, BigInt(end - 8));
    avx.set(2, 1n << 31n, 0n, 0n, 0n); // the first doubleword alone
    assert.equal(avx.run(0xc4, 0xe2, 0x6d, 0x8c, 0x03), undefined, 'vpmaskmovd ymm0, ymm2, [rbx]');
    assert.deepEqual(avx.get(0), [7n, 0n, 0n, 0n]);
    avx.set(0, 9n << 32n, 0n, 0n, 0n);
    avx.set(2, 1n << 63n, 0n, 0n, 0n);
    assert.equal(avx.run(0xc4, 0xe2, 0x6d, 0x8e, 0x03), undefined, 'vpmaskmovd [rbx], ymm2, ymm0');
    assert.deepEqual([avx.machine.memory.readU32(end - 8), avx.machine.memory.readU32(end - 4)], [7, 9]);
    avx.set(2, 1n << 63n, 1n << 31n, 0n, 0n);
    assert.equal(avx.run(0xc4, 0xe2, 0x6d, 0x8e, 0x03), L.VECTOR_PF);
    assert.equal(avx.fault?.address, BigInt(end));
  });

  it('are gathered one after the other, and the rest after a fault', () => {
    const avx = new Avx();
    const end = 0x400000;
    avx.map(end, false);
    avx.machine.memory.writeU32(end - 4, 11);
    avx.machine.memory.writeU32(end - 8, 12);
    avx.machine.memory.writeU32(end + 4, 13);
    const all = (1n << 31n) | (1n << 63n);
    // Elements 0 and 1 lie before the end, 2 behind it; 3 is masked out. The index is scaled by 4.
    avx.state.setGpr(3, BigInt(end));
    avx.set(1, 0xffffffff_ffffffffn, 0x7fffffff_00000001n, 0n, 0n);
    avx.state.setU32(L.XMM + L.XMM_STRIDE + 4, -2);
    avx.set(0, 0n, 0xaaaaaaaa_00000000n, 5n, 5n);
    avx.set(2, all, 1n << 31n, 5n, 5n);
    const gather = [0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b]; // vpgatherdd xmm0, [rbx + xmm1 * 4], xmm2
    const at = 0x210000;
    assert.equal(avx.runAt(at, gather), L.VECTOR_PF);
    assert.equal(avx.fault?.address, BigInt(end + 4));
    assert.equal(avx.get(0)[0], (12n << 32n) | 11n);
    assert.deepEqual(avx.get(2).slice(0, 2), [0n, 1n << 31n], 'what is done is no longer asked for');
    avx.map(end, true);
    assert.equal(avx.runAt(at, gather), undefined);
    assert.deepEqual(avx.get(0), [(12n << 32n) | 11n, 0xaaaaaaaa_0000000dn, 0n, 0n]);
    assert.deepEqual(avx.get(2), [0n, 0n, 0n, 0n]);
    assert.equal(avx.run(0xc4, 0xe2, 0x79, 0x90, 0x04, 0x8b), L.VECTOR_UD, 'mask and destination are one register');
  });
});

describe('floating point with VEX', () => {
  const e = 2 ** -52;
  const VFMADD213PD = [0xc4, 0xe2, 0xed, 0xa8, 0xc3]; // ymm0 = ymm2 × ymm0 + ymm3
  const VFMADD213SD = [0xc4, 0xe2, 0xe9, 0xa9, 0xc3];
  const VFMADD213PS = [0xc4, 0xe2, 0x6d, 0xa8, 0xc3];
  /** The first inexact result is found by the exact path, later ones in the common mode. */
  const MXCSRS = [0x1f80, 0x1fa0];

  it('rounds fused multiplications and additions once', () => {
    for (const mxcsr of MXCSRS) {
      const avx = new Avx();
      avx.state.setU32(L.MXCSR, mxcsr);
      // (1 + e)² − (1 + 2e) = e², which a rounded product loses; a tie that only the product's rest decides.
      avx.doubles(0, 1 + e, 1 + e, 1 + e, 3);
      avx.doubles(2, 1 + e, 1 + e, 1 - e, 5);
      avx.doubles(3, -(1 + 2 * e), 2 ** 53, -1, -15);
      assert.equal(avx.run(...VFMADD213PD), undefined);
      assert.deepEqual(avx.asDoubles(0), [e * e, 2 ** 53 + 2, -e * e, 0]);
      avx.doubles(0, 1 + e, 7);
      assert.equal(avx.run(...VFMADD213SD), undefined);
      assert.deepEqual(avx.asDoubles(0), [e * e, 7, 0, 0]);
    }
  });

  it('rounds fused singles once', () => {
    for (const mxcsr of MXCSRS) {
      const avx = new Avx();
      avx.state.setU32(L.MXCSR, mxcsr);
      const ulp = 2 ** -23;
      const singles = (register: number, ...values: number[]) =>
        avx.set(register, ...new BigUint64Array(Float32Array.from(values).buffer));
      // The sum of the second lies just below the middle of two singles; as a double it would be that middle.
      singles(0, 1 + ulp, 1 + ulp, 1, 1, 1, 1, 1, 1);
      singles(2, 1 + ulp, 2 ** -24 * (1 - ulp), 1, 1, 1, 1, 1, 1);
      singles(3, -(1 + 2 * ulp), 1 + ulp, 1, 1, 1, 1, 1, 2);
      assert.equal(avx.run(...VFMADD213PS), undefined);
      const result = [...new Float32Array(BigUint64Array.from(avx.get(0)).buffer)];
      assert.deepEqual(result, [ulp * ulp, 1 + ulp, 2, 2, 2, 2, 2, 3]);
    }
  });

  it('collects the exceptions of both lanes before it raises one', () => {
    const avx = new Avx();
    // Inexact in the low lane, invalid in the high one; invalid is not masked.
    avx.state.setU32(L.MXCSR, 0x1f80 & ~(1 << 7));
    avx.doubles(2, 1, 1, Number.POSITIVE_INFINITY, 1);
    avx.doubles(3, 2 ** -60, 1, Number.NEGATIVE_INFINITY, 1);
    avx.doubles(0, 9, 9, 9, 9);
    assert.equal(avx.run(0xc5, 0xed, 0x58, 0xc3), L.VECTOR_XM, 'vaddpd ymm0, ymm2, ymm3');
    assert.equal(avx.state.u32(L.MXCSR), (0x1f80 & ~(1 << 7)) | 1, 'what would have been found later is not reported');
    assert.deepEqual(avx.asDoubles(0), [9, 9, 9, 9]);
    avx.state.setU32(L.MXCSR, 0x1f80);
    assert.equal(avx.run(0xc5, 0xed, 0x58, 0xc3), undefined);
    assert.equal(avx.state.u32(L.MXCSR), 0x1fa1);
  });

  it('converts between singles and halves', () => {
    const avx = new Avx();
    avx.set(2, ...new BigUint64Array(Float32Array.from([1, -2, 65504, 65520, 2 ** -24, 0.1, 0, Number.NaN]).buffer));
    assert.equal(avx.run(0xc4, 0xe3, 0x7d, 0x1d, 0xd0, 0x00), undefined, 'vcvtps2ph xmm0, ymm2, 0');
    const halves = [...new Uint16Array(BigUint64Array.from(avx.get(0)).buffer)].slice(0, 8);
    assert.deepEqual(halves, [0x3c00, 0xc000, 0x7bff, 0x7c00, 0x0001, 0x2e66, 0, 0x7e00]);
    assert.equal(avx.run(0xc4, 0xe2, 0x7d, 0x13, 0xc8), undefined, 'vcvtph2ps ymm1, xmm0');
    const back = [...new Float32Array(BigUint64Array.from(avx.get(1)).buffer)];
    const [tenth] = Float32Array.of(0x666 / 2 ** 14);
    assert.deepEqual(back, [1, -2, 65504, Number.POSITIVE_INFINITY, 2 ** -24, tenth, 0, Number.NaN]);
  });
});
