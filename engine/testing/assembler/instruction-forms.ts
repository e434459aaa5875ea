import { INSTRUCTION_TABLE } from './instruction-table.ts';

/** One encoding of a mnemonic: which operands it takes and the bytes it makes. */
export interface Form {
  readonly mnemonic: string;
  readonly operands: readonly OperandPattern[];
  readonly opcode: readonly number[];
  /** The opcode's last byte carries a register number (`+r`). */
  readonly plusRegister: boolean;
  /** 0x66, 0xF2 or 0xF3 as part of the opcode. */
  readonly mandatoryPrefix: number | undefined;
  /** `r`: the ModRM reg field is a register operand; 0-7: an opcode extension. */
  readonly modrm: 'r' | number | undefined;
  /** Operand size selected by prefixes; undefined where it does not matter. */
  readonly operandSize: 16 | 32 | 64 | undefined;
  /** 64-bit operand size needs no REX.W (near branches, push, pop). */
  readonly default64: boolean;
  /** Without a register or size keyword to tell, only the form of the current mode's size fits. */
  readonly sizeFromMode: boolean;
  readonly addressSize: 16 | 32 | 64 | undefined;
  /** Bytes of the immediates or relative targets, in the order of their operands. */
  readonly immediates: readonly ImmediateBytes[];
  readonly not64: boolean;
  readonly only64: boolean;
}

export type ImmediateBytes = 1 | 2 | 4 | 8;

export type PatternKind =
  | 'register'
  | 'fixed'
  | 'memory'
  | 'farMemory'
  | 'register/memory'
  | 'immediate'
  | 'one'
  | 'relative'
  | 'far'
  | 'offset';

export interface OperandPattern {
  readonly kind: PatternKind;
  /** Register class for register, fixed and register/memory patterns. */
  readonly registers: string;
  /** Fixed register's name. */
  readonly name: string;
  /** Bits of the memory operand or immediate; 0: any. */
  readonly size: number;
  /** A sign-extended shorter immediate: its own bits (0: not one). */
  readonly extendedFrom: number;
  /** An immediate that is zero-extended to 64 bits. */
  readonly zeroExtended: boolean;
  /** Encoded in ModRM.rm although it is a plain register. */
  readonly inRm: boolean;
  /** A sized register here also tells the size of a memory operand beside it. */
  readonly tellsSize: boolean;
}

const forms = new Map<string, Form[]>();

/** Every form of a mnemonic in order of preference. */
export function formsOf(mnemonic: string): readonly Form[] | undefined {
  if (forms.size === 0) for (const line of INSTRUCTION_TABLE) addLine(line);
  return forms.get(mnemonic);
}

/** Table line: `mnemonic … | operands | encoding`; `v` in the operands means one form each for 16, 32 and 64 bits. */
function addLine(line: string): void {
  const [mnemonics = '', operands = '', encoding = ''] = line.split('|').map((part) => part.trim());
  const names = operands === '' ? [] : operands.split(',').map((each) => each.trim());
  const tokens = encoding.split(/\s+/);
  for (const mnemonic of mnemonics.split(/\s+/)) {
    const list = forms.get(mnemonic) ?? [];
    if (forms.get(mnemonic) === undefined) forms.set(mnemonic, list);
    const varies = names.some((name) => name.endsWith('v')) || tokens.includes('ov');
    if (!varies) {
      list.push(makeForm(mnemonic, names, tokens, undefined));
      continue;
    }
    for (const size of [16, 32, 64] as const) {
      if (size === 64 && tokens.includes('not64')) continue;
      if (size === 32 && tokens.includes('only64')) continue;
      list.push(makeForm(mnemonic, names, tokens, size));
    }
  }
}

function makeForm(
  mnemonic: string,
  names: readonly string[],
  tokens: readonly string[],
  size: 16 | 32 | 64 | undefined,
): Form {
  const has = (token: string): boolean => tokens.includes(token);
  const opcode: number[] = [];
  const immediates: ImmediateBytes[] = [];
  let modrm: 'r' | number | undefined;
  for (const token of tokens) {
    if (/^[0-9A-F]{2}$/.test(token)) opcode.push(Number.parseInt(token, 16));
    else if (token === '/r') modrm = 'r';
    else if (/^\/[0-7]$/.test(token)) modrm = Number(token.slice(1));
    else if (token === 'ib') immediates.push(1);
    else if (token === 'iw') immediates.push(2);
    else if (token === 'id') immediates.push(4);
    else if (token === 'iq') immediates.push(8);
    else if (token === 'iz') immediates.push(size === 16 ? 2 : 4);
    else if (token === 'if') immediates.push(tokens.includes('o16') ? 2 : 4, 2);
    else if (!KNOWN_FLAGS.has(token)) throw new Error(`instruction table: '${token}' in ${mnemonic}`);
  }
  const default64 = has('d64');
  return {
    mnemonic,
    operands: names.map((name) => makePattern(name, size)),
    opcode,
    plusRegister: has('+r'),
    mandatoryPrefix: has('p66') ? 0x66 : has('pf2') ? 0xf2 : has('pf3') ? 0xf3 : undefined,
    modrm,
    operandSize: size ?? (has('o16') ? 16 : has('o32') ? 32 : has('o64') ? 64 : undefined),
    default64,
    sizeFromMode: has('mode'),
    addressSize: has('a16') ? 16 : has('a32') ? 32 : has('a64') ? 64 : undefined,
    immediates,
    not64: has('not64') || (default64 && size === 32),
    only64: has('only64') || has('o64') || size === 64,
  };
}

const KNOWN_FLAGS = new Set('+r p66 pf2 pf3 o16 o32 o64 ov a16 a32 a64 d64 mode not64 only64'.split(' '));

function makePattern(name: string, size: 16 | 32 | 64 | undefined): OperandPattern {
  const inRm = name.startsWith('*');
  const tellsNothing = name.startsWith('?');
  const plain = (inRm || tellsNothing ? name.slice(1) : name).replace(/v$/, String(size ?? ''));
  const base = {
    kind: 'register' as PatternKind,
    registers: plain,
    name: '',
    size: 0,
    extendedFrom: 0,
    zeroExtended: false,
    inRm,
    tellsSize: !tellsNothing,
  };
  const bits = Number(/\d+$/.exec(plain)?.[0] ?? 0);
  if (/^r(8|16|32|64)$/.test(plain) || /^(sreg|creg|dreg|xmm|mm|sti)$/.test(plain)) {
    return { ...base, registers: plain === 'sti' ? 'st' : plain, size: plain.startsWith('r') ? bits : 0 };
  }
  if (/^rm\d+$/.test(plain)) {
    return { ...base, kind: 'register/memory', registers: `r${bits}`, size: bits, tellsSize: false };
  }
  if (/^rxm\d+$/.test(plain)) return { ...base, kind: 'register/memory', registers: 'xmm', size: bits };
  if (/^rmm\d+$/.test(plain)) return { ...base, kind: 'register/memory', registers: 'mm', size: bits };
  if (/^m\d*$/.test(plain)) return { ...base, kind: 'memory', size: bits };
  if (/^mfar\d+$/.test(plain)) return { ...base, kind: 'farMemory', size: bits };
  if (/^a(16|32|64)$/.test(plain)) {
    const fixed = { 16: 'ax', 32: 'eax', 64: 'rax' }[bits];
    return { ...base, kind: 'fixed', name: fixed ?? '', size: bits };
  }
  if (/^offset\d+$/.test(plain)) return { ...base, kind: 'offset', size: bits };
  if (/^imm\d+$/.test(plain)) return { ...base, kind: 'immediate', size: bits };
  if (/^sx\d+$/.test(plain)) return { ...base, kind: 'immediate', size: bits, extendedFrom: 8 };
  if (plain === 'sx32to64') return { ...base, kind: 'immediate', size: 64, extendedFrom: 32 };
  if (plain === 'zx32to64') return { ...base, kind: 'immediate', size: 64, extendedFrom: 32, zeroExtended: true };
  if (/^immz\d+$/.test(plain)) {
    return { ...base, kind: 'immediate', size: bits };
  }
  if (plain === '1') return { ...base, kind: 'one' };
  if (/^rel\d+$/.test(plain)) return { ...base, kind: 'relative', size: bits };
  if (/^far\d+$/.test(plain)) return { ...base, kind: 'far', size: bits };
  if (/^(al|ax|eax|rax|cl|dx|cx|ecx|rcx|es|cs|ss|ds|fs|gs|st0|xmm0)$/.test(plain)) {
    const sizes: Record<string, number> = { al: 8, ax: 16, eax: 32, rax: 64 };
    return { ...base, kind: 'fixed', name: plain, size: sizes[plain] ?? 0, tellsSize: plain in sizes };
  }
  throw new Error(`instruction table: operand '${name}'`);
}
