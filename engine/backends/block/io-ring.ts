/**
 * Requests to files in shared memory: one thread submits them, any number of I/O threads claim and carry them out, and
 * the first takes the answers when it looks. No message and no turn of an event loop is on the way.
 *
 *     header       i32 submitted, i32 claimed, i32 completed, i32 sleeping threads, i32 spinning, i32 wake-ups, i32
 *                  ended; a cache line each. The first three count requests since the beginning, modulo 2^32.
 *     submissions  i32 a place: the request that was submitted there
 *     completions  i32 a place: the request that was completed there plus 1; 0 when it was taken, or is not there yet
 *     requests     64 bytes each, by number: i32 operation, i32 file descriptor, i32 memory, u32 place in that memory,
 *                  f64 offset in the file, f64 length, f64 milliseconds that it took, i32 error
 *
 * There are as many places as requests, so that no count ever runs over another. Numbers in the host's byte order; all
 * threads are ours, so that nothing is checked here.
 */
const REQUESTS = 256;
const MASK = REQUESTS - 1;
const LINE = 16;
const SUBMITTED = 0;
const CLAIMED = LINE;
const COMPLETED = LINE * 2;
const SLEEPING = LINE * 3;
const SPINNING = LINE * 4;
const WAKE_UPS = LINE * 5;
const ENDED = LINE * 6;
const SUBMISSIONS = LINE * 7;
const COMPLETIONS = SUBMISSIONS + REQUESTS;
const RECORDS = COMPLETIONS + REQUESTS;
const RECORD_WORDS = 16;
const RING_BYTES = (RECORDS + REQUESTS * RECORD_WORDS) * 4;

/** Words of a record, and doubles. */
const OPERATION = 0;
const DESCRIPTOR = 1;
const MEMORY = 2;
const PLACE = 3;
const ERROR = 10;
const OFFSET = 2;
const LENGTH = 3;
const TOOK = 4;

/** An I/O thread without work looks for some so long before it sleeps: being woken costs more. Milliseconds. */
const SPIN_MILLIS = 0.05;
const LOOKS_BETWEEN_CLOCKS = 50;

export const IO_READ = 0;
export const IO_WRITE = 1;
export const IO_FLUSH = 2;
export const IO_ZERO = 3;
export const IO_DISCARD = 4;
/** Nothing but an answer. */
export const IO_NOTHING = 5;
/** As IO_READ; beyond the end of the file there are zeros. */
export const IO_READ_PADDED = 6;

/** As IO_ZERO; the space may go back to the host. */
export const IO_ZERO_UNMAP = 7;

export interface IoRequest {
  /** IO_READ and so on. */
  readonly operation: number;
  /** Of the process, whichever thread opened it. */
  readonly descriptor: number;
  /** Which of the memories that both sides know has the data, and where; bytes. */
  readonly memory: number;
  readonly place: number;
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
}

export function createIoRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(RING_BYTES);
}

/** The side that submits; one thread. */
export class IoRingClient {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #free: number[] = Array.from({ length: REQUESTS }, (_, index) => REQUESTS - 1 - index);
  #taken = 0;

  constructor(ring: SharedArrayBuffer) {
    this.#words = new Int32Array(ring);
    this.#doubles = new Float64Array(ring);
  }

  /** Requests that no thread has begun with. */
  get unclaimed(): number {
    return (Atomics.load(this.#words, SUBMITTED) - Atomics.load(this.#words, CLAIMED)) | 0;
  }

  /** Requests that were begun, modulo 2^32. */
  get claimed(): number {
    return Atomics.load(this.#words, CLAIMED);
  }

  /** Whether `take` would give something. */
  get ready(): boolean {
    return Atomics.load(this.#words, COMPLETIONS + (this.#taken & MASK)) !== 0;
  }

  /** Starts a request; returns its number until `take` gives it, or −1 while all numbers are in use. */
  submit({ operation, descriptor, memory, place, offset, length }: IoRequest): number {
    const request = this.#free.pop();
    if (request === undefined) {
      return -1;
    }
    const words = this.#words;
    const at = RECORDS + request * RECORD_WORDS;
    words[at + OPERATION] = operation;
    words[at + DESCRIPTOR] = descriptor;
    words[at + MEMORY] = memory;
    words[at + PLACE] = place;
    words[at + ERROR] = 0;
    this.#doubles[at / 2 + OFFSET] = offset;
    this.#doubles[at / 2 + LENGTH] = length;
    const submitted = Atomics.load(words, SUBMITTED);
    words[SUBMISSIONS + (submitted & MASK)] = request;
    Atomics.store(words, SUBMITTED, submitted + 1);
    if (Atomics.load(words, SLEEPING) > 0) {
      Atomics.add(words, WAKE_UPS, 1);
      Atomics.notify(words, WAKE_UPS, 1);
    }
    return request;
  }

  /** The number of a request that has ended, or −1 when there is none. Its error is then read with `error`. */
  take(): number {
    const at = COMPLETIONS + (this.#taken & MASK);
    const entry = Atomics.load(this.#words, at);
    if (entry === 0) {
      return -1;
    }
    this.#words[at] = 0;
    this.#taken = (this.#taken + 1) | 0;
    this.#free.push(entry - 1);
    return entry - 1;
  }

  /** Of the request that `take` gave last: the number of the host's error, 0 for none (libuv's, negative). */
  error(request: number): number {
    return this.#words[RECORDS + request * RECORD_WORDS + ERROR] ?? 0;
  }

  /** Of the same: the milliseconds that the host's calls took. */
  millis(request: number): number {
    return this.#doubles[(RECORDS + request * RECORD_WORDS) / 2 + TOOK] ?? 0;
  }
}

/** The side that carries out; any number of threads. */
export class IoRingServer {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  constructor(ring: SharedArrayBuffer) {
    this.#words = new Int32Array(ring);
    this.#doubles = new Float64Array(ring);
  }

  /** The number of a request that is now the caller's to carry out, or −1. */
  claim(): number {
    const words = this.#words;
    for (;;) {
      const claimed = Atomics.load(words, CLAIMED);
      if (claimed === Atomics.load(words, SUBMITTED)) {
        return -1;
      }
      // Not overwritten as long as nobody else has claimed it.
      const request = words[SUBMISSIONS + (claimed & MASK)] as number;
      if (Atomics.compareExchange(words, CLAIMED, claimed, claimed + 1) === claimed) {
        return request;
      }
    }
  }

  read(request: number): IoRequest {
    const words = this.#words;
    const at = RECORDS + request * RECORD_WORDS;
    return {
      operation: words[at + OPERATION] as number,
      descriptor: words[at + DESCRIPTOR] as number,
      memory: words[at + MEMORY] as number,
      place: (words[at + PLACE] as number) >>> 0,
      offset: this.#doubles[at / 2 + OFFSET] as number,
      length: this.#doubles[at / 2 + LENGTH] as number,
    };
  }

  /** Gives the request back; `error` as in {@link IoRingClient.error}. */
  complete(request: number, error: number, millis: number): void {
    const words = this.#words;
    const at = RECORDS + request * RECORD_WORDS;
    words[at + ERROR] = error;
    this.#doubles[at / 2 + TOOK] = millis;
    const place = Atomics.add(words, COMPLETED, 1) & MASK;
    Atomics.store(words, COMPLETIONS + place, request + 1);
  }

  /** No more requests will come once those that are there were claimed. */
  end(): void {
    Atomics.store(this.#words, ENDED, 1);
    Atomics.add(this.#words, WAKE_UPS, 1);
    Atomics.notify(this.#words, WAKE_UPS);
  }

  get ended(): boolean {
    return Atomics.load(this.#words, ENDED) !== 0;
  }

  #waiting(): boolean {
    return Atomics.load(this.#words, CLAIMED) !== Atomics.load(this.#words, SUBMITTED);
  }

  /** Comes back when there may be something to claim, or the end has come. One thread at a time looks without sleeping. */
  wait(now: () => number): void {
    const words = this.#words;
    if (Atomics.compareExchange(words, SPINNING, 0, 1) === 0) {
      const until = now() + SPIN_MILLIS;
      let found = false;
      do {
        for (let i = 0; i < LOOKS_BETWEEN_CLOCKS && !found; i++) {
          found = this.#waiting();
        }
      } while (!found && now() < until);
      Atomics.store(words, SPINNING, 0);
      if (found) {
        return;
      }
    }
    Atomics.add(words, SLEEPING, 1);
    // Whoever submits after this look finds a sleeper, and changes the count before it wakes one.
    const wakeUps = Atomics.load(words, WAKE_UPS);
    if (!this.#waiting() && !this.ended) {
      Atomics.wait(words, WAKE_UPS, wakeUps);
    }
    Atomics.sub(words, SLEEPING, 1);
  }
}
