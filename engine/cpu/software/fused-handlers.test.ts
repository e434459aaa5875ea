import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FusionFinder, fusionsOf } from './fused-handlers.ts';
import { interpreterFor } from './interpreter-for.ts';
import { UOP_HANDLER, UOP_SIZE } from './micro-op.ts';
import { isHot, type Variant, variantsOf } from './variants.ts';

const PAGES = 100;
const { interpreter, table } = interpreterFor(PAGES);

function hotVariants(): Variant[] {
  const found = new Map<string, Variant>();
  for (const definition of table.definitions) {
    for (const encoding of definition.encodings) {
      for (const variant of variantsOf(definition, encoding).values()) {
        if (isHot(variant) && !found.has(variant.key)) {
          found.set(variant.key, variant);
        }
      }
    }
  }
  return [...found.values()];
}

/** Number of the handler of the first variant with these properties. */
function handlerOf(name: string, size: number, kinds: string): number {
  const variant = hotVariants().find(
    (one) =>
      one.definition.name === name &&
      one.size === size &&
      one.operands.map(({ kind, fixed }) => (fixed === undefined ? kind : 'fixed')).join() === kinds,
  );
  return interpreter.handlers.get(variant?.key ?? '') ?? -1;
}

/** Handler numbers of micro-operations before and after. */
function fused(...handlers: number[]): number[] {
  const view = new DataView(new ArrayBuffer((handlers.length + 1) * UOP_SIZE));
  for (const [i, handler] of handlers.entries()) {
    view.setUint16((i + 1) * UOP_SIZE + UOP_HANDLER, handler, true);
  }
  interpreter.fusionFinder(view.buffer).fuse(UOP_SIZE, view.byteLength);
  return handlers.map((_, i) => view.getUint16((i + 1) * UOP_SIZE + UOP_HANDLER, true));
}

const { address64, end } = interpreter.special;
const load = handlerOf('mov', 8, 'register,memory');
const compare = handlerOf('cmp', 8, 'register,register');
const jump = handlerOf('j4', 1, 'none');
const push = handlerOf('push', 8, 'register');
const cold = interpreter.handlers.get([...interpreter.handlers.keys()].find((key) => key.startsWith('cpuid')) ?? '');

test('fused handlers begin with what they stand in the place of', () => {
  const fusions = fusionsOf(hotVariants());
  assert.ok(fusions.length > 50);
  for (const fusion of fusions) {
    const handlers = fusion.map((step) =>
      'address' in step ? interpreter.special[step.address] : (interpreter.handlers.get(step.variant.key) ?? -1),
    );
    assert.ok(!handlers.includes(-1));
    const [first] = fused(...handlers);
    assert.ok(first !== undefined && first !== handlers[0], handlers.join());
    const step = fusion[0];
    assert.ok(step !== undefined);
    if ('address' in step) {
      assert.equal(interpreter.specialOf(first), step.address);
      assert.equal(interpreter.operationOf(first), undefined);
    } else {
      assert.equal(interpreter.specialOf(first), undefined);
      assert.equal(interpreter.operationOf(first)?.variant.key, step.variant.key);
      assert.equal(interpreter.operationOf(first)?.slot, undefined);
    }
  }
});

test('the longest row is taken, and the next one begins behind it', () => {
  const [two] = fused(address64, load);
  const [four] = fused(address64, load, address64, load);
  assert.notEqual(two, four);
  assert.deepEqual(fused(address64, load, address64, load, address64, load, end), [
    four,
    load,
    address64,
    load,
    two,
    load,
    end,
  ]);
  const [both] = fused(compare, jump);
  assert.deepEqual(fused(push, compare, jump), [push, both, jump]);
});

test('rows end with the block, and with what has no handler in the loop', () => {
  assert.deepEqual(fused(compare), [compare]);
  assert.ok(cold !== undefined);
  assert.deepEqual(fused(compare, cold, jump), [compare, cold, jump]);
  assert.deepEqual(fused(0xffff, compare, jump).slice(0, 1), [0xffff]);
});

test('without rows nothing changes', () => {
  const buffer = new ArrayBuffer(UOP_SIZE * 2);
  const view = new DataView(buffer);
  view.setUint16(0, address64, true);
  view.setUint16(UOP_SIZE, load, true);
  new FusionFinder(buffer, [], interpreter.handlers, 1000).fuse(0, UOP_SIZE * 2);
  assert.equal(view.getUint16(0, true), address64);
});
