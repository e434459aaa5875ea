/**
 * A failure caused by the host or by user input (missing file, no permission, bad image, value out of range).
 * `message` is one line for the user that names the thing and its value; `remedy` says what to do about it.
 */
export class HostError extends Error {
  override readonly name = 'HostError';
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, options: { remedy?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }
}
