import { d, q } from './wasm/arithmetic.ts';
import { type FunctionReference, get, i64 } from './wasm/function-builder.ts';
import type { ModuleBuilder } from './wasm/module-builder.ts';

const TYPE = { params: ['i64', 'i64'], results: ['i64'] } as const;

/** PDEP and PEXT: (source, mask) → the low bits of the source at the mask's places, or the bits there, side by side. */
export function buildBitFunctions(module: ModuleBuilder): [string, FunctionReference][] {
  // One turn for each bit of the mask, the lowest first.
  const build = (name: string, deposits: boolean) =>
    module.function(name, TYPE, (f) => {
      const source = get(f.parameter(0, 'i64'));
      const mask = f.parameter(1, 'i64');
      const place = f.local('i64');
      const result = f.local('i64');
      f.set(place, i64(1));
      f.set(result, i64(0));
      f.if(d.zero(q.nonzero(get(mask))), () => f.return(i64(0)));
      f.loop((again) => {
        const lowest = f.keep(q.and(get(mask), q.sub(0, get(mask))));
        const [from, to] = deposits ? [get(place), lowest] : [lowest, get(place)];
        const bit = q.sub(0, q.fromU32(q.nonzero(q.and(source, from))));
        f.set(result, q.or(get(result), q.and(bit, to)));
        f.set(place, q.shl(get(place), 1));
        f.set(mask, q.xor(get(mask), lowest));
        f.brIf(again, q.nonzero(get(mask)));
      });
      f.return(get(result));
      f.unreachable();
    });
  return [
    ['pdep', build('pdep', true)],
    ['pext', build('pext', false)],
  ];
}
