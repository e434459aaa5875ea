import type { Random } from '../../../testing/random.ts';
import { buildInstructionTable } from '../instructions/table.ts';
import * as L from '../layout.ts';
import {
  Batch,
  CASE_BYTES,
  CASE_START,
  CODE,
  CODE_BYTES,
  caseAddress,
  FX_CONTROL,
  FX_MXCSR,
  FX_ST,
  FX_STATUS,
  FX_TAG,
  FX_XMM,
  RECORD_ADDRESS,
  RECORD_BITS,
  RECORD_ERROR,
  RECORD_FLAGS,
  RECORD_FX,
  RECORD_RIP,
  RECORD_SIZE,
  RECORD_TEMPLATE,
  RECORD_VECTOR,
  RECORD_YMM_HIGH,
  VECTOR_END,
  WINDOW,
  WINDOW_BYTES,
} from './case-records.ts';
import { EmulatedProcessor, STOP } from './emulated-processor.ts';
import type { HostProcessor, NativeResults, WindowDifference } from './native-processor.ts';
import { type Candidate, candidates, generateInstance, type Instance } from './random-instructions.ts';
import { specialExtended, specialInteger, specialVector } from './special-values.ts';

/** One case: a single instruction, or a program. */
export interface Case {
  readonly instances: readonly Instance[];
  readonly bits: 32 | 64;
}

/** A case whose outcome differs. */
export interface Mismatch {
  readonly name: string;
  readonly fields: readonly string[];
  readonly text: string;
  readonly instances: readonly Instance[];
}

/** Flags compared: arithmetic ones and DF. */
const COMPARED_FLAGS = L.FLAGS_ARITHMETIC | L.FLAG_DF;
const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const registerName = (index: number) => REGISTERS[index] ?? `r${index}`;

const hex = (value: bigint | number) => value.toString(16);
const bytesHex = (bytes: Iterable<number>) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

/** Arithmetic flags that the manual leaves undefined after this very instance, from the registers before it. */
export function undefinedFlags(instance: Instance, before: DataView): number {
  const { name, options } = instance.definition;
  const mask = options.undefinedFlags ?? 0;
  const last = instance.encoding.operands.at(-1);
  if (/^(rol|ror|rcl|rcr|shl|shr|sar|shld|shrd)$/.test(name) && last !== undefined) {
    const count =
      (last.code === 'I' ? (instance.bytes.at(-1) as number) : last.code === 'K' ? 1 : before.getUint8(8)) &
      (instance.size === 8 ? 63 : 31);
    const bits = operandBits(instance);
    if (count === 0) {
      return 0;
    }
    if (/^sh[lr]d/.test(name) && count > bits) {
      return L.FLAGS_ARITHMETIC;
    }
    const carry = /^sh[lr]$/.test(name) && count > bits ? L.FLAG_CF : 0;
    return (count === 1 ? mask & ~L.FLAG_OF : mask) | carry;
  }
  return mask;
}

function operandBits(instance: Instance): number {
  return instance.encoding.operands[0]?.size === 'b' ? 8 : instance.size * 8;
}

/** What each case is made of. */
export interface CaseMix {
  readonly bits: 32 | 64;
  /** Instructions per case; 1 for single ones. */
  readonly length: number;
  /** Only definitions whose name matches. */
  readonly only?: RegExp;
  /** Candidates to leave out, by definition name. */
  readonly except?: (candidate: Candidate) => boolean;
  /** Definitions that the host's processor allows memory at any address, where the one here raises #GP. */
  readonly unaligned?: RegExp;
}

const VECTOR_GP = 13;

const table = buildInstructionTable();

/** What these leave behind when they fault in the middle depends on the processor. */
const FAULTS_DIFFER = /^(popa|maskmov|vp?gather|fi?stp?-|fisttp-|mmx|fstp-m80|fbstp)/;

/** Makes cases, runs them on both processors, and compares. */
export class Comparison {
  readonly #wide: boolean;
  readonly #random: Random;
  readonly #native: HostProcessor;
  readonly #emulated: EmulatedProcessor;
  readonly #templates: readonly Uint8Array[];
  readonly #result = new Uint8Array(RECORD_SIZE);
  readonly mismatches: Mismatch[] = [];
  /** Mismatches by instruction name. */
  readonly counts = new Map<string, number>();
  /** Instances carried out, by definition name. */
  readonly covered = new Map<string, number>();
  instructions = 0;
  cases = 0;
  #unaligned: RegExp | undefined;

  /** `wide`: the host's processor has YMM registers. */
  constructor(random: Random, native: HostProcessor, templates: readonly Uint8Array[], wide: boolean) {
    this.#wide = wide;
    this.#random = random;
    this.#native = native;
    this.#templates = templates;
    this.#emulated = new EmulatedProcessor(templates);
  }

  /** Runs `count` cases of a mix. */
  async run(mix: CaseMix, count: number): Promise<void> {
    this.#unaligned = mix.unaligned;
    const pool = candidates(table.definitions, mix.bits).filter(
      (candidate) =>
        (mix.only === undefined || mix.only.test(candidate.definition.name)) &&
        !candidate.definition.options.approximate &&
        !(mix.except?.(candidate) ?? false),
    );
    // By definition first, so that those with many encodings do not crowd out the others.
    const groups = new Map<string, Candidate[]>();
    for (const candidate of pool) {
      const list = groups.get(candidate.definition.name);
      if (list === undefined) {
        groups.set(candidate.definition.name, [candidate]);
      } else {
        list.push(candidate);
      }
    }
    const lists = [...groups.values()];
    let previous: { batch: Batch; cases: Case[]; results: Promise<NativeResults> } | undefined;
    const size = Math.min(8192, Math.max(64, count));
    for (let done = 0; done < count; ) {
      const batch = new Batch(Math.min(size, count - done));
      const cases: Case[] = [];
      const capacity = Math.min(size, count - done);
      for (let i = 0; i < capacity; i++) {
        cases.push(this.#make(batch, i, mix, lists));
      }
      batch.count = capacity;
      done += capacity;
      // The host's processor runs this batch while the software one runs the batch before.
      const results = this.#native.run(batch);
      results.catch(() => {});
      if (previous !== undefined) {
        this.#compareBatch(previous.batch, previous.cases, await previous.results);
      }
      previous = { batch, cases, results };
    }
    if (previous !== undefined) {
      this.#compareBatch(previous.batch, previous.cases, await previous.results);
    }
  }

  #make(batch: Batch, index: number, mix: CaseMix, lists: readonly (readonly Candidate[])[]): Case {
    const random = this.#random;
    const record = batch.record(index);
    const view = new DataView(record.buffer, record.byteOffset, RECORD_SIZE);
    const code = batch.codeOf(index);
    code.fill(STOP);
    const instances: Instance[] = [];
    let at = CASE_START;
    const single = mix.length === 1;
    const pointers = single ? undefined : this.#pointers(mix.bits);
    let settle = false;
    for (let tries = 0; instances.length < mix.length && tries < mix.length * 20; tries++) {
      const list = settle ? this.#settler(mix.bits) : random.pick(lists);
      const instance = generateInstance(random, random.pick(list), {
        bits: mix.bits,
        address: caseAddress(index) - CASE_START + at,
        jumpRoom: single ? 20 : 0,
        ...(pointers === undefined ? {} : { pointers }),
      });
      if (instance === undefined || at + instance.bytes.length > CASE_BYTES - 1) {
        continue;
      }
      // A program must not go on with undefined flags: the next instruction defines them all.
      settle = (instance.definition.options.undefinedFlags ?? 0) !== 0;
      if (settle && instances.length === mix.length - 1 && !single) {
        settle = false;
        continue;
      }
      code.set(instance.bytes, at);
      at += instance.bytes.length;
      instances.push(instance);
    }
    this.#state(record, view, index, mix.bits);
    for (const [register, value] of pointers ?? instances[0]?.registers ?? []) {
      view.setBigUint64(register * 8, value, true);
    }
    for (const [register, value] of instances[0]?.vectors ?? []) {
      record.set(value.subarray(0, 16), FX_XMM + register * 16);
      if (this.#wide) {
        record.set(value.subarray(16, 32), RECORD_YMM_HIGH + register * 16);
      }
    }
    if (mix.bits === 32) {
      for (let i = 0; i < 8; i++) {
        view.setUint32(i * 8 + 4, 0, true);
      }
    }
    return { instances, bits: mix.bits };
  }

  /** An instruction that defines all arithmetic flags. */
  #settler(bits: 32 | 64): readonly Candidate[] {
    const name = this.#random.pick(['add', 'sub', 'cmp']);
    return candidates(
      table.definitions.filter((definition) => definition.name === name),
      bits,
    );
  }

  #pointers(bits: number): Map<number, bigint> {
    const random = this.#random;
    const address = () => BigInt(WINDOW + 0x400 + (random.below(WINDOW_BYTES - 0x800) & -16));
    const pointers = new Map<number, bigint>();
    for (const register of bits === 64 ? [3, 4, 5, 6, 7, 12, 13] : [3, 4, 5, 6, 7]) {
      pointers.set(register, address());
    }
    return pointers;
  }

  /** Random registers. */
  #state(record: Uint8Array, view: DataView, index: number, bits: number): void {
    const random = this.#random;
    for (let i = 0; i < 16; i++) {
      view.setBigUint64(i * 8, specialInteger(random), true);
    }
    view.setBigUint64(RECORD_RIP, BigInt(caseAddress(index)), true);
    view.setUint32(
      RECORD_FLAGS,
      0x202 | (random.u32() & COMPARED_FLAGS & ~L.FLAG_DF) | (random.chance(1, 5) ? L.FLAG_DF : 0),
      true,
    );
    view.setUint32(RECORD_BITS, bits, true);
    view.setUint32(RECORD_TEMPLATE, random.below(this.#templates.length), true);
    const precision = random.pick([3, 3, 3, 3, 2, 0]);
    const rounding = random.chance(1, 2) ? 0 : random.below(4);
    const masks = random.chance(9, 10) ? 0x3f : random.below(64);
    view.setUint16(FX_CONTROL, 0x40 | masks | (precision << 8) | (rounding << 10), true);
    const top = random.below(8);
    // No pending unmasked exception: every x87 instruction would report it.
    const flags = random.chance(1, 2) ? 0 : random.below(64) & masks;
    view.setUint16(FX_STATUS, (top << 11) | ((random.below(256) << 8) & 0x4700) | flags, true);
    record[FX_TAG] = random.chance(1, 2) ? 0xff : random.below(256);
    for (let i = 0; i < 8; i++) {
      const { significand, exponent } = specialExtended(random);
      view.setBigUint64(FX_ST + i * 16, significand, true);
      view.setUint16(FX_ST + i * 16 + 8, random.chance(1, 8) ? 0xffff : exponent, true);
    }
    const sseMasks = random.chance(9, 10) ? 0x1f80 : random.below(64) << 7;
    const sseRounding = random.chance(1, 2) ? 0 : random.below(4) << 13;
    const sseZeros = random.chance(7, 8) ? 0 : random.pick([0x40, 0x8000, 0x8040]);
    view.setUint32(FX_MXCSR, sseMasks | sseRounding | sseZeros | (random.chance(1, 2) ? 0 : random.below(64)), true);
    for (let i = 0; i < 16; i++) {
      specialVector(random, view, FX_XMM + i * 16);
      if (this.#wide) {
        specialVector(random, view, RECORD_YMM_HIGH + i * 16);
      }
    }
  }

  #compareBatch(batch: Batch, cases: readonly Case[], results: NativeResults): void {
    this.#emulated.loadCode(batch);
    for (const [index, item] of cases.entries()) {
      if (results.refused?.has(index) !== true) {
        this.#compareCase(batch, index, item, results);
      }
    }
  }

  #compareCase(batch: Batch, index: number, item: Case, results: NativeResults): void {
    const before = batch.record(index);
    const actual = this.#result;
    this.#emulated.run(before, actual);
    this.cases++;
    this.instructions += this.#emulated.executed;
    for (const instance of item.instances) {
      this.covered.set(instance.definition.name, (this.covered.get(instance.definition.name) ?? 0) + 1);
    }
    const expected = results.records.subarray(index * RECORD_SIZE, (index + 1) * RECORD_SIZE);
    const differences = results.differences.get(index) ?? [];
    const fields = this.#differences(item, before, expected, actual, differences);
    if (fields.length > 0) {
      const name = item.instances.map((instance) => instance.definition.name).join(' ');
      const known = this.counts.get(name) ?? 0;
      this.counts.set(name, known + 1);
      if (known < 3) {
        this.mismatches.push({
          name,
          fields,
          instances: item.instances,
          text: describeCase(item, before, fields),
        });
      }
    }
  }

  #differences(
    item: Case,
    before: Uint8Array<ArrayBuffer>,
    expected: Uint8Array<ArrayBuffer>,
    actual: Uint8Array<ArrayBuffer>,
    written: readonly WindowDifference[],
  ): string[] {
    const fields: string[] = [];
    const first = item.instances[0]?.definition;
    if (
      first !== undefined &&
      item.instances.length === 1 &&
      expected[RECORD_VECTOR] !== VECTOR_END &&
      FAULTS_DIFFER.test(first.options.unit === 'mmx' ? 'mmx' : first.name)
    ) {
      return fields;
    }
    const want = new DataView(expected.buffer, expected.byteOffset, RECORD_SIZE);
    const got = new DataView(actual.buffer, actual.byteOffset, RECORD_SIZE);
    const start = new DataView(before.buffer, before.byteOffset, RECORD_SIZE);
    const vector = want.getUint32(RECORD_VECTOR, true);
    // Accesses across the end of a 4-GiB segment go on at its start, or raise #GP or #SS, by the processor's make.
    const address = got.getBigUint64(RECORD_ADDRESS, true);
    const wraps = address < 64n || (address >= 0xffffffc0n && address <= 0xffffffffn);
    if (item.bits === 32 && (vector === 12 || vector === 13) && got.getUint32(RECORD_VECTOR, true) === 14 && wraps) {
      return fields;
    }
    const stoppedElsewhere = want.getBigUint64(RECORD_RIP, true) !== got.getBigUint64(RECORD_RIP, true);
    const protection = got.getUint32(RECORD_VECTOR, true) === VECTOR_GP;
    if (protection && (stoppedElsewhere || vector !== VECTOR_GP) && this.#checksAlignment(item, got)) {
      return fields;
    }
    const show = (name: string, e: bigint | number, a: bigint | number) =>
      fields.push(`${name}: expected ${hex(e)}, got ${hex(a)}`);
    // Repeated string instructions with 32-bit addresses: when the upper halves are cleared depends on the processor.
    const half =
      item.bits === 32 || (item.instances[0]?.definition.options.repeat && item.instances[0].bytes.includes(0x67));
    const mask = half ? 0xffffffffn : 0xffffffffffffffffn;
    for (let i = 0; i < 16; i++) {
      const e = want.getBigUint64(i * 8, true) & mask;
      const a = got.getBigUint64(i * 8, true) & mask;
      if (e !== a && (item.bits === 64 || i < 8)) {
        show(registerName(i), e, a);
      }
    }
    if (want.getBigUint64(RECORD_RIP, true) !== got.getBigUint64(RECORD_RIP, true)) {
      show('rip', want.getBigUint64(RECORD_RIP, true), got.getBigUint64(RECORD_RIP, true));
    }
    if (vector !== got.getUint32(RECORD_VECTOR, true)) {
      show('vector', vector, got.getUint32(RECORD_VECTOR, true));
    } else if (vector >= 10 && vector <= 14) {
      // Outside the memory of the tests the host has pages of its own.
      const address = Number(want.getBigUint64(RECORD_ADDRESS, true));
      const foreign = vector === 14 && !(address >= WINDOW && address < CODE + CODE_BYTES);
      if ((want.getUint32(RECORD_ERROR, true) ^ got.getUint32(RECORD_ERROR, true)) & (foreign ? ~1 : ~0)) {
        show('error code', want.getUint32(RECORD_ERROR, true), got.getUint32(RECORD_ERROR, true));
      }
      if (vector === 14 && want.getBigUint64(RECORD_ADDRESS, true) !== got.getBigUint64(RECORD_ADDRESS, true)) {
        show('cr2', want.getBigUint64(RECORD_ADDRESS, true), got.getBigUint64(RECORD_ADDRESS, true));
      }
    }
    const last = item.instances.at(-1);
    const single = item.instances.length === 1;
    const ended = vector === VECTOR_END;
    // A faulting instruction leaves the flags alone; a program may have stopped at flags that are still undefined.
    let unknown = 0;
    if (single && ended && last !== undefined) {
      unknown = undefinedFlags(last, start);
    } else if (!single && (!ended || (last?.definition.options.undefinedFlags ?? 0) !== 0)) {
      unknown = L.FLAGS_ARITHMETIC;
    }
    const flags = COMPARED_FLAGS & ~unknown;
    const e = want.getUint32(RECORD_FLAGS, true) & flags;
    const a = got.getUint32(RECORD_FLAGS, true) & flags;
    if (e !== a) {
      fields.push(`flags: expected ${flagNames(e)}, got ${flagNames(a)} (undefined: ${flagNames(unknown)})`);
    }
    for (const [name, start] of [
      ['xmm', FX_XMM],
      ['upper half of ymm', RECORD_YMM_HIGH],
    ] as const) {
      if (Buffer.compare(expected.subarray(start, start + 256), actual.subarray(start, start + 256)) === 0) {
        continue;
      }
      for (let i = 0; i < 16; i++) {
        const want = expected.subarray(start + i * 16, start + i * 16 + 16);
        const got = actual.subarray(start + i * 16, start + i * 16 + 16);
        if (Buffer.compare(want, got) !== 0) {
          fields.push(`${name}${i}: expected ${bytesHex(want)}, got ${bytesHex(got)}`);
        }
      }
    }
    if (want.getUint32(FX_MXCSR, true) !== got.getUint32(FX_MXCSR, true)) {
      show('mxcsr', want.getUint32(FX_MXCSR, true), got.getUint32(FX_MXCSR, true));
    }
    const skipsX87 = !ended && item.instances.some(({ definition }) => definition.options.unit === 'mmx');
    if (!skipsX87) {
      this.#compareX87(want, got, expected, actual, fields);
    }
    this.#compareWindow(start, written, fields);
    return fields;
  }

  /** Whether the instruction that `got` stopped at is one that only the processor here wants aligned memory for. */
  #checksAlignment(item: Case, got: DataView): boolean {
    let at = got.getBigUint64(RECORD_RIP, true) & BigInt(CASE_BYTES - 1);
    const stopped = item.instances.find(({ bytes }) => {
      at -= BigInt(bytes.length);
      return at < BigInt(CASE_START);
    });
    return stopped?.memory === true && this.#unaligned?.test(stopped.definition.name) === true;
  }

  #compareX87(
    want: DataView,
    got: DataView,
    expected: Uint8Array<ArrayBuffer>,
    actual: Uint8Array<ArrayBuffer>,
    fields: string[],
  ): void {
    const show = (name: string, e: number, a: number) => fields.push(`${name}: expected ${hex(e)}, got ${hex(a)}`);
    for (const [name, offset] of [
      ['fpu control', FX_CONTROL],
      ['fpu status', FX_STATUS],
    ] as const) {
      if (want.getUint16(offset, true) !== got.getUint16(offset, true)) {
        show(name, want.getUint16(offset, true), got.getUint16(offset, true));
      }
    }
    if (expected[FX_TAG] !== actual[FX_TAG]) {
      show('fpu tag', expected[FX_TAG] as number, actual[FX_TAG] as number);
    }
    for (let i = 0; i < 8; i++) {
      const from = FX_ST + i * 16;
      if (Buffer.compare(expected.subarray(from, from + 10), actual.subarray(from, from + 10)) !== 0) {
        const text = (view: DataView) => `${hex(view.getUint16(from + 8, true))}:${hex(view.getBigUint64(from, true))}`;
        fields.push(`st${i}: expected ${text(want)}, got ${text(got)}`);
      }
    }
  }

  #compareWindow(start: DataView, written: readonly WindowDifference[], fields: string[]): void {
    // The template with the words that the host's processor changed.
    const template = this.#templates[start.getUint32(RECORD_TEMPLATE, true)] as Uint8Array;
    const { window } = this.#emulated;
    if (written.length === 0) {
      if (Buffer.compare(window, template) !== 0) {
        this.#showWindow(template, window, fields);
      }
    } else {
      const image = Uint8Array.from(template);
      const view = new DataView(image.buffer);
      for (const { offset, value } of written) {
        view.setBigUint64(offset, value, true);
      }
      if (Buffer.compare(window, image) !== 0) {
        this.#showWindow(image, window, fields);
      }
    }
  }

  #showWindow(expected: Uint8Array, actual: Uint8Array, fields: string[]): void {
    let shown = 0;
    for (let at = 0; at < expected.length && shown < 4; at += 8) {
      const e = expected.subarray(at, at + 8);
      const a = actual.subarray(at, at + 8);
      if (Buffer.compare(e, a) !== 0) {
        shown++;
        fields.push(`[${hex(WINDOW + at)}]: expected ${bytesHex(e)}, got ${bytesHex(a)}`);
      }
    }
  }
}

function flagNames(flags: number): string {
  const names: [number, string][] = [
    [L.FLAG_CF, 'C'],
    [L.FLAG_PF, 'P'],
    [L.FLAG_AF, 'A'],
    [L.FLAG_ZF, 'Z'],
    [L.FLAG_SF, 'S'],
    [L.FLAG_DF, 'D'],
    [L.FLAG_OF, 'O'],
  ];
  return names.map(([bit, name]) => (flags & bit ? name : '-')).join('');
}

/** A case in words: its instructions, the state before it, and what differs. */
export function describeCase(item: Case, before: Uint8Array<ArrayBuffer>, fields: readonly string[]): string {
  const view = new DataView(before.buffer, before.byteOffset, RECORD_SIZE);
  const lines = item.instances.map(
    ({ definition, encoding, bytes }) => `  ${definition.name} (${encoding.text})  ${bytesHex(bytes)}`,
  );
  const registers = Array.from(
    { length: item.bits === 64 ? 16 : 8 },
    (_, i) => `${registerName(i)}=${hex(view.getBigUint64(i * 8, true))}`,
  );
  lines.push(
    `  ${item.bits}-bit, template ${view.getUint32(RECORD_TEMPLATE, true)}, rip ${hex(view.getBigUint64(RECORD_RIP, true))}`,
  );
  lines.push(`  ${registers.join(' ')}`);
  lines.push(
    `  flags ${flagNames(view.getUint32(RECORD_FLAGS, true))} mxcsr ${hex(view.getUint32(FX_MXCSR, true))} fcw ${hex(view.getUint16(FX_CONTROL, true))} fsw ${hex(view.getUint16(FX_STATUS, true))} tag ${hex(before[FX_TAG] as number)}`,
  );
  const units = new Set(item.instances.map((instance) => instance.definition.options.unit));
  if (units.has('sse')) {
    for (let i = 0; i < 16; i++) {
      lines.push(`  xmm${i} ${bytesHex(before.subarray(FX_XMM + i * 16, FX_XMM + i * 16 + 16))}`);
    }
  }
  if (units.has('x87') || units.has('mmx')) {
    for (let i = 0; i < 8; i++) {
      const from = RECORD_FX + 32 + i * 16;
      lines.push(`  st${i} ${hex(view.getUint16(from + 8, true))}:${hex(view.getBigUint64(from, true))}`);
    }
  }
  return [...lines, ...fields.map((field) => `  ! ${field}`)].join('\n');
}
