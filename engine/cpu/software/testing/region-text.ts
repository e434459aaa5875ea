import { defined } from '../../../base/assert.ts';
import { assemble } from '../../../testing/assembler/assembler.ts';
import { TestMachine } from '../../x86/testing/test-machine.ts';
import { JUMPS, UOP_CACHE, UOP_CACHE_END } from '../arena-layout.ts';
import { interpreterFor } from '../interpreter-for.ts';
import { type Region, RegionFinder, RegionReader } from '../jit/region.ts';
import { MicroOpReader, RegionModules } from '../jit/region-module.ts';
import { wasmText } from './wasm-text.ts';

const CODE = 0x200000;
const DATA = 0x100000;
const STACK = 0x180000;
const LIMITS = { blocks: 64, instructions: 500 };

/** Gives names to numbers that change whenever an instruction is added or a table moves. */
function withNames(text: string, region: Region, names: ReadonlyMap<number, string>): string {
  const blocks = region.blocks.map(({ cached }) => cached.block);
  return text
    .replaceAll(/table\[(\d+)\]/g, (_, slot: string) => names.get(Number(slot)) ?? 'table[?]')
    .replaceAll(/0x([0-9a-f]+)/g, (all, hex: string) => {
      const value = Number.parseInt(hex, 16);
      return value >= JUMPS && value < UOP_CACHE ? `JUMPS+${(value - JUMPS).toString(16)}` : all;
    })
    .replaceAll(/\b\d{5,}\b/g, (all) => {
      const value = Number(all);
      if (value < UOP_CACHE || value >= UOP_CACHE_END) {
        return all;
      }
      const index = blocks.findIndex(({ start, end }) => value >= start && value < end);
      return index < 0 ? 'uop?' : `uop${index}.${(value - (blocks[index]?.start ?? 0)) / 32}`;
    });
}

/** Locals that every region has, in the order in which RegionState and RegionFunction take them. */
const LOCALS = ['record', 'rip', 'fuel', 'dtlb', 'result', 'aux', 'page', undefined, 'target', 'uop'];
/** The common exits are blocks around the code proper, outermost first. */
const EXITS = ['fault', 'resume', 'fuel', 'lookup'];

/**
 * The code proper of a region: what stands inside the exits, with locals named after the registers they hold. Other
 * locals are numbered as they appear.
 */
function body(text: string): string {
  const lines = text.split('\n');
  const names = new Map<string, string>();
  for (const [i, name] of LOCALS.entries()) {
    if (name !== undefined) {
      names.set(`$${i}`, name);
    }
  }
  const from = lines.findIndex((line) => line.trim() === `block${EXITS.length}`);
  for (const line of lines.slice(0, from)) {
    const register = /^ {2}(\$\d+) = (?:i64|v128)\.load (r\w+|xmm\w+)$/.exec(line);
    const stack = /^ {2}(\$\d+) = i(?:64|32)\.load \[\$\d+ \+ (0x8|0x10)\]$/.exec(line);
    if (register !== null) {
      names.set(register[1] ?? '', register[2] ?? '');
    } else if (stack !== null) {
      names.set(stack[1] ?? '', stack[2] === '0x8' ? 'stackPage' : 'stackAddend');
    }
  }
  const indent = `${'  '.repeat(EXITS.length)}`;
  const to = lines.indexOf(`${indent}end`, from);
  let temporaries = 0;
  return lines
    .slice(from + 1, to)
    .map((line) =>
      line
        .slice(indent.length + 2)
        .replaceAll(/\$\d+/g, (local) => {
          const name = names.get(local) ?? `t${++temporaries}`;
          names.set(local, name);
          return name;
        })
        .replaceAll(/\bbr block(\d+)\b/g, (branch, depth: string) => {
          const exit = EXITS[Number(depth) - 1];
          return exit === undefined ? branch : `br to ${exit}`;
        }),
    )
    .join('\n');
}

/**
 * What the compiler makes of a piece of assembly, as text. The code is run first, so that all blocks that it goes through
 * belong to the region; it ends with HLT. RBX and RSI point to data, RSP to a stack.
 */
export function regionText(bits: 32 | 64, source: string): string {
  const machine = new TestMachine();
  if (bits === 64) {
    machine.enterLong();
  } else {
    machine.enterProtected();
  }
  const { state, cpus, memory } = machine;
  for (const [register, value] of [
    [3, DATA],
    [4, STACK],
    [6, DATA + 0x1000],
    [7, DATA + 0x2000],
  ] as const) {
    state.setGpr(register, BigInt(value));
  }
  const { bytes } = assemble(`bits ${bits}\norg ${CODE}\n${source}\nhlt`);
  machine.runCode(CODE, bytes, 1000);
  const pages = memory.arena.buffer.byteLength / 0x10000;
  const { interpreter } = interpreterFor(pages);
  const view = new DataView(memory.arena.buffer);
  const reader = new MicroOpReader(view, interpreter);
  const regions = new RegionReader(reader, interpreter);
  const finder = new RegionFinder(view, cpus.code, regions, () => []);
  const entry = defined(cpus.code.find(CODE, state.mode), 'decoded block');
  // Pages lie in memory as in linear addresses here.
  const found = finder.find(entry, (delta) => CODE + delta, LIMITS);
  const region = regions.read(defined(found, 'region'));
  const names = new Map<number, string>();
  for (const [name, { index }] of interpreter.helpers) {
    names.set(index, name);
  }
  for (const { instructions } of region.blocks) {
    for (const { coldSlot, variant } of instructions) {
      if (coldSlot !== undefined) {
        names.set(coldSlot, `handler of ${variant?.definition.name ?? '?'}`);
      }
    }
  }
  const module = new RegionModules(reader, interpreter, pages).build(region);
  if (!WebAssembly.validate(module)) {
    throw new Error('the module is not valid');
  }
  return body(withNames(defined(wasmText(module)[0], 'function'), region, names));
}
