import { HostError } from '../../engine/base/host-error.ts';
import { ApiError, type ErrorData } from '../contract/errors.ts';

/** The code of a failed system call: 'ENOENT', … */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is no folder',
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of disk space is used up',
  EISDIR: 'it is a folder',
  EEXIST: 'it exists already',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'its symbolic links go in circles',
  EFBIG: 'the file system does not hold files of that size',
};

/** Why a system call failed, in a few words for people. */
export function reasonOf(error: unknown): string {
  const code = errnoOf(error);
  return (
    (code === undefined ? undefined : REASONS[code]) ?? code ?? (error instanceof Error ? error.message : String(error))
  );
}

/** A failure as it crosses to a client. What is neither an ApiError nor a HostError is a defect. */
export function toErrorData(error: unknown): ErrorData {
  if (error instanceof ApiError) {
    return error.toData();
  }
  if (error instanceof HostError) {
    const { code, message, remedy } = error;
    return { code, message, ...(remedy === undefined ? {} : { remedy }) };
  }
  return { code: 'internal', message: `internal error: ${error instanceof Error ? error.message : String(error)}` };
}

/** An error about one argument of a call. */
export function fieldError(field: string, code: string, message: string, remedy?: string): ApiError {
  return new ApiError({ code, message, ...(remedy === undefined ? {} : { remedy }), details: { field } });
}
