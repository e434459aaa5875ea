import { d } from '../../software/wasm/arithmetic.ts';
import { get, type I32, i32, load } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import * as X from '../x87/registers.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { call, checkPending, withImage } from './x87-operands.ts';
import { checkAligned, checkMxcsr, defineXsave, xmmCount } from './xsave.ts';

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
    const word = b.read(0) as I32;
    // With all exceptions masked none is pending, as none was before.
    b.f.ifUnlikely(
      d.ne(d.and(word, X.EXCEPTIONS), X.EXCEPTIONS),
      () => call(b, 'x87-load-control', word),
      () => b.setField32(L.FPU_CONTROL, d.or(d.and(word, X.CONTROL_DEFINED), X.CONTROL_ALWAYS)),
    );
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
