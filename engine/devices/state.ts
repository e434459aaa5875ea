import { HostError } from '../base/host-error.ts';
import type { StateValue } from './device.ts';

/**
 * Reads one saved state, field by field. Everything it returns has been checked; whatever does not fit throws
 * HostError('bad-state') with a line that names the owner and the field. A `load` therefore reads everything into
 * locals first and applies it afterwards, so that a bad state changes nothing.
 *
 *     const reader = new StateReader(this.id, state);
 *     const divisor = reader.u16('divisor');
 *     const deadline = reader.optionalNanos('deadline');
 *     this.#divisor = divisor; …
 */
export class StateReader {
  readonly #path: string;
  readonly #fields: { readonly [key: string]: StateValue };

  /** `owner` names the device in messages. Throws unless `state` is a plain object with named fields. */
  constructor(owner: string, state: StateValue) {
    this.#path = owner;
    if (
      typeof state !== 'object' ||
      state === null ||
      Array.isArray(state) ||
      state instanceof Uint8Array ||
      !isPlainObject(state)
    ) {
      throw new HostError('bad-state', `${owner}: the saved state is not a record`);
    }
    this.#fields = state;
  }

  /** True when the field exists and is neither undefined nor null. */
  has(key: string): boolean {
    const value = this.value(key);
    return value !== undefined && value !== null;
  }

  /** The field as it is, or undefined when there is none. */
  value(key: string): StateValue {
    return Object.hasOwn(this.#fields, key) ? this.#fields[key] : undefined;
  }

  /** An integer in `min … max` (both included). */
  int(key: string, min: number, max: number): number {
    return this.#checkInt(key, this.value(key), min, max);
  }

  u8(key: string): number {
    return this.int(key, 0, 0xff);
  }

  u16(key: string): number {
    return this.int(key, 0, 0xffff);
  }

  u32(key: string): number {
    return this.int(key, 0, 0xffffffff);
  }

  /** A bigint in 0 … 2^64 − 1. */
  u64(key: string): bigint {
    const value = this.value(key);
    if (typeof value !== 'bigint' || value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      return this.#fail(key, 'an unsigned 64-bit number', value);
    }
    return value;
  }

  /** Any finite number. */
  number(key: string): number {
    const value = this.value(key);
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      return this.#fail(key, 'a number', value);
    }
    return value;
  }

  boolean(key: string): boolean {
    const value = this.value(key);
    if (typeof value !== 'boolean') {
      return this.#fail(key, 'true or false', value);
    }
    return value;
  }

  /** A string of at most `maxLength` UTF-16 units. */
  string(key: string, maxLength = 65536): string {
    const value = this.value(key);
    if (typeof value !== 'string' || value.length > maxLength) {
      return this.#fail(key, `a string of at most ${maxLength} characters`, value);
    }
    return value;
  }

  /** One of the given strings or numbers. */
  oneOf<const T extends string | number>(key: string, choices: readonly T[]): T {
    const value = this.value(key);
    for (const choice of choices) {
      if (choice === value) {
        return choice;
      }
    }
    return this.#fail(key, `one of ${choices.join(', ')}`, value);
  }

  /** A copy of a byte array; exactly `length` bytes when given, otherwise at most `maxLength`. */
  bytes(key: string, length?: number, maxLength = 0x1000_0000): Uint8Array {
    const value = this.value(key);
    if (!(value instanceof Uint8Array)) {
      return this.#fail(key, 'bytes', value);
    }
    if (length === undefined ? value.length > maxLength : value.length !== length) {
      return this.#fail(key, `${length ?? `at most ${maxLength}`} bytes`, `${value.length} bytes`);
    }
    return new Uint8Array(value);
  }

  /** A moment or a duration in nanoseconds; may be negative (a moment before power-on), always a safe integer. */
  nanos(key: string): number {
    return this.int(key, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  }

  /** Like {@link nanos}, but the field may be missing, undefined or null. */
  optionalNanos(key: string): number | undefined {
    return this.has(key) ? this.nanos(key) : undefined;
  }

  /** A nested record. */
  object(key: string): StateReader {
    return new StateReader(`${this.#path}.${key}`, this.value(key));
  }

  /** A record that was found elsewhere, in a list of lists for instance; `name` is for messages. */
  nested(name: string, value: StateValue): StateReader {
    return new StateReader(`${this.#path}.${name}`, value);
  }

  /** Like {@link object}, but the field may be missing, undefined or null. */
  optionalObject(key: string): StateReader | undefined {
    return this.has(key) ? this.object(key) : undefined;
  }

  /** A list; exactly `length` items when given, otherwise at most `maxLength`. */
  array(key: string, length?: number, maxLength = 65536): readonly StateValue[] {
    const value = this.value(key);
    if (!Array.isArray(value)) {
      return this.#fail(key, 'a list', value);
    }
    if (length === undefined ? value.length > maxLength : value.length !== length) {
      return this.#fail(key, `a list of ${length ?? `at most ${maxLength}`} items`, `${value.length} items`);
    }
    return value as readonly StateValue[];
  }

  /** A list of records. */
  objects(key: string, length?: number, maxLength = 65536): StateReader[] {
    return this.array(key, length, maxLength).map(
      (item, index) => new StateReader(`${this.#path}.${key}[${index}]`, item),
    );
  }

  /** A list of integers, each in `min … max`. */
  ints(key: string, min: number, max: number, length?: number, maxLength = 65536): number[] {
    return this.array(key, length, maxLength).map((item, index) => this.#checkInt(`${key}[${index}]`, item, min, max));
  }

  /** Refuses the state for a reason found by the caller (fields that contradict each other, for instance). */
  refuse(why: string): never {
    throw new HostError('bad-state', `${this.#path}: ${why}`);
  }

  #checkInt(key: string, value: StateValue, min: number, max: number): number {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      return this.#fail(key, `an integer from ${min} to ${max}`, value);
    }
    return value;
  }

  #fail(key: string, expected: string, value: StateValue): never {
    const shown =
      typeof value === 'object' && value !== null ? (Array.isArray(value) ? 'a list' : 'a record') : String(value);
    throw new HostError(
      'bad-state',
      `${this.#path}: the saved field '${key}' is not ${expected}: ${shown.slice(0, 60)}`,
    );
  }
}

function isPlainObject(value: object): value is { readonly [key: string]: StateValue } {
  const prototype: unknown = Object.getPrototypeOf(value);
  // A record cloned in another realm has that realm's Object.prototype, whose own prototype is null.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
