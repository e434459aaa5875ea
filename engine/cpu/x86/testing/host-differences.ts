import type { Candidate } from './random-instructions.ts';

/** Host features (as Linux names them) that parts of the table need; everything else every x86-64 processor has. */
export function neededFeature({ definition, encoding }: Candidate): string | undefined {
  const { name } = definition;
  if (encoding.vex === '256' && /^(aes|pclmul)/.test(name)) {
    return name === 'pclmulqdq' ? 'vpclmulqdq' : 'vaes';
  }
  if (definition.options.feature !== undefined) {
    return definition.options.feature;
  }
  if (encoding.vex !== undefined) {
    return 'avx2';
  }
  if (name === 'movbe' || name === 'popcnt') {
    return name;
  }
  if (name === 'cmpxchg16b') {
    return 'cx16';
  }
  if (name === 'lahf' || name === 'sahf') {
    return 'lahf_lm';
  }
  if (name.startsWith('fisttp') || /^(addsub|h(add|sub)p|lddqu|mov(s[hl]|d)dup)/.test(name)) {
    return 'pni';
  }
  if (encoding.map === 2) {
    if (encoding.opcode <= 0x0b || (encoding.opcode >= 0x1c && encoding.opcode <= 0x1e)) {
      return 'ssse3';
    }
    if (encoding.opcode >= 0xdb && encoding.opcode <= 0xdf) {
      return 'aes';
    }
    return encoding.opcode === 0x37 || encoding.opcode >= 0xf0 ? 'sse4_2' : 'sse4_1';
  }
  if (encoding.map === 3) {
    if (encoding.opcode === 0x0f) {
      return 'ssse3';
    }
    if (encoding.opcode === 0x44) {
      return 'pclmulqdq';
    }
    if (encoding.opcode === 0xdf) {
      return 'aes';
    }
    return encoding.opcode >= 0x60 && encoding.opcode <= 0x63 ? 'sse4_2' : 'sse4_1';
  }
  return undefined;
}

/**
 * What AMD's processors do in another way than Intel's, which are the model here: undefined results of 16-bit double
 * shifts, which of several NaNs a dot product yields, how much of a pushed selector is written, the order in which string
 * comparisons read, a call's push before its target is known to be canonical, PREFETCHW of registers, PAUSE with REX.B.
 */
export const AMD_DIFFERS = /^(sh[lr]d|dpp[sd]|push-segment-\d|cmps|scas|call|nop|pause)$/;

/** Instructions that AMD's processors take unaligned memory operands with, where Intel's raise #GP (SDM 2A, 2.6.4). */
export const AMD_UNALIGNED = /^sha(1|256)/;
