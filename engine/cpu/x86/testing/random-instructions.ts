import type { Random } from '../../../testing/random.ts';
import { isSized, operandBytes, takesMemory } from '../../software/variants.ts';
import type { Encoding, InstructionDefinition } from '../instructions/definition.ts';
import { GS_BASE, POINTERS_END, POINTERS_START, WINDOW, WINDOW_BYTES } from './case-records.ts';
import { specialInteger } from './special-values.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;

/** An encoding that can be tested in user mode. */
export interface Candidate {
  readonly definition: InstructionDefinition;
  readonly encoding: Encoding;
}

/** A generated instruction, with what its test has to know. */
export interface Instance extends Candidate {
  readonly bytes: readonly number[];
  /** Operand size in bytes. */
  readonly size: number;
  readonly memory: boolean;
  /** Values that registers should have before it. */
  readonly registers: ReadonlyMap<number, bigint>;
  /** The same of vector registers, 32 bytes each. */
  readonly vectors: ReadonlyMap<number, Uint8Array>;
}

/** What a generator is to produce. */
export interface GeneratorOptions {
  readonly bits: 32 | 64;
  /** Linear address of the first byte. */
  readonly address: number;
  /** In a program: registers that point into the window, which it must not write. Absent for single instructions. */
  readonly pointers?: ReadonlyMap<number, bigint>;
  /** In a program: other registers that it must not write. */
  readonly reserved?: ReadonlySet<number>;
  /** Forward distance from the end of the instruction within which relative jumps may land, in bytes. */
  readonly jumpRoom: number;
}

/** System instructions are left out, but these work in user mode everywhere. */
const TESTABLE_SYSTEM = new Set(['pushf']);
/** Results that depend on the host: other features, addresses of the last instruction. */
const HOST_DEPENDENT = /^(fx|xsave|xrstor|xgetbv|rd|ud|int|sys|fnsave|frstor|fnstenv|fldenv|cpuid|emms-none|hint)/;

/** They move the pointers of a program too far, or leave it. */
const UNFIT_FOR_PROGRAMS = /^(leave|enter|popa|ret|(mmx-)?maskmov|loop|jcxz|fx|fld-env|vp?gather)/;

/** All encodings of the table that can be compared with the host's processor. */
export function candidates(definitions: readonly InstructionDefinition[], bits: 32 | 64): Candidate[] {
  return definitions.flatMap((definition) => {
    const { options, name } = definition;
    if (options.privileged || (options.system && !TESTABLE_SYSTEM.has(name)) || HOST_DEPENDENT.test(name)) {
      return [];
    }
    return definition.encodings
      .filter(({ mode }) => mode === 'any' || (mode === 'only64') === (bits === 64))
      .map((encoding) => ({ definition, encoding }));
  });
}

/** Operand size in bytes, as the decoder will find it. */
function operandSize(
  encoding: Encoding,
  bits: number,
  operandPrefix: boolean,
  wide: boolean,
  vectorLength: number,
): number {
  if (encoding.vex !== undefined) {
    return encoding.vex === 'either' || encoding.vex === '256'
      ? 16 << vectorLength
      : isSized(encoding)
        ? bits === 64 && wide
          ? 8
          : 4
        : 4;
  }
  if (!isSized(encoding)) {
    return 4;
  }
  const dwordSized = encoding.operands.every((operand) => !'vzs'.includes(operand.size));
  let size: number;
  if (bits === 64) {
    if (encoding.size64 === 'always64' || wide) {
      size = 8;
    } else if (encoding.size64 === 'default64') {
      size = operandPrefix ? 2 : 8;
    } else {
      size = operandPrefix ? 2 : 4;
    }
  } else {
    size = operandPrefix ? 2 : 4;
  }
  return dwordSized && size === 2 ? 4 : size;
}

class InstanceBuilder {
  readonly #random: Random;
  readonly #options: GeneratorOptions;
  readonly #candidate: Candidate;
  readonly #registers = new Map<number, bigint>();
  readonly #bytes: number[] = [];
  #rex = 0;
  #hasRex = false;
  #rexAt = 0;
  #addressPrefix = false;
  #segment: number | undefined;
  #size = 4;
  #memory = false;
  #modrmAt = 0;
  /** VEX: W, R, X and B are in #rex. */
  #vexBytes = 0;
  #vvvv = 0;
  #vectorLength = 0;
  readonly #vectors = new Map<number, Uint8Array>();
  #ripFix: number | undefined;
  #target = 0n;

  constructor(random: Random, candidate: Candidate, options: GeneratorOptions) {
    this.#random = random;
    this.#candidate = candidate;
    this.#options = options;
  }

  build(): Instance | undefined {
    const { definition, encoding } = this.#candidate;
    const random = this.#random;
    const { bits, pointers } = this.#options;
    const single = pointers === undefined;
    const can = takesMemory(encoding);
    this.#memory = can.memory && (!can.register || random.chance(1, 2));
    const options = definition.options;
    if (!single && (UNFIT_FOR_PROGRAMS.test(definition.name) || (options.ends && encoding.modrm))) {
      return undefined;
    }

    if (!single && this.#memory && /^bt/.test(definition.name) && encoding.operands[1]?.code === 'G') {
      return undefined;
    }

    // Prefixes.
    const legacy: number[] = [];
    const sized = isSized(encoding);
    const vex = encoding.vex !== undefined;
    const operandPrefix = vex
      ? random.chance(1, 1000)
      : encoding.prefix === '66' ||
        (encoding.prefix !== 'none' &&
          sized &&
          // Near branches: processors of different makers disagree about the prefix in 64-bit code.
          !(encoding.size64 === 'always64' && bits === 64) &&
          // How much memory MOVSXD with it reads depends on the maker too.
          definition.name !== 'movsxd' &&
          !(encoding.prefix !== 'any' && encoding.map === 1 && encoding.opcode >= 0x2a && encoding.opcode <= 0x2d) &&
          random.chance(1, 4) &&
          !(options.ends && bits === 32 && !random.chance(1, 20)));
    if (operandPrefix) {
      legacy.push(0x66);
    }
    if (vex) {
      // VEX.pp says it.
    } else if (encoding.prefix === 'f3') {
      legacy.push(0xf3);
    } else if (encoding.prefix === 'f2') {
      legacy.push(0xf2);
    } else if (options.repeat && random.chance(2, 3)) {
      legacy.push(random.pick([0xf2, 0xf3]));
      if (!single) {
        return undefined;
      }
    }
    const locks = options.lock && this.#memory && 'EM'.includes(encoding.operands[0]?.code ?? '');
    if (locks ? random.chance(1, 6) : random.chance(1, 400)) {
      legacy.push(0xf0);
    }
    // 16-bit addresses of bit strings do not wrap here as they should.
    const bitString = /^bt/.test(definition.name) && encoding.operands[1]?.code === 'G';
    if (random.chance(1, bits === 64 ? 8 : 60) && !(bits === 32 && bitString)) {
      this.#addressPrefix = true;
      legacy.push(0x67);
    }
    // Whether a store that is suppressed by an unmasked exception is checked at all differs: a program goes on or not.
    if (!single && this.#addressPrefix && bits === 32 && options.unit === 'x87' && options.writes) {
      return undefined;
    }
    // So does whether a masked move checks its segment when no element is moved.
    const checked =
      !(options.unit === 'x87' && options.writes) && !(bits === 32 && /^vp?maskmov/.test(definition.name));
    if (single && checked && random.chance(1, 10)) {
      const prefix = random.pick(bits === 64 ? [0x26, 0x2e, 0x36, 0x3e, 0x65, 0x65] : [0x26, 0x2e, 0x36, 0x3e]);
      this.#segment = prefix;
      legacy.push(prefix);
    }
    for (let i = legacy.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [legacy[i], legacy[j]] = [legacy[j] as number, legacy[i] as number];
    }
    this.#bytes.push(...legacy);
    // Makers disagree about VEX.W of PINSRD and PEXTRD outside 64-bit code.
    const fixedWidth = bits === 32 && /^p(ins|ext)rd$/.test(definition.name);
    let wide = vex && (encoding.rexW ?? (random.chance(1, 3) && !fixedWidth));
    if (bits === 64) {
      wide = encoding.rexW ?? random.chance(1, 3);
      this.#rex = (wide ? 8 : 0) | (random.chance(1, 2) ? random.below(8) : 0);
      this.#hasRex = this.#rex !== 0 || random.chance(1, 6);
      if (this.#hasRex && !vex) {
        this.#rexAt = this.#bytes.push(0x40 | this.#rex) - 1;
      }
    }
    if (vex) {
      this.#startVex(wide);
    }
    this.#size = operandSize(encoding, bits, operandPrefix, wide, this.#vectorLength);

    // Opcode.
    if (encoding.map > 0 && !vex) {
      this.#bytes.push(0x0f);
    }
    if (encoding.map > 1 && !vex) {
      this.#bytes.push(encoding.map === 2 ? 0x38 : 0x3a);
    }
    this.#bytes.push(encoding.opcode);
    this.#fixImplicit();
    if (encoding.modrm && !this.#modrm()) {
      return undefined;
    }
    if (!single && this.#writesPointer()) {
      return undefined;
    }
    this.#immediates();
    if (vex) {
      this.#finishVex(wide);
    }
    if (this.#ripFix !== undefined) {
      const next = BigInt(this.#options.address + this.#bytes.length);
      this.#put32At(this.#ripFix, Number(BigInt.asIntN(32, this.#target - next)));
    }
    if (this.#bytes.length > 15) {
      return undefined;
    }
    this.#fixValues();
    return {
      definition,
      encoding,
      bytes: this.#bytes,
      size: this.#size,
      memory: this.#memory,
      registers: this.#registers,
      vectors: this.#vectors,
    };
  }

  /** Makes room for a VEX prefix and chooses what only it holds. */
  #startVex(wide: boolean): void {
    const { encoding } = this.#candidate;
    const random = this.#random;
    const { bits } = this.#options;
    // The prefix of two bytes can only extend ModRM.reg.
    const short = encoding.map === 1 && !wide && (this.#rex & 3) === 0 && random.chance(1, 2);
    this.#vexBytes = short ? 2 : 3;
    this.#hasRex = bits === 64 && !short;
    this.#rexAt = this.#bytes.length;
    for (let i = 0; i < this.#vexBytes; i++) {
      this.#bytes.push(0);
    }
    const uses = encoding.operands.some((operand) => operand.code === 'H' || operand.code === 'B');
    this.#vvvv = uses || random.chance(1, 300) ? random.below(bits === 64 ? 16 : 8) : 0;
    const length = encoding.vex === '128' ? 0 : encoding.vex === '256' ? 1 : random.below(2);
    // Hosts may have the 256-bit forms of these, which are features of their own.
    const extended = /^(aes|pclmul)/.test(this.#candidate.definition.name);
    this.#vectorLength = random.chance(1, 300) && !extended ? 1 - length : length;
  }

  #finishVex(wide: boolean): void {
    const { encoding } = this.#candidate;
    const at = this.#rexAt;
    const pp = ['none', '66', 'f3', 'f2'].indexOf(encoding.prefix);
    const last = ((~this.#vvvv & 15) << 3) | (this.#vectorLength << 2) | pp;
    const inverted = ~this.#rex & 7;
    if (this.#vexBytes === 2) {
      this.#bytes[at] = 0xc5;
      this.#bytes[at + 1] = ((inverted & 4) << 5) | last;
    } else {
      this.#bytes[at] = 0xc4;
      this.#bytes[at + 1] = (inverted << 5) | encoding.map;
      this.#bytes[at + 2] = (wide ? 0x80 : 0) | last;
    }
  }

  #fix(register: number, value: bigint): void {
    if (this.#options.pointers === undefined && !this.#registers.has(register)) {
      this.#registers.set(register, BigInt.asUintN(64, value));
    }
  }

  /** The value a register is known to have, if any. */
  #known(register: number): bigint | undefined {
    return this.#options.pointers?.get(register) ?? this.#registers.get(register);
  }

  /** An address in the window for `size` bytes: often aligned, sometimes across the pages in it or beyond its edges. */
  #windowAddress(size: number): bigint {
    const random = this.#random;
    let offset: number;
    switch (random.below(20)) {
      case 0:
        offset = WINDOW_BYTES / 2 - random.below(size + 1);
        break;
      case 1:
        offset =
          this.#options.pointers === undefined
            ? random.pick([-random.below(size + 1), WINDOW_BYTES - random.below(size + 1)])
            : 64;
        break;
      default:
        offset = random.below(WINDOW_BYTES - 1200);
        if (random.chance(3, 4)) {
          offset &= -16;
        }
        if (size > 32 || (size === 32 && random.chance(1, 2))) {
          offset &= -64;
        }
    }
    return BigInt(WINDOW + offset);
  }

  /** Registers that the instruction uses without naming them. */
  #fixImplicit(): void {
    const random = this.#random;
    const { name, options } = this.#candidate.definition;
    if (random.chance(1, 30)) {
      return;
    }
    if (options.stack) {
      if (name === 'ret') {
        this.#fix(RSP, this.#pointerAddress());
      } else {
        this.#fix(RSP, this.#windowAddress(64));
      }
      this.#fix(RBP, this.#windowAddress(8));
    }
    if (options.implicitMemory) {
      const offset = this.#segment === 0x65 && this.#options.bits === 64 ? BigInt(GS_BASE) : 0n;
      if (name === 'xlat') {
        this.#fix(RBX, this.#windowAddress(256) - offset);
      } else if (name.startsWith('loop') || name === 'jcxz') {
        this.#fix(RCX, random.chance(1, 2) ? BigInt(random.below(3)) : specialInteger(random));
      } else {
        const above = this.#addressPrefix && random.chance(1, 2) ? random.u64() & ~0xffffffffn : 0n;
        this.#fix(RSI, (this.#windowAddress(8) - offset) | above);
        const near = this.#registers.get(RSI) ?? 0n;
        this.#fix(RDI, random.chance(1, 3) ? near + BigInt(random.below(64) - 32) : this.#windowAddress(8) | above);
        this.#fix(RCX, BigInt(random.below(random.chance(1, 10) ? 3000 : 20)) | above);
      }
    }
  }

  /** An address at which the window holds an address that ends the case. */
  #pointerAddress(): bigint {
    return BigInt(WINDOW + POINTERS_START + this.#random.below((POINTERS_END - POINTERS_START) / 8) * 8);
  }

  #modrm(): boolean {
    const { encoding, definition } = this.#candidate;
    const random = this.#random;
    this.#modrmAt = this.#bytes.length;
    if (encoding.exact !== undefined) {
      this.#bytes.push(encoding.exact);
      return true;
    }
    let reg = encoding.reg ?? random.below(8);
    if (encoding.operands.some((operand) => operand.code === 'S')) {
      reg = random.below(random.chance(1, 20) ? 8 : 6);
      // FS and GS selectors belong to the C library.
      if (reg === 4 || reg === 5 || reg === 3 || reg === 0) {
        reg = random.pick([1, 2]);
      }
    }
    if (!this.#memory) {
      this.#bytes.push(0xc0 | (reg << 3) | random.below(8));
      return true;
    }
    const memory = encoding.operands.find((operand) => 'EWQMO'.includes(operand.code));
    const size =
      memory === undefined || memory.size === 'a'
        ? 1
        : memory.size === 't'
          ? 10
          : operandBytes(memory.size, this.#size);
    if (definition.options.vsib) {
      this.#vectorAddress(reg);
      return true;
    }
    const isJump = definition.options.ends === true && (definition.name === 'jmp' || definition.name === 'call');
    this.#address(reg, isJump ? this.#pointerAddress() : this.#windowAddress(size), definition.name === 'lea');
    return true;
  }

  #address(reg: number, target: bigint, plain: boolean): void {
    const random = this.#random;
    const { bits, pointers } = this.#options;
    let linear = target;
    if (this.#segment === 0x65 && bits === 64 && !plain) {
      linear -= BigInt(GS_BASE);
    }
    this.#target = linear;
    if (bits === 32 && this.#addressPrefix) {
      // 16-bit addresses never reach the window.
      const mod = random.below(3);
      const rm = random.below(8);
      this.#bytes.push((mod << 6) | (reg << 3) | rm);
      const displacement = mod === 1 ? 1 : mod === 2 || rm === 6 ? 2 : 0;
      for (let i = 0; i < displacement; i++) {
        this.#bytes.push(random.below(256));
      }
      return;
    }
    const width = bits === 64 && !this.#addressPrefix ? 64 : 32;
    let mod = random.below(3);
    let rm = random.below(8);
    let base: number | undefined;
    let index: number | undefined;
    let scale = 0;
    let sib: number | undefined;
    if (pointers !== undefined) {
      // Programs address through the registers reserved for it.
      base = random.pick([...pointers.keys()].filter((register) => register < 8 || this.#hasRex));
      rm = base & 7;
      this.#setRexBit(1, base >= 8);
      mod = 1 + random.below(2);
      if (rm === 4) {
        this.#setRexBit(2, false);
        sib = 0x20 | rm;
      }
    } else if (rm === 4) {
      sib = random.below(256);
      scale = sib >> 6;
      index = ((sib >> 3) & 7) | ((this.#rex & 2) << 2);
      if (index === 4) {
        index = undefined;
      }
      base = (sib & 7) === 5 && mod === 0 ? undefined : (sib & 7) | ((this.#rex & 1) << 3);
    } else if (!(rm === 5 && mod === 0)) {
      base = rm | ((this.#rex & 1) << 3);
    }
    this.#bytes.push((mod << 6) | (reg << 3) | rm);
    if (sib !== undefined) {
      this.#bytes.push(sib);
    }
    const wild = pointers === undefined && random.chance(1, 40);
    if (base === undefined && index === undefined) {
      if (sib === undefined && bits === 64) {
        this.#ripFix = this.#bytes.length;
        this.#put32(0);
      } else {
        this.#put32(Number(BigInt.asIntN(32, linear)));
      }
      return;
    }
    let displacement: bigint;
    if (mod === 1) {
      displacement = BigInt(random.below(256) - 128);
    } else if (mod === 2 || base === undefined) {
      displacement = BigInt.asIntN(
        32,
        random.chance(1, 2) ? BigInt(random.below(4096) - 2048) : specialInteger(random),
      );
    } else {
      displacement = 0n;
    }
    const wrap = (value: bigint) => BigInt.asUintN(width, value);
    const rubbish = () => (width === 32 && bits === 64 && random.chance(1, 2) ? random.u64() & ~0xffffffffn : 0n);
    if (!wild) {
      if (base !== undefined && index !== undefined && base === index) {
        const known = this.#known(base);
        const value = known ?? BigInt(random.below(1 << 20));
        this.#fix(base, value);
        if (mod === 2) {
          displacement = BigInt.asIntN(32, linear - value * BigInt(1 + (1 << scale)));
        }
      } else if (base !== undefined) {
        let offset = 0n;
        if (index !== undefined) {
          const value = this.#known(index) ?? specialInteger(random);
          this.#fix(index, value);
          offset = value << BigInt(scale);
        }
        const known = this.#known(base);
        if (known === undefined) {
          this.#fix(base, wrap(linear - offset - displacement) | rubbish());
        } else if (mod === 2) {
          displacement = BigInt.asIntN(32, linear - offset - known);
        }
      } else if (index !== undefined) {
        const value = this.#known(index) ?? BigInt(random.below(1 << 20)) | rubbish();
        this.#fix(index, value);
        displacement = BigInt.asIntN(32, linear - (value << BigInt(scale)));
      }
    }
    if (mod === 1) {
      this.#bytes.push(Number(displacement) & 0xff);
    } else if (mod === 2 || base === undefined) {
      this.#put32(Number(displacement));
    }
  }

  /** Changes REX.B (1), X (2) or R (4), if there is a REX prefix; adds none. */
  #setRexBit(bit: number, value: boolean): void {
    if (!this.#hasRex) {
      return;
    }
    this.#rex = value ? this.#rex | bit : this.#rex & ~bit;
    if (this.#vexBytes === 0) {
      this.#bytes[this.#rexAt] = 0x40 | this.#rex;
    }
  }

  /** In a program: whether a register operand that may be written is one of the pointers. */
  #writesPointer(): boolean {
    const { encoding } = this.#candidate;
    const { pointers } = this.#options;
    if (pointers === undefined) {
      return false;
    }
    const modrm = encoding.modrm ? this.#modrmByte() : 0;
    for (const operand of encoding.operands) {
      let register: number | undefined;
      if (operand.code === 'G') {
        register = ((modrm >> 3) & 7) | ((this.#rex & 4) << 1);
      } else if ((operand.code === 'E' || operand.code === 'R') && !this.#memory) {
        register = (modrm & 7) | ((this.#rex & 1) << 3);
      } else if (operand.code === 'Z') {
        register = (encoding.opcode & 7) | ((this.#rex & 1) << 3);
      } else if (operand.code === 'B') {
        register = this.#vvvv;
      }
      if (register === undefined) {
        continue;
      }
      if (!this.#hasRex && operandBytes(operand.size, this.#size) === 1 && register >= 4) {
        register -= 4;
      }
      if (pointers.has(register) || this.#options.reserved?.has(register)) {
        return true;
      }
    }
    return false;
  }

  #modrmByte(): number {
    return this.#bytes[this.#modrmAt] as number;
  }

  /** An address with a vector of indices most of which lead into the window. */
  #vectorAddress(reg: number): void {
    const random = this.#random;
    const { encoding } = this.#candidate;
    const index = random.below(8) | ((this.#rex & 2) << 2);
    const base = random.pick([0, 1, 2, 3, 6, 7]) | ((this.#rex & 1) << 3);
    const scale = random.below(4);
    this.#bytes.push(0x44 | (reg << 3), (scale << 6) | ((index & 7) << 3) | (base & 7), random.below(64));
    this.#fix(base, BigInt(WINDOW + WINDOW_BYTES / 2) - (this.#segment === 0x65 ? BigInt(GS_BASE) : 0n));
    const view = new DataView(new ArrayBuffer(32));
    const element = () => (random.chance(1, 60) ? random.u32() | 0 : random.below(900) - 450);
    // The low bit of the opcode tells quadword indices from doubleword ones.
    for (let at = 0; at < 32; at += encoding.opcode & 1 ? 8 : 4) {
      if (encoding.opcode & 1) {
        view.setBigInt64(at, BigInt(element()), true);
      } else {
        view.setInt32(at, element(), true);
      }
    }
    this.#vectors.set(index, new Uint8Array(view.buffer));
  }

  #put32(value: number): void {
    for (let i = 0; i < 32; i += 8) {
      this.#bytes.push((value >> i) & 0xff);
    }
  }

  #put32At(at: number, value: number): void {
    for (let i = 0; i < 4; i++) {
      this.#bytes[at + i] = (value >> (i * 8)) & 0xff;
    }
  }

  #immediates(): void {
    const { encoding, definition } = this.#candidate;
    const random = this.#random;
    const { bits, jumpRoom } = this.#options;
    for (const operand of encoding.operands) {
      let length = 0;
      if (operand.code === 'L') {
        this.#bytes.push(random.below(256));
      } else if (operand.code === 'I') {
        length =
          operand.size === 's' || operand.size === 'b'
            ? 1
            : operand.size === 'w'
              ? 2
              : operand.size === 'v'
                ? this.#size
                : Math.min(this.#size, 4);
        if (definition.name === 'enter') {
          this.#bytes.push(...(operand.size === 'w' ? [random.below(64), 0] : [random.below(4)]));
          continue;
        }
        const value = specialInteger(random);
        for (let i = 0; i < length; i++) {
          this.#bytes.push(Number((value >> BigInt(i * 8)) & 0xffn));
        }
      } else if (operand.code === 'J') {
        const short = operand.size === 'b';
        const distance = random.below(jumpRoom + 1);
        const size = short ? 1 : this.#size === 2 && bits === 32 ? 2 : 4;
        this.#bytes.push(distance);
        for (let i = 1; i < size; i++) {
          this.#bytes.push(0);
        }
      } else if (operand.code === 'O') {
        const size = bits === 64 ? (this.#addressPrefix ? 4 : 8) : this.#addressPrefix ? 2 : 4;
        let target = this.#windowAddress(8);
        if (this.#segment === 0x65 && bits === 64) {
          target -= BigInt(GS_BASE);
        }
        for (let i = 0; i < size; i++) {
          this.#bytes.push(Number((target >> BigInt(i * 8)) & 0xffn));
        }
      }
    }
  }

  /** Values that make the interesting outcomes likelier. */
  #fixValues(): void {
    const { definition, encoding } = this.#candidate;
    const { name } = definition;
    const random = this.#random;
    if (this.#options.pointers !== undefined) {
      return;
    }
    if ((name === 'div' || name === 'idiv') && random.chance(3, 4)) {
      this.#fix(RDX, random.pick([0n, 0n, 1n, 0xffffffffffffffffn, BigInt(random.below(1 << 16))]));
      if (random.chance(1, 2)) {
        this.#fix(RAX, BigInt(random.below(0x4000)));
      }
    } else if (/^bt/.test(name) && this.#memory && encoding.operands[1]?.code === 'G') {
      const register = ((this.#modrmByte() >> 3) & 7) | ((this.#rex & 4) << 1);
      const bit = BigInt(random.below(4000) - 2000);
      this.#fix(register, this.#size === 2 && random.chance(1, 2) ? (bit & 0xffffn) | (random.u64() & ~0xffffn) : bit);
    } else if ((name === 'jmp' || name === 'call') && encoding.modrm && !this.#memory) {
      this.#fix((this.#modrmByte() & 7) | ((this.#rex & 1) << 3), BigInt(this.#options.address + 32));
    } else if (name === 'maskmovdqu' || name === 'maskmovq') {
      this.#fix(RDI, this.#windowAddress(16));
    }
  }
}

/** Generates one instance of an encoding, or undefined when this attempt does not fit the options. */
export function generateInstance(
  random: Random,
  candidate: Candidate,
  options: GeneratorOptions,
): Instance | undefined {
  return new InstanceBuilder(random, candidate, options).build();
}
