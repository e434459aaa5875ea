import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Batch, CASE_BYTES, CODE, CODE_BYTES, RECORD_SIZE, WINDOW, WINDOW_BYTES } from './case-records.ts';

const SOURCE = new URL('./native/harness.c', import.meta.url);

/** Words of the window that a case changed. */
export interface WindowDifference {
  readonly offset: number;
  readonly value: bigint;
}

export interface NativeResults {
  /** Records as the cases left them. */
  readonly records: Uint8Array<ArrayBuffer>;
  /** By case; cases that changed nothing are missing. */
  readonly differences: ReadonlyMap<number, readonly WindowDifference[]>;
  /** Cases that this processor did not carry out. */
  readonly refused?: ReadonlySet<number>;
}

/** A processor of this host: by itself, or as KVM hands it to guests. */
export interface HostProcessor {
  /** Runs all cases of a batch. Batches may be handed in before the results of earlier ones were awaited. */
  run(batch: Batch): Promise<NativeResults>;
}

/** Builds the harness, or says in one line why this host cannot run it. */
export function buildHarness(): { path: string } | { missing: string } {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return {
      missing: `comparing with the host's processor needs Linux on x86-64, this is ${process.platform} on ${process.arch}`,
    };
  }
  const source = readFileSync(SOURCE);
  const directory = join(tmpdir(), `lodge-harness-${process.getuid?.() ?? 0}`);
  const path = join(directory, createHash('sha256').update(source).digest('hex').slice(0, 16));
  if (existsSync(path)) {
    return { path };
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  const { error, status, stderr } = spawnSync('gcc', ['-O2', '-o', temporary, '-x', 'c', '-'], { input: source });
  if (error !== undefined) {
    return { missing: "comparing with the host's processor needs gcc (Debian package gcc)" };
  }
  if (status !== 0) {
    return { missing: `gcc cannot build the test harness: ${stderr.toString().split('\n')[0] ?? ''}` };
  }
  renameSync(temporary, path);
  return { path };
}

/** Whether the host's processor is of AMD's make. */
export function isAmd(): boolean {
  return readFileSync('/proc/cpuinfo', 'utf8').includes('AuthenticAMD');
}

/** What the host's processor can do, by the names Linux gives the features. */
export function hostFeatures(): ReadonlySet<string> {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  return new Set(flags.trim().split(/\s+/));
}

/** The host's own processor, running cases in a process of its own. */
export class NativeProcessor implements HostProcessor {
  readonly #child: ChildProcess;
  readonly #chunks: Uint8Array[] = [];
  #available = 0;
  #wake: (() => void) | undefined;
  #ended: string | undefined;
  #errors = '';
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, templates: readonly Uint8Array[]) {
    this.#child = spawn(path, [], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout?.on('data', (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      this.#available += chunk.length;
      this.#wake?.();
    });
    this.#child.stderr?.on('data', (chunk: Uint8Array) => {
      this.#errors += Buffer.from(chunk).toString();
    });
    this.#child.on('close', (code, signal) => {
      this.#ended = `the harness ended with ${signal ?? code}: ${this.#errors.trim()}`;
      this.#wake?.();
    });
    this.#child.stdin?.on('error', () => {});
    const header = Uint32Array.of(WINDOW, WINDOW_BYTES, CODE, CODE_BYTES, CASE_BYTES, templates.length);
    this.#write(new Uint8Array(header.buffer));
    for (const template of templates) {
      this.#write(template);
    }
  }

  #write(bytes: Uint8Array): void {
    this.#child.stdin?.write(bytes);
  }

  async #read(length: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#available < length) {
      if (this.#ended !== undefined) {
        throw new Error(this.#ended);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const all = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const chunk = this.#chunks[0] as Uint8Array;
      const take = Math.min(chunk.length, length - done);
      all.set(chunk.subarray(0, take), done);
      done += take;
      if (take === chunk.length) {
        this.#chunks.shift();
      } else {
        this.#chunks[0] = chunk.subarray(take);
      }
    }
    this.#available -= length;
    return all;
  }

  /** Runs all cases of a batch. Batches may be handed in before the results of earlier ones were awaited. */
  run(batch: Batch): Promise<NativeResults> {
    const { count } = batch;
    this.#write(new Uint8Array(Uint32Array.of(count).buffer));
    this.#write(batch.records.subarray(0, count * RECORD_SIZE));
    this.#write(batch.code.subarray(0, count * CASE_BYTES));
    const results = this.#last.then(() => this.#receive(count));
    this.#last = results.catch(() => {});
    return results;
  }

  async #receive(count: number): Promise<NativeResults> {
    const records = await this.#read(count * RECORD_SIZE);
    const counted = new DataView((await this.#read(4)).buffer).getUint32(0, true);
    const view = new DataView((await this.#read(counted * 16)).buffer);
    const differences = new Map<number, WindowDifference[]>();
    for (let i = 0; i < counted; i++) {
      const index = view.getUint32(i * 16, true);
      const item = { offset: view.getUint32(i * 16 + 4, true), value: view.getBigUint64(i * 16 + 8, true) };
      const list = differences.get(index);
      if (list === undefined) {
        differences.set(index, [item]);
      } else {
        list.push(item);
      }
    }
    return { records, differences };
  }

  /** Ends the process. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#child.once('close', () => resolve()));
    this.#child.stdin?.end();
    await closed;
  }
}
