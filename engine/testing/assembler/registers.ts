/** Register files an operand can name. */
export type RegisterClass = 'r8' | 'r16' | 'r32' | 'r64' | 'sreg' | 'creg' | 'dreg' | 'xmm' | 'mm' | 'st' | 'rip';

export interface Register {
  readonly name: string;
  readonly class: RegisterClass;
  /** Encoding, 0-15. */
  readonly number: number;
  /** spl, bpl, sil, dil: only reachable with a REX prefix. */
  readonly needsRex: boolean;
  /** ah, ch, dh, bh: not reachable with a REX prefix. */
  readonly forbidsRex: boolean;
}

const registers = new Map<string, Register>();

function define(registerClass: RegisterClass, names: readonly string[], first = 0): void {
  for (const [index, name] of names.entries()) {
    const number = first + index;
    registers.set(name, {
      name,
      class: registerClass,
      number,
      needsRex: /^(spl|bpl|sil|dil)$/.test(name),
      forbidsRex: /^[acdb]h$/.test(name),
    });
  }
}

const numbered = (prefix: string, from: number, to: number, suffix = ''): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `${prefix}${from + index}${suffix}`);

define('r8', ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh', ...numbered('r', 8, 15, 'b')]);
define('r8', ['spl', 'bpl', 'sil', 'dil'], 4);
define('r16', ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di', ...numbered('r', 8, 15, 'w')]);
define('r32', ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', ...numbered('r', 8, 15, 'd')]);
define('r64', ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', ...numbered('r', 8, 15)]);
define('sreg', ['es', 'cs', 'ss', 'ds', 'fs', 'gs']);
define('creg', numbered('cr', 0, 15));
define('dreg', numbered('dr', 0, 15));
define('xmm', numbered('xmm', 0, 15));
define('mm', numbered('mm', 0, 7));
define('st', numbered('st', 0, 7));

/** The register of that lower-case name. */
export function registerNamed(name: string): Register | undefined {
  return registers.get(name);
}

/** Bits of a general register; 0 for the others. */
export function generalSize(register: Register): 0 | 8 | 16 | 32 | 64 {
  switch (register.class) {
    case 'r8':
      return 8;
    case 'r16':
      return 16;
    case 'r32':
      return 32;
    case 'r64':
      return 64;
    default:
      return 0;
  }
}
