import type { Disposable } from '../base/disposable.ts';
import type { Nanos } from '../clock/clock.ts';

/** For how long the host has kept a thread waiting that could have run. */
export interface ThreadDelay extends Disposable {
  /** Nanoseconds since the thread began; never falls. */
  nanos(): number;
}

/** What the host tells of the threads of this process. */
export interface ThreadDelays {
  /** Of the calling thread. */
  own(): ThreadDelay;
  of(threadId: number): ThreadDelay;
}

/**
 * Nanoseconds that software processors ran and, able to run, waited for each other's turns; whoever reads takes them. One
 * that halts and is woken is not known to wait before it has had its next turn.
 */
export class TurnTimes {
  readonly ran: Float64Array;
  readonly waited: Float64Array;
  /** All turns together. */
  #total = 0;
  /** What that was at the end of a processor's last turn; −1: it wanted no other. */
  readonly #since: Float64Array;

  constructor(count: number) {
    this.ran = new Float64Array(count);
    this.waited = new Float64Array(count);
    this.#since = new Float64Array(count).fill(-1);
  }

  begin(cpu: number): void {
    const since = this.#since[cpu] as number;
    if (since >= 0) {
      this.waited[cpu] = (this.waited[cpu] as number) + this.#total - since;
    }
  }

  /** `wantsMore`: it would run on at once. */
  end(cpu: number, nanos: number, wantsMore: boolean): void {
    this.#total += nanos;
    this.ran[cpu] = (this.ran[cpu] as number) + nanos;
    this.#since[cpu] = wantsMore ? this.#total : -1;
  }
}

export interface StolenTimeOptions {
  readonly turns: TurnTimes;
  now(): Nanos;
  /** By how much the machine's clock is behind the host's, which it may catch up with. */
  lag?(): Nanos;
  /** Undefined: the host does not tell. */
  readonly delays: ThreadDelays | undefined;
  /** Processor `cpu` has a thread of its own, with this number; 0: it has not begun. Undefined: they have none. */
  threadId?(cpu: number): number;
  /** The machine thread runs all processors that run, and not just now and then those of its own. */
  runsAll(): boolean;
  /** Processor `cpu` has been kept from running for so long. */
  stolen(cpu: number, nanos: number): void;
}

/** The host is asked for its figures no more often than this: nanoseconds of the machine's time. */
const LOOK_PERIOD = 100_000_000;

/**
 * For how long processors wanted to run and did not: because the host kept their threads waiting for a processor, or
 * because other processors of the machine had their turns in the same thread.
 *
 * What guests are told is to fit into what their clock shows. A clock that is withheld while the host gives the machine
 * no time (PacedMachineClock) shows it later, when it catches up, or never, where processors would only have waited: so
 * the host's figure is a debt, which is paid as the clock's lag shrinks, and forgiven in so far as it shrinks in a wait.
 *
 * Nor is more stolen between two moments than has passed between them: guests take it off each tick of their timer, and
 * would count time twice.
 */
export class StolenTime implements Disposable {
  readonly #options: StolenTimeOptions;
  readonly #own: ThreadDelay | undefined;
  readonly #threads: (ThreadDelay | undefined)[] = [];
  /** The host's figures at the last look. */
  #ownSeen = 0;
  readonly #threadsSeen: Float64Array;
  /** What the host has kept from this thread, and the guest's clock may not have shown yet. */
  #debt = 0;
  /** What waits have forgiven since the last look. */
  #forgiven = 0;
  #lagAtWait: Nanos | undefined;
  #nextLook: Nanos = 0;
  /** What processors are still to be told of. */
  readonly #due: Float64Array;
  #lastEnd: Nanos;

  constructor(options: StolenTimeOptions) {
    this.#options = options;
    this.#own = options.delays?.own();
    this.#threadsSeen = new Float64Array(options.turns.ran.length);
    this.#due = new Float64Array(options.turns.ran.length);
    this.#lastEnd = options.now();
    this.restart();
  }

  /** What the host has done until now is not to be counted: the machine was paused. */
  restart(): void {
    this.#ownSeen = this.#own?.nanos() ?? 0;
    for (const [cpu, thread] of this.#threads.entries()) {
      this.#threadsSeen[cpu] = thread?.nanos() ?? 0;
    }
    this.#lagAtWait = undefined;
  }

  /** Processors are about to run. */
  begin(): void {
    const before = this.#lagAtWait;
    if (before !== undefined) {
      this.#lagAtWait = undefined;
      this.#forgiven += Math.max(0, before - (this.#options.lag?.() ?? 0));
    }
  }

  /** They have run, and will again at once, or wait now. */
  end(waits: boolean): void {
    const { turns, lag, now, stolen } = this.#options;
    if (waits && this.#own !== undefined && lag !== undefined) {
      this.#lagAtWait = lag();
    }
    const time = now();
    const passed = time - this.#lastEnd;
    this.#lastEnd = time;
    // The clock of a machine that goes on from a saved state may have been put back.
    if (this.#own !== undefined && (time >= this.#nextLook || time < this.#nextLook - LOOK_PERIOD)) {
      this.#nextLook = time + LOOK_PERIOD;
      this.#look();
    }
    for (let cpu = 0; cpu < turns.waited.length; cpu++) {
      const waited = turns.waited[cpu] as number;
      const due = this.#due[cpu] as number;
      const paid = due > 0 ? Math.min(due, Math.max(0, passed - waited)) : 0;
      if (waited + paid > 0) {
        turns.waited[cpu] = 0;
        this.#due[cpu] = due - paid;
        stolen(cpu, waited + paid);
      }
    }
  }

  #look(): void {
    const { turns, lag, threadId, delays, runsAll } = this.#options;
    const seen = this.#own?.nanos() ?? 0;
    this.#debt = Math.max(0, this.#debt + seen - this.#ownSeen - this.#forgiven);
    this.#ownSeen = seen;
    this.#forgiven = 0;
    let payable = Math.max(0, this.#debt - (lag?.() ?? 0));
    this.#debt -= payable;
    const { ran } = turns;
    const total = ran.reduce((sum, one) => sum + one, 0);
    if (!runsAll()) {
      // The thread has waited for its own work, too.
      payable = Math.min(payable, total);
    }
    for (let cpu = 0; cpu < ran.length; cpu++) {
      const share = total > 0 ? (ran[cpu] as number) / total : cpu === 0 ? 1 : 0;
      const ofThread = threadId === undefined ? 0 : this.#lookAtThread(cpu, threadId(cpu), delays);
      ran[cpu] = 0;
      this.#due[cpu] = (this.#due[cpu] as number) + payable * share + ofThread;
    }
  }

  #lookAtThread(cpu: number, id: number, delays: ThreadDelays | undefined): number {
    if (this.#threads[cpu] === undefined) {
      if (id === 0 || delays === undefined) {
        return 0;
      }
      this.#threads[cpu] = delays.of(id);
    }
    const seen = this.#threads[cpu]?.nanos() ?? 0;
    const stolen = seen - (this.#threadsSeen[cpu] as number);
    this.#threadsSeen[cpu] = seen;
    return Math.max(0, stolen);
  }

  dispose(): void {
    this.#own?.dispose();
    for (const thread of this.#threads) {
      thread?.dispose();
    }
  }
}
