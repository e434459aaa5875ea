import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../testing/random.ts';
import { buildInstructionTable } from '../x86/instructions/table.ts';
import {
  Batch,
  CASE_START,
  caseAddress,
  FX_CONTROL,
  FX_MXCSR,
  RECORD_BITS,
  RECORD_FLAGS,
  RECORD_RIP,
  RECORD_SIZE,
  RECORD_VECTOR,
  WINDOW,
} from '../x86/testing/case-records.ts';
import { EmulatedProcessor, STOP } from '../x86/testing/emulated-processor.ts';
import { neededFeature } from '../x86/testing/host-differences.ts';
import { buildHarness, hostFeatures, NativeProcessor } from '../x86/testing/native-processor.ts';
import { candidates } from '../x86/testing/random-instructions.ts';
import { windowTemplates } from '../x86/testing/special-values.ts';

const VECTOR_UD = 6;
const TRAP_FLAG = 0x100;
/** One-byte opcodes left out: prefixes, escapes, software interrupts, and what would change the harness's own segments. */
const SKIPPED = new Set([
  0x07, 0x0f, 0x17, 0x1f, 0x26, 0x2e, 0x36, 0x3e, 0x62, 0x64, 0x65, 0x66, 0x67, 0x8e, 0x9a, 0x9d, 0xc4, 0xc5, 0xca,
  0xcb, 0xcc, 0xcd, 0xcf, 0xea, 0xf0, 0xf2, 0xf3,
]);
/** Of the two-byte ones: escapes, system calls, segment loads; SYSRET, which only AMD's processors have in 32-bit code. */
const SKIPPED_0F = new Set([0x05, 0x07, 0x34, 0x38, 0x3a, 0xa1, 0xa9, 0xb2, 0xb4, 0xb5]);

function codes(bits: number): number[][] {
  const result: number[][] = [];
  for (const prefix of [[], [0x66], [0xf3], [0xf2], [0xf0]]) {
    for (const map of [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]) {
      for (let opcode = 0; opcode < 256; opcode++) {
        if (map.length === 0 && (SKIPPED.has(opcode) || (bits === 64 && (opcode & 0xf0) === 0x40))) {
          continue;
        }
        if (map.length === 1 && (SKIPPED_0F.has(opcode) || (opcode === 0xae && prefix[0] === 0xf3))) {
          continue;
        }
        for (let modrm = 3; modrm < 256; modrm += 8) {
          // [RBX] and RCX.
          // PREFETCHW of a register does nothing, or does not exist, by the maker.
          const prefetch = map.length === 1 && opcode === 0x0d && modrm >= 0xc0;
          if ((modrm < 0x40 || modrm >= 0xc0) && !prefetch) {
            result.push([...prefix, ...map, opcode, modrm >= 0xc0 ? modrm - 2 : modrm, 0x10, 0, 0, 0, 0, 0, 0, 0]);
          }
        }
      }
    }
  }
  return result;
}

/** Opcodes of VEX groups, whose ModRM.reg matters. */
const VEX_GROUPS = new Set([0x71, 0x72, 0x73, 0xae, 0xf3]);

/** Every VEX prefix with every opcode, on [RBX] or RCX. */
function vexCodes(bits: number): number[][] {
  const result: number[][] = [];
  for (const map of [1, 2, 3]) {
    for (let last = 0; last < 256; last++) {
      // W, L and pp are free; vvvv is unused, or names the register 3.
      if (![0, 12].includes((last >> 3) & 15)) {
        continue;
      }
      for (let opcode = 0; opcode < 256; opcode++) {
        // Makers disagree about PEXTRQ and PINSRQ outside 64-bit code.
        if (bits === 32 && map === 3 && (opcode === 0x16 || opcode === 0x22)) {
          continue;
        }
        for (let reg = 0; reg < (VEX_GROUPS.has(opcode) ? 8 : 1); reg++) {
          for (const modrm of [3, 4, 0xc1]) {
            result.push([0xc4, 0xe0 | map, last ^ 0x78, opcode, modrm | (reg << 3), 0x10, 0, 0, 0, 0, 0]);
          }
        }
      }
    }
  }
  return result;
}

/** Opcodes of instructions that the host's processor lacks: map and opcode, of VEX encodings below zero. */
function unknownToHost(bits: 32 | 64): ReadonlySet<number> {
  const features = hostFeatures();
  const missing = candidates(buildInstructionTable().definitions, bits).filter((candidate) => {
    const feature = neededFeature(candidate);
    return feature !== undefined && !features.has(feature);
  });
  return new Set(missing.map(({ encoding }) => opcodeKey(encoding.vex !== undefined, encoding.map, encoding.opcode)));
}

function opcodeKey(vex: boolean, map: number, opcode: number): number {
  return (vex ? -1 : 1) * ((map << 8) | opcode);
}

/** The key of a test's code. */
function keyOf(bytes: readonly number[]): number {
  if (bytes[0] === 0xc4) {
    return opcodeKey(true, (bytes[1] as number) & 31, bytes[3] as number);
  }
  const at = [0x66, 0xf2, 0xf3, 0xf0].includes(bytes[0] as number) ? 1 : 0;
  const map = bytes[at] !== 0x0f ? 0 : bytes[at + 1] === 0x38 ? 2 : bytes[at + 1] === 0x3a ? 3 : 1;
  return opcodeKey(false, map, bytes[at + map - (map === 3 ? 1 : 0)] as number);
}

const harness = buildHarness();

for (const bits of [64, 32] as const) {
  const skip = 'missing' in harness ? harness.missing : false;
  test(`what the host's processor calls undefined in ${bits}-bit code is so here`, { skip }, async () => {
    assert('path' in harness);
    const templates = windowTemplates(new Random(1), 1);
    const native = new NativeProcessor(harness.path, templates);
    const emulated = new EmulatedProcessor(templates);
    // AVX's opcodes are those of the host too only if it has AVX2.
    const missing = unknownToHost(bits);
    const all = [...codes(bits), ...(hostFeatures().has('avx2') ? vexCodes(bits) : [])].filter(
      (bytes) => !missing.has(keyOf(bytes)),
    );
    const wrong: string[] = [];
    for (let from = 0; from < all.length; from += 8192) {
      const chunk = all.slice(from, from + 8192);
      const batch = new Batch(chunk.length);
      batch.count = chunk.length;
      for (const [index, bytes] of chunk.entries()) {
        const record = batch.record(index);
        const view = new DataView(record.buffer, record.byteOffset, RECORD_SIZE);
        for (let i = 0; i < 16; i++) {
          view.setBigUint64(i * 8, BigInt(WINDOW + 0x800 + i * 64), true);
        }
        view.setBigUint64(8, 3n, true);
        view.setBigUint64(RECORD_RIP, BigInt(caseAddress(index)), true);
        // A single step: whatever it is, only this instruction is carried out.
        view.setUint32(RECORD_FLAGS, 0x202 | TRAP_FLAG, true);
        view.setUint32(RECORD_BITS, bits, true);
        view.setUint16(FX_CONTROL, 0x37f, true);
        view.setUint32(FX_MXCSR, 0x1f80, true);
        batch.codeOf(index).fill(STOP).set(bytes, CASE_START);
      }
      const { records } = await native.run(batch);
      const expected = new DataView(records.buffer);
      emulated.loadCode(batch);
      const result = new Uint8Array(RECORD_SIZE);
      const actual = new DataView(result.buffer);
      for (const [index, bytes] of chunk.entries()) {
        if (expected.getUint32(index * RECORD_SIZE + RECORD_VECTOR, true) !== VECTOR_UD) {
          continue;
        }
        const record = batch.record(index);
        new DataView(record.buffer, record.byteOffset).setUint32(RECORD_FLAGS, 0x202, true);
        emulated.run(record, result);
        if (actual.getUint32(RECORD_VECTOR, true) !== VECTOR_UD) {
          wrong.push(Buffer.from(bytes).toString('hex'));
        }
      }
    }
    await native.close();
    assert.deepEqual(wrong, []);
  });
}
