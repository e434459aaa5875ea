import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../../testing/random.ts';
import * as L from '../layout.ts';
import type { GuestFault } from '../linear-memory.ts';
import { TestMachine } from '../testing/test-machine.ts';
import * as X from './registers.ts';

const CODE = 0x10000;
const DATA = 0x20000;
const HLT = 0xf4;

/** A processor that stops at exceptions and tells which. RDI (EDI) points at DATA. */
class Fpu {
  readonly machine = new TestMachine();
  readonly state = this.machine.state;
  #fault: GuestFault | undefined;
  #next = CODE;

  constructor(mode: 'long' | 'protected' | 'real' = 'long') {
    if (mode === 'long') {
      this.machine.enterLong();
    } else if (mode === 'protected') {
      this.machine.enterProtected();
    } else {
      this.machine.enterReal();
    }
    this.machine.cpu.system.deliverFault = (fault) => {
      this.#fault = fault;
      this.machine.cpu.stopSoon();
    };
    this.state.setGpr(7, BigInt(mode === 'real' ? 0x4000 : DATA));
    if (mode === 'real') {
      this.#next = 0x6000;
    }
    this.run(0xdb, 0xe3);
  }

  /** Runs instructions up to a HLT behind them; returns the vector of the exception that came first, if any. */
  run(...code: number[]): number | undefined {
    this.#fault = undefined;
    const at = this.#next;
    this.#next += 64;
    this.state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.machine.runCode(at, [...code, HLT], 100);
    return (this.#fault as GuestFault | undefined)?.vector;
  }

  bytes(length: number, at = DATA): Uint8Array {
    return this.machine.read(at, length);
  }

  view(length: number, at = DATA): DataView {
    return new DataView(this.bytes(length, at).buffer);
  }
}

const FLD1 = [0xd9, 0xe8];
const FLDPI = [0xd9, 0xeb];
const FLDZ = [0xd9, 0xee];
const FNCLEX = [0xdb, 0xe2];
const FXSAVE = [0x0f, 0xae, 0x07];
const FXSAVE64 = [0x48, ...FXSAVE];
const FXRSTOR = [0x0f, 0xae, 0x0f];
const FXRSTOR64 = [0x48, ...FXRSTOR];
const XSAVE64 = [0x48, 0x0f, 0xae, 0x27];
const XSAVEOPT = [0x0f, 0xae, 0x37];
const XSAVEC64 = [0x48, 0x0f, 0xc7, 0x27];
const XRSTOR64 = [0x48, 0x0f, 0xae, 0x2f];

/** An image as FXSAVE may leave it: reserved bytes zero. */
function randomImage(random: Random): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  for (let i = 0; i < 512; i += 4) {
    view.setUint32(i, random.u32(), true);
  }
  // Control word; exceptions masked and no ES, so that the summary is consistent.
  view.setUint16(0, (random.u32() & 0x0f00) | 0x7f, true);
  view.setUint16(2, random.u32() & 0x7f7f, true);
  image[5] = 0;
  view.setUint16(6, random.u32() & 0x7ff, true);
  view.setUint32(24, random.u32() & 0xffff, true);
  view.setUint32(28, 0xffff, true);
  for (let i = 0; i < 8; i++) {
    image.fill(0, 32 + i * 16 + 10, 48 + i * 16);
  }
  return image;
}

describe('the x87 and SSE state in memory', () => {
  it('lays out an FXSAVE image as the manual says', () => {
    const fpu = new Fpu();
    const { state } = fpu;
    fpu.machine.write(DATA, new Uint8Array(512).fill(0xaa));
    for (let i = 0; i < 16; i++) {
      state.setU64(L.XMM + i * L.XMM_STRIDE, BigInt(i));
      state.setU64(L.XMM + i * L.XMM_STRIDE + 8, BigInt(i) << 32n);
    }
    state.setU32(L.MXCSR, 0x1fa0);
    assert.equal(fpu.run(...FLD1, ...FLDPI, ...FXSAVE64), undefined);
    const view = fpu.view(512);
    assert.equal(view.getUint16(0, true), 0x37f);
    assert.equal(view.getUint16(2, true), 6 << 11);
    assert.equal(view.getUint16(4, true), 0xc0);
    assert.equal(view.getBigUint64(8, true), BigInt(CODE + 64 + 2), 'the last instruction on the unit was FLDPI');
    assert.equal(view.getUint32(24, true), 0x1fa0);
    assert.equal(view.getUint32(28, true), 0xffff);
    assert.equal(view.getBigUint64(32, true), 0xc90fdaa22168c235n);
    assert.equal(view.getBigUint64(40, true), 0x4000n, 'six bytes behind the exponent are zero');
    assert.equal(view.getBigUint64(48, true), 1n << 63n);
    for (let i = 0; i < 16; i++) {
      assert.equal(view.getBigUint64(160 + i * 16, true), BigInt(i));
      assert.equal(view.getBigUint64(168 + i * 16, true), BigInt(i) << 32n);
    }
    assert.deepEqual(fpu.bytes(96, DATA + 416), new Uint8Array(96).fill(0xaa), 'the rest belongs to software');
  });

  it('restores what FXSAVE saved, wherever it lies', () => {
    const random = new Random(3);
    for (const [address, save, restore] of [
      [DATA, FXSAVE64, FXRSTOR64],
      [DATA + 0xff0, FXSAVE64, FXRSTOR64], // across pages
    ] as const) {
      for (let round = 0; round < 10; round++) {
        const fpu = new Fpu();
        const image = randomImage(random);
        fpu.state.setGpr(7, BigInt(address));
        fpu.machine.write(address, image);
        assert.equal(fpu.run(...restore), undefined);
        fpu.machine.write(address, new Uint8Array(416));
        assert.equal(fpu.run(...save), undefined);
        assert.deepEqual(fpu.bytes(512, address), image);
      }
    }
  });

  it('saves selectors and eight XMM registers in 32-bit code', () => {
    const fpu = new Fpu('protected');
    const image = randomImage(new Random(4));
    new DataView(image.buffer).setUint16(14, 0, true);
    new DataView(image.buffer).setUint16(22, 0, true);
    fpu.machine.write(DATA, image);
    assert.equal(fpu.run(...FXRSTOR), undefined);
    fpu.machine.write(DATA, new Uint8Array(288));
    assert.equal(fpu.run(...FXSAVE), undefined);
    assert.deepEqual(fpu.bytes(512), image);
    assert.equal(fpu.state.u64(L.XMM + 8 * L.XMM_STRIDE), 0n);
  });

  it('faults before it changes anything', () => {
    const fpu = new Fpu();
    fpu.state.setGpr(7, BigInt(DATA + 8));
    assert.equal(fpu.run(...FXSAVE64), L.VECTOR_GP, 'not on a 16-byte boundary');
    fpu.state.setGpr(7, BigInt(DATA));
    const image = randomImage(new Random(5));
    new DataView(image.buffer).setUint32(24, 0x10000, true);
    fpu.machine.write(DATA, image);
    const before = fpu.state.u64(L.XMM);
    assert.equal(fpu.run(...FXRSTOR64), L.VECTOR_GP, 'a reserved bit of MXCSR');
    assert.equal(fpu.state.u64(L.XMM), before);
    assert.equal(fpu.state.u32(L.FPU_CONTROL), 0x37f);
    fpu.state.setU64(L.CR0, fpu.state.u64(L.CR0) | BigInt(L.CR0_TS));
    fpu.machine.update();
    assert.equal(fpu.run(...FXSAVE64), L.VECTOR_NM);
    assert.equal(fpu.run(...FLD1), L.VECTOR_NM);
    assert.equal(fpu.run(0x0f, 0x77), L.VECTOR_NM, 'EMMS');
  });

  it('recomputes the exception summary when state is loaded', () => {
    const fpu = new Fpu();
    const image = randomImage(new Random(6));
    const view = new DataView(image.buffer);
    view.setUint16(0, 0x37e, true); // invalid operation unmasked
    view.setUint16(2, X.STATUS_IE, true);
    fpu.machine.write(DATA, image);
    assert.equal(fpu.run(...FXRSTOR64), undefined);
    assert.equal(fpu.run(...FLD1), L.VECTOR_MF);
  });

  describe('XSAVE and XRSTOR', () => {
    const enabled = (features = 3): Fpu => {
      const fpu = new Fpu();
      fpu.state.setU64(L.CR4, fpu.state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
      fpu.state.setU64(L.XCR0, 3n);
      fpu.state.setGpr(0, BigInt(features));
      fpu.state.setGpr(2, 0n);
      fpu.machine.update();
      return fpu;
    };

    it('are undefined unless the system has enabled them', () => {
      const fpu = new Fpu();
      assert.equal(fpu.run(...XSAVE64), L.VECTOR_UD);
      assert.equal(fpu.run(...XRSTOR64), L.VECTOR_UD);
    });

    it('save and restore the requested components', () => {
      const random = new Random(7);
      for (const [address, save] of [
        [DATA, XSAVE64],
        [DATA + 0xfc0, XSAVE64],
        [DATA, [0x48, ...XSAVEOPT]],
      ] as const) {
        const fpu = enabled();
        fpu.state.setGpr(7, BigInt(address));
        const image = randomImage(random);
        fpu.machine.write(address, image);
        const header = new Uint8Array(64);
        header[0] = 3;
        fpu.machine.write(address + 512, header);
        assert.equal(fpu.run(...XRSTOR64), undefined);
        fpu.machine.write(address, new Uint8Array(416));
        fpu.machine.write(address + 512, new Uint8Array(8));
        assert.equal(fpu.run(...save), undefined);
        assert.deepEqual(fpu.bytes(512, address), image);
        assert.equal(fpu.bytes(1, address + 512)[0], 3);
      }
    });

    it('leave other components alone, and put absent ones into their initial state', () => {
      const fpu = enabled(2);
      fpu.state.setU64(L.XMM, 5n);
      assert.equal(fpu.run(...FLD1), undefined);
      fpu.machine.write(DATA, new Uint8Array(576));
      fpu.machine.memory.writeU32(DATA + 24, 0x1f80);
      assert.equal(fpu.run(...XRSTOR64), undefined);
      assert.equal(fpu.state.u64(L.XMM), 0n, 'SSE was requested and is absent');
      assert.equal(fpu.state.u32(L.FPU_VALID), 0x80, 'x87 was not requested');
      fpu.state.setGpr(0, 1n);
      assert.equal(fpu.run(...XRSTOR64), undefined);
      assert.equal(fpu.state.u32(L.FPU_VALID), 0);
      assert.equal(fpu.state.u32(L.FPU_CONTROL), 0x37f);
      assert.equal(fpu.run(...XSAVE64), undefined);
      assert.equal(fpu.bytes(1, DATA + 512)[0], 1, 'bits of components that were not requested stay');
    });

    it('refuse headers that are not valid', () => {
      const cases: readonly (readonly [string, Readonly<Record<number, number>>])[] = [
        ['a component that XCR0 lacks', { 512: 4 }],
        ['an unknown component', { 519: 0x80 }],
        ['a layout without the mark of the compacted format', { 520: 1 }],
        ['reserved bytes', { 535: 1 }],
        ['compacted, with a component that XCR0 lacks', { 520: 4, 527: 0x80 }],
        ['compacted, with a component that the layout lacks', { 512: 3, 520: 1, 527: 0x80 }],
        ['compacted, with reserved bytes', { 520: 3, 527: 0x80, 575: 1 }],
      ];
      for (const [what, bytes] of cases) {
        const fpu = enabled();
        fpu.machine.write(DATA, new Uint8Array(576));
        for (const [offset, value] of Object.entries(bytes)) {
          fpu.machine.write(DATA + Number(offset), [value]);
        }
        assert.equal(fpu.run(...XRSTOR64), L.VECTOR_GP, what);
      }
      const fpu = enabled();
      fpu.state.setGpr(7, BigInt(DATA + 16));
      assert.equal(fpu.run(...XSAVE64), L.VECTOR_GP, 'not on a 64-byte boundary');
    });

    describe('with AVX', () => {
      const withAvx = (mode?: 'protected'): Fpu => {
        const fpu = mode === undefined ? enabled(7) : new Fpu(mode);
        fpu.state.setU64(L.CR4, fpu.state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
        fpu.state.setU64(L.XCR0, 7n);
        fpu.state.setGpr(0, 7n);
        fpu.state.setGpr(2, 0n);
        fpu.machine.update();
        fpu.machine.write(DATA, new Uint8Array(1024).fill(0xee));
        fpu.machine.write(DATA + 512, new Uint8Array(64));
        return fpu;
      };
      const high = (i: number) => L.XMM + i * L.XMM_STRIDE + 16;
      const setHighs = (fpu: Fpu, value: (i: number) => bigint) => {
        for (let i = 0; i < 16; i++) {
          fpu.state.setU64(high(i), value(i));
          fpu.state.setU64(high(i) + 8, value(i) << 32n);
        }
      };
      const highs = (fpu: Fpu) => Array.from({ length: 16 }, (_, i) => fpu.state.u64(high(i)));
      const numbers = Array.from({ length: 16 }, (_, i) => BigInt(i + 1));

      it('have the upper halves of the YMM registers behind the header', () => {
        for (const address of [DATA, DATA + 0xd00]) {
          const fpu = withAvx();
          fpu.machine.write(address + 512, new Uint8Array(64));
          fpu.state.setGpr(7, BigInt(address));
          setHighs(fpu, (i) => BigInt(i + 1));
          assert.equal(fpu.run(...XSAVE64), undefined);
          assert.equal(fpu.bytes(1, address + 512)[0], 7);
          const view = fpu.view(256, address + 576);
          assert.deepEqual([view.getBigUint64(32, true), view.getBigUint64(40, true)], [3n, 3n << 32n]);
          setHighs(fpu, () => 0n);
          assert.equal(fpu.run(...XRSTOR64), undefined);
          assert.deepEqual(highs(fpu), numbers);
        }
      });

      it('reach eight registers in 32-bit code', () => {
        const fpu = withAvx('protected');
        setHighs(fpu, (i) => BigInt(i + 1));
        assert.equal(fpu.run(0x0f, 0xae, 0x27), undefined);
        assert.equal(fpu.view(8, DATA + 576 + 7 * 16).getBigUint64(0, true), 8n);
        assert.equal(fpu.bytes(1, DATA + 576 + 8 * 16)[0], 0xee);
        fpu.machine.write(DATA + 512, [0]);
        assert.equal(fpu.run(0x0f, 0xae, 0x2f), undefined);
        assert.deepEqual(highs(fpu), [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, ...numbers.slice(8)]);
      });

      it('tell initial state from state in use', () => {
        for (const [save, written] of [
          [XSAVE64, 0],
          [[0x48, ...XSAVEOPT], 0xee],
          [XSAVEC64, 0xee],
        ] as const) {
          const fpu = withAvx();
          setHighs(fpu, () => 0n);
          assert.equal(fpu.run(...save), undefined);
          assert.equal(fpu.bytes(1, DATA + 512)[0], 3);
          assert.equal(fpu.bytes(1, DATA + 576)[0], written);
          setHighs(fpu, () => 9n);
          assert.equal(fpu.run(...XRSTOR64), undefined);
          assert.deepEqual(new Set(highs(fpu)), new Set([0n]));
        }
      });

      it('leave what lies behind a smaller area alone', () => {
        const fpu = withAvx();
        fpu.state.setGpr(0, 3n);
        setHighs(fpu, () => 9n);
        assert.equal(fpu.run(...XSAVE64, ...XRSTOR64), undefined);
        assert.equal(fpu.bytes(1, DATA + 576)[0], 0xee);
        assert.deepEqual(new Set(highs(fpu)), new Set([9n]));
      });

      it('know the compacted format', () => {
        const fpu = withAvx();
        setHighs(fpu, (i) => BigInt(i + 1));
        fpu.state.setGpr(0, 6n);
        fpu.state.setU32(L.MXCSR, 0x3f80);
        assert.equal(fpu.run(...XSAVEC64), undefined);
        const header = fpu.view(16, DATA + 512);
        assert.deepEqual([header.getBigUint64(0, true), header.getBigUint64(8, true)], [6n, (1n << 63n) | 6n]);
        assert.equal(fpu.bytes(1)[0], 0xee, 'x87 state was not requested');
        fpu.state.setU32(L.MXCSR, 0x1fa0);
        setHighs(fpu, () => 0n);
        assert.equal(fpu.run(...XRSTOR64), undefined);
        assert.deepEqual(highs(fpu), numbers);
        assert.equal(fpu.state.u32(L.MXCSR), 0x3f80);
        // SSE state that is absent is initial, with its MXCSR.
        fpu.machine.write(DATA + 512, [4]);
        assert.equal(fpu.run(...XRSTOR64), undefined);
        assert.equal(fpu.state.u32(L.MXCSR), 0x1f80);
        assert.deepEqual(highs(fpu), numbers);
      });
    });
  });
});

describe('the x87 environment', () => {
  it('has 28 bytes in 32-bit code and 14 with an operand-size prefix', () => {
    const fpu = new Fpu('protected');
    fpu.machine.write(DATA, new Uint8Array(64).fill(0xaa));
    assert.equal(fpu.run(...FLDZ, ...FLD1, 0xd9, 0x37), undefined); // FNSTENV
    const view = fpu.view(32);
    assert.equal(view.getUint32(0, true), 0xffff037f);
    assert.equal(view.getUint32(4, true), (0xffff0000 | (6 << 11)) >>> 0);
    assert.equal(view.getUint32(8, true), 0xffff4fff, 'R7 zero, R6 valid, the others empty');
    assert.equal(view.getUint32(12, true), CODE + 64 + 2);
    assert.equal(view.getUint32(28, true), 0xaaaaaaaa);
    assert.equal(fpu.state.u32(L.FPU_CONTROL), 0x37f, 'all exceptions are masked anyway');
    fpu.machine.write(DATA, new Uint8Array(64).fill(0xaa));
    assert.equal(fpu.run(0x66, 0xd9, 0x37), undefined);
    const short = fpu.view(16);
    assert.equal(short.getUint16(4, true), 0x4fff);
    assert.equal(short.getUint16(6, true), (CODE + 64 + 2) & 0xffff);
    assert.equal(short.getUint16(14, true), 0xaaaa);
  });

  it('has linear addresses in real mode', () => {
    const fpu = new Fpu('real');
    assert.equal(fpu.run(...FLD1, 0xd9, 0x35), undefined); // FNSTENV [DI]
    const view = fpu.view(14, 0x4000);
    assert.equal(view.getUint16(0, true), 0x37f);
    assert.equal(view.getUint16(6, true), 0x6000 + 64);
  });

  it('masks exceptions when stored, and comes back', () => {
    const fpu = new Fpu();
    assert.equal(fpu.run(...FLD1), undefined);
    fpu.machine.memory.writeU32(DATA, 0x340);
    assert.equal(fpu.run(0xd9, 0x2f, 0xd9, 0x37), undefined); // FLDCW; FNSTENV
    assert.equal(fpu.state.u32(L.FPU_CONTROL), 0x37f);
    assert.equal(fpu.run(0xdb, 0xe3, 0xd9, 0x27), undefined); // FNINIT; FLDENV
    assert.equal(fpu.state.u32(L.FPU_CONTROL), 0x340);
    assert.equal(fpu.state.u32(L.FPU_TOP), 7);
    assert.equal(fpu.state.u32(L.FPU_VALID), 0x80);
  });

  it('is saved with the registers in stack order', () => {
    for (const [prefix, size] of [
      [[], 28],
      [[0x66], 14],
    ] as const) {
      const fpu = new Fpu();
      // The image ends in another page.
      fpu.state.setGpr(7, BigInt(DATA + 0xfd0));
      assert.equal(fpu.run(...FLD1, ...FLDPI, ...prefix, 0xdd, 0x37), undefined);
      const view = fpu.view(108, DATA + 0xfd0);
      assert.equal(view.getBigUint64(size, true), 0xc90fdaa22168c235n);
      assert.equal(view.getUint16(size + 8, true), 0x4000);
      assert.equal(view.getBigUint64(size + 10, true), 1n << 63n);
      assert.equal(fpu.state.u32(L.FPU_VALID), 0, 'FNSAVE initializes');
      assert.equal(fpu.run(...prefix, 0xdd, 0x27), undefined);
      assert.equal(fpu.state.u32(L.FPU_VALID), 0xc0);
      assert.equal(fpu.state.u64(L.FPR + 6 * L.FPR_STRIDE), 0xc90fdaa22168c235n);
    }
  });
});

describe('unmasked x87 exceptions', () => {
  it('are reported by the next waiting instruction', () => {
    const fpu = new Fpu();
    fpu.machine.memory.writeU32(DATA, 0x37b); // division by zero unmasked
    assert.equal(fpu.run(0xd9, 0x2f, ...FLDZ, ...FLD1, 0xd8, 0xf1), undefined); // FDIV ST, ST(1)
    assert.equal(fpu.state.u32(L.FPU_STATUS), X.STATUS_ZE | X.STATUS_ES | X.STATUS_B);
    assert.equal(fpu.state.u64(L.FPR + 6 * L.FPR_STRIDE), 1n << 63n, 'the operand is unchanged');
    assert.equal(fpu.run(0xdf, 0xe0), undefined, 'FNSTSW does not wait');
    assert.equal(fpu.run(0x9b), L.VECTOR_MF, 'FWAIT');
    assert.equal(fpu.run(0xd9, 0xe1), L.VECTOR_MF, 'FABS');
    assert.equal(fpu.run(0x0f, 0xfc, 0xc1), L.VECTOR_MF, 'PADDB');
    assert.equal(fpu.run(...FNCLEX, 0xd9, 0xe1), undefined);
  });

  it('do not change memory', () => {
    const fpu = new Fpu();
    fpu.machine.memory.writeU32(DATA, 0x37e); // invalid operation unmasked
    fpu.machine.memory.writeU32(DATA + 8, 0x12345678);
    assert.equal(fpu.run(0xd9, 0x2f, ...FLDPI, 0xd9, 0xfd, 0xd9, 0x5f, 0x08), L.VECTOR_MF, 'FSCALE with ST(1) empty');
    assert.equal(fpu.run(...FNCLEX, 0xd9, 0xc0, 0xdf, 0x5f, 0x08), undefined);
    assert.equal(fpu.view(12).getUint16(8, true), 3, 'FISTP of π');
    fpu.state.setU32(L.FPU_VALID, 0);
    assert.equal(fpu.run(0xd9, 0x5f, 0x08), undefined);
    assert.equal(fpu.view(12).getUint16(8, true), 3, 'an empty register is not stored');
    assert.equal(fpu.run(0x9b), L.VECTOR_MF);
  });
});
