import type { Block, Program, Slice } from './program.ts';

/** Whether a program still fails. */
export type Fails = (program: Program) => boolean;

/** The smallest list, by leaving out runs of elements, with which `fails` still says so. */
function shrinkList<T>(list: readonly T[], fails: (rest: readonly T[]) => boolean): readonly T[] {
  let current = list;
  for (let run = Math.ceil(current.length / 2); run >= 1; run = run === 1 ? 0 : Math.ceil(run / 2)) {
    for (let at = 0; at < current.length; ) {
      const rest = [...current.slice(0, at), ...current.slice(at + run)];
      if (fails(rest)) {
        current = rest;
      } else {
        at += run;
      }
    }
  }
  return current;
}

function withItems(program: Program, kept: ReadonlySet<number>): Program {
  const blocks: Block[] = program.blocks.map((block) => ({
    ...block,
    items: block.items.filter((item) => kept.has(item.id)),
  }));
  return { ...program, blocks };
}

function shrinkItems(program: Program, fails: Fails): Program {
  const ids = program.blocks.flatMap((block) => block.items.map((item) => item.id));
  const kept = shrinkList(ids, (rest) => fails(withItems(program, new Set(rest))));
  return withItems(program, new Set(kept));
}

function shrinkSlices(program: Program, fails: Fails): Program {
  let current = program;
  const attempt = (slices: readonly Slice[]) => {
    const changed = { ...current, slices };
    if (slices.length > 0 && fails(changed)) {
      current = changed;
      return true;
    }
    return false;
  };
  for (let length = 1; length < current.slices.length; length++) {
    if (attempt(current.slices.slice(0, length))) {
      break;
    }
  }
  for (let i = 0; i < current.slices.length; i++) {
    const slice = current.slices[i] as Slice;
    for (let j = slice.events.length - 1; j >= 0; j--) {
      const events = (current.slices[i] as Slice).events.filter((_, index) => index !== j);
      attempt(current.slices.map((old, index) => (index === i ? { ...old, events } : old)));
    }
  }
  // Neighbours become one slice.
  for (let i = 0; i + 1 < current.slices.length; ) {
    const here = current.slices[i] as Slice;
    const next = current.slices[i + 1] as Slice;
    const joined = { instructions: here.instructions + next.instructions, events: here.events };
    if (next.events.length > 0 || !attempt([...current.slices.slice(0, i), joined, ...current.slices.slice(i + 2)])) {
      i++;
    }
  }
  // The last one ends as early as it can.
  const last = current.slices.length - 1;
  for (let step = (current.slices[last] as Slice).instructions >> 1; step >= 1; step >>= 1) {
    for (;;) {
      const slice = current.slices[last] as Slice;
      if (
        slice.instructions <= step ||
        !attempt([...current.slices.slice(0, last), { ...slice, instructions: slice.instructions - step }])
      ) {
        break;
      }
    }
  }
  return current;
}

function simplify(program: Program, fails: Fails): Program {
  let current = program;
  const attempt = (change: Partial<Program>) => {
    const changed = { ...current, ...change };
    if (fails(changed)) {
      current = changed;
    }
  };
  if (current.withoutTlb) {
    attempt({ withoutTlb: false });
  }
  attempt({ codePatches: [] });
  attempt({ mutablePlaces: [] });
  attempt({ otherData: current.dataPages.slice(0, 16) });
  attempt({ otherCode: current.codePages });
  attempt({ blocks: current.blocks.map((block) => ({ ...block, place: undefined })) });
  attempt({ mxcsr: 0x1f80 });
  attempt({ fpuControl: 0x37f });
  for (let i = 0; i < 16; i++) {
    if (current.registers[i] !== 0n) {
      attempt({ registers: current.registers.map((value, index) => (index === i ? 0n : value)) });
    }
  }
  return current;
}

/** Makes a failing program smaller, as long as it fails, in rounds until nothing can be left out any more. */
export function minimize(program: Program, fails: Fails): Program {
  let current = program;
  for (let round = 0; round < 4; round++) {
    const before = current;
    current = shrinkSlices(current, fails);
    current = shrinkItems(current, fails);
    current = simplify(current, fails);
    if (JSON.stringify(before, replacer) === JSON.stringify(current, replacer)) {
      break;
    }
  }
  return current;
}

function replacer(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString(16) : value;
}
