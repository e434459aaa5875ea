import { Writable } from 'node:stream';
import { HostError } from '../../../engine/base/host-error.ts';
import { lodge } from '../main.ts';

export interface LodgeResult {
  readonly code: number;
  /** What was written to standard output. */
  readonly out: string;
  /** Lines on standard error. */
  readonly complaints: string[];
}

/** Carries out a command line in this process, as `lodge` would; no machine can be run by it. */
export async function runLodge(...argv: string[]): Promise<LodgeResult> {
  let out = '';
  const complaints: string[] = [];
  const code = await lodge(argv, {
    stdin: process.stdin as never,
    stdout: new Writable({
      write(chunk, _encoding, done) {
        out += String(chunk);
        done();
      },
    }),
    complain: (line) => complaints.push(line),
    verbose: false,
    loadStartMachine: () => Promise.reject(new HostError('not-built', 'not here')),
  });
  return { code, out, complaints };
}
