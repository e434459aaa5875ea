import { defined } from '../../base/assert.ts';
import type { Encoding, InstructionDefinition, InstructionTable } from '../x86/instructions/definition.ts';
import type { Interpreter } from './interpreter.ts';
import { isLazy } from './lazy-handlers.ts';
import type { Prefixes } from './prefixes.ts';
import { fixedSize, isSized, VARIANT_NUMBERS, variantsOf } from './variants.ts';

/** An encoding ready for decoding: which handler carries out each of its variants. */
export interface Candidate {
  readonly definition: InstructionDefinition;
  readonly encoding: Encoding;
  /** Handler number by variant number, −1 where there is none. Absent until code has the encoding, if built late. */
  handlers: Int32Array | undefined;
  readonly sized: boolean;
  /** Sized only by 4- and 8-byte operands. */
  readonly dwordSized: boolean;
  readonly fixedSize: number;
  /** Has an operand in VEX.vvvv. */
  readonly usesVvvv: boolean;
}

/** Candidates by opcode map and opcode; behind the legacy maps 0–3 come the VEX ones 4–7. */
export type DecoderMaps = readonly (readonly (readonly Candidate[])[])[];

const MAPS = 4;

function handlersOf(definition: InstructionDefinition, encoding: Encoding, interpreter: Interpreter): Int32Array {
  const handlers = new Int32Array(VARIANT_NUMBERS).fill(-1);
  for (const [number, variant] of variantsOf(definition, encoding)) {
    handlers[number] = defined(interpreter.handlers.get(variant.key), variant.key);
  }
  return handlers;
}

export function buildDecoderMaps(table: InstructionTable, interpreter: Interpreter): DecoderMaps {
  const maps: Candidate[][][] = Array.from({ length: MAPS * 2 }, () => Array.from({ length: 256 }, () => []));
  for (const definition of table.definitions) {
    for (const encoding of definition.encodings) {
      const sized = isSized(encoding);
      const dwordSized = sized && encoding.operands.every((operand) => !'vzs'.includes(operand.size));
      const map = maps[encoding.map + (encoding.vex === undefined ? 0 : MAPS)];
      defined(defined(map, 'map')[encoding.opcode], 'opcode').push({
        definition,
        encoding,
        handlers: isLazy(encoding) ? undefined : handlersOf(definition, encoding, interpreter),
        sized,
        dwordSized,
        fixedSize: fixedSize(encoding),
        usesVvvv: encoding.operands.some((operand) => operand.code === 'H' || operand.code === 'B'),
      });
    }
  }
  // The more specific encodings first: exact ModRM bytes, then mandatory prefixes.
  const rank = (candidate: Candidate) =>
    (candidate.encoding.exact === undefined ? 2 : 0) + (candidate.encoding.prefix === 'any' ? 1 : 0);
  for (const map of maps) {
    for (const list of map) {
      list.sort((a, b) => rank(a) - rank(b));
    }
  }
  return maps;
}

export function candidatesFor(maps: DecoderMaps, prefixes: Prefixes): readonly Candidate[] | undefined {
  return maps[prefixes.map + (prefixes.vex ? MAPS : 0)]?.[prefixes.opcode];
}

function prefixFits(encoding: Encoding, { operandSize, repeat }: Prefixes): boolean {
  switch (encoding.prefix) {
    case 'any':
      return true;
    case 'none':
      return !operandSize && repeat === 0;
    case '66':
      return operandSize && repeat === 0;
    case 'f3':
      return repeat === 0xf3;
    case 'f2':
      return repeat === 0xf2;
  }
}

function lengthFits({ vex }: Encoding, length: number): boolean {
  return vex === '128' ? length === 0 : vex === '256' ? length === 1 : true;
}

/** The first candidate that an instruction with these prefixes and this ModRM byte can be. */
export function choose(
  list: readonly Candidate[],
  modrm: number,
  long: boolean,
  prefixes: Prefixes,
): Candidate | undefined {
  const wide = (prefixes.rex & 8) !== 0;
  for (const candidate of list) {
    const { encoding } = candidate;
    if (encoding.mode !== 'any' && (encoding.mode === 'only64') !== long) {
      continue;
    }
    if (!prefixFits(encoding, prefixes) || !lengthFits(encoding, prefixes.length)) {
      continue;
    }
    if (prefixes.vex && !candidate.usesVvvv && prefixes.vvvv !== 0) {
      continue;
    }
    if (
      encoding.exact !== undefined
        ? encoding.exact !== modrm
        : encoding.reg !== undefined && encoding.reg !== ((modrm >> 3) & 7)
    ) {
      continue;
    }
    // Moves to and from control and debug registers take their ModRM as a register whatever its mode bits.
    const ignoresMode = encoding.map === 1 && (encoding.opcode & 0xfc) === 0x20;
    if (
      !ignoresMode &&
      encoding.exact === undefined &&
      encoding.form !== 'any' &&
      modrm >= 0 &&
      (encoding.form === 'memory') !== modrm < 0xc0
    ) {
      continue;
    }
    if (encoding.rexW !== undefined && encoding.rexW !== wide) {
      continue;
    }
    return candidate;
  }
  return undefined;
}
