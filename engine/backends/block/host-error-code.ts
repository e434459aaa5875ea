import type { BlockError, BlockRequest } from './block-backend.ts';

/** What an error of Node's file functions is called: `ENOSPC` and the like. */
export function errorCode(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code ?? String(error);
}

/** A failure of a file function, as the device that made the request is told of it. */
export function blockErrorOf(error: unknown, kind: BlockRequest['kind']): BlockError {
  return blockErrorOfCode(errorCode(error), kind);
}

/** As `blockErrorOf`, from the name of the error: `ENOSPC` and the like. */
export function blockErrorOfCode(code: string, kind: BlockRequest['kind']): BlockError {
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return { code: 'no-space', message: `the host has no space left for the image (${code})` };
    case 'EROFS':
      return { code: 'io', message: `the image cannot be written: its file system became read-only (${code})` };
    case 'EOF':
      return { code: 'io', message: "the image's file was cut short on the host" };
    case 'ENOENT':
      return { code: 'io', message: "the image's file was deleted on the host" };
    default:
      return { code: 'io', message: `${kind} failed on the host (${code})` };
  }
}
