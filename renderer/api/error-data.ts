import { ApiError, type ErrorData, errorDataSchema } from '../../main/contract/errors.ts';
import { failureData } from '../../main/contract/failures.ts';

/** A failure in the form in which it is shown, whatever was thrown or told. */
export function errorData(error: unknown): ErrorData {
  if (error instanceof ApiError) {
    return error.toData();
  }
  const told = errorDataSchema.safeParse(error);
  if (!(error instanceof Error) && told.success) {
    return told.data;
  }
  return failureData('internal', { problem: error instanceof Error ? error.message : String(error) });
}
