import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../testing/random.ts';
import { highProduct } from '../x86/instructions/products.ts';
import * as L from '../x86/layout.ts';
import * as X from '../x86/x87/registers.ts';
import { anyControl, anyExtended } from '../x86/x87/testing/fpu-cases.ts';
import { get } from './wasm/function-builder.ts';
import { ModuleBuilder } from './wasm/module-builder.ts';
import { buildX87 } from './x87-functions.ts';

const RECORD = 0x1000;
const PAGES = 1;

type Operand = 'index' | 'pops' | 'single' | 'double' | 'integer' | 'long' | 'extended';

/** What the functions that have a quick way take behind the record; numbers are passed as they are. */
const FUNCTIONS: ReadonlyMap<string, readonly (Operand | number)[]> = new Map<string, readonly (Operand | number)[]>([
  ...['add', 'multiply', 'subtract', 'subtract-reversed', 'divide', 'divide-reversed'].flatMap(
    (name): [string, readonly Operand[]][] => [
      [`x87-${name}`, ['index']],
      [`x87-${name}-to`, ['index', 'pops']],
      [`x87-${name}-single`, ['single']],
      [`x87-${name}-double`, ['double']],
      [`x87-${name}-integer`, ['integer']],
    ],
  ),
  ['x87-sqrt', []],
  ['x87-load-single', ['single']],
  ['x87-load-double', ['double']],
  ['x87-load-integer', ['long']],
  ['x87-load-extended', ['extended']],
  ['x87-push-register', ['index']],
  ['x87-copy-register', ['index', 'pops']],
  ['x87-exchange', ['index']],
  ['x87-compare', ['index', 0, 'pops']],
  ['x87-compare-flags', ['index', 1, 'pops']],
  ['x87-compare-single', ['pops', 'single']],
  ['x87-compare-double', ['pops', 'double']],
  ['x87-compare-integer', ['pops', 'integer']],
  ['x87-store-single', []],
  ['x87-store-double', []],
]);

type Exports = Readonly<Record<string, (...operands: (number | bigint)[]) => unknown>>;

/** The functions of x87 instructions over a record of their own. */
class Unit {
  readonly view: DataView;
  readonly #exports: Exports;

  constructor(quick: boolean) {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
    const module = new ModuleBuilder(PAGES);
    const wide = { params: ['i64', 'i64'], results: ['i64'] } as const;
    const multiplyHigh = module.function('multiplyHigh', wide, (f) => {
      f.return(highProduct(get(f.parameter(0, 'i64')), get(f.parameter(1, 'i64')), (value) => f.keep(value)));
      f.unreachable();
    });
    for (const [name, reference] of buildX87(module, multiplyHigh, quick)) {
      module.export(name, reference);
    }
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env: { memory } });
    this.#exports = instance.exports as Exports;
    this.view = new DataView(memory.buffer, RECORD, L.CPU_STATE_SIZE);
  }

  call(name: string, operands: readonly (number | bigint)[]): unknown {
    const target = this.#exports[name];
    assert.ok(target !== undefined, name);
    return target(RECORD, ...operands);
  }

  /** What instructions see of the unit, and what stores leave for their end. */
  describe(result: unknown, stores: boolean): string {
    const { view } = this;
    const word = (at: number) => view.getUint32(at, true).toString(16);
    const registers = Array.from({ length: 8 }, (_, i) => {
      const at = L.FPR + i * L.FPR_STRIDE;
      return `${view.getBigUint64(at + 8, true).toString(16)}:${view.getBigUint64(at, true).toString(16)}`;
    });
    const state = `status ${word(L.FPU_STATUS)} top ${word(L.FPU_TOP)} valid ${word(L.FPU_VALID)}`;
    return `${state} ${registers.join(' ')} ${result}${stores ? ` raised ${word(X.RAISED)}` : ''}`;
  }
}

const SENTINEL = 0x7654321;

/** Whether the quick way was taken all along: it leaves no result for a commit. */
function wasQuick(unit: Unit): boolean {
  return unit.view.getInt32(X.RESULT_EXPONENT, true) === SENTINEL;
}

/** A number on which rounding and normalization have something to do, or a zero. */
function ordinary(random: Random, near: { readonly word: number; readonly significand: bigint } | undefined) {
  const sign = random.below(2) << 15;
  if (random.chance(1, 12)) {
    return { word: sign, significand: 0n };
  }
  // Whole, of few bits, just below or above a power of two.
  const bits = random.below(64);
  const run = (1n << BigInt(bits)) - 1n;
  const fraction = random.pick([random.u64(), random.u64() & ~run, run, ~run, 0n, 1n, random.u64() & (-1n << 40n)]);
  const significand = BigInt.asUintN(64, fraction) | X.INTEGER_BIT;
  if (near !== undefined && random.chance(1, 3)) {
    // Close to another number, to cancel or to be as long.
    const word = (near.word & 0x7fff) + random.pick([0, 0, 1, -1, 2, 62, 63, 64, 65, 66, -63, -64, -65]);
    return {
      word: sign | Math.min(0x7ffe, Math.max(1, word)),
      significand: random.chance(1, 2) ? near.significand | X.INTEGER_BIT : significand,
    };
  }
  const exponent = random.pick([
    0x3fff + random.below(70) - 35,
    0x3fff + random.below(8) - 4,
    0x3fff + random.pick([-1024, -1023, -1022, -1021, 1022, 1023, 1024, -127, -126, -125, 126, 127, 128]),
    0x3fff + random.pick([14, 15, 16, 30, 31, 32, 62, 63, 64]),
    // Products and quotients at the ends of the range.
    0x1fff + random.below(4),
    0x5ffe + random.below(4),
    random.pick([1, 2, 3, 0x7ffc, 0x7ffd, 0x7ffe]),
  ]);
  return { word: sign | exponent, significand };
}

function single(random: Random): number {
  const usual = ((110 + random.below(34)) << 23) | (random.u32() & random.pick([0x7fffff, 0x700000, 0x7ff000]));
  const sign = random.below(2) << 31;
  return sign | random.pick([usual, usual, usual, 0, random.u32() & 0x7fffffff, (random.below(2) * 253 + 1) << 23]);
}

function double(random: Random): bigint {
  const fraction = (random.u64() >> 12n) & random.pick([-1n, -1n << 20n, -1n << 40n]);
  const usual = (BigInt(1000 + random.below(46)) << 52n) | fraction;
  const sign = BigInt(random.below(2)) << 63n;
  const edge = BigInt(random.below(2) * 2045 + 1) << 52n;
  return BigInt.asIntN(64, sign | random.pick([usual, usual, usual, 0n, random.u64() >> 1n, edge | fraction]));
}

describe('the quick ways of x87 instructions', () => {
  const quick = new Unit(true);
  const thorough = new Unit(false);

  /** Gives both units the same state; `wild`: of anything at all. */
  const prepare = (random: Random, wild: boolean) => {
    let before: { word: number; significand: bigint } | undefined;
    const control = wild ? anyControl(random) : random.pick([0x37f, 0x37f, 0x37f, 0x27f, 0x27f, 0x07f, 0x17f, 0xf7f]);
    const top = random.below(8);
    const valid = random.pick([0xff, 0x7f, 0x3f, 0x0f, wild ? random.below(256) : 0x1f]);
    const status = random.u32() & (X.STATUS_CONDITIONS | X.STATUS_PE | X.STATUS_DE);
    const fields = [
      [L.FPU_CONTROL, control],
      [L.FPU_TOP, top],
      // As seen from the top: the stack is filled downwards.
      [L.FPU_VALID, ((valid << top) | (valid >> (8 - top))) & 0xff],
      [L.FPU_STATUS, status],
      [X.RESULT_EXPONENT, SENTINEL],
      [X.RAISED, 0],
    ] as const;
    const registers = Array.from({ length: 8 }, () => {
      before = wild ? anyExtended(random) : ordinary(random, before);
      return before;
    });
    for (const { view } of [quick, thorough]) {
      for (const [at, value] of fields) {
        view.setInt32(at, value, true);
      }
      for (const [i, { word, significand }] of registers.entries()) {
        view.setBigUint64(L.FPR + i * L.FPR_STRIDE, significand, true);
        view.setBigUint64(L.FPR + i * L.FPR_STRIDE + 8, BigInt(word), true);
      }
    }
  };

  const operandsFor = (random: Random, kinds: readonly (Operand | number)[]): (number | bigint)[] =>
    kinds.flatMap((kind): (number | bigint)[] => {
      switch (kind) {
        case 'index':
          return [random.below(random.chance(3, 4) ? 3 : 8)];
        case 'pops':
          return [random.below(2)];
        case 'single':
          return [single(random)];
        case 'double':
          return [double(random)];
        case 'integer':
          return [random.pick([0, 1, -1, 10, random.u32() | 0, random.u32() >> 16, -0x80000000])];
        case 'long':
          return [random.pick([0n, -1n, BigInt.asIntN(64, random.u64()) >> BigInt(random.below(64))])];
        case 'extended': {
          const { significand, word } = anyExtended(random);
          return [BigInt.asIntN(64, significand), word];
        }
        default:
          return [kind];
      }
    });

  /** How many of `count` cases took the quick way, which the thorough one has confirmed. */
  const compare = (
    random: Random,
    name: string,
    kinds: readonly (Operand | number)[],
    count: number,
    wild: boolean,
  ) => {
    let taken = 0;
    const stores = name.startsWith('x87-store');
    for (let i = 0; i < count; i++) {
      prepare(random, wild);
      const before = quick.describe('', false);
      const operands = operandsFor(random, kinds);
      const control = quick.view.getUint32(L.FPU_CONTROL, true).toString(16);
      const got = quick.describe(quick.call(name, operands), stores);
      const want = thorough.describe(thorough.call(name, operands), stores);
      assert.equal(got, want, `${name} ${operands.join(', ')} with control ${control} on ${before}`);
      taken += wasQuick(quick) ? 1 : 0;
    }
    return taken;
  };

  for (const [name, kinds] of FUNCTIONS) {
    it(`${name} gives what the thorough way does`, () => {
      const random = new Random(20261121);
      const taken = compare(random, name, kinds, 3000, false);
      assert.ok(taken > 750, `the quick way was taken ${taken} times`);
      compare(random, name, kinds, 1500, true);
    });
  }

  it('x87-store-integer and the end of stores', () => {
    const random = new Random(5);
    let taken = 0;
    for (let i = 0; i < 9000; i++) {
      const bits = random.pick([16, 32, 64]);
      taken += compare(random, 'x87-store-integer', [bits, random.below(2)], 1, random.chance(1, 3));
      for (const unit of [quick, thorough]) {
        unit.call('x87-finish-store', [i & 1]);
      }
      assert.equal(quick.describe('', true), thorough.describe('', true));
    }
    assert.ok(taken > 3000, `the quick way was taken ${taken} times`);
  });

  it('x87-sign', () => {
    const random = new Random(6);
    for (const [mask, flip] of [
      [0xffff, X.SIGN],
      [0x7fff, 0],
    ] as const) {
      assert.ok(compare(random, 'x87-sign', [mask, flip], 1000, false) > 300);
      compare(random, 'x87-sign', [mask, flip], 500, true);
    }
  });
});
