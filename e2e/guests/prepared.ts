import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../scripts/project.ts';

/**
 * A file of the cache of test guests, made by `make` when it is not there yet. `make` writes to the path it is given;
 * only a file made to its end gets its name, so an interrupted preparation is repeated.
 * @param name changes whenever what `make` produces changes
 */
export function prepared(name: string, make: (path: string) => void): string {
  const folder = join(cacheFolder, 'guests');
  const path = join(folder, name);
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    const unfinished = `${path}.${process.pid}`;
    try {
      make(unfinished);
      renameSync(unfinished, path);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }
  return path;
}
