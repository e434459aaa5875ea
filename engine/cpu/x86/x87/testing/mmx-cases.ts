import type { Random } from '../../../../testing/random.ts';
import { anyState, u64 } from './fpu-cases.ts';
import type { FpuCase } from './host-fpu.ts';

export interface MmxInstruction {
  readonly name: string;
  readonly code: readonly number[];
}

/** Opcodes behind 0F with a register and a register or memory operand. */
const TWO_OPERANDS = [
  0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6f, 0x74, 0x75, 0x76, 0x7f, 0xd1, 0xd2,
  0xd3, 0xd4, 0xd5, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe8, 0xe9,
  0xea, 0xeb, 0xec, 0xed, 0xee, 0xef, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe,
];
const SSSE3 = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0x1c, 0x1d, 0x1e];
const IMMEDIATES = [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 255];

/** Every MMX instruction, with registers MM1, MM2 and EAX, and with memory at [RDI]. */
export function mmxInstructions(): MmxInstruction[] {
  const list: MmxInstruction[] = [];
  const add = (...code: number[]) => list.push({ name: code.map((byte) => byte.toString(16)).join(' '), code });
  for (const opcode of TWO_OPERANDS) {
    add(0x0f, opcode, 0xd1);
    add(0x0f, opcode, 0x17);
  }
  for (const opcode of SSSE3) {
    add(0x0f, 0x38, opcode, 0xca);
    add(0x0f, 0x38, opcode, 0x0f);
  }
  // MOVD and MOVQ to and from EAX, RAX and memory; MOVNTQ, PMOVMSKB, MASKMOVQ, EMMS.
  for (const opcode of [0x6e, 0x7e]) {
    add(0x0f, opcode, 0xc8);
    add(0x0f, opcode, 0x0f);
    add(0x48, 0x0f, opcode, 0xc8);
  }
  add(0x0f, 0xe7, 0x0f);
  add(0x0f, 0xd7, 0xc1);
  add(0x0f, 0xf7, 0xca);
  add(0x0f, 0x77);
  for (const immediate of IMMEDIATES) {
    for (const modrm of [0xca, 0x0f]) {
      add(0x0f, 0x3a, 0x0f, modrm, immediate);
      add(0x0f, 0x70, modrm, immediate);
      add(0x0f, 0xc4, modrm === 0xca ? 0xc8 : modrm, immediate);
    }
    add(0x0f, 0xc5, 0xc1, immediate);
    for (const [opcode, digit] of [
      [0x71, 2],
      [0x71, 4],
      [0x71, 6],
      [0x72, 2],
      [0x72, 4],
      [0x72, 6],
      [0x73, 2],
      [0x73, 6],
    ] as const) {
      add(0x0f, opcode, 0xc1 | (digit << 3), immediate);
    }
  }
  return list;
}

function anyQuad(random: Random): bigint {
  const value = u64(random);
  switch (random.u32() % 6) {
    case 0:
      return value & 0xff00ff008000ffffn;
    case 1:
      return value & 0x3fn;
    case 2:
      return value | 0x8000800080008000n;
    case 3:
      return 0x8000800080008000n;
    default:
      return value;
  }
}

export function anyMmxCase(random: Random, instruction: MmxInstruction): FpuCase {
  const state = anyState(random, 3, 0x37f);
  const registers = state.registers.map((register) => ({ ...register, significand: anyQuad(random) }));
  const memory = new Uint8Array(16);
  const view = new DataView(memory.buffer);
  view.setBigUint64(0, anyQuad(random), true);
  view.setBigUint64(8, u64(random), true);
  return { code: instruction.code, state: { ...state, registers }, memory, eax: random.u32() };
}
