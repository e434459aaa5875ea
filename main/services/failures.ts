import { HostError } from '../../engine/base/host-error.ts';
import { ApiError, type ErrorData } from '../contract/errors.ts';
import { causeTexts, failureData } from '../contract/failures.ts';

/** The code of a failed system call: 'ENOENT', … */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** Why something failed, as the value `cause` of a failure: the code of the system call, or else what the error says. */
export function causeOf(error: unknown): string {
  return errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
}

/** Why a system call failed, in a few words for people. */
export function reasonOf(error: unknown): string {
  const cause = causeOf(error);
  return causeTexts[cause]?.en ?? cause;
}

/** A failure as it crosses to a client. What is neither an ApiError nor a HostError is a defect. */
export function toErrorData(error: unknown): ErrorData {
  if (error instanceof ApiError) {
    return error.toData();
  }
  if (error instanceof HostError) {
    const { code, message, remedy, details } = error;
    return {
      code,
      message,
      ...(remedy === undefined ? {} : { remedy }),
      ...(details === undefined ? {} : { details: { ...details } }),
    };
  }
  return failureData('internal', { problem: error instanceof Error ? error.message : String(error) });
}
