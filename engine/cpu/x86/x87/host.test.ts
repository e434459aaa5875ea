import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../../testing/random.ts';
import * as X from './registers.ts';
import { anyCase, exactInstructions, type FpuInstruction, TRANSCENDENTAL } from './testing/fpu-cases.ts';
import {
  buildHostFpu,
  EmulatedFpu,
  type Extended,
  type FpuCase,
  type FpuOutcome,
  runOnHost,
} from './testing/host-fpu.ts';
import { anyMmxCase, mmxInstructions } from './testing/mmx-cases.ts';

const host = buildHostFpu();
const skip = 'missing' in host ? host.missing : false;
const path = 'path' in host ? host.path : '';

function describeNumber(value: Extended | undefined): string {
  return `${value?.word.toString(16).padStart(4, '0')}:${value?.significand.toString(16).padStart(16, '0')}`;
}

function describeOutcome(outcome: FpuOutcome, statusMask = 0xffff): string {
  return [
    `control ${outcome.state.control.toString(16)}`,
    `status ${(outcome.state.status & statusMask).toString(16)}`,
    `tags ${outcome.state.tags.toString(16)}`,
    ...outcome.state.registers.map(describeNumber),
    Buffer.from(outcome.memory).toString('hex'),
    `flags ${outcome.flags.toString(16)}`,
    `eax ${outcome.eax.toString(16)}`,
  ].join('\n');
}

function describeCase(name: string, entry: FpuCase): string {
  const { state } = entry;
  const registers = state.registers.slice(0, 3).map(describeNumber).join(' ');
  const words = [state.control, state.status, state.tags].map((word) => word.toString(16)).join(' ');
  return `${name}: control, status, tags ${words}; ${registers}; memory ${Buffer.from(entry.memory).toString('hex')}`;
}

/** Runs `count` cases of each instruction on both. */
function compare<T extends { readonly name: string }>(
  instructions: readonly T[],
  count: number,
  make: (random: Random, instruction: T) => FpuCase,
  check: (instruction: T, entry: FpuCase, got: FpuOutcome, want: FpuOutcome) => void,
): void {
  const random = new Random(20260801);
  const cases = instructions.flatMap((instruction) =>
    Array.from({ length: count }, () => ({ instruction, entry: make(random, instruction) })),
  );
  const wanted = runOnHost(
    path,
    cases.map(({ entry }) => entry),
  );
  const emulated = new EmulatedFpu();
  for (const [i, { instruction, entry }] of cases.entries()) {
    const want = wanted[i];
    assert.ok(want);
    check(instruction, entry, emulated.run(entry), want);
  }
}

/** Numbers of one sign in order, neighbours one apart. */
function ordinal(value: Extended | undefined): bigint {
  assert.ok(value);
  const size = (BigInt(value.word & 0x7fff) << 63n) | (value.significand & ~X.INTEGER_BIT);
  return value.word & X.SIGN ? -size : size;
}

describe("the x87 unit against the host's", { skip }, () => {
  it('gives the same results, status, tags and memory for every exact instruction', () => {
    compare(exactInstructions(), 100, anyCase, (instruction, entry, got, want) =>
      assert.equal(describeOutcome(got), describeOutcome(want), describeCase(instruction.name, entry)),
    );
  });

  it('gives the same transcendental results to a unit in the last place', () => {
    compare<FpuInstruction>(TRANSCENDENTAL, 200, anyCase, (instruction, entry, got, want) => {
      const message = describeCase(instruction.name, entry);
      // Whether the last place was rounded up, and whether a result at the edge was tiny, may differ.
      const mask = 0xffff & ~(X.STATUS_C1 | X.STATUS_UE);
      assert.equal((got.state.status & mask).toString(16), (want.state.status & mask).toString(16), message);
      for (const [i, register] of got.state.registers.entries()) {
        const distance = ordinal(register) - ordinal(want.state.registers[i]);
        assert.ok(
          distance >= -1n && distance <= 1n,
          `${message}: ${describeOutcome(got)}, not ${describeOutcome(want)}`,
        );
      }
    });
  });

  it('runs every MMX instruction as the host does', () => {
    compare(mmxInstructions(), 25, anyMmxCase, (instruction, entry, got, want) =>
      assert.equal(describeOutcome(got), describeOutcome(want), describeCase(instruction.name, entry)),
    );
  });
});
