import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, type I64, i32, load, select } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { call, callForI32, withImage } from './x87-operands.ts';

/** XMM registers that the mode reaches. */
export function xmmCount(b: InstructionBuilder): I32 {
  const mode = d.and(load('i32.load', get(b.cpu), L.MODE), L.MODE_CODE_MASK);
  return b.keep(select(d.eq(mode, L.MODE_CODE64), i32(16), i32(8)));
}

export function checkAligned(b: InstructionBuilder, bytes: number): void {
  b.faultIf(d.and(d.wrap(b.effectiveAddress()), bytes - 1), L.VECTOR_GP, 0);
}

export function checkMxcsr(b: InstructionBuilder, image: I32): void {
  b.faultIf(d.and(load('i32.load', image, 24), ~X.MXCSR_MASK), L.VECTOR_GP, 0);
}

const XSTATE_BV = 512;
const XCOMP_BV = 520;
/** In the upper half of XCOMP_BV: the area is compacted. */
const COMPACTED = 0x80000000 | 0;
const VECTORS = L.XCR0_SSE | L.XCR0_AVX;

function check(b: InstructionBuilder): void {
  b.faultIf(d.zero(d.and(load('i32.load', get(b.cpu), L.CR4), L.CR4_OSXSAVE)), L.VECTOR_UD);
  b.faultIf(d.and(load('i32.load', get(b.cpu), L.CR0), L.CR0_TS), L.VECTOR_NM);
  checkAligned(b, 64);
}

/** The requested feature bitmap: EDX:EAX and XCR0. No feature above bit 31 exists. */
function requested(b: InstructionBuilder): I32 {
  return b.keep(d.and(load('i32.load', get(b.cpu), L.GPR), load('i32.load', get(b.cpu), L.XCR0))) as I32;
}

/** Runs `body` on the part of the area that the requested features take: with the AVX component or without. */
function withArea(
  b: InstructionBuilder,
  features: I32,
  write: boolean,
  body: (image: I32, avx: boolean) => void,
): void {
  const at = b.keep(b.effectiveAddress()) as I64;
  b.f.if(
    d.and(features, L.XCR0_AVX),
    () => withImage(b, at, X.XSAVE_SIZE_AVX, 8, write, (image) => body(image, true)),
    () => withImage(b, at, X.XSAVE_SIZE, 8, write, (image) => body(image, false)),
  );
}

/** Components in use: x87 and SSE state always count as such, AVX state if any register has an upper half. */
function inUse(b: InstructionBuilder, features: I32, avx: boolean): I32 {
  const upper = avx ? callForI32(b, 'ymm-in-use') : i32(0);
  return b.keep(d.and(features, d.or(upper, L.XCR0_X87 | L.XCR0_SSE))) as I32;
}

function defineSaves(table: InstructionTable, wide: 0 | 1): void {
  const suffix = wide ? '64' : '';
  const saveLegacy = (b: InstructionBuilder, image: I32, features: I32, mxcsr: number) => {
    b.f.if(d.and(features, L.XCR0_X87), () => call(b, 'x87-save', image, i32(wide)));
    b.f.if(d.and(features, mxcsr), () => call(b, 'sse-save-mxcsr', image));
    b.f.if(d.and(features, L.XCR0_SSE), () => call(b, 'sse-save-registers', image, xmmCount(b)));
  };
  // XSAVEOPT may leave out what is initial, and XSAVEC does. That state is unmodified since XRSTOR is not remembered.
  for (const [name, digit, optimizes] of [
    ['xsave', 4, false],
    ['xsaveopt', 6, true],
  ] as const) {
    table.define(`${name}${suffix}`, `NP 0F AE /${digit} mem W${wide} : Ma`, { writes: true }, (b) => {
      check(b);
      const features = requested(b);
      withArea(b, features, true, (image, avx) => {
        const used = inUse(b, features, avx);
        saveLegacy(b, image, features, VECTORS);
        if (avx) {
          b.f.if(optimizes ? d.and(used, L.XCR0_AVX) : i32(1), () => call(b, 'ymm-save', image, xmmCount(b)));
        }
        // Bits of components that were not requested stay.
        const others = d.and(load('i32.load', image, XSTATE_BV), d.xor(features, -1));
        b.f.store('i32.store', image, d.or(others, used), XSTATE_BV);
      });
    });
  }
  table.define(`xsavec${suffix}`, `NP 0F C7 /4 mem W${wide} : Ma`, { writes: true }, (b) => {
    check(b);
    const features = requested(b);
    withArea(b, features, true, (image, avx) => {
      const used = inUse(b, features, avx);
      saveLegacy(b, image, used, L.XCR0_SSE);
      if (avx) {
        b.f.if(d.and(used, L.XCR0_AVX), () => call(b, 'ymm-save', image, xmmCount(b)));
      }
      b.f.store('i64.store', image, q.fromU32(used), XSTATE_BV);
      b.f.store('i32.store', image, features, XCOMP_BV);
      b.f.store('i32.store', image, i32(COMPACTED), XCOMP_BV + 4);
    });
  });
}

/** #GP(0) for a header that names what XCR0 does not, or is not zero where it must be. Returns XSTATE_BV. */
function checkHeader(b: InstructionBuilder, image: I32, compacted: I32): I32 {
  const quadword = (offset: number) => load('i64.load', image, offset);
  const present = b.keep(quadword(XSTATE_BV)) as I64;
  const enabled = load('i64.load', get(b.cpu), L.XCR0);
  b.f.if(
    compacted,
    () => {
      const layout = b.keep(q.and(quadword(XCOMP_BV), (1n << 63n) - 1n)) as I64;
      const unknown = q.and(layout, q.xor(enabled, -1));
      const missing = q.and(present, q.xor(layout, -1));
      let reserved: I64 = q.or(unknown, missing);
      for (let offset = XCOMP_BV + 8; offset < X.XSAVE_SIZE; offset += 8) {
        reserved = q.or(reserved, quadword(offset));
      }
      b.faultIf(q.nonzero(reserved), L.VECTOR_GP, 0);
    },
    () => {
      const unknown = q.and(present, q.xor(enabled, -1));
      b.faultIf(q.nonzero(q.or(unknown, q.or(quadword(XCOMP_BV), quadword(XCOMP_BV + 8)))), L.VECTOR_GP, 0);
    },
  );
  return b.keep(d.wrap(present)) as I32;
}

function defineRestore(table: InstructionTable, wide: 0 | 1): void {
  table.define(`xrstor${wide ? '64' : ''}`, `NP 0F AE /5 mem W${wide} : Ma`, {}, (b) => {
    check(b);
    const features = requested(b);
    withArea(b, features, false, (image, avx) => {
      const compacted = b.keep(d.ne(d.and(load('i32.load', image, XCOMP_BV + 4), COMPACTED), 0)) as I32;
      const present = checkHeader(b, image, compacted);
      // The compacted format has MXCSR in its SSE component, the standard one in common.
      const loadMxcsr = () => {
        checkMxcsr(b, image);
        b.setField32(L.MXCSR, load('i32.load', image, 24));
      };
      b.f.if(
        compacted,
        () =>
          b.f.if(d.and(features, L.XCR0_SSE), () =>
            b.f.if(d.and(present, L.XCR0_SSE), loadMxcsr, () => b.setField32(L.MXCSR, i32(X.MXCSR_INITIAL))),
          ),
        () => b.f.if(d.and(features, VECTORS), loadMxcsr),
      );
      const restore = (component: number, saved: () => void, initial: () => void) =>
        b.f.if(d.and(features, component), () => b.f.if(d.and(present, component), saved, initial));
      restore(
        L.XCR0_X87,
        () => call(b, 'x87-restore', image, i32(wide)),
        () => call(b, 'x87-reset'),
      );
      restore(
        L.XCR0_SSE,
        () => call(b, 'sse-restore-registers', image, xmmCount(b)),
        () => call(b, 'sse-reset-registers', xmmCount(b)),
      );
      if (avx) {
        restore(
          L.XCR0_AVX,
          () => call(b, 'ymm-restore', image, xmmCount(b)),
          () => call(b, 'ymm-reset', xmmCount(b)),
        );
      }
    });
  });
}

/** XSAVE, XSAVEOPT, XSAVEC and XRSTOR (SDM 1, 13.7–13.10). The AVX component lies behind the header in both formats. */
export function defineXsave(table: InstructionTable): void {
  for (const wide of [0, 1] as const) {
    defineSaves(table, wide);
    defineRestore(table, wide);
  }
}
