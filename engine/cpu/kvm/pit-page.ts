import type { LentCounter } from '../../irq/lent-apics.ts';
import * as K from './kvm-abi.ts';

/** The oscillator in Hz (engine/devices/pit). KVM takes one hertz less. */
const FREQUENCY = 1_193_182n;
const NANOS_PER_SECOND = 1_000_000_000n;
const LARGEST_COUNT = 0x10000;
/**
 * KVM starts a timer for whatever count it is told, and knows none that is over or was never there. Counts have 32 bits in
 * its interface, though: with one like this, whose low half is what guests read, nothing comes of it for an hour.
 */
const COUNT_OF_NOTHING = 0xffff0000;

/** Which byte comes next: of a count of one byte, or the first and second of two. */
const RW_LOW = 1;
const RW_HIGH = 2;
const RW_WORD_LOW = 3;
const RW_WORD_HIGH = 4;

const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;

function isPeriodic(mode: number): boolean {
  return mode === 2 || mode === 3;
}

/** Ticks that a counter has counted since its count was loaded. */
function elapsed({ held, start }: LentCounter, tick: number): number {
  return Math.max(0, held ?? tick - start);
}

/** The counter with what had waited for the end of a period, if that has come. */
function settled(counter: LentCounter, tick: number): LentCounter {
  const { next, nextAt, mode, running } = counter;
  return next !== 0 && running && isPeriodic(mode) && tick >= nextAt
    ? { ...counter, start: nextAt, count: next, next: 0 }
    : counter;
}

/** Ticks of the present period that are over at `tick`; 0 for what does not oscillate. */
export function phase(counter: LentCounter, tick: number): number {
  const now = settled(counter, tick);
  return now.running && isPeriodic(now.mode) ? elapsed(now, tick) % now.count : 0;
}

/** What KVM gets as a count: it begins to count when it gets it. Of the counters, 0 interrupts, and 2 shows its output. */
function countForKvm(counter: LentCounter, index: number, tick: number): number {
  const { mode, running, count, next } = settled(counter, tick);
  if (!running) {
    return index === 0 ? (COUNT_OF_NOTHING | (count & 0xffff)) >>> 0 : next || count || LARGEST_COUNT;
  }
  if (isPeriodic(mode)) {
    return next || count;
  }
  const left = count - elapsed(counter, tick);
  return left > 0 ? left : index === 0 ? (COUNT_OF_NOTHING | (left & 0xffff)) >>> 0 : 1;
}

/**
 * struct kvm_pit_state2 of counters that have counted up to `tick`. KVM starts a count anew whenever it is told one: a
 * single count goes in as what is left of it, a period begins from its start (KvmChips makes up for it).
 */
export function pitPage(counters: readonly LentCounter[], tick: number, flags: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(K.PIT_STATE_BYTES));
  for (const [index, counter] of counters.slice(0, 3).entries()) {
    const at = index * K.PIT_CHANNEL_BYTES;
    const { access, latch, latchBytesLeft, latchedStatus, writeLow } = counter;
    view.setUint32(at + K.PIT_COUNT, countForKvm(counter, index, tick), true);
    if (latch !== undefined && latchBytesLeft > 0) {
      view.setUint16(at + K.PIT_LATCHED_COUNT, latch, true);
      const isHigh = access === ACCESS_HIGH || (access === ACCESS_BOTH && latchBytesLeft === 1);
      view.setUint8(at + K.PIT_COUNT_LATCHED, isHigh ? RW_HIGH : access === ACCESS_BOTH ? RW_WORD_LOW : RW_LOW);
    }
    if (latchedStatus !== undefined) {
      view.setUint8(at + K.PIT_STATUS_LATCHED, 1);
      view.setUint8(at + K.PIT_STATUS, latchedStatus);
    }
    view.setUint8(at + K.PIT_READ_STATE, access === ACCESS_BOTH && counter.readHigh ? RW_WORD_HIGH : access);
    view.setUint8(at + K.PIT_WRITE_STATE, access === ACCESS_BOTH && writeLow !== undefined ? RW_WORD_HIGH : access);
    view.setUint8(at + K.PIT_WRITE_LATCH, writeLow ?? 0);
    view.setUint8(at + K.PIT_RW_MODE, access);
    view.setUint8(at + K.PIT_MODE, counter.mode);
    view.setUint8(at + K.PIT_BCD, counter.bcd ? 1 : 0);
    view.setUint8(at + K.PIT_GATE, counter.gate ? 1 : 0);
  }
  view.setUint32(K.PIT_FLAGS, flags, true);
  return new Uint8Array(view.buffer);
}

/** Counters that went to KVM, and what came of it. */
export interface PitMove {
  /** As they were handed over, at this tick. */
  readonly counters: readonly LentCounter[];
  readonly tick: number;
  /** struct kvm_pit_state2 as KVM told it directly afterwards. */
  readonly page: Uint8Array;
}

/** Whether counter 0 still runs as it was set: its guest has not programmed it since. KVM tells its count only. */
export function isSameTimer(page: Uint8Array, other: Uint8Array): boolean {
  return [K.PIT_COUNT, K.PIT_COUNT + 1, K.PIT_COUNT + 2, K.PIT_MODE].every((at) => page[at] === other[at]);
}

/**
 * The counters after KVM had them, at the present `tick` and `monotonic` time of the host. Of counter 0 KVM does not tell
 * since when it counts: where its guest has programmed it there, its count begins anew.
 */
export function pitCounters(page: Uint8Array, move: PitMove, tick: number, monotonic: bigint): LentCounter[] {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const before = new DataView(move.page.buffer, move.page.byteOffset, move.page.byteLength);
  return move.counters.map((lent, index) => {
    const at = index * K.PIT_CHANNEL_BYTES;
    const loadTime = view.getBigInt64(at + K.PIT_COUNT_LOAD_TIME, true);
    const isUntouched =
      view.getUint32(at + K.PIT_COUNT, true) === before.getUint32(at + K.PIT_COUNT, true) &&
      view.getUint8(at + K.PIT_MODE) === before.getUint8(at + K.PIT_MODE) &&
      (index === 0 || loadTime === before.getBigInt64(at + K.PIT_COUNT_LOAD_TIME, true));
    const timing = isUntouched
      ? carriedOn(lent, move.tick)
      : begun(view, at, index === 0 ? tick : tick - ticksSince(loadTime, monotonic));
    const gate = view.getUint8(at + K.PIT_GATE) !== 0;
    const { mode } = timing;
    const holds = timing.running && (mode === 0 || mode === 4);
    return {
      ...timing,
      ...wayOfAccess(view, at, mode),
      gate,
      running: timing.running && (holds || gate),
      held: holds && !gate ? elapsed(timing, tick) : undefined,
      start: holds && gate && timing.held !== undefined ? Math.max(0, tick - timing.held) : timing.start,
    };
  });
}

/** A counter that counted on in KVM as it was handed over at `tick`. */
function carriedOn(lent: LentCounter, tick: number): LentCounter {
  const counter = settled(lent, tick);
  if (!counter.running || !isPeriodic(counter.mode)) {
    return counter;
  }
  return { ...counter, count: counter.next || counter.count, next: 0, start: tick };
}

/** A counter that was programmed while KVM had it, and counts since `start`. */
function begun(view: DataView, at: number, start: number): LentCounter {
  const kernelMode = view.getUint8(at + K.PIT_MODE);
  const mode = kernelMode > 5 ? 0 : kernelMode;
  // A mode or a count that is none: a count is still to come.
  const kernelCount = view.getUint32(at + K.PIT_COUNT, true);
  const count = kernelMode > 5 || kernelCount > LARGEST_COUNT ? 0 : kernelCount;
  // What began before the machine's time did: a period is as good as any other, a single count is over.
  const from = start >= 0 ? start : isPeriodic(mode) && count > 0 ? ((start % count) + count) % count : 0;
  return {
    mode,
    count,
    start: from,
    running: count !== 0,
    bcd: false,
    access: ACCESS_BOTH,
    gate: true,
    held: undefined,
    next: 0,
    nextAt: 0,
    writeLow: undefined,
    readHigh: false,
    latch: undefined,
    latchBytesLeft: 0,
    latchedStatus: undefined,
  };
}

/** How the counter is read and written. */
function wayOfAccess(view: DataView, at: number, mode: number) {
  const rw = view.getUint8(at + K.PIT_RW_MODE);
  const access = rw >= 1 && rw <= 3 ? rw : ACCESS_BOTH;
  const latched = view.getUint8(at + K.PIT_COUNT_LATCHED);
  const wholeLatch = access === ACCESS_BOTH && latched >= RW_WORD_LOW;
  const halfLatch = latched !== 0 && !wholeLatch && latched === (access === ACCESS_BOTH ? RW_HIGH : access);
  const writesHigh = access === ACCESS_BOTH && view.getUint8(at + K.PIT_WRITE_STATE) === RW_WORD_HIGH;
  return {
    mode,
    bcd: view.getUint8(at + K.PIT_BCD) !== 0,
    access,
    writeLow: writesHigh ? view.getUint8(at + K.PIT_WRITE_LATCH) : undefined,
    readHigh: access === ACCESS_BOTH && view.getUint8(at + K.PIT_READ_STATE) === RW_WORD_HIGH,
    latch: wholeLatch || halfLatch ? view.getUint16(at + K.PIT_LATCHED_COUNT, true) : undefined,
    latchBytesLeft: wholeLatch ? 2 : halfLatch ? 1 : 0,
    latchedStatus: view.getUint8(at + K.PIT_STATUS_LATCHED) === 0 ? undefined : view.getUint8(at + K.PIT_STATUS),
  };
}

/** Ticks of the oscillator between two moments of the host's clock; 0 if they are the wrong way round. */
function ticksSince(then: bigint, now: bigint): number {
  return now <= then ? 0 : Number(((now - then) * FREQUENCY) / NANOS_PER_SECOND);
}

/** How counter 0 interrupts. */
export type TimerActivity =
  /** Not at all: no count, or one that is over, or the HPET stands in for it. */
  | { readonly kind: 'none' }
  | { readonly kind: 'periodic'; readonly count: number }
  /** Once, or it has done so already: KVM does not tell. */
  | { readonly kind: 'once'; readonly count: number };

export function timerActivity(page: Uint8Array): TimerActivity {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const mode = view.getUint8(K.PIT_MODE);
  const count = view.getUint32(K.PIT_COUNT, true) || LARGEST_COUNT;
  if ((view.getUint32(K.PIT_FLAGS, true) & K.KVM_PIT_FLAGS_HPET_LEGACY) !== 0 || mode >= 5 || count > LARGEST_COUNT) {
    return { kind: 'none' };
  }
  return { kind: isPeriodic(mode) ? 'periodic' : 'once', count };
}
