import type { Alarm, Nanos } from '../../../clock/clock.ts';
import type { StateValue } from '../../../devices/device.ts';
import type { StateReader } from '../../../devices/state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { GuestClock } from './guest-clock.ts';
import type { HypervisorHost } from './guest-interface.ts';
import type { HypervSynic } from './hyperv-synic.ts';

/** Synthetic timers (TLFS 12.4): for each of a processor's four timers a register of configuration and one of its count. */
export const HV_X64_MSR_STIMER0_CONFIG = 0x400000b0;
export const HV_X64_MSR_STIMER3_COUNT = 0x400000b7;

export const HV_MESSAGE_TIMER_EXPIRED = 0x80000010;

const TIMERS = 4;

const ENABLED = 1n;
const PERIODIC = 1n << 1n;
const LAZY = 1n << 2n;
const AUTO_ENABLE = 1n << 3n;
const DIRECT = 1n << 12n;
/** Everything that the register has; other bits are to be zero. */
const CONFIG_BITS = 0xf1fffn;
const VECTOR_SHIFT = 4n;
const VECTOR_MASK = 0xffn;
const SINT_SHIFT = 16n;
const SINT_MASK = 0xfn;
const FIRST_VECTOR = 16;

/** HV_TIMER_MESSAGE_PAYLOAD: number of the timer, time at which it was due, time at which it was delivered. */
const PAYLOAD_BYTES = 24;
const PAYLOAD_DUE = 8;
const PAYLOAD_DELIVERED = 16;

/** The unit of reference time: 100 ns. */
const UNIT_NANOS = 100n;
/**
 * The shortest time between two expirations of a periodic timer, in units. A guest that asks for more gets every n-th: the
 * host is not kept busy with interrupts that no guest could serve.
 */
const SHORTEST_PERIOD = 200n;
/** Expirations that a periodic timer makes up for; of more than these, all that are past are left out. */
const MOST_MISSED = 16n;
/**
 * How long until a slot that was occupied is looked at again. Guests tell that they have emptied it (EOM), but some do so
 * only by the end of the interrupt, which local APICs inside KVM keep to themselves.
 */
const RETRY_NANOS: Nanos = 5_000_000;

/** One timer. Times are reference time in units of 100 ns. */
interface Timer {
  readonly cpu: number;
  readonly index: number;
  config: bigint;
  count: bigint;
  /** When it is due next; meaningless while it is not enabled. */
  due: bigint;
  /** Its message, by the time at which it was due, waits for its slot. */
  waiting: bigint | undefined;
  /** Made when it is needed first. */
  alarm: Alarm | undefined;
}

/**
 * Hyper-V's synthetic timers, four a processor. They count the reference time that guests read, and go off by the
 * machine's clock: with a message to the synthetic interrupt controller, or in direct mode with a vector of the local APIC.
 */
export class HypervTimers {
  readonly #host: HypervisorHost;
  readonly #clock: GuestClock;
  readonly #synic: HypervSynic;
  readonly #timers: readonly (readonly Timer[])[];
  #retry: Alarm | undefined;

  constructor(host: HypervisorHost, clock: GuestClock, synic: HypervSynic) {
    this.#host = host;
    this.#clock = clock;
    this.#synic = synic;
    this.#timers = Array.from({ length: host.cpuCount }, (_, cpu) =>
      Array.from({ length: TIMERS }, (_, index) => ({
        cpu,
        index,
        config: 0n,
        count: 0n,
        due: 0n,
        waiting: undefined,
        alarm: undefined,
      })),
    );
    synic.onSlotsFree = (cpu) => this.#deliverWaiting(cpu);
  }

  owns(msr: number): boolean {
    return msr >= HV_X64_MSR_STIMER0_CONFIG && msr <= HV_X64_MSR_STIMER3_COUNT;
  }

  read(cpu: number, msr: number): bigint {
    const timer = this.#of(cpu, msr);
    return isCount(msr) ? timer.count : timer.config;
  }

  /** Throws GuestFault for values that a register cannot hold. */
  write(cpu: number, msr: number, value: bigint): void {
    const timer = this.#of(cpu, msr);
    if (isCount(msr)) {
      timer.count = value;
      if (value === 0n) {
        timer.config &= ~ENABLED;
      } else if ((timer.config & AUTO_ENABLE) !== 0n) {
        timer.config = withoutImpossible(timer.config | ENABLED);
      }
    } else {
      if ((value & ~CONFIG_BITS) !== 0n) {
        throw new GuestFault(L.VECTOR_GP, 0);
      }
      timer.config = withoutImpossible(value);
    }
    timer.waiting = undefined;
    this.#start(timer);
  }

  #of(cpu: number, msr: number): Timer {
    return this.#timers[cpu]?.[(msr - HV_X64_MSR_STIMER0_CONFIG) >> 1] as Timer;
  }

  #now(): bigint {
    return this.#clock.now() / UNIT_NANOS;
  }

  /** The registers have changed. */
  #start(timer: Timer): void {
    timer.alarm?.cancel();
    if (!isRunning(timer)) {
      return;
    }
    const now = this.#now();
    timer.due = (timer.config & PERIODIC) === 0n ? timer.count : now + timer.count;
    if (timer.due <= now) {
      this.#expire(timer, now);
    } else {
      this.#setAlarm(timer, timer.due);
    }
  }

  /** `at`: reference time. */
  #setAlarm(timer: Timer, at: bigint): void {
    const { clock } = this.#host;
    timer.alarm ??= clock.createAlarm(() => this.#alarmed(timer));
    const nanos = Number(at * UNIT_NANOS - this.#clock.now());
    timer.alarm.set(Math.min(Number.MAX_SAFE_INTEGER, clock.now() + Math.max(0, nanos)));
  }

  #alarmed(timer: Timer): void {
    const now = this.#now();
    if (now < timer.due) {
      // The machine's clock and its counter are not the same crystal. A timer never goes off before its time.
      this.#setAlarm(timer, timer.due);
    } else {
      this.#expire(timer, now);
    }
  }

  #expire(timer: Timer, now: bigint): void {
    const { due, cpu, config } = timer;
    if ((config & PERIODIC) === 0n) {
      timer.config &= ~ENABLED;
    } else {
      this.#startNextPeriod(timer, now);
    }
    if ((config & DIRECT) === 0n) {
      timer.waiting ??= due;
      this.#deliver(timer, now);
      return;
    }
    const vector = Number((config >> VECTOR_SHIFT) & VECTOR_MASK);
    if (vector >= FIRST_VECTOR) {
      this.#host.apics.interrupt(cpu, vector);
    }
  }

  /**
   * A timer that is late makes up for what it has missed by shorter periods (TLFS 12.4.1). Lazy ones do not, and neither
   * do those that have missed too much.
   */
  #startNextPeriod(timer: Timer, now: bigint): void {
    const { config, count, due } = timer;
    const missed = (now - due) / count;
    if ((config & LAZY) !== 0n || missed > MOST_MISSED || count < SHORTEST_PERIOD) {
      const earliest = count < SHORTEST_PERIOD ? now + SHORTEST_PERIOD - 1n : now;
      timer.due = due + ((earliest - due) / count + 1n) * count;
      this.#setAlarm(timer, timer.due);
    } else {
      timer.due = due + count;
      const soonest = now + count / 2n;
      this.#setAlarm(timer, timer.due > soonest ? timer.due : soonest);
    }
  }

  #deliver(timer: Timer, now: bigint): void {
    if (timer.waiting === undefined) {
      return;
    }
    const payload = new Uint8Array(PAYLOAD_BYTES);
    const view = new DataView(payload.buffer);
    view.setUint32(0, timer.index, true);
    view.setBigUint64(PAYLOAD_DUE, timer.waiting, true);
    view.setBigUint64(PAYLOAD_DELIVERED, now, true);
    const sint = Number((timer.config >> SINT_SHIFT) & SINT_MASK);
    const posted = this.#synic.post(timer.cpu, sint, HV_MESSAGE_TIMER_EXPIRED, payload);
    if (posted === 'delivered') {
      timer.waiting = undefined;
    } else if (posted === 'occupied') {
      this.#tryAgainIn(RETRY_NANOS);
    }
  }

  #tryAgainIn(nanos: Nanos): void {
    const { clock } = this.#host;
    this.#retry ??= clock.createAlarm(() => {
      for (const cpu of this.#timers.keys()) {
        this.#deliverWaiting(cpu);
      }
    });
    if (this.#retry.deadline === undefined) {
      this.#retry.set(clock.now() + nanos);
    }
  }

  #deliverWaiting(cpu: number): void {
    for (const timer of this.#timers[cpu] ?? []) {
      if (timer.waiting !== undefined) {
        this.#deliver(timer, this.#now());
      }
    }
  }

  reset(): void {
    this.#retry?.cancel();
    for (const timer of this.#timers.flat()) {
      timer.alarm?.cancel();
      Object.assign(timer, { config: 0n, count: 0n, due: 0n, waiting: undefined });
    }
  }

  save(): StateValue {
    return this.#timers.map((timers) =>
      timers.map(({ config, count, due, waiting }) => ({ config, count, due, waiting })),
    );
  }

  /**
   * Checks what `save` gave, the reader's field `key`, and returns what puts it in force: after the clock was restored,
   * and nothing in guest memory is touched by it. Throws HostError('bad-state').
   */
  prepareLoad(reader: StateReader, key: string): () => void {
    const all = reader.array(key, this.#timers.length).flatMap((timers, cpu) => {
      const name = `${key}[${cpu}]`;
      return reader.nested(name, { timers }).objects('timers', TIMERS);
    });
    const loaded = all.map((one) => {
      const config = one.u64('config');
      const count = one.u64('count');
      if ((config & ~CONFIG_BITS) !== 0n || config !== withoutImpossible(config)) {
        one.refuse('a synthetic timer is configured as none can be');
      }
      return { config, count, due: one.u64('due'), waiting: one.has('waiting') ? one.u64('waiting') : undefined };
    });
    return () => {
      for (const [i, timer] of this.#timers.flat().entries()) {
        Object.assign(timer, loaded[i]);
        timer.alarm?.cancel();
        if (isRunning(timer)) {
          this.#setAlarm(timer, timer.due);
        }
      }
      if (loaded.some(({ waiting }) => waiting !== undefined)) {
        this.#tryAgainIn(0);
      }
    };
  }

  dispose(): void {
    this.#retry?.dispose();
    for (const { alarm } of this.#timers.flat()) {
      alarm?.dispose();
    }
  }
}

function isCount(msr: number): boolean {
  return ((msr - HV_X64_MSR_STIMER0_CONFIG) & 1) !== 0;
}

function isRunning({ config, count }: Timer): boolean {
  return (config & ENABLED) !== 0n && count !== 0n;
}

/** A timer that is to send messages to source 0, which is the hypervisor's, is disabled at once. */
function withoutImpossible(config: bigint): bigint {
  const isOff = (config & DIRECT) === 0n && ((config >> SINT_SHIFT) & SINT_MASK) === 0n;
  return isOff ? config & ~ENABLED : config;
}
