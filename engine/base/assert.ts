/** Thrown when an invariant of Lodge itself is broken; it ends the VM's process and nothing else. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws {@link InvariantError} unless `condition` holds. Never used for guest or user input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) {
    throw new InvariantError(message);
  }
}

/** Returns `value` if it is defined, else throws {@link InvariantError}. */
export function defined<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) {
    throw new InvariantError(`${what} is missing`);
  }
  return value;
}

/** Marks a code path that the type system says cannot be reached. */
export function unreachable(value: never): never {
  throw new InvariantError(`unexpected value ${String(value)}`);
}
