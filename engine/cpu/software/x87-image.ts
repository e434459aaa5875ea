import * as L from '../x86/layout.ts';
import * as X from '../x86/x87/registers.ts';
import { all, d, q } from './wasm/arithmetic.ts';
import {
  type FunctionBuilder,
  type FunctionReference,
  get,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  load,
  op,
  v128,
} from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';
import { zeroVector } from './wasm/vectors.ts';
import { control, registerOf } from './x87-stack.ts';

/** Environment formats (SDM 1, 8.1.10): bit 0 protected mode, bit 1 32-bit operand size. */
export const ENVIRONMENT_PROTECTED = 1;
export const ENVIRONMENT_32 = 2;

/** Bytes 0–9 of a register: the rest of its 16 bytes is zero. */
const REGISTER_MASK = v128([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0]);

/** Runs `body` for 0 … count − 1. */
function repeat(f: FunctionBuilder, count: I32 | number, body: (index: I32) => void): void {
  const index: Local<'i32'> = f.local('i32');
  f.set(index, i32(0));
  f.loop((again) => {
    body(get(index));
    f.set(index, d.add(get(index), 1));
    f.brIf(again, d.ltS(get(index), count));
  });
}

/** The status word as programs see it. */
export function statusWord(cpu: I32): I32 {
  return d.or(load('i32.load', cpu, L.FPU_STATUS), d.shl(load('i32.load', cpu, L.FPU_TOP), X.STATUS_TOP_SHIFT));
}

function initialize(f: FunctionBuilder, cpu: I32): void {
  f.store('i32.store', cpu, i32(X.CONTROL_INITIAL), L.FPU_CONTROL);
  for (const field of [L.FPU_STATUS, L.FPU_TOP, L.FPU_VALID, L.FPU_OPCODE, L.FPU_CS, L.FPU_DS]) {
    f.store('i32.store', cpu, i32(0), field);
  }
  f.store('i64.store', cpu, i64(0), L.FPU_IP);
  f.store('i64.store', cpu, i64(0), L.FPU_DP);
}

/** ES and B follow from the exceptions and their masks. */
function summarize(f: FunctionBuilder, cpu: I32): void {
  const status = f.keep(d.and(load('i32.load', cpu, L.FPU_STATUS), ~(X.STATUS_ES | X.STATUS_B)));
  const unmasked = d.and(d.and(status, d.xor(control(cpu), -1)), X.EXCEPTIONS);
  f.store('i32.store', cpu, d.or(status, d.mul(d.ne(unmasked, 0), X.STATUS_ES | X.STATUS_B)), L.FPU_STATUS);
}

function setControl(f: FunctionBuilder, cpu: I32, word: I32): void {
  f.store('i32.store', cpu, d.or(d.and(word, X.CONTROL_DEFINED), X.CONTROL_ALWAYS), L.FPU_CONTROL);
}

function setStatus(f: FunctionBuilder, cpu: I32, word: I32): void {
  f.store('i32.store', cpu, d.and(d.shr(word, X.STATUS_TOP_SHIFT), 7), L.FPU_TOP);
  f.store('i32.store', cpu, d.and(word, 0xffff & ~X.STATUS_TOP), L.FPU_STATUS);
  summarize(f, cpu);
}

/** Functions on images of the x87 and SSE state, at arena addresses. */
export function buildImages(module: ModuleBuilder): Map<string, FunctionReference> {
  const one = { params: ['i32'], results: [] } as const;
  const two = { params: ['i32', 'i32'], results: [] } as const;
  const three = { params: ['i32', 'i32', 'i32'], results: [] } as const;
  const init = module.function('x87-init', one, (f) => initialize(f, get(f.parameter(0, 'i32'))));
  const loadControl = module.function('x87-load-control', two, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    setControl(f, cpu, get(f.parameter(1, 'i32')));
    summarize(f, cpu);
  });

  const fullTags = module.function('x87-full-tags', { params: ['i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const tags = f.local('i32');
    repeat(f, 8, (index) => {
      const address = f.keep(d.add(cpu, d.shl(index, 4)));
      const significand = load('i64.load', address, L.FPR);
      const exponent = f.keep(d.and(load('i32.load16_u', address, L.FPR + 8), X.EXPONENT_MAX));
      const tag = f.local('i32');
      // 0 valid, 1 zero, 2 special, 3 empty.
      f.set(tag, i32(2));
      f.if(all(d.ltU(d.sub(exponent, 1), 0x7ffe), q.ltS(significand, 0)), () => f.set(tag, i32(0)));
      f.if(all(d.zero(exponent), q.zero(significand)), () => f.set(tag, i32(1)));
      f.if(d.zero(d.and(d.shr(load('i32.load', cpu, L.FPU_VALID), index), 1)), () => f.set(tag, i32(3)));
      f.set(tags, d.or(get(tags), d.shl(get(tag), d.shl(index, 1))));
    });
    f.return(get(tags));
    f.unreachable();
  });

  const storeEnvironment = module.function('x87-store-environment', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const to = get(f.parameter(1, 'i32'));
    const format = get(f.parameter(2, 'i32'));
    const tags = f.keep(f.call(fullTags, cpu) as I32);
    const isProtected = d.and(format, ENVIRONMENT_PROTECTED);
    // Pointers as offsets; real mode wants linear addresses (of the present code segment: close enough).
    const base = load('i32.load', cpu, L.SEGMENTS + L.SEG_CS * L.SEGMENT_SIZE);
    const ip = f.keep(d.add(load('i32.load', cpu, L.FPU_IP), d.mul(d.zero(isProtected), base)));
    const dp = f.keep(load('i32.load', cpu, L.FPU_DP));
    const cs = load('i32.load', cpu, L.FPU_CS);
    const ds = load('i32.load', cpu, L.FPU_DS);
    const opcode = load('i32.load', cpu, L.FPU_OPCODE);
    const words = (values: readonly I32[], size: 2 | 4) => {
      for (const [i, value] of values.entries()) {
        f.store(size === 2 ? 'i32.store16' : 'i32.store', to, value, i * size);
      }
    };
    const reserved = 0xffff0000;
    f.if(
      d.and(format, ENVIRONMENT_32),
      () => {
        const first = [d.or(control(cpu), reserved), d.or(statusWord(cpu), reserved), d.or(tags, reserved)];
        f.if(
          isProtected,
          () => words([...first, ip, d.or(cs, d.shl(opcode, 16)), dp, d.or(ds, reserved)], 4),
          () =>
            words(
              [
                ...first,
                d.or(ip, reserved),
                d.or(d.and(d.shr(ip, 4), 0x0ffff000), opcode),
                d.or(dp, reserved),
                d.and(d.shr(dp, 4), 0x0ffff000),
              ],
              4,
            ),
        );
      },
      () => {
        const first = [control(cpu), statusWord(cpu), tags];
        f.if(
          isProtected,
          () => words([...first, ip, cs, dp, ds], 2),
          () => words([...first, ip, d.or(d.and(d.shr(ip, 4), 0xf000), opcode), dp, d.and(d.shr(dp, 4), 0xf000)], 2),
        );
      },
    );
  });

  const loadEnvironment = module.function('x87-load-environment', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const from = get(f.parameter(1, 'i32'));
    const format = get(f.parameter(2, 'i32'));
    const shift = f.keep(d.add(1, d.shr(d.and(format, ENVIRONMENT_32), 1)));
    const word = (index: number) => load('i32.load16_u', d.add(from, d.shl(index, shift)));
    setControl(f, cpu, word(0));
    setStatus(f, cpu, word(1));
    const tags = f.keep(word(2));
    const valid = f.local('i32');
    f.set(valid, i32(0));
    repeat(f, 8, (index) => {
      const tag = d.and(d.shr(tags, d.shl(index, 1)), 3);
      f.set(valid, d.or(get(valid), d.shl(d.ne(tag, 3), index)));
    });
    f.store('i32.store', cpu, get(valid), L.FPU_VALID);
    const setPointers = (ip: I32, dp: I32, cs: I32, ds: I32, opcode: I32) => {
      f.store('i64.store', cpu, q.fromU32(ip), L.FPU_IP);
      f.store('i64.store', cpu, q.fromU32(dp), L.FPU_DP);
      f.store('i32.store', cpu, cs, L.FPU_CS);
      f.store('i32.store', cpu, ds, L.FPU_DS);
      f.store('i32.store', cpu, d.and(opcode, 0x7ff), L.FPU_OPCODE);
    };
    f.if(
      d.and(format, ENVIRONMENT_PROTECTED),
      () =>
        f.if(
          d.and(format, ENVIRONMENT_32),
          () => {
            const cs = load('i32.load', from, 16);
            setPointers(
              load('i32.load', from, 12),
              load('i32.load', from, 20),
              d.and(cs, 0xffff),
              load('i32.load16_u', from, 24),
              d.shr(cs, 16),
            );
          },
          () => setPointers(word(3), word(5), word(4), word(6), i32(0)),
        ),
      () => {
        // The upper halves lie in bits 12–27 (32-bit form) or 12–15.
        const upper = (index: number) => {
          const wide = f.ifValue(
            'i32',
            d.and(format, ENVIRONMENT_32),
            () => load('i32.load', d.add(from, d.shl(index, shift))),
            () => word(index),
          );
          return d.shl(d.and(wide, 0x0ffff000), 4);
        };
        setPointers(d.or(word(3), upper(4)), d.or(word(5), upper(6)), i32(0), i32(0), word(4));
      },
    );
  });

  /** Registers behind the environment, 10 bytes each, ST(0) first. */
  const storeRegisters = module.function('x87-store-registers', two, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const to = get(f.parameter(1, 'i32'));
    repeat(f, 8, (index) => {
      const address = f.keep(registerOf(cpu, index));
      const place = f.keep(d.add(to, d.mul(index, 10)));
      f.store('i64.store', place, load('i64.load', address, L.FPR));
      f.store('i32.store16', place, load('i32.load16_u', address, L.FPR + 8), 8);
    });
  });
  const loadRegisters = module.function('x87-load-registers', two, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const from = get(f.parameter(1, 'i32'));
    repeat(f, 8, (index) => {
      const address = f.keep(registerOf(cpu, index));
      const place = f.keep(d.add(from, d.mul(index, 10)));
      f.store('i64.store', address, load('i64.load', place), L.FPR);
      f.store('i64.store', address, load('i64.load16_u', place, 8), L.FPR + 8);
    });
  });

  /** The x87 part of an FXSAVE image: bytes 0–23 and 32–159. (cpu, image, pointers are 64 bits wide) */
  const saveX87 = module.function('x87-save', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const to = get(f.parameter(1, 'i32'));
    const wide = get(f.parameter(2, 'i32'));
    f.store('i32.store16', to, control(cpu));
    f.store('i32.store16', to, statusWord(cpu), 2);
    f.store('i32.store16', to, load('i32.load', cpu, L.FPU_VALID), 4);
    f.store('i32.store16', to, load('i32.load', cpu, L.FPU_OPCODE), 6);
    const ip = () => load('i64.load', cpu, L.FPU_IP);
    const dp = () => load('i64.load', cpu, L.FPU_DP);
    const selector = (field: number): I64 => q.shl(load('i64.load32_u', cpu, field), 32);
    f.if(
      wide,
      () => {
        f.store('i64.store', to, ip(), 8);
        f.store('i64.store', to, dp(), 16);
      },
      () => {
        f.store('i64.store', to, q.or(q.and(ip(), 0xffffffff), selector(L.FPU_CS)), 8);
        f.store('i64.store', to, q.or(q.and(dp(), 0xffffffff), selector(L.FPU_DS)), 16);
      },
    );
    repeat(f, 8, (index) => {
      const value = op('v128.and', load('v128.load', registerOf(cpu, index), L.FPR), REGISTER_MASK);
      f.store('v128.store', d.add(to, d.shl(index, 4)), value, 32);
    });
  });
  const restoreX87 = module.function('x87-restore', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const from = get(f.parameter(1, 'i32'));
    const wide = get(f.parameter(2, 'i32'));
    setControl(f, cpu, load('i32.load16_u', from));
    setStatus(f, cpu, load('i32.load16_u', from, 2));
    f.store('i32.store', cpu, load('i32.load8_u', from, 4), L.FPU_VALID);
    f.store('i32.store', cpu, d.and(load('i32.load16_u', from, 6), 0x7ff), L.FPU_OPCODE);
    f.if(
      wide,
      () => {
        f.store('i64.store', cpu, load('i64.load', from, 8), L.FPU_IP);
        f.store('i64.store', cpu, load('i64.load', from, 16), L.FPU_DP);
      },
      () => {
        f.store('i64.store', cpu, load('i64.load32_u', from, 8), L.FPU_IP);
        f.store('i32.store', cpu, load('i32.load16_u', from, 12), L.FPU_CS);
        f.store('i64.store', cpu, load('i64.load32_u', from, 16), L.FPU_DP);
        f.store('i32.store', cpu, load('i32.load16_u', from, 20), L.FPU_DS);
      },
    );
    repeat(f, 8, (index) => {
      const value = op('v128.and', load('v128.load', d.add(from, d.shl(index, 4)), 32), REGISTER_MASK);
      f.store('v128.store', registerOf(cpu, index), value, L.FPR);
    });
  });
  const saveMxcsr = module.function('sse-save-mxcsr', two, (f) => {
    const to = get(f.parameter(1, 'i32'));
    f.store('i32.store', to, load('i32.load', get(f.parameter(0, 'i32')), L.MXCSR), 24);
    f.store('i32.store', to, i32(X.MXCSR_MASK), 28);
  });
  /** (cpu, image, registers): XMM registers from byte 160 on. */
  const saveXmm = module.function('sse-save-registers', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const to = get(f.parameter(1, 'i32'));
    repeat(f, get(f.parameter(2, 'i32')), (index) => {
      const value = load('v128.load', d.add(cpu, d.mul(index, L.XMM_STRIDE)), L.XMM);
      f.store('v128.store', d.add(to, d.shl(index, 4)), value, 160);
    });
  });
  const restoreXmm = module.function('sse-restore-registers', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const from = get(f.parameter(1, 'i32'));
    repeat(f, get(f.parameter(2, 'i32')), (index) => {
      const value = load('v128.load', d.add(from, d.shl(index, 4)), 160);
      f.store('v128.store', d.add(cpu, d.mul(index, L.XMM_STRIDE)), value, L.XMM);
    });
  });
  /** XRSTOR's initial configurations: registers too. */
  const resetX87 = module.function('x87-reset', one, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    initialize(f, cpu);
    f.fill(d.add(cpu, L.FPR), i32(0), i32(8 * L.FPR_STRIDE));
  });
  const resetXmm = module.function('sse-reset-registers', two, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    repeat(f, get(f.parameter(1, 'i32')), (index) => {
      const address = f.keep(d.add(cpu, d.mul(index, L.XMM_STRIDE)));
      f.store('i64.store', address, i64(0), L.XMM);
      f.store('i64.store', address, i64(0), L.XMM + 8);
    });
  });
  /** The same of the upper halves, from byte 576 on. */
  const saveYmm = module.function('ymm-save', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const to = get(f.parameter(1, 'i32'));
    repeat(f, get(f.parameter(2, 'i32')), (index) => {
      const value = load('v128.load', d.add(cpu, d.mul(index, L.XMM_STRIDE)), L.XMM + 16);
      f.store('v128.store', d.add(to, d.shl(index, 4)), value, X.XSAVE_SIZE);
    });
  });
  const restoreYmm = module.function('ymm-restore', three, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const from = get(f.parameter(1, 'i32'));
    repeat(f, get(f.parameter(2, 'i32')), (index) => {
      const value = load('v128.load', d.add(from, d.shl(index, 4)), X.XSAVE_SIZE);
      f.store('v128.store', d.add(cpu, d.mul(index, L.XMM_STRIDE)), value, L.XMM + 16);
    });
  });
  const resetYmm = module.function('ymm-reset', two, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    repeat(f, get(f.parameter(1, 'i32')), (index) =>
      f.store('v128.store', d.add(cpu, d.mul(index, L.XMM_STRIDE)), zeroVector, L.XMM + 16),
    );
  });
  /** (cpu) → the AVX bit of XCR0 if any upper half is not zero, else 0. */
  const ymmInUse = module.function('ymm-in-use', { params: ['i32'], results: ['i32'] }, (f) => {
    const cpu = get(f.parameter(0, 'i32'));
    const all = Array.from({ length: 16 }, (_, i) => load('v128.load', cpu, L.XMM + i * L.XMM_STRIDE + 16));
    const any = op(
      'v128.any_true',
      all.reduce((left, right) => op('v128.or', left, right)),
    );
    f.return(d.mul(any, L.XCR0_AVX));
    f.unreachable();
  });
  return new Map([
    ['ymm-save', saveYmm],
    ['ymm-restore', restoreYmm],
    ['ymm-reset', resetYmm],
    ['ymm-in-use', ymmInUse],
    ['x87-init', init],
    ['x87-load-control', loadControl],
    ['x87-store-environment', storeEnvironment],
    ['x87-load-environment', loadEnvironment],
    ['x87-store-registers', storeRegisters],
    ['x87-load-registers', loadRegisters],
    ['x87-save', saveX87],
    ['x87-restore', restoreX87],
    ['x87-reset', resetX87],
    ['sse-save-mxcsr', saveMxcsr],
    ['sse-save-registers', saveXmm],
    ['sse-restore-registers', restoreXmm],
    ['sse-reset-registers', resetXmm],
  ]);
}
