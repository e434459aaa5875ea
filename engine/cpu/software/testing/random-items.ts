import * as L from '../../x86/layout.ts';
import { specialInteger } from '../../x86/testing/special-values.ts';
import * as G from './guest-layout.ts';
import {
  DEVICE_CLOCK,
  DEVICE_FLUSHES_TLB,
  DEVICE_INTERRUPT,
  DEVICE_NMI,
  DEVICE_STOPS,
  DEVICE_SWITCHES_PAGE,
  DEVICE_WRITES_CODE,
} from './guest-machine.ts';
import { dataBase, ItemBuilder, type ProgramShape, registerName, type Size } from './item-builder.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const RSI = 6;
const RDI = 7;

/** The page of the data area that belongs to the test device. */
export const DEVICE_PAGE = 5;
const DEVICE = G.DATA + DEVICE_PAGE * G.PAGE;
const DEVICE_ACTIONS = [
  0,
  0x80,
  DEVICE_CLOCK,
  DEVICE_CLOCK,
  DEVICE_INTERRUPT,
  DEVICE_INTERRUPT,
  DEVICE_WRITES_CODE,
  DEVICE_FLUSHES_TLB,
  DEVICE_SWITCHES_PAGE,
  DEVICE_STOPS,
  DEVICE_NMI,
];

const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

type Maker = (shape: ProgramShape) => ItemBuilder | undefined;

/** A general register that is neither a pointer nor a counter. */
export function freeRegister(shape: ProgramShape): number {
  for (;;) {
    const register = shape.random.below(shape.bits === 64 ? 16 : 8);
    if (!shape.pointers.has(register) && !shape.counters.includes(register)) {
      return register;
    }
  }
}

/** A linear address in the data area: often where pages meet, sometimes anywhere. */
export function dataAddress(shape: ProgramShape, bytes: number): number {
  const { random } = shape;
  const page = random.chance(1, 2) ? random.below(2) : random.below(G.DATA_PAGES);
  if (page === DEVICE_PAGE) {
    return DEVICE + random.pick(DEVICE_ACTIONS) + random.below(8);
  }
  switch (random.below(6)) {
    case 0:
      return G.DATA + page * G.PAGE + G.PAGE - random.below(bytes + 1);
    case 1:
      return G.DATA + page * G.PAGE + random.below(G.PAGE);
    default:
      return G.DATA + page * G.PAGE + (random.below(G.PAGE / 2 - 64) & -bytes);
  }
}

function size(shape: ProgramShape): Size {
  return shape.random.pick(shape.bits === 64 ? ([1, 2, 4, 4, 8, 8] as const) : ([1, 2, 4, 4] as const));
}

/** Prefix and REX of an operation on `bytes`, then its opcode: `byteOpcode` for one byte, else the one behind it. */
function sized(b: ItemBuilder, bytes: Size, opcode: number, register: number, base: number): ItemBuilder {
  if (bytes === 2) {
    b.more(0x66);
  }
  return b.rex(bytes === 8, register, base, bytes === 1).more(bytes === 1 ? opcode : opcode | 1);
}

/** A byte register's number must not mean the high byte of a pointer in 32-bit code. */
function byteSafe(shape: ProgramShape, bytes: Size, register: number): number {
  return bytes === 1 && shape.bits === 32 ? register & 3 & ~(shape.pointers.has(register & 3) ? 3 : 0) : register;
}

const loadRegister: Maker = (shape) =>
  new ItemBuilder(shape).load(freeRegister(shape), cut(shape, specialInteger(shape.random)));

function cut(shape: ProgramShape, value: bigint): bigint {
  return shape.bits === 64 ? value : value & 0xffffffffn;
}

const movePointer: Maker = (shape) => {
  const register = shape.random.pick([...shape.pointers.keys()].filter((r) => r !== RSP || shape.random.chance(1, 3)));
  const address = register === RSP ? G.STACK_TOP - 8 * shape.random.below(8) : dataAddress(shape, 8);
  return new ItemBuilder(shape).load(register, BigInt(address - dataBase(shape)));
};

/** ALU r, r: any other ALU operation may be written over it. */
const arithmetic: Maker = (shape) => {
  const { random, bits } = shape;
  const bytes = size(shape);
  const to = byteSafe(shape, bytes, freeRegister(shape));
  const from = byteSafe(shape, bytes, random.chance(1, 4) ? random.below(bits === 64 ? 16 : 8) : freeRegister(shape));
  const operation = random.below(8);
  const name = registerName(to, bits);
  const b = new ItemBuilder(shape).instruction(`${ALU[operation]} ${name}, ${registerName(from, bits)} (${bytes})`);
  sized(b, bytes, operation << 3, from, to).mutable(1, 0x38);
  return b.more(0xc0 | ((from & 7) << 3) | (to & 7));
};

/** ALU r, immediate, which may change. */
const arithmeticImmediate: Maker = (shape) => {
  const { random, bits } = shape;
  const bytes = size(shape);
  const to = byteSafe(shape, bytes, freeRegister(shape));
  const operation = random.below(8);
  const short = bytes !== 1 && random.chance(1, 2);
  const b = new ItemBuilder(shape).instruction(`${ALU[operation]} ${registerName(to, bits)}, immediate (${bytes})`);
  if (bytes === 2) {
    b.more(0x66);
  }
  b.rex(bytes === 8, 0, to, bytes === 1).more(bytes === 1 ? 0x80 : short ? 0x83 : 0x81);
  b.more(0xc0 | (operation << 3) | (to & 7)).mutable(1, 0x38);
  const length = bytes === 1 || short ? 1 : bytes === 2 ? 2 : 4;
  return b.number(specialInteger(random), length).mutable(length, 0xff);
};

/** ALU with an absolute address. */
const arithmeticMemory: Maker = (shape) => {
  const { random, bits } = shape;
  const bytes = size(shape);
  const register = byteSafe(shape, bytes, freeRegister(shape));
  const operation = random.below(9);
  const store = random.chance(1, 2);
  const linear = dataAddress(shape, bytes);
  const opcode = operation === 8 ? (store ? 0x88 : 0x8a) : (operation << 3) | (store ? 0 : 2);
  const names = [`[${linear.toString(16)}]`, registerName(register, bits)];
  const [to, from] = store ? names : [names[1], names[0]];
  const b = new ItemBuilder(shape).instruction(`${ALU[operation] ?? 'mov'} ${to}, ${from} (${bytes})`);
  return sized(b, bytes, opcode, register, 0).at(register, linear);
};

/** Something that looks at flags made long before. */
const flagConsumer: Maker = (shape) => {
  const { random, bits } = shape;
  const register = freeRegister(shape);
  const other = freeRegister(shape);
  const condition = random.below(16);
  const b = new ItemBuilder(shape);
  const name = registerName(register, bits);
  switch (random.below(7)) {
    case 0: {
      const byte = byteSafe(shape, 1, register);
      b.instruction(`set${CONDITIONS[condition]} ${name}`).rex(false, 0, byte, true);
      return b
        .more(0x0f, 0x90 | condition)
        .mutable(1, 0x0f)
        .more(0xc0 | (byte & 7));
    }
    case 1:
      b.instruction(`cmov${CONDITIONS[condition]} ${name}, ${registerName(other, bits)}`);
      b.rex(random.chance(1, 2) && bits === 64, register, other)
        .more(0x0f, 0x40 | condition)
        .mutable(1, 0x0f);
      return b.more(0xc0 | ((register & 7) << 3) | (other & 7));
    case 2:
      b.instruction(`adc ${name}, ${registerName(other, bits)}`).rex(random.chance(1, 2), other, register);
      return b.more(0x11, 0xc0 | ((other & 7) << 3) | (register & 7));
    case 3:
      return b.instruction('lahf', 0x9f);
    case 4: {
      b.instruction('pushf', 0x9c).instruction(`pop ${name}`);
      return b.rex(false, 0, register).more(0x58 | (register & 7));
    }
    case 5:
      b.instruction(`rcl ${name}, 1`).rex(random.chance(1, 2), 0, register);
      return b.more(0xd1, 0xd0 | (register & 7));
    default:
      return b.instruction(random.pick(['cmc']), 0xf5);
  }
};

const stringOperation: Maker = (shape) => {
  const { random } = shape;
  const opcode = random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]);
  const b = new ItemBuilder(shape);
  const base = dataBase(shape);
  b.load(RCX, BigInt(random.pick([0, 1, 2, 5, 17, 70, 200, 1100])));
  const source = dataAddress(shape, 4);
  b.load(RSI, BigInt(source - base));
  b.load(RDI, BigInt((random.chance(1, 3) ? source + random.below(32) - 8 : dataAddress(shape, 4)) - base));
  if (random.chance(1, 4)) {
    b.instruction('std', 0xfd);
  }
  const prefix = random.pick([0xf3, 0xf3, 0xf2]);
  b.instruction(`${prefix === 0xf3 ? 'rep' : 'repne'} string ${opcode.toString(16)}`, prefix);
  if (random.chance(1, 4)) {
    b.more(0x66);
  } else {
    b.rex(shape.bits === 64 && random.chance(1, 3), 0, 0);
  }
  return b.more(opcode).instruction('cld', 0xfc);
};

const bitString: Maker = (shape) => {
  const { random } = shape;
  const index = freeRegister(shape);
  const bit = random.below(40_000) - 8000;
  const b = new ItemBuilder(shape).load(index, cut(shape, BigInt.asUintN(64, BigInt(bit))));
  const operation = random.below(4);
  b.instruction(`${['bt', 'bts', 'btr', 'btc'][operation]} [data], ${registerName(index, shape.bits)}`);
  b.rex(random.chance(1, 3), index, 0).more(0x0f, 0xa3 | (operation << 3));
  return b.at(index, dataAddress(shape, 8));
};

const popFlags: Maker = (shape) => {
  const { random } = shape;
  let flags = random.u32() & (L.FLAGS_ARITHMETIC | L.FLAG_IF | L.FLAG_ID | L.FLAG_IOPL);
  flags |= random.chance(1, 10) ? L.FLAG_TF : 0;
  flags |= random.chance(1, 12) ? L.FLAG_DF : 0;
  flags |= random.chance(1, shape.smap ? 2 : 12) ? L.FLAG_AC : 0;
  flags |= random.chance(3, 4) ? L.FLAG_IF : 0;
  const b = new ItemBuilder(shape).instruction(`push ${flags.toString(16)}`, 0x68).number(flags, 4);
  return b.instruction('popf', 0x9d);
};

const flagInstruction: Maker = (shape) => {
  const [text, opcode] = shape.random.pick([
    ['cli', 0xfa],
    ['sti', 0xfb],
    ['sti', 0xfb],
    ['cld', 0xfc],
    ['cld', 0xfc],
    ['std', 0xfd],
    ['clc', 0xf8],
    ['stc', 0xf9],
  ] as const);
  return new ItemBuilder(shape).instruction(text, opcode);
};

const portAccess: Maker = (shape) => {
  const { random } = shape;
  const port = 0x200 + random.pick(DEVICE_ACTIONS);
  const b = new ItemBuilder(shape).load(RDX, BigInt(port));
  switch (random.below(6)) {
    case 0:
      return b.instruction('in al, dx', 0xec);
    case 1:
      return b.instruction('in eax, dx', 0xed);
    case 2:
      return b.instruction('out dx, al', 0xee);
    case 3:
      return b.instruction('out dx, ax', 0x66, 0xef);
    case 4:
      return b
        .load(RCX, BigInt(random.below(6)))
        .load(RDI, BigInt(dataAddress(shape, 4) - dataBase(shape)))
        .instruction('rep insd', 0xf3, 0x6d);
    default:
      return b.instruction('out dx, eax', 0xef);
  }
};

const deviceMemory: Maker = (shape) => {
  const { random, bits } = shape;
  const linear = DEVICE + random.pick(DEVICE_ACTIONS) + random.below(5);
  const b = new ItemBuilder(shape);
  const register = byteSafe(shape, 1, freeRegister(shape));
  const name = registerName(register, bits);
  const at = `[${linear.toString(16)}]`;
  const bytes = size(shape);
  switch (random.below(6)) {
    case 0:
      b.instruction(`lock xadd ${at}, ${name}`, 0xf0).rex(false, register, 0);
      return b.more(0x0f, 0xc1).at(register, linear);
    case 1:
      return b.instruction(`movups ${at}, xmm1`, 0x0f, 0x11).at(1, linear);
    case 2:
      b.instruction(`mov ${at}, immediate`, 0xc7).at(0, linear);
      return b.number(random.u32(), 4);
    case 3:
      b.instruction(`add ${at}, ${name} (${bytes})`);
      return sized(b, bytes, 0, register, 0).at(register, linear);
    case 4:
      b.instruction(`mov ${name}, ${at} (${bytes})`);
      return sized(b, bytes, 0x8a, register, 0).at(register, linear);
    default:
      b.instruction(`mov ${at}, ${name} (${bytes})`);
      return sized(b, bytes, 0x88, register, 0).at(register, linear);
  }
};

/** Asks the kernel for something. */
const service: Maker = (shape) => {
  const { random } = shape;
  if (random.chance(1, 6)) {
    return new ItemBuilder(shape).instruction('int 80', 0xcd, G.SERVICE_NOTHING);
  }
  const wanted = random.chance(2, 3) ? random.below(2) : random.below(G.SERVICE_FUNCTIONS);
  const rare = wanted === G.TOGGLE_WATCHPOINT || wanted === G.TOGGLE_CODE_BREAKPOINT;
  const number = rare && random.chance(2, 3) ? G.SWAP_DATA_PAGE : wanted;
  const argument = random.below(16) | (random.chance(1, 2) ? 64 : 0) | (random.below(256) << 7);
  return new ItemBuilder(shape)
    .load(RAX, BigInt(number))
    .load(RCX, BigInt(argument))
    .instruction(`int ${G.SERVICE.toString(16)}`, 0xcd, G.SERVICE);
};

const floatingState: Maker = (shape) => {
  const { random } = shape;
  const b = new ItemBuilder(shape);
  const linear = (dataAddress(shape, 64) & -64) - (random.chance(1, 8) ? 8 : 0);
  switch (random.below(8)) {
    case 0:
      return b.instruction('fninit', 0xdb, 0xe3);
    case 1:
      return b.instruction('fnclex', 0xdb, 0xe2);
    case 2:
      return b.instruction('emms', 0x0f, 0x77);
    case 3: {
      const mxcsr = random.pick([0x1f80, 0x1fa0, 0x9fc0, 0x7f80, 0x3fa0, 0x1e80]);
      b.instruction(`mov dword [data], ${mxcsr.toString(16)}`, 0xc7).at(0, G.DATA + 0x40);
      return b
        .number(mxcsr, 4)
        .instruction('ldmxcsr [data]', 0x0f, 0xae)
        .at(2, G.DATA + 0x40);
    }
    case 4: {
      const control = random.pick([0x37f, 0x27f, 0x77f, 0xf7f, 0x37e, 0x33f]);
      b.instruction(`mov dword [data], ${control.toString(16)}`, 0xc7).at(0, G.DATA + 0x44);
      return b
        .number(control, 4)
        .instruction('fldcw [data]', 0xd9)
        .at(5, G.DATA + 0x44);
    }
    case 5:
      b.instruction('fxsave', 0x0f, 0xae).at(0, linear);
      return b;
    case 6:
      b.instruction('fxsave', 0x0f, 0xae).at(0, linear);
      return b.instruction('fxrstor', 0x0f, 0xae).at(1, linear);
    default:
      return b.instruction('fnstsw ax', 0xdf, 0xe0);
  }
};

const division: Maker = (shape) => {
  const { random, bits } = shape;
  const wide = bits === 64 && random.chance(1, 2);
  const divisor = freeRegister(shape);
  const b = new ItemBuilder(shape).load(RAX, cut(shape, specialInteger(random)));
  const signed = random.chance(1, 2);
  if (signed) {
    b.instruction('cdq').rex(wide, 0, 0).more(0x99);
  } else {
    b.load(RDX, BigInt(random.below(3)));
  }
  b.instruction(`${signed ? 'idiv' : 'div'} ${registerName(divisor, bits)}`).rex(wide, 0, divisor);
  return b.more(0xf7, (signed ? 0xf8 : 0xf0) | (divisor & 7));
};

const frame: Maker = (shape) => {
  const { random } = shape;
  const b = new ItemBuilder(shape).instruction('enter', 0xc8).number(random.below(64), 2);
  b.more(random.below(3));
  // LEAVE takes the frame pointer back.
  return shape.counters.includes(5) ? undefined : b.instruction('leave', 0xc9);
};

const odd: Maker = (shape) => {
  const { random, bits } = shape;
  const b = new ItemBuilder(shape);
  const [text, ...bytes] = random.pick<readonly [string, ...number[]]>([
    ['pause', 0xf3, 0x90],
    ['nop', 0x0f, 0x1f, 0x44, 0x00, 0x00],
    ['ud2', 0x0f, 0x0b],
    ['int3', 0xcc],
    ['rdtsc', 0x0f, 0x31],
    ['rdtsc', 0x0f, 0x31],
    ['rdtsc', 0x0f, 0x31],
    ['cpuid', 0x0f, 0xa2],
    ['mfence', 0x0f, 0xae, 0xf0],
    ['hlt', 0xf4],
    ['lock nop', 0xf0, 0x90],
    ['xlat', 0xd7],
    ...(bits === 32
      ? ([
          ['into', 0xce],
          ['pusha', 0x60],
          ['aaa', 0x37],
          ['salc', 0xd6],
        ] as const)
      : []),
  ]);
  return b.instruction(text, ...bytes);
};

/** Reloads segment registers with what they hold. */
const segmentLoad: Maker = (shape) => {
  const { random } = shape;
  const selector = shape.kernel ? G.KERNEL_DATA_SELECTOR : G.USER_DATA;
  const [name, number] = random.pick([
    ['ss', 2],
    ['ss', 2],
    ['es', 0],
    ['fs', 4],
  ] as const);
  const b = new ItemBuilder(shape).load(RAX, BigInt(selector));
  if (number === 2 && shape.bits === 32 && random.chance(1, 2)) {
    return b.instruction('push eax', 0x50).instruction('pop ss', 0x17);
  }
  return b.instruction(`mov ${name}, eax`, 0x8e, 0xc0 | (number << 3));
};

/** SYSCALL comes back at privilege level 3, so only programs that run there use it. */
const systemCall: Maker = (shape) =>
  shape.mode === 'user64' ? new ItemBuilder(shape).instruction('syscall', 0x0f, 0x05) : undefined;

/** What only kernels may do; elsewhere it faults. */
const privileged: Maker = (shape) => {
  const { random, bits } = shape;
  const b = new ItemBuilder(shape);
  const free = freeRegister(shape) & 7;
  const register = shape.pointers.has(free) || shape.counters.includes(free) ? RAX : free;
  switch (random.below(10)) {
    case 0:
      return b.instruction('invlpg [data]', 0x0f, 0x01).at(7, dataAddress(shape, 4));
    case 1:
      return b
        .instruction('mov r, cr3', 0x0f, 0x20, 0xd8 | register)
        .instruction('mov cr3, r', 0x0f, 0x22, 0xd8 | register);
    case 2: {
      b.instruction('mov r, cr0', 0x0f, 0x20, 0xc0 | register);
      b.instruction('or r, 8', 0x83, 0xc8 | register, 8);
      return b.instruction('mov cr0, r', 0x0f, 0x22, 0xc0 | register);
    }
    case 3:
      return b.instruction('clts', 0x0f, 0x06);
    case 4:
      return b.instruction('wbinvd', 0x0f, 0x09);
    case 5:
      b.load(RCX, bits === 64 ? 0xc0000100n : 0x10n)
        .load(RDX, 0n)
        .load(RAX, BigInt(random.below(64)));
      return bits === 64 ? b.instruction('wrmsr', 0x0f, 0x30) : b.instruction('rdmsr', 0x0f, 0x32);
    case 6:
      return bits === 64 ? b.instruction('swapgs', 0x0f, 0x01, 0xf8) : b.instruction('mov eax, cr2', 0x0f, 0x20, 0xd0);
    case 7:
      return b.instruction('sti', 0xfb).instruction('hlt', 0xf4);
    case 8: {
      // Exchanges two page-table entries and forgets what was remembered of the page.
      const page = random.below(9);
      const entry = G.DATA_TABLE_ALIAS + page * 8;
      b.instruction(`mov eax, [${entry.toString(16)}]`, 0x8b).at(0, entry);
      b.instruction('xor eax, 2', 0x83, 0xf0, random.pick([2, 4, 1]));
      b.instruction(`mov [${entry.toString(16)}], eax`, 0x89).at(0, entry);
      return b.instruction('invlpg', 0x0f, 0x01).at(7, G.DATA + page * G.PAGE);
    }
    default:
      return b.instruction('mov r, cr2', 0x0f, 0x20, 0xd0 | register);
  }
};

/** Lets a kernel reach pages of users, or not; it comes back to where it may before long. */
const accessRights: Maker = (shape) => {
  const b = new ItemBuilder(shape);
  if (!shape.smap) {
    return undefined;
  }
  if (shape.random.chance(2, 3)) {
    return b.instruction('stac', 0x0f, 0x01, 0xcb);
  }
  const register = freeRegister(shape);
  b.instruction('clac', 0x0f, 0x01, 0xca);
  b.instruction('mov r, [data]').rex(false, register, 0).more(0x8b).at(register, dataAddress(shape, 4));
  return shape.random.chance(3, 4) ? b.instruction('stac', 0x0f, 0x01, 0xcb) : b;
};

/** CALL of the next instruction, and POP: no return follows. */
const callNext: Maker = (shape) => {
  const register = freeRegister(shape);
  const b = new ItemBuilder(shape).instruction('call next', 0xe8, 0, 0, 0, 0);
  return b
    .instruction(`pop ${registerName(register, shape.bits)}`)
    .rex(false, 0, register)
    .more(0x58 | (register & 7));
};

const pushPop: Maker = (shape) => {
  const { random, bits } = shape;
  const register = freeRegister(shape);
  const b = new ItemBuilder(shape);
  if (random.chance(1, 2)) {
    b.instruction(`push ${registerName(register, bits)}`).rex(false, 0, register);
    return b.more(0x50 | (register & 7));
  }
  b.instruction(`pop ${registerName(register, bits)}`).rex(false, 0, register);
  return b.more(0x58 | (register & 7));
};

const WEIGHTS: readonly (readonly [number, Maker])[] = [
  [8, loadRegister],
  [8, movePointer],
  [22, arithmetic],
  [14, arithmeticImmediate],
  [20, arithmeticMemory],
  [12, flagConsumer],
  [4, stringOperation],
  [4, bitString],
  [2, popFlags],
  [2, flagInstruction],
  [2, portAccess],
  [4, deviceMemory],
  [3, service],
  [3, floatingState],
  [3, division],
  [1, frame],
  [3, odd],
  [1, segmentLoad],
  [1, systemCall],
  [2, callNext],
  [6, pushPop],
  [8, accessRights],
];
const TOTAL = WEIGHTS.reduce((sum, [weight]) => sum + weight, 0);

/** An item made from a template, as opposed to the table's instructions at random. */
export function randomTemplate(shape: ProgramShape): ItemBuilder {
  for (;;) {
    if (shape.random.chance(1, shape.kernel ? 25 : 200)) {
      const item = privileged(shape);
      if (item !== undefined) {
        return item;
      }
    }
    let rest = shape.random.below(TOTAL);
    for (const [weight, make] of WEIGHTS) {
      rest -= weight;
      if (rest < 0) {
        const item = make(shape);
        if (item !== undefined) {
          return item;
        }
        break;
      }
    }
  }
}
