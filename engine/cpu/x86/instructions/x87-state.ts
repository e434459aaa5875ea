import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, type I32, i32, load, select } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { call, checkPending, withImage } from './x87-operands.ts';

const X87 = { unit: 'x87' } as const;
const WRITES = { unit: 'x87', writes: true } as const;

function statusWord(b: InstructionBuilder): I32 {
  const cpu = get(b.cpu);
  return d.or(load('i32.load', cpu, L.FPU_STATUS), d.shl(load('i32.load', cpu, L.FPU_TOP), X.STATUS_TOP_SHIFT));
}

/** Control, status and environment (SDM 1, 8.1). */
export function defineX87StateInstructions(table: InstructionTable): void {
  table.define('fninit', 'DB =E3', X87, (b) => call(b, 'x87-init'));
  table.define('fnclex', 'DB =E2', X87, (b) => {
    const kept = ~(X.EXCEPTIONS | X.STATUS_SF | X.STATUS_ES | X.STATUS_B);
    b.setField32(L.FPU_STATUS, d.and(load('i32.load', get(b.cpu), L.FPU_STATUS), kept));
  });
  // FENI, FDISI and FSETPM of the 8087 and 80287 do nothing.
  table.define('fneni', ['DB =E0', 'DB =E1', 'DB =E4'], X87, () => {});
  table.define('fldcw', 'D9 /5 : Mw', X87, (b) => {
    checkPending(b);
    call(b, 'x87-load-control', b.read(0) as I32);
  });
  table.define('fnstcw', 'D9 /7 : Mw', WRITES, (b) => b.write(0, load('i32.load', get(b.cpu), L.FPU_CONTROL)));
  table.define('fnstsw', 'DD /7 : Mw', WRITES, (b) => b.write(0, statusWord(b)));
  table.define('fnstsw', 'DF =E0 : AX', X87, (b) => b.write(0, statusWord(b)));

  /** 14 or 28 bytes by operand size, with real-mode or protected-mode pointers. */
  const format = (b: InstructionBuilder) => {
    const mode = load('i32.load', get(b.cpu), L.MODE);
    const isProtected = d.ne(d.and(mode, L.MODE_PROTECTED), 0);
    return b.keep(b.size === 2 ? isProtected : d.or(isProtected, 2));
  };
  const bytes = (b: InstructionBuilder) => (b.size === 2 ? 14 : 28);
  table.define('fnstenv', 'D9 /6 : Ma Xv', WRITES, (b) => {
    withImage(b, b.effectiveAddress(), bytes(b), 2, true, (image) =>
      call(b, 'x87-store-environment', image, format(b)),
    );
    const control = d.or(load('i32.load', get(b.cpu), L.FPU_CONTROL), X.EXCEPTIONS);
    call(b, 'x87-load-control', control);
  });
  table.define('fldenv', 'D9 /4 : Ma Xv', X87, (b) => {
    checkPending(b);
    withImage(b, b.effectiveAddress(), bytes(b), 2, false, (image) =>
      call(b, 'x87-load-environment', image, format(b)),
    );
  });
  table.define('fnsave', 'DD /6 : Ma Xv', WRITES, (b) => {
    withImage(b, b.effectiveAddress(), bytes(b) + 80, 2, true, (image) => {
      call(b, 'x87-store-environment', image, format(b));
      call(b, 'x87-store-registers', b.keep(d.add(image, bytes(b))));
    });
    call(b, 'x87-init');
  });
  table.define('frstor', 'DD /4 : Ma Xv', X87, (b) => {
    checkPending(b);
    withImage(b, b.effectiveAddress(), bytes(b) + 80, 2, false, (image) => {
      call(b, 'x87-load-environment', image, format(b));
      call(b, 'x87-load-registers', b.keep(d.add(image, bytes(b))));
    });
  });
  defineFxsave(table);
  defineXsave(table);
}

/** XMM registers that the mode reaches. */
function xmmCount(b: InstructionBuilder): I32 {
  const mode = d.and(load('i32.load', get(b.cpu), L.MODE), L.MODE_CODE_MASK);
  return b.keep(select(d.eq(mode, L.MODE_CODE64), i32(16), i32(8)));
}

function checkAligned(b: InstructionBuilder, bytes: number): void {
  b.faultIf(d.and(d.wrap(b.effectiveAddress()), bytes - 1), L.VECTOR_GP, 0);
}

function checkMxcsr(b: InstructionBuilder, image: I32): void {
  b.faultIf(d.and(load('i32.load', image, 24), ~X.MXCSR_MASK), L.VECTOR_GP, 0);
}

/** FXSAVE raises #NM for CR0.EM and TS, as x87 instructions do, and does not report pending exceptions. */
function defineFxsave(table: InstructionTable): void {
  for (const wide of [0, 1]) {
    const suffix = wide ? '64' : '';
    table.define(`fxsave${suffix}`, `NP 0F AE /0 mem W${wide} : Ma`, WRITES, (b) => {
      checkAligned(b, 16);
      withImage(b, b.effectiveAddress(), 512, 8, true, (image) => {
        call(b, 'x87-save', image, i32(wide));
        call(b, 'sse-save-mxcsr', image);
        call(b, 'sse-save-registers', image, xmmCount(b));
      });
    });
    table.define(`fxrstor${suffix}`, `NP 0F AE /1 mem W${wide} : Ma`, X87, (b) => {
      checkAligned(b, 16);
      withImage(b, b.effectiveAddress(), 512, 8, false, (image) => {
        checkMxcsr(b, image);
        call(b, 'x87-restore', image, i32(wide));
        b.setField32(L.MXCSR, load('i32.load', image, 24));
        call(b, 'sse-restore-registers', image, xmmCount(b));
      });
    });
  }
}

const COMPONENT_X87 = 1;
const COMPONENT_SSE = 2;
const COMPONENT_AVX = 4;
/** Bytes of the legacy region and the header: all there is while only x87 and SSE can be enabled in XCR0. */
const XSAVE_SIZE = 576;
const XSTATE_BV = 512;
const XCOMP_BV = 520;

/** XSAVE, XSAVEOPT, XRSTOR in the standard format (SDM 1, 13.7–13.9). */
function defineXsave(table: InstructionTable): void {
  const check = (b: InstructionBuilder) => {
    b.faultIf(d.zero(d.and(load('i32.load', get(b.cpu), L.CR4), L.CR4_OSXSAVE)), L.VECTOR_UD);
    b.faultIf(d.and(load('i32.load', get(b.cpu), L.CR0), L.CR0_TS), L.VECTOR_NM);
    checkAligned(b, 64);
  };
  /** The requested feature bitmap: EDX:EAX and XCR0. No feature above bit 31 exists. */
  const requested = (b: InstructionBuilder) =>
    b.keep(d.and(load('i32.load', get(b.cpu), L.GPR), load('i32.load', get(b.cpu), L.XCR0)));
  for (const wide of [0, 1]) {
    const suffix = wide ? '64' : '';
    for (const [name, digit] of [
      ['xsave', 4],
      ['xsaveopt', 6],
    ] as const) {
      // XSAVEOPT may leave out what is unmodified or initial; writing all of it is always right.
      table.define(`${name}${suffix}`, `NP 0F AE /${digit} mem W${wide} : Ma`, { writes: true }, (b) => {
        check(b);
        const features = requested(b);
        withImage(b, b.effectiveAddress(), XSAVE_SIZE, 8, true, (image) => {
          b.f.if(d.and(features, COMPONENT_X87), () => call(b, 'x87-save', image, i32(wide)));
          b.f.if(d.and(features, COMPONENT_SSE | COMPONENT_AVX), () => call(b, 'sse-save-mxcsr', image));
          b.f.if(d.and(features, COMPONENT_SSE), () => call(b, 'sse-save-registers', image, xmmCount(b)));
          // Every component counts as in use.
          b.f.store('i32.store', image, d.or(load('i32.load', image, XSTATE_BV), features), XSTATE_BV);
        });
      });
    }
    table.define(`xrstor${suffix}`, `NP 0F AE /5 mem W${wide} : Ma`, {}, (b) => {
      check(b);
      const features = requested(b);
      withImage(b, b.effectiveAddress(), XSAVE_SIZE, 8, false, (image) => {
        const present = b.keep(load('i64.load', image, XSTATE_BV));
        const unknown = q.and(present, q.xor(load('i64.load', get(b.cpu), L.XCR0), -1));
        // No compacted format here: XCOMP_BV and the eight bytes behind it are to be zero.
        const reserved = q.or(load('i64.load', image, XCOMP_BV), load('i64.load', image, XCOMP_BV + 8));
        b.faultIf(q.nonzero(q.or(unknown, reserved)), L.VECTOR_GP, 0);
        b.f.if(d.and(features, COMPONENT_SSE | COMPONENT_AVX), () => {
          checkMxcsr(b, image);
          b.setField32(L.MXCSR, load('i32.load', image, 24));
        });
        const restore = (component: number, saved: () => void, initial: () => void) =>
          b.f.if(d.and(features, component), () => b.f.if(d.and(d.wrap(present), component), saved, initial));
        restore(
          COMPONENT_X87,
          () => call(b, 'x87-restore', image, i32(wide)),
          () => call(b, 'x87-reset'),
        );
        restore(
          COMPONENT_SSE,
          () => call(b, 'sse-restore-registers', image, xmmCount(b)),
          () => call(b, 'sse-reset-registers', xmmCount(b)),
        );
      });
    });
  }
}
