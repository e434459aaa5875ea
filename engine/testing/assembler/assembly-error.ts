/** A mistake in assembly source; `message` is one line, `file:line: what`. */
export class AssemblyError extends Error {
  override readonly name = 'AssemblyError';
  readonly file: string;
  /** 1-based line in `file`. */
  readonly line: number;
  readonly reason: string;

  constructor(place: SourcePlace, reason: string) {
    super(`${place.file}:${place.line}: ${reason}`);
    this.file = place.file;
    this.line = place.line;
    this.reason = reason;
  }
}

/** Where a source line came from; lines made by a macro keep the place of its use. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
}
