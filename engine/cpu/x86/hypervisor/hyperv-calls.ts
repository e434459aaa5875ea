import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import type { HypervisorHost } from './guest-interface.ts';

/** Calls (TLFS, appendix A). */
const HV_FLUSH_VIRTUAL_ADDRESS_SPACE = 0x2;
const HV_FLUSH_VIRTUAL_ADDRESS_LIST = 0x3;
const HV_NOTIFY_LONG_SPIN_WAIT = 0x8;
const HV_SEND_SYNTHETIC_CLUSTER_IPI = 0xb;
const HV_FLUSH_VIRTUAL_ADDRESS_SPACE_EX = 0x13;
const HV_FLUSH_VIRTUAL_ADDRESS_LIST_EX = 0x14;
const HV_SEND_SYNTHETIC_CLUSTER_IPI_EX = 0x15;
const HV_POST_MESSAGE = 0x5c;
const HV_SIGNAL_EVENT = 0x5d;

/** What they come to (TLFS, appendix B). */
export const HV_STATUS_SUCCESS = 0;
export const HV_STATUS_INVALID_HYPERCALL_CODE = 2;
export const HV_STATUS_INVALID_HYPERCALL_INPUT = 3;
export const HV_STATUS_INVALID_ALIGNMENT = 4;
export const HV_STATUS_INVALID_PARAMETER = 5;
export const HV_STATUS_ACCESS_DENIED = 6;

/** The word that names a call (TLFS 3.7). */
const CALL_CODE = 0xffffn;
const CALL_FAST = 1n << 16n;
const CALL_HEADER_SHIFT = 17n;
const CALL_HEADER_MASK = 0x3ffn;
const CALL_REPS_SHIFT = 32n;
const CALL_START_SHIFT = 48n;
const CALL_REPS_MASK = 0xfffn;
const CALL_RESERVED = 0xf000f000f8000000n;

/** Registers that a fast call has its input in: two general ones, and XMM0 … XMM5. */
const FAST_WORDS = 14;
const PAGE_BYTES = 4096;
const PAGE_MASK = 0xfffn;
const WORD_BYTES = 8;

const FLUSH_ALL_PROCESSORS = 1n;
const FLUSH_ALL_SPACES = 2n;
const FLUSH_NON_GLOBAL_ONLY = 4n;
/** HV_VP_SET: a set of banks of 64 processors, or all there are. */
const SET_SPARSE = 0n;
const SET_ALL = 1n;
const BANK_PROCESSORS = 64;
/** Vectors of fixed interrupts. */
const FIRST_VECTOR = 16;
const LAST_VECTOR = 255;
/** With more pages than these, forgetting all of them costs less. */
const MOST_PAGES = 32;

/** The input of a call: 64-bit words of the guest's memory, or of its registers. */
interface Input {
  /** Words of the header behind the fixed ones. */
  readonly extra: number;
  readonly reps: number;
  /** The first element that is to be looked at. */
  readonly start: number;
  /** The first `count` words; a number says why there are not so many. */
  words(count: number): readonly bigint[] | number;
}

interface Call {
  /** Its list of elements makes it a call of repetitions. */
  readonly hasReps?: boolean;
  /** Its header may be longer than its fixed part. */
  readonly hasSet?: boolean;
  carryOut(input: Input, caller: CpuState): number;
}

/**
 * What guests ask of Hyper-V by calls (TLFS, chapter 3 and appendix A): that processors forget translations, and that they
 * be interrupted. Messages and events go to other partitions, of which there are none, and guests are not told that they
 * may send any. Everything that a guest passes is checked; what is wrong comes back as a status.
 */
export class HypervCalls {
  readonly #host: HypervisorHost;
  readonly #calls: ReadonlyMap<number, Call>;

  constructor(host: HypervisorHost) {
    this.#host = host;
    this.#calls = new Map<number, Call>([
      [HV_NOTIFY_LONG_SPIN_WAIT, { carryOut: () => HV_STATUS_SUCCESS }],
      [HV_FLUSH_VIRTUAL_ADDRESS_SPACE, { carryOut: (input) => this.#flush(input, 3) }],
      [HV_FLUSH_VIRTUAL_ADDRESS_LIST, { hasReps: true, carryOut: (input) => this.#flush(input, 3) }],
      [HV_FLUSH_VIRTUAL_ADDRESS_SPACE_EX, { hasSet: true, carryOut: (input) => this.#flush(input, 4) }],
      [HV_FLUSH_VIRTUAL_ADDRESS_LIST_EX, { hasReps: true, hasSet: true, carryOut: (input) => this.#flush(input, 4) }],
      [HV_SEND_SYNTHETIC_CLUSTER_IPI, { carryOut: (input) => this.#interrupt(input, 2) }],
      [HV_SEND_SYNTHETIC_CLUSTER_IPI_EX, { hasSet: true, carryOut: (input) => this.#interrupt(input, 3) }],
      [HV_POST_MESSAGE, { carryOut: () => HV_STATUS_ACCESS_DENIED }],
      [HV_SIGNAL_EVENT, { carryOut: () => HV_STATUS_ACCESS_DENIED }],
    ]);
  }

  /** Carries out the call that the processor's registers name, and puts the answer there. */
  call(state: CpuState): void {
    const is64 = (state.mode & L.MODE_CODE_MASK) === L.MODE_CODE64;
    const pair = (high: number, low: number) => (BigInt(state.gpr32(high)) << 32n) | BigInt(state.gpr32(low));
    // RCX, RDX and R8; EDX:EAX, EBX:ECX and EDI:ESI.
    const control = is64 ? state.gpr(1) : pair(2, 0);
    const general = is64 ? [state.gpr(2), state.gpr(8)] : [pair(3, 1), pair(7, 6)];
    const answer = this.#answer(control, general as [bigint, bigint], state);
    if (is64) {
      state.setGpr(0, answer);
    } else {
      state.setGpr32(0, Number(answer & 0xffffffffn));
      state.setGpr32(2, Number(answer >> 32n));
    }
  }

  #answer(control: bigint, general: readonly [bigint, bigint], state: CpuState): bigint {
    const call = this.#calls.get(Number(control & CALL_CODE));
    if (call === undefined) {
      return BigInt(HV_STATUS_INVALID_HYPERCALL_CODE);
    }
    const reps = Number((control >> CALL_REPS_SHIFT) & CALL_REPS_MASK);
    const start = Number((control >> CALL_START_SHIFT) & CALL_REPS_MASK);
    const extra = Number((control >> CALL_HEADER_SHIFT) & CALL_HEADER_MASK);
    const isRight = call.hasReps === true ? start < reps : reps === 0 && start === 0;
    if (!isRight || (control & CALL_RESERVED) !== 0n || (extra > 0 && call.hasSet !== true)) {
      return BigInt(HV_STATUS_INVALID_HYPERCALL_INPUT);
    }
    const words =
      (control & CALL_FAST) === 0n
        ? (count: number) => this.#fromMemory(general[0], count)
        : (count: number) => fromRegisters(general, state, count);
    const status = call.carryOut({ extra, reps, start, words }, state);
    // All elements or none: nothing is done before everything was looked at.
    return BigInt(status) | (BigInt(status === HV_STATUS_SUCCESS ? reps : start) << CALL_REPS_SHIFT);
  }

  /** Input lies in one page of the guest's memory, on a boundary of eight bytes. */
  #fromMemory(address: bigint, count: number): readonly bigint[] | number {
    const bytes = count * WORD_BYTES;
    if (
      (address & 7n) !== 0n ||
      Number(address & PAGE_MASK) + bytes > PAGE_BYTES ||
      address >> BigInt(this.#host.physicalAddressBits) !== 0n
    ) {
      return HV_STATUS_INVALID_ALIGNMENT;
    }
    const buffer = new Uint8Array(bytes);
    this.#host.memory.read(Number(address), buffer);
    const view = new DataView(buffer.buffer);
    return Array.from({ length: count }, (_, i) => view.getBigUint64(i * WORD_BYTES, true));
  }

  /** Address space, flags, processors, and for lists the addresses. `fixed`: words of the header's fixed part. */
  #flush({ extra, reps, start, words }: Input, fixed: number): number {
    const hasSet = fixed === 4;
    const input = words(fixed + extra + reps);
    if (typeof input === 'number') {
      return input;
    }
    const flags = input[1] as bigint;
    const isList = reps > 0;
    if ((flags & ~(FLUSH_ALL_PROCESSORS | FLUSH_ALL_SPACES | (isList ? 0n : FLUSH_NON_GLOBAL_ONLY))) !== 0n) {
      return HV_STATUS_INVALID_PARAMETER;
    }
    const named = hasSet ? this.#processorsOf(input, 2, extra) : this.#processorsIn(input[2] as bigint, 0);
    if (named === undefined) {
      return HV_STATUS_INVALID_PARAMETER;
    }
    const processors = (flags & FLUSH_ALL_PROCESSORS) === 0n ? named : this.#all();
    const pages = isList ? pagesOf(input.slice(fixed + extra + start)) : undefined;
    this.#host.flushTranslations(processors, pages, (flags & FLUSH_NON_GLOBAL_ONLY) === 0n);
    return HV_STATUS_SUCCESS;
  }

  /** Vector and virtual trust level, and processors. */
  #interrupt({ extra, words }: Input, fixed: number): number {
    const input = words(fixed + extra);
    if (typeof input === 'number') {
      return input;
    }
    const first = input[0] as bigint;
    const vector = Number(first & 0xffffffffn);
    const trustLevel = (first >> 32n) & 0xffn;
    if (vector < FIRST_VECTOR || vector > LAST_VECTOR || trustLevel !== 0n) {
      return HV_STATUS_INVALID_PARAMETER;
    }
    const processors = fixed === 3 ? this.#processorsOf(input, 1, extra) : this.#processorsIn(input[1] as bigint, 0);
    if (processors === undefined) {
      return HV_STATUS_INVALID_PARAMETER;
    }
    for (const cpu of processors) {
      this.#host.apics.interrupt(cpu, vector);
    }
    return HV_STATUS_SUCCESS;
  }

  /** HV_VP_SET at word `at`, with `banks` words behind its format and its mask. Undefined: it is not possible. */
  #processorsOf(input: readonly bigint[], at: number, banks: number): readonly number[] | undefined {
    const format = input[at];
    if (format === SET_ALL) {
      return this.#all();
    }
    if (format !== SET_SPARSE) {
      return undefined;
    }
    const processors: number[] = [];
    let next = at + 2;
    let left = banks;
    for (let mask = input[at + 1] as bigint, bank = 0; mask !== 0n; mask >>= 1n, bank++) {
      if ((mask & 1n) !== 0n) {
        if (left-- === 0) {
          return undefined;
        }
        processors.push(...this.#processorsIn(input[next++] as bigint, bank * BANK_PROCESSORS));
      }
    }
    return left === 0 ? processors : undefined;
  }

  /** The processors of a mask whose first bit stands for `first`; those that do not exist are left out. */
  #processorsIn(mask: bigint, first: number): readonly number[] {
    return this.#all().filter(
      (cpu) => cpu >= first && cpu < first + BANK_PROCESSORS && ((mask >> BigInt(cpu - first)) & 1n) !== 0n,
    );
  }

  #all(): readonly number[] {
    return Array.from({ length: this.#host.cpuCount }, (_, cpu) => cpu);
  }
}

/** Undefined: so many that all translations are to be forgotten. */
function pagesOf(ranges: readonly bigint[]): readonly bigint[] | undefined {
  const pages: bigint[] = [];
  for (const range of ranges) {
    // The low bits are the number of further pages.
    const first = range & ~PAGE_MASK;
    const more = Number(range & PAGE_MASK);
    if (pages.length + more + 1 > MOST_PAGES) {
      return undefined;
    }
    for (let i = 0; i <= more; i++) {
      pages.push(BigInt.asUintN(64, first + BigInt(i * PAGE_BYTES)));
    }
  }
  return pages;
}

function fromRegisters(general: readonly [bigint, bigint], state: CpuState, count: number): readonly bigint[] | number {
  if (count > FAST_WORDS) {
    return HV_STATUS_INVALID_HYPERCALL_INPUT;
  }
  return Array.from({ length: count }, (_, i) =>
    i < 2 ? (general[i] as bigint) : state.u64(L.XMM + ((i - 2) >> 1) * L.XMM_STRIDE + (i & 1) * WORD_BYTES),
  );
}
