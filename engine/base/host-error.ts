export type ErrorDetails = Readonly<Record<string, string | number>>;

/**
 * A failure caused by the host or by user input (missing file, no permission, bad image, value out of range).
 * `message` is one line for the user that names the thing and its value; `remedy` says what to do about it.
 * `details` holds the values of the message by name, for whoever says it in another language; where a code has several
 * messages, `details.reason` tells them apart.
 */
export class HostError extends Error {
  override readonly name = 'HostError';
  readonly code: string;
  readonly remedy: string | undefined;
  readonly details: ErrorDetails | undefined;

  constructor(
    code: string,
    message: string,
    options: { remedy?: string | undefined; cause?: unknown; details?: ErrorDetails | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
    this.details = options.details;
  }
}
