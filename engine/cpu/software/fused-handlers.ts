import { assert } from '../../base/assert.ts';
import type { AddressHandler } from './address-handlers.ts';
import { SPECIAL_HANDLERS } from './special-handlers.ts';
import type { Variant } from './variants.ts';

/** What one micro-operation does: computes an address, or carries out an operation. */
export type Step = { readonly address: AddressHandler } | { readonly variant: Variant };

/** Micro-operations in a row that one handler carries out. */
export type Fusion = readonly Step[];

const LOAD8 = 'mov 8 register8 memory8';
const LOAD4 = 'mov 4 register4 memory4';
const STORE4 = 'mov 4 memory4 register4';
const LEA4 = 'lea 4 register4 address4';
const STORE8 = 'mov 8 memory8 register8';
const MOVE4 = 'mov 4 register4 register4';
const MOVE8 = 'mov 8 register8 register8';
const LEA8 = 'lea 8 register8 address8';
const ADD8 = 'add 8 register8 immediate8';
const COMPARE8 = 'cmp 8 register8 register8';
const COMPARE_IMMEDIATE8 = 'cmp 8 register8 immediate8';
const COMPARE_IMMEDIATE4 = 'cmp 4 register4 immediate4';
const PUSH = 'push 8 register8';
const POP = 'pop 8 register8';
const PUSH4 = 'push 4 register4';
const POP4 = 'pop 4 register4';
const CALL = 'call 8 none4';
const BYTE = 'movzx 4 register4 memory1';

/** What follows an address computation: the operation that uses it, perhaps behind the addition of a segment's base. */
const WITH_ADDRESS: Readonly<Partial<Record<AddressHandler, readonly string[]>>> = {
  address64: [
    LOAD8,
    STORE8,
    'mov 8 memory8 immediate8',
    LOAD4,
    STORE4,
    'mov 4 memory4 immediate4',
    'mov 1 memory1 register1',
    'mov 1 memory1 immediate1',
    BYTE,
    'movzx 4 register4 memory2',
    'movsxd 8 register8 memory4',
    LEA8,
    LEA4,
    'cmp 8 memory8 register8',
    'cmp 8 memory8 immediate8',
    'cmp 8 register8 memory8',
    'cmp 4 memory4 register4',
    'cmp 4 memory4 immediate4',
    'cmp 4 register4 memory4',
    'cmp 1 memory1 immediate1',
    'test 1 memory1 immediate1',
    'add 8 register8 memory8',
    'address-add-base',
    `address-add-base, ${LOAD8}`,
  ],
  'address64-indexed': [LOAD8, STORE8, LOAD4, BYTE, 'movzx 4 register4 memory2', LEA8, LEA4, 'cmp 1 register1 memory1'],
  'address-rip': [LOAD8, LOAD4, `address-add-base`, `address-add-base, ${LOAD8}`],
  address32: [
    LOAD4,
    STORE4,
    'mov 4 memory4 immediate4',
    BYTE,
    LEA4,
    'cmp 4 memory4 immediate4',
    'cmp 1 memory1 immediate1',
    'test 1 memory1 immediate1',
  ],
  'address32-indexed': [LOAD4, BYTE, LEA4],
};

const CONDITIONAL = [2, 3, 4, 5, 6, 7].map((code) => `j${code} 1 none1`);
const EQUAL = [4, 5].map((code) => `j${code} 1 none1`);

/** Instructions in a row: what may come behind each. An address stands in front of its operation. */
const IN_A_ROW: Readonly<Record<string, readonly string[]>> = {
  [COMPARE8]: CONDITIONAL,
  [COMPARE_IMMEDIATE8]: CONDITIONAL,
  [COMPARE_IMMEDIATE4]: CONDITIONAL,
  'cmp 4 register4 register4': CONDITIONAL,
  'cmp 1 register1 immediate1': EQUAL,
  'cmp 1 register1 in a fixed register immediate1': EQUAL,
  'test 8 register8 register8': EQUAL,
  'test 4 register4 register4': EQUAL,
  'test 1 register1 register1': EQUAL,
  'test 1 register1 immediate1': EQUAL,
  'address64, cmp 1 memory1 immediate1': EQUAL,
  'address64, test 1 memory1 immediate1': EQUAL,
  'address64-indexed, cmp 1 register1 memory1': EQUAL,
  [PUSH]: [PUSH, MOVE8],
  [POP]: [POP, 'ret 8 none8'],
  [PUSH4]: [PUSH4],
  [POP4]: [POP4, 'ret 4 none4'],
  [MOVE8]: [MOVE8, MOVE4, PUSH, CALL, `address64, ${LOAD8}`],
  [MOVE4]: [MOVE4, MOVE8, CALL, 'shr 4 register4 immediate1', `address64-indexed, ${LEA8}`],
  [ADD8]: [ADD8, MOVE8, COMPARE8, `address64, ${STORE8}`],
  'add 8 register8 register8': [COMPARE8, COMPARE_IMMEDIATE8],
  'xor 4 register4 register4': [MOVE4],
  [`address64, ${LOAD8}`]: [
    MOVE8,
    ADD8,
    'test 8 register8 register8',
    `address64, ${LOAD8}`,
    `address64, ${STORE8}`,
    `address64-indexed, ${LEA8}`,
  ],
  [`address64, ${STORE8}`]: [COMPARE8, `address64, ${LOAD8}`, `address64, ${STORE8}`],
  [`address64, ${BYTE}`]: [ADD8, 'test 1 register1 register1', `address64, ${LEA8}`],
};

function shapeOf({ definition, size, operands }: Variant): string {
  const shape = operands.map(
    ({ kind, size: bytes, fixed }) => `${kind}${bytes}${fixed === undefined ? '' : ' in a fixed register'}`,
  );
  return [definition.name, size, ...shape].join(' ');
}

/** The rows of micro-operations that have a handler of their own, in the order of their numbers. */
export function fusionsOf(hot: readonly Variant[]): Fusion[] {
  const byShape = new Map<string, Variant[]>();
  for (const variant of hot) {
    const shape = shapeOf(variant);
    byShape.set(shape, [...(byShape.get(shape) ?? []), variant]);
  }
  /** All rows that a text stands for: several instructions may have one shape. */
  const rowsOf = (text: string): Fusion[] => {
    let rows: Step[][] = [[]];
    for (const name of text.split(', ')) {
      const steps: Step[] = name.startsWith('address')
        ? [{ address: name as AddressHandler }]
        : (byShape.get(name) ?? []).map((variant) => ({ variant }));
      rows = rows.flatMap((row) => steps.map((step) => [...row, step]));
    }
    assert(rows.length > 0, `no instruction is ${text}`);
    return rows;
  };
  const texts = [
    ...Object.entries(WITH_ADDRESS).flatMap(([address, operations]) =>
      operations.map((operation) => `${address}, ${operation}`),
    ),
    ...Object.entries(IN_A_ROW).flatMap(([first, others]) => others.map((other) => `${first}, ${other}`)),
  ];
  return texts.flatMap(rowsOf);
}

/**
 * Finds the longest row that has a handler: a table of states by handler numbers, with the number of the handler for
 * what has led to a state.
 */
export class FusionFinder {
  readonly #next: Uint16Array;
  readonly #found: Uint16Array;
  readonly #count: number;
  readonly #handlers: Uint16Array;

  /**
   * `first`: number of the first fused handler; those from the last one on are functions. `arena` holds the
   * micro-operations.
   */
  constructor(
    arena: ArrayBufferLike,
    fusions: readonly Fusion[],
    handlers: ReadonlyMap<string, number>,
    first: number,
  ) {
    this.#handlers = new Uint16Array(arena);
    this.#count = first;
    const states: { readonly next: Map<number, number>; found: number }[] = [{ next: new Map(), found: 0 }];
    for (const [i, fusion] of fusions.entries()) {
      let state = 0;
      for (const step of fusion) {
        const handler =
          'address' in step ? SPECIAL_HANDLERS.indexOf(step.address) : (handlers.get(step.variant.key) as number);
        const known = states[state]?.next.get(handler);
        if (known === undefined) {
          states[state]?.next.set(handler, states.length);
          state = states.push({ next: new Map(), found: 0 }) - 1;
        } else {
          state = known;
        }
      }
      (states[state] as { found: number }).found = first + i;
    }
    this.#next = new Uint16Array(states.length * first);
    this.#found = Uint16Array.from(states, ({ found }) => found);
    for (const [state, { next }] of states.entries()) {
      for (const [handler, target] of next) {
        this.#next[state * first + handler] = target;
      }
    }
  }

  /** Has rows among the micro-operations from `start` to `end` carried out by one handler each. */
  fuse(start: number, end: number): void {
    const handlers = this.#handlers;
    const next = this.#next;
    const found = this.#found;
    const count = this.#count;
    let from = start >> 1;
    const last = end >> 1;
    while (from < last) {
      let state = 0;
      let number = 0;
      let behind = from + 16;
      for (let at = from; at < last; at += 16) {
        const handler = handlers[at] as number;
        state = handler < count ? (next[state * count + handler] as number) : 0;
        if (state === 0) {
          break;
        }
        if (found[state] !== 0) {
          number = found[state] as number;
          behind = at + 16;
        }
      }
      if (number !== 0) {
        handlers[from] = number;
      }
      from = behind;
    }
  }
}
