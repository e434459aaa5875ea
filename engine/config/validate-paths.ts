import { usageError } from './machine-config.ts';

/** Throws HostError('usage') unless `path` could be the path of a file. */
export function checkPath(path: string, option: string): void {
  if (path === '') {
    throw usageError(`${option} "": the path is empty`, 'give the path of a file');
  }
  if (path.includes('\0')) {
    throw usageError(
      `${option} ${JSON.stringify(path)}: a path cannot hold a zero character`,
      'give the path of a file',
    );
  }
}

/** As {@link checkPath}, for a path that may be missing. */
export function optionalPath(path: string | undefined, option: string): string | undefined {
  if (path !== undefined) {
    checkPath(path, option);
  }
  return path;
}
