import { z } from 'zod';

/** A failure as it crosses between processes: said in one line to the user, with what to do about it. */
export const errorDataSchema = z.object({
  /** For programs: 'not-found', 'in-use', 'bad-arguments', … */
  code: z.string().max(100),
  /** One line for people that names the thing and its value. */
  message: z.string(),
  /** What to do about it, in one line. */
  remedy: z.string().optional(),
  /** More for programs; `field` names the argument that is wrong, as a path such as 'hardDisk.sizeGigabytes'. */
  details: z.record(z.string(), z.json()).optional(),
});
export type ErrorData = z.infer<typeof errorDataSchema>;

/** What a call rejects with. Everything else that a call throws is a defect and arrives with the code 'internal'. */
export class ApiError extends Error implements ErrorData {
  override readonly name = 'ApiError';
  readonly code: string;
  readonly remedy?: string;
  readonly details?: NonNullable<ErrorData['details']>;

  constructor(data: ErrorData, options: { readonly cause?: unknown } = {}) {
    super(data.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = data.code;
    if (data.remedy !== undefined) {
      this.remedy = data.remedy;
    }
    if (data.details !== undefined) {
      this.details = data.details;
    }
  }

  /** The argument that the error is about, if it is about one. */
  get field(): string | undefined {
    const field = this.details?.['field'];
    return typeof field === 'string' ? field : undefined;
  }

  toData(): ErrorData {
    return {
      code: this.code,
      message: this.message,
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }
}
