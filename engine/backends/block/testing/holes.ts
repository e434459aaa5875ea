import { statfsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { fileBlocksProblem } from '../file-blocks.ts';

/** File systems on which Linux both punches holes and zeroes ranges, by their numbers (statfs(2)): ext4, XFS. */
const ABLE = [0xef53, 0x58465342];

/** Whether holes in a file at `path` are to be expected; else the test is skipped with what is lacking. */
export function mustPunchHoles(test: TestContext, path: string): boolean {
  const lacks =
    fileBlocksProblem() ??
    (ABLE.includes(statfsSync(path).type) ? undefined : 'the folder for temporary files is not on ext4 or XFS');
  if (lacks !== undefined) {
    test.skip(lacks);
  }
  return lacks === undefined;
}
