import { homedir } from 'node:os';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { failure } from '../contract/failures.ts';

/** A path as people type it, made absolute: `~` is the home folder. Relative paths have no meaning to a service. */
export function hostPath(field: string, path: string): string {
  const expanded = path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
  if (!isAbsolute(expanded)) {
    throw failure('relative-path', { path, start: sep, field });
  }
  const plain = normalize(expanded);
  return plain.length > 1 && plain.endsWith(sep) ? plain.slice(0, -1) : plain;
}
