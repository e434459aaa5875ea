import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { FileFacts, FileProbe } from '../config/file-probe.ts';

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function inspect(path: string): FileFacts {
  const nothing = { sizeBytes: 0, readable: false, writable: false, identity: '' };
  try {
    const stats = statSync(path);
    return {
      kind: stats.isFile()
        ? 'file'
        : stats.isDirectory()
          ? 'directory'
          : stats.isBlockDevice() && process.platform === 'linux'
            ? 'block-device'
            : 'other',
      sizeBytes: stats.size,
      readable: may(path, constants.R_OK),
      writable: may(path, constants.W_OK),
      identity: stats.isBlockDevice() ? `device ${stats.rdev}` : `${stats.dev}:${stats.ino}`,
    };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return { ...nothing, kind: 'missing' };
    }
    const reasons: Readonly<Record<string, string>> = {
      EACCES: 'no permission to look into its folder',
      ELOOP: 'its symbolic links go in circles',
      ENAMETOOLONG: 'the name is too long',
    };
    return { ...nothing, kind: 'error', reason: reasons[code] ?? (code === '' ? 'it is not a valid path' : code) };
  }
}

/** Looks at files with Node. */
export const hostFiles: FileProbe = {
  inspect,
  inspectFolderOf: (path) => inspect(dirname(resolve(path))),
  resolve: (path) => resolve(path),
};
