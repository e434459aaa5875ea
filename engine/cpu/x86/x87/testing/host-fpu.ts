import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as L from '../../layout.ts';
import { TestMachine } from '../../testing/test-machine.ts';
import * as X from '../registers.ts';

/** An 80-bit number: significand, sign and exponent. */
export interface Extended {
  readonly significand: bigint;
  readonly word: number;
}

/** The state of the unit before and after one instruction. */
export interface FpuState {
  readonly control: number;
  /** With TOP. */
  readonly status: number;
  /** Full tag word of 16 bits. */
  readonly tags: number;
  /** ST(0)–ST(7). */
  readonly registers: readonly Extended[];
}

export interface FpuCase {
  /** The instruction; memory operands at [RDI]. At most 11 bytes. */
  readonly code: readonly number[];
  readonly state: FpuState;
  /** 16 bytes at RDI. */
  readonly memory: Uint8Array;
  readonly eax: number;
}

export interface FpuOutcome {
  readonly state: FpuState;
  readonly memory: Uint8Array;
  readonly flags: number;
  readonly eax: number;
}

const IMAGE = 108;
const REQUEST = 140;
const ANSWER = 132;
const SOURCE = new URL('./host-fpu.c', import.meta.url);

/** Builds the program that runs cases on the host's processor, or says why it cannot. */
export function buildHostFpu(): { path: string } | { missing: string } {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return {
      missing: `comparing with the host's x87 needs Linux on x86-64, this is ${process.platform} ${process.arch}`,
    };
  }
  if (!/^vendor_id\s*:\s*GenuineIntel/m.test(readFileSync('/proc/cpuinfo', 'utf8'))) {
    return {
      missing: "comparing with the host's x87 needs an Intel processor: others differ where the manual is silent",
    };
  }
  const source = readFileSync(SOURCE);
  const directory = join(tmpdir(), `lodge-host-fpu-${process.getuid?.() ?? 0}`);
  const path = join(directory, createHash('sha256').update(source).digest('hex').slice(0, 16));
  if (existsSync(path)) {
    return { path };
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  const options = ['-O1', '-mno-red-zone', '-o', temporary, '-x', 'c', '-'];
  const { error, status, stderr } = spawnSync('gcc', options, { input: source });
  if (error !== undefined) {
    return { missing: "comparing with the host's x87 needs gcc (Debian package gcc)" };
  }
  if (status !== 0) {
    return { missing: `gcc cannot build the x87 harness: ${stderr.toString().split('\n')[0] ?? ''}` };
  }
  renameSync(temporary, path);
  return { path };
}

function writeImage(view: DataView, at: number, state: FpuState): void {
  for (const [i, word] of [state.control, state.status, state.tags].entries()) {
    view.setUint32(at + i * 4, 0xffff0000 | word, true);
  }
  for (const [i, register] of state.registers.entries()) {
    view.setBigUint64(at + 28 + i * 10, register.significand, true);
    view.setUint16(at + 36 + i * 10, register.word, true);
  }
}

function readImage(view: DataView, at: number): FpuState {
  return {
    control: view.getUint16(at, true),
    status: view.getUint16(at + 4, true),
    tags: view.getUint16(at + 8, true),
    registers: Array.from({ length: 8 }, (_, i) => ({
      significand: view.getBigUint64(at + 28 + i * 10, true),
      word: view.getUint16(at + 36 + i * 10, true),
    })),
  };
}

/** Runs all cases on the host's processor. */
export function runOnHost(path: string, cases: readonly FpuCase[]): FpuOutcome[] {
  const input = new Uint8Array(cases.length * REQUEST);
  const view = new DataView(input.buffer);
  for (const [i, entry] of cases.entries()) {
    const at = i * REQUEST;
    writeImage(view, at, entry.state);
    input.set(entry.memory, at + IMAGE);
    input.set([...entry.code, 0xc3], at + IMAGE + 16);
    view.setUint32(at + IMAGE + 28, entry.eax, true);
  }
  const { stdout, status, signal } = spawnSync(path, [], { input, maxBuffer: cases.length * ANSWER + 4096 });
  if (status !== 0 || stdout.length !== cases.length * ANSWER) {
    throw new Error(`the x87 harness failed: ${signal ?? status}`);
  }
  const answers = new DataView(stdout.buffer, stdout.byteOffset, stdout.length);
  return cases.map((_, i) => {
    const at = i * ANSWER;
    return {
      state: readImage(answers, at),
      memory: new Uint8Array(stdout.subarray(at + IMAGE, at + IMAGE + 16)),
      flags: answers.getUint32(at + IMAGE + 16, true),
      eax: answers.getUint32(at + IMAGE + 20, true),
    };
  });
}

function tagOf(register: Extended): number {
  const exponent = register.word & 0x7fff;
  if (exponent === 0 && register.significand === 0n) {
    return 1;
  }
  return exponent === 0 || exponent === 0x7fff || register.significand >> 63n === 0n ? 2 : 0;
}

/** Runs cases on Lodge's processor, setting and reading its record directly. */
export class EmulatedFpu {
  readonly #machine = new TestMachine();
  readonly #code = new Map<string, number>();
  #nextCode = 0x100000;

  constructor() {
    this.#machine.enterLong();
  }

  run(entry: FpuCase): FpuOutcome {
    const { state } = this.#machine;
    const key = entry.code.join();
    let address = this.#code.get(key);
    if (address === undefined) {
      address = this.#nextCode;
      this.#nextCode += 16;
      this.#code.set(key, address);
      this.#machine.write(address, [...entry.code, 0xf4]);
    }
    const top = (entry.state.status & X.STATUS_TOP) >> X.STATUS_TOP_SHIFT;
    state.setU32(L.FPU_CONTROL, entry.state.control);
    state.setU32(L.FPU_STATUS, entry.state.status & ~X.STATUS_TOP);
    state.setU32(L.FPU_TOP, top);
    let valid = 0;
    for (let i = 0; i < 8; i++) {
      valid |= ((entry.state.tags >> (i * 2)) & 3) === 3 ? 0 : 1 << i;
      const register = entry.state.registers[i];
      const place = L.FPR + ((top + i) & 7) * L.FPR_STRIDE;
      state.setU64(place, register?.significand ?? 0n);
      state.setU64(place + 8, BigInt(register?.word ?? 0));
    }
    state.setU32(L.FPU_VALID, valid);
    state.flags = 2;
    state.setGpr(0, BigInt(entry.eax));
    state.setGpr(7, 0x80000n);
    state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.#machine.write(0x80000, entry.memory);
    state.rip = BigInt(address);
    const exit = this.#machine.run(8);
    if (exit.reason !== 'halted' || state.rip !== BigInt(address + entry.code.length + 1)) {
      throw new Error(`stopped at ${state.rip.toString(16)} after ${exit.reason}, not behind ${address.toString(16)}`);
    }
    return this.#outcome();
  }

  #outcome(): FpuOutcome {
    const { state } = this.#machine;
    const top = state.u32(L.FPU_TOP);
    const registers = Array.from({ length: 8 }, (_, i) => {
      const place = L.FPR + ((top + i) & 7) * L.FPR_STRIDE;
      return { significand: state.u64(place), word: state.u16(place + 8) };
    });
    let tags = 0;
    for (let i = 0; i < 8; i++) {
      const register = registers[(i - top) & 7];
      const empty = (state.u32(L.FPU_VALID) & (1 << i)) === 0;
      tags |= (empty || register === undefined ? 3 : tagOf(register)) << (i * 2);
    }
    return {
      state: {
        control: state.u32(L.FPU_CONTROL),
        status: state.u32(L.FPU_STATUS) | (top << X.STATUS_TOP_SHIFT),
        tags,
        registers,
      },
      memory: this.#machine.read(0x80000, 16),
      flags: state.flags & L.FLAGS_ARITHMETIC,
      eax: state.gpr32(0),
    };
  }
}
