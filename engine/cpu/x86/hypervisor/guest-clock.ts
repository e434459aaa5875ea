import type { StateValue } from '../../../devices/device.ts';
import { StateReader } from '../../../devices/state.ts';
import type { HypervisorHost } from './guest-interface.ts';

const NANOS = 1_000_000_000n;

/**
 * Nanoseconds since power-on as a straight line over the machine's time-stamp counter: the time that guests compute from
 * their own counter and a page that describes the line. One line serves all processors, so that a thread that moves
 * from one to another never sees time go back. The line is never redrawn while the machine runs.
 */
export class GuestClock {
  readonly #host: HypervisorHost;
  /** A point of the line. */
  #timestamp = 0n;
  #nanos = 0n;

  constructor(host: HypervisorHost) {
    this.#host = host;
  }

  /** A point of the line: ticks of the machine's counter, and the time at that moment. */
  get point(): { readonly timestamp: bigint; readonly nanos: bigint } {
    return { timestamp: this.#timestamp, nanos: this.#nanos };
  }

  /** Power-on, while the machine's counter stands at `timestamp`. */
  begin(timestamp: bigint): void {
    this.#timestamp = timestamp;
    this.#nanos = 0n;
  }

  now(timestamp = this.#host.timestamp()): bigint {
    return this.#nanos + ((timestamp - this.#timestamp) * NANOS) / BigInt(this.#host.tscFrequencyHz);
  }

  save(timestamp: bigint): StateValue {
    return { nanos: this.now(timestamp) };
  }

  /** The line of a machine that was saved goes on from where it was, however its new counter stands. */
  load(owner: string, saved: StateValue, timestamp: bigint): void {
    this.#nanos = new StateReader(owner, saved).u64('nanos');
    this.#timestamp = timestamp;
  }
}

/**
 * Nanoseconds of a tick as a multiplier and a shift: nanos = ((ticks << shift) × multiplier) >> 32, where a negative
 * shift goes right. The multiplier has its highest bit set, which makes the error less than a second in 68 years.
 */
export function scaleOf(frequencyHz: number): { readonly multiplier: number; readonly shift: number } {
  let shift = 0;
  const frequency = BigInt(frequencyHz);
  const scaled = () =>
    shift >= 0 ? (NANOS << 32n) / (frequency << BigInt(shift)) : (NANOS << BigInt(32 - shift)) / frequency;
  while (scaled() >= 1n << 32n) {
    shift++;
  }
  while (scaled() < 1n << 31n) {
    shift--;
  }
  return { multiplier: Number(scaled()), shift };
}
