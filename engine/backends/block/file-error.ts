import { getSystemErrorMap } from 'node:util';

/** An error as those of Node's file functions, by the name of its code. */
export function fileError(code: string): NodeJS.ErrnoException {
  const errno = [...getSystemErrorMap()].find(([, [name]]) => name === code)?.[0];
  return Object.assign(new Error(code), errno === undefined ? { code } : { code, errno });
}
