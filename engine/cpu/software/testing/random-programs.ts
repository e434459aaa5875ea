import { Random } from '../../../testing/random.ts';
import { buildInstructionTable } from '../../x86/instructions/table.ts';
import * as L from '../../x86/layout.ts';
import { type Candidate, candidates, generateInstance } from '../../x86/testing/random-instructions.ts';
import { specialInteger } from '../../x86/testing/special-values.ts';
import * as G from './guest-layout.ts';
import { dataBase, ItemBuilder, type ProgramShape, registerName } from './item-builder.ts';
import {
  type Block,
  type CodePatch,
  counterAddress,
  type Item,
  type PageEntry,
  type Program,
  type ProgramMode,
  type Slice,
  type SliceEvent,
  type Target,
  tableAddress,
} from './program.ts';
import { DEVICE_PAGE, dataAddress, freeRegister, randomTemplate } from './random-items.ts';

const RSP = 4;
const FREE_FOR_ALL = G.PRESENT | G.WRITABLE | G.USER;
const CONDITIONS = 16;

/** The table's instructions by unit, each definition as likely as any other of its unit. */
class InstructionPool {
  readonly #groups: readonly (readonly (readonly Candidate[])[])[];

  constructor(bits: 32 | 64) {
    const groups = new Map<string, Map<string, Candidate[]>>();
    for (const candidate of candidates(buildInstructionTable().definitions, bits)) {
      const { name, options } = candidate.definition;
      const group = groups.get(options.unit ?? 'integer') ?? new Map<string, Candidate[]>();
      groups.set(options.unit ?? 'integer', group);
      const list = group.get(name) ?? [];
      group.set(name, list);
      list.push(candidate);
    }
    this.#groups = ['integer', 'sse', 'x87', 'mmx'].map((unit) => [...(groups.get(unit)?.values() ?? [])]);
  }

  pick(random: Random): Candidate {
    const which = random.below(20);
    const group = this.#groups[which < 12 ? 0 : which < 16 ? 1 : which < 18 ? 2 : 3] ?? [];
    return random.pick(random.pick(group));
  }
}

const pools = new Map<number, InstructionPool>();

function poolFor(bits: 32 | 64): InstructionPool {
  const pool = pools.get(bits) ?? new InstructionPool(bits);
  pools.set(bits, pool);
  return pool;
}

interface Place extends Target {
  readonly item: number;
  readonly offset: number;
  readonly mask: number;
}

/** Makes one random program. */
class ProgramMaker {
  readonly #random: Random;
  readonly #shape: ProgramShape;
  readonly #pool: InstructionPool;
  #next = 0;
  #tables: Target[][] = [];
  #counters = 0;

  constructor(random: Random, mode: ProgramMode) {
    this.#random = random;
    const bits = mode === 'user64' || mode === 'kernel64' ? 64 : 32;
    this.#pool = poolFor(bits);
    const pointers = new Map<number, bigint>();
    const shape: ProgramShape = {
      random,
      mode,
      bits,
      kernel: mode.startsWith('kernel'),
      based: random.chance(1, 4),
      smap: mode.startsWith('kernel') && random.chance(1, 4),
      pointers,
      counters: bits === 64 ? [14, 15] : [5],
    };
    this.#shape = shape;
    for (const register of bits === 64 ? [3, RSP, 6, 7, 12, 13] : [3, RSP, 6, 7]) {
      const address = register === RSP ? G.STACK_TOP : dataAddress(shape, 16);
      pointers.set(register, BigInt(address - (register === RSP ? 0 : dataBase(shape))));
    }
  }

  make(name: string): Program {
    const random = this.#random;
    const shape = this.#shape;
    const main = 5 + random.below(random.chance(1, 3) ? 12 : 50);
    const functions = random.below(8);
    const end = main + functions;
    const blocks: { items: Item[]; place: number | undefined }[] = [];
    for (let i = 0; i < end; i++) {
      blocks.push({ items: this.#straight(), place: undefined });
    }
    blocks.push({ items: [], place: undefined });
    for (let i = 0; i < end; i++) {
      const block = blocks[i] as { items: Item[]; place: number | undefined };
      const ending = i < main ? this.#ending(i, main, functions) : this.#return();
      if (ending !== undefined) {
        block.items.push(ending.build(this.#next++));
      }
      if (i > 0 && random.chance(1, 4)) {
        block.place = random.chance(2, 3) ? G.PAGE - random.below(60) : random.below(G.PAGE);
      }
    }
    // The program's own end is where the main part runs out, in front of the functions.
    blocks[end] = { items: [this.#item((b) => b.instruction('int 82', 0xcd, G.SERVICE_END).ends())], place: undefined };
    (blocks[main - 1] as { items: Item[] }).items.push(this.#item((b) => this.#jump(b, { block: end })));
    const places = this.#places(blocks);
    this.#insertSelfModification(blocks, places);
    if (functions > 0 && random.chance(1, 2)) {
      this.#callWhatChanges(blocks, main, places);
    }
    const { codePages, otherCode } = this.#codePages();
    const codePatches: CodePatch[] = this.#places(blocks)
      .filter(() => random.chance(1, 4))
      .map(({ mask, ...target }) => ({ target, xor: this.#change(mask) }));
    const wild = random.chance(1, 10);
    return {
      name,
      mode: shape.mode,
      blocks,
      registers: this.#registers(),
      flags: this.#flags(),
      mxcsr: random.chance(3, 4) ? 0x1f80 | random.below(64) : random.pick([0x9fc0, 0x3fa0, 0x7f80, 0x1e80, 0x1f00]),
      fpuControl: random.chance(3, 4) ? 0x37f : random.pick([0x27f, 0x77f, 0x37e, 0x360]),
      dataSeed: random.u32(),
      based: shape.based,
      avx: random.chance(3, 4),
      smap: shape.smap,
      codePages,
      otherCode,
      codePatches,
      ...this.#dataPages(codePages),
      mutablePlaces: places.filter(({ mask }) => mask === 0xff || wild).map(({ mask: _, ...target }) => target),
      escapes: Array.from({ length: 8 }, (_, i) => (i > 4 ? end : random.below(end + 1))),
      tables: this.#tables,
      slices: this.#slices(),
      withoutTlb: random.chance(1, 6),
    };
  }

  #item(build: (b: ItemBuilder) => ItemBuilder): Item {
    return build(new ItemBuilder(this.#shape)).build(this.#next++);
  }

  #straight(): Item[] {
    const items: Item[] = [];
    for (let left = 1 + this.#random.below(this.#random.chance(1, 12) ? 60 : 8); left > 0; left--) {
      items.push(this.#any());
    }
    return items;
  }

  #any(): Item {
    const random = this.#random;
    if (random.chance(1, 40)) {
      return this.#tightLoop();
    }
    return random.chance(1, 2) ? this.#instance() : randomTemplate(this.#shape).build(this.#next++);
  }

  /** An instruction of the table. */
  #instance(): Item {
    const random = this.#random;
    const { bits, pointers, counters, kernel } = this.#shape;
    for (;;) {
      const candidate = this.#pool.pick(random);
      const instance = generateInstance(random, candidate, {
        bits,
        address: G.CODE,
        jumpRoom: 0,
        pointers,
        reserved: new Set(counters),
      });
      // With 16-bit addresses a 32-bit kernel would write over its own tables.
      if (instance === undefined || (bits === 32 && kernel && instance.bytes.slice(0, 4).includes(0x67))) {
        continue;
      }
      const bytes = [...instance.bytes];
      const { definition, encoding } = candidate;
      if (instance.memory && bytes.length < 15 && random.chance(1, 12)) {
        bytes.unshift(random.pick(bits === 64 ? [0x64, 0x65] : [0x64, 0x65, 0x26, 0x36]));
      }
      const changes = encoding.operands.some(({ code }) => code === 'I');
      return {
        id: this.#next++,
        text: `${definition.name} (${encoding.text})`,
        bytes,
        fixups: [],
        mutable: changes ? [{ offset: bytes.length - 1, mask: 0xff }] : [],
        starts: [0],
        ends: false,
      };
    }
  }

  /** A loop over a few instructions, counted in a register. */
  #tightLoop(): Item {
    const random = this.#random;
    const { counters, bits } = this.#shape;
    const counter = random.pick(counters);
    const b = new ItemBuilder(this.#shape).load(counter, BigInt(1 + random.below(random.chance(1, 5) ? 60 : 6)));
    const top = b.length;
    for (let left = 1 + random.below(4); left > 0; left--) {
      const body = random.chance(1, 2) ? this.#instance() : randomTemplate(this.#shape).build(this.#next++);
      if (b.length - top + body.bytes.length < 110 && !body.ends) {
        b.append(body);
      }
    }
    b.instruction(`dec ${registerName(counter, bits)}`).rex(bits === 64, 0, counter);
    b.more(0xff, 0xc8 | (counter & 7));
    b.instruction('jnz back', 0x75, (top - (b.length + 2)) & 0xff);
    return b.build(this.#next++);
  }

  #jump(b: ItemBuilder, target: Target): ItemBuilder {
    return b.instruction(`jmp block ${target.block}`, 0xe9).field('relative', 4, target).ends();
  }

  /** How main block `index` of `main` goes on; undefined: straight into the next one. */
  #ending(index: number, main: number, functions: number): ItemBuilder | undefined {
    const random = this.#random;
    const { bits, counters } = this.#shape;
    const b = new ItemBuilder(this.#shape);
    const forward = (): Target => ({ block: Math.min(main - 1, index + 1 + random.below(3)) });
    const register = freeRegister(this.#shape);
    const wide = bits === 64;
    switch (random.below(13)) {
      case 0:
      case 1:
        return undefined;
      case 2:
      case 3: {
        const target = forward();
        b.instruction(`jcc block ${target.block}`, 0x0f, 0x80 | random.below(CONDITIONS)).mutable(1, 0x0f);
        return b.field('relative', 4, target);
      }
      case 4: {
        const target = forward();
        const opcode = random.chance(1, 5) ? 0xe0 + random.below(4) : 0x70 | random.below(CONDITIONS);
        b.instruction(`short jump ${opcode.toString(16)} block ${target.block}`, opcode);
        if (opcode < 0x80) {
          b.mutable(1, 0x0f);
        }
        return b.field('relative', 1, target);
      }
      case 5:
        return this.#jump(b, forward());
      case 6: {
        // Back, as often as a counter in memory says.
        const target = { block: Math.max(0, index - random.below(4)) };
        const counter = counterAddress(this.#counters++ & 63);
        b.instruction('dec dword [counter]', 0xff).at(1, counter);
        b.instruction(`jg block ${target.block}`, 0x0f, 0x8f);
        return b.field('relative', 4, target);
      }
      case 7: {
        // Back, counted in a register.
        const counter = random.pick(counters);
        const target = { block: Math.max(0, index - random.below(3)) };
        b.instruction(`dec ${registerName(counter, bits)}`)
          .rex(wide, 0, counter)
          .more(0xff, 0xc8 | (counter & 7));
        b.instruction(`jg block ${target.block}`, 0x0f, 0x8f).field('relative', 4, target);
        return b.load(counter, BigInt(1 + random.below(5)));
      }
      case 8:
      case 9: {
        if (functions === 0) {
          return undefined;
        }
        const target = { block: main + random.below(functions) };
        if (random.chance(1, 3)) {
          b.loadAddress(register, 'code', target, this.#alias());
          b.instruction(`call ${registerName(register, bits)}`).rex(false, 0, register);
          return b.more(0xff, 0xd0 | (register & 7));
        }
        return b.instruction(`call block ${target.block}`, 0xe8).field('relative', 4, target);
      }
      case 10: {
        // Through a table.
        const table = this.#tables.push(Array.from({ length: 8 }, forward)) - 1;
        const index0 = register & 7;
        const free = this.#shape.pointers.has(index0) || counters.includes(index0) ? 0 : index0;
        const name = registerName(free, bits);
        b.instruction(`and ${name}, 7`, 0x83, 0xe0 | free, 7);
        b.instruction(`jmp [table ${table} + ${name}*8]`, 0xff, 0x24, 0xc5 | (free << 3));
        return b.number(tableAddress(table & 15) - dataBase(this.#shape), 4).ends();
      }
      case 11: {
        b.loadAddress(register, 'code', forward(), this.#alias());
        b.instruction(`jmp ${registerName(register, bits)}`).rex(false, 0, register);
        return b.more(0xff, 0xe0 | (register & 7)).ends();
      }
      default:
        b.loadAddress(register, 'code', forward(), this.#alias());
        b.instruction(`push ${registerName(register, bits)}`)
          .rex(false, 0, register)
          .more(0x50 | (register & 7));
        return b.instruction('ret', 0xc3).ends();
    }
  }

  /** What to add to a code address for one of its other mappings. */
  #alias(): bigint {
    const { random, bits } = this.#shape;
    switch (random.below(6)) {
      case 0:
        return BigInt(G.CODE_ALIAS - G.CODE);
      case 1:
        return bits === 64 ? G.HIGH : 0n;
      default:
        return 0n;
    }
  }

  #return(): ItemBuilder {
    const b = new ItemBuilder(this.#shape);
    return (this.#random.chance(1, 8) ? b.instruction('ret 8', 0xc2, 8, 0) : b.instruction('ret', 0xc3)).ends();
  }

  #places(blocks: readonly Block[]): Place[] {
    return blocks.flatMap(({ items }, block) =>
      items.flatMap((item) => item.mutable.map(({ offset, mask }) => ({ block, item: item.id, offset, mask }))),
    );
  }

  #change(mask: number): number {
    for (;;) {
      const bits = this.#random.below(256) & mask;
      if (bits !== 0) {
        return bits;
      }
    }
  }

  #insertSelfModification(blocks: readonly { items: Item[] }[], places: readonly Place[]): void {
    const random = this.#random;
    if (places.length === 0 || random.chance(1, 4)) {
      return;
    }
    for (let left = 1 + random.below(6); left > 0; left--) {
      const place = random.pick(places);
      // Often from the same block, just in front of what changes.
      const near = random.chance(1, 2);
      const block = blocks[near ? place.block : random.below(blocks.length - 1)] as { items: Item[] };
      const own = block.items.findIndex((item) => item.id === place.item);
      const at = near && own >= 0 ? random.below(own + 1) : random.below(block.items.length + 1);
      block.items.splice(at, 0, this.#selfModification(place).build(this.#next++));
    }
  }

  /** Makes a main block a loop that calls a function by its address and changes it in between. */
  #callWhatChanges(blocks: readonly { items: Item[] }[], main: number, places: readonly Place[]): void {
    const random = this.#random;
    const { bits } = this.#shape;
    const inFunctions = places.filter(({ block }) => block >= main);
    if (inFunctions.length === 0) {
      return;
    }
    const place = random.pick(inFunctions);
    const index = random.below(main - 1);
    const block = blocks[index] as { items: Item[] };
    const register = freeRegister(this.#shape);
    const target = { block: place.block };
    const call = this.#item((b) => {
      if (random.chance(1, 4)) {
        return b.instruction(`call block ${target.block}`, 0xe8).field('relative', 4, target);
      }
      b.loadAddress(register, 'code', target, this.#alias());
      b.instruction(`call ${registerName(register, bits)}`).rex(false, 0, register);
      return b.more(0xff, 0xd0 | (register & 7));
    });
    const change = this.#selfModification(place).build(this.#next++);
    const again = this.#item((b) => {
      b.instruction('dec dword [counter]', 0xff).at(1, counterAddress(this.#counters++ & 63));
      return b.instruction(`jg block ${index}`, 0x0f, 0x8f).field('relative', 4, { block: index });
    });
    // Called and changed in turn; the block goes on as it did before.
    block.items.splice(0, Math.max(0, block.items.length - 1), call, change, again);
  }

  /** A store into code. */
  #selfModification(place: Place): ItemBuilder {
    const random = this.#random;
    const { bits } = this.#shape;
    const mask = random.chance(1, 20) ? 0xff : place.mask;
    const bit = this.#change(mask);
    const add = random.chance(1, 4) ? BigInt(G.CODE_ALIAS - G.CODE) : 0n;
    const target = (back: number): Target => ({ ...place, offset: place.offset - back });
    const b = new ItemBuilder(this.#shape);
    const where = `[block ${place.block} item ${place.item} + ${place.offset}]`;
    switch (random.below(8)) {
      case 0:
        b.instruction(`lock xor byte ${where}, ${bit.toString(16)}`, 0xf0, 0x80).absolute(6);
        return b.field('data', 4, place, add).more(bit);
      case 1: {
        const back = random.below(3);
        b.instruction(`xor dword ${where} - ${back}, ${bit.toString(16)}`, 0x81).absolute(6);
        return b.field('data', 4, target(back), add).number(bit << (back * 8), 4);
      }
      case 2: {
        if (bits === 32) {
          return this.#selfModification(place);
        }
        const back = random.below(3);
        b.instruction(`xor qword ${where} - ${back}, ${bit.toString(16)}`, 0x48, 0x81).absolute(6);
        return b.field('data', 4, target(back), add).number(bit << (back * 8), 4);
      }
      case 3: {
        const back = random.below(16);
        b.instruction(`movups xmm3, ${where} - ${back}`, 0x0f, 0x10).absolute(3).field('data', 4, target(back), add);
        b.instruction(`movups ${where} - ${back}, xmm3`, 0x0f, 0x11).absolute(3).field('data', 4, target(back), add);
        b.instruction(`xor byte ${where}, ${bit.toString(16)}`, 0x80).absolute(6);
        return b.field('data', 4, place, add).more(bit);
      }
      case 4: {
        // A string operation that writes what is there, in front of the change.
        const back = random.below(8);
        b.load(1, BigInt(random.below(12)));
        b.loadAddress(6, 'data', target(back), add).loadAddress(7, 'data', target(back), add);
        b.instruction('rep movsb', 0xf3, 0xa4);
        b.instruction(`xor byte ${where}, ${bit.toString(16)}`, 0x80).absolute(6);
        return b.field('data', 4, place, add).more(bit);
      }
      case 5:
        if (mask === 0xff) {
          b.instruction(`inc byte ${where}`, 0xfe).absolute(0);
          return b.field('data', 4, place, add);
        }
        break;
      default:
    }
    b.instruction(`xor byte ${where}, ${bit.toString(16)}`, 0x80).absolute(6);
    return b.field('data', 4, place, add).more(bit);
  }

  #codePages(): { codePages: PageEntry[]; otherCode: PageEntry[] } {
    const random = this.#random;
    const physical = Array.from({ length: G.CODE_PHYSICAL_PAGES }, (_, i) => G.CODE_PHYSICAL + i * G.PAGE);
    for (let i = physical.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [physical[i], physical[j]] = [physical[j] as number, physical[i] as number];
    }
    const bits = () => {
      const base = FREE_FOR_ALL | (random.chance(1, 3) ? G.ACCESSED : 0) | (random.chance(1, 6) ? G.GLOBAL : 0);
      switch (random.below(12)) {
        case 0:
          return (base & ~G.PRESENT) | G.ON_DEMAND;
        case 1:
          return base & ~G.WRITABLE;
        case 2:
          return (base & ~G.WRITABLE) | G.ON_WRITE;
        default:
          return base | (random.chance(1, 2) ? G.ACCESSED | G.DIRTY : 0);
      }
    };
    const entry = (i: number): PageEntry => ({ physical: physical[i] as number, bits: bits() });
    return {
      codePages: Array.from({ length: G.CODE_PAGES }, (_, i) => entry(i)),
      otherCode: Array.from({ length: G.CODE_PAGES }, (_, i) => entry(i + G.CODE_PAGES)),
    };
  }

  #dataPages(codePages: readonly PageEntry[]): { dataPages: PageEntry[]; otherData: PageEntry[] } {
    const random = this.#random;
    const memory = (index: number) => G.DATA_PHYSICAL + index * G.PAGE;
    const any = (index: number): PageEntry => {
      const physical = memory(random.chance(1, 8) ? random.below(G.DATA_PAGES) : index);
      const global = random.chance(1, 8) ? G.GLOBAL : 0;
      switch (random.below(16)) {
        case 0:
          return { physical: 0, bits: 0 };
        case 1:
        case 2:
          return { physical, bits: G.USER | G.WRITABLE | G.ON_DEMAND | global };
        case 3:
          return { physical, bits: G.PRESENT | G.USER | global };
        case 4:
          return { physical, bits: G.PRESENT | G.USER | G.ON_WRITE | global };
        case 5:
          return { physical, bits: G.PRESENT | G.WRITABLE | global };
        case 6:
          return { physical: G.DEVICE_PHYSICAL, bits: FREE_FOR_ALL, high: G.NO_EXECUTE };
        case 7:
          return { physical: G.ROM_PHYSICAL, bits: FREE_FOR_ALL };
        case 8:
          return { physical: G.VIDEO_PHYSICAL, bits: FREE_FOR_ALL, high: G.NO_EXECUTE };
        case 9:
          return random.chance(1, 3)
            ? { physical: (codePages[random.below(2)] as PageEntry).physical, bits: FREE_FOR_ALL }
            : { physical: G.SWITCHED_PHYSICAL, bits: FREE_FOR_ALL, high: G.NO_EXECUTE };
        default:
          return { physical, bits: FREE_FOR_ALL | global | (random.chance(1, 2) ? G.ACCESSED | G.DIRTY : 0) };
      }
    };
    // The first page is plain nearly always; the device, the tables and the stack are where programs expect them.
    const fixed = new Map<number, PageEntry>([
      [DEVICE_PAGE, { physical: G.DEVICE_PHYSICAL, bits: FREE_FOR_ALL, high: G.NO_EXECUTE }],
      [9, { physical: memory(9), bits: FREE_FOR_ALL }],
      [G.STACK_PAGE, { physical: memory(10), bits: FREE_FOR_ALL }],
    ]);
    if (random.chance(5, 6)) {
      fixed.set(0, { physical: memory(0), bits: FREE_FOR_ALL });
    }
    const dataPages = Array.from({ length: G.DATA_PAGES }, (_, i) => fixed.get(i) ?? any(i));
    const otherData = Array.from({ length: 16 }, (_, i) => (i >= 9 && i <= 10 ? (dataPages[i] as PageEntry) : any(i)));
    return { dataPages, otherData };
  }

  #registers(): bigint[] {
    const { random, pointers, counters, bits } = this.#shape;
    return Array.from({ length: 16 }, (_, i) => {
      const value = pointers.get(i) ?? (counters.includes(i) ? BigInt(1 + random.below(6)) : specialInteger(random));
      return bits === 32 ? value & 0xffffffffn : value;
    });
  }

  #flags(): number {
    const { random, kernel, smap } = this.#shape;
    let flags = (smap ? L.FLAG_AC : 0) | 2 | (random.u32() & L.FLAGS_ARITHMETIC);
    flags |= kernel && random.chance(1, 5) ? 0 : L.FLAG_IF;
    flags |= random.chance(1, 4) ? L.FLAG_IOPL : 0;
    return flags | (random.chance(1, 30) ? L.FLAG_TF : 0);
  }

  #slices(): Slice[] {
    const random = this.#random;
    const slices: Slice[] = [];
    const typical = random.pick([3, 12, 40, 150, 600]);
    for (let left = 500 + random.below(4000); left > 0; ) {
      const instructions = random.chance(1, 6) ? 1 : 1 + random.below(random.chance(1, 5) ? 800 : typical * 2);
      const events: SliceEvent[] = [];
      if (slices.length > 0) {
        if (random.chance(1, 5)) {
          events.push({ kind: 'interrupt', vector: 0x20 + random.below(32) });
        }
        if (random.chance(1, 20)) {
          events.push({ kind: 'nmi' });
        }
        if (random.chance(1, 5)) {
          events.push({ kind: 'flush-tlb' });
        }
        if (random.chance(1, 12)) {
          events.push({ kind: 'take-dirty' });
        }
        if (random.chance(1, 15)) {
          events.push({ kind: 'write-code', place: random.below(1000), value: random.below(256) });
        }
      }
      slices.push({ instructions, events });
      left -= instructions;
      if (slices.length >= 40) {
        slices.push({ instructions: Math.max(1, left), events: [] });
        break;
      }
    }
    return slices;
  }
}

const MODES: readonly ProgramMode[] = [
  'user64',
  'user64',
  'user64',
  'kernel64',
  'kernel64',
  'compatibility',
  'user32',
  'user32',
  'kernel32',
];

/** The random program of a seed: the same every time. */
export function randomProgram(seed: number, mode?: ProgramMode): Program {
  const random = new Random(seed);
  const chosen = random.pick(MODES);
  return new ProgramMaker(random, mode ?? chosen).make(`program ${seed}`);
}
