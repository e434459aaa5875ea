import { MessageChannel, Worker } from 'node:worker_threads';
import { HostError } from '../../base/host-error.ts';
import { createShareChannel, type ShareEnd } from './share-channel.ts';
import type { FromShare, ShareThreadInput } from './share-thread.ts';

/** A folder to share. */
export interface HostShare {
  readonly name: string;
  readonly path: string;
  readonly readOnly: boolean;
}

/** A file call that does not come back is not waited for any longer when the machine ends, in milliseconds. */
const END_MILLIS = 5000;

/** The threads of a machine's shared folders, on the host thread. */
export class ShareHost {
  /** For the machine thread, in the order of the shares; the ports are to be transferred. */
  readonly ends: readonly ShareEnd[];
  readonly #threads: readonly Worker[];
  readonly #ended: Promise<void>[] = [];
  #end: Promise<void> | undefined;

  private constructor(threads: readonly Worker[], ends: readonly ShareEnd[]) {
    this.#threads = threads;
    this.ends = ends;
    for (const thread of threads) {
      this.#ended.push(new Promise((resolve) => thread.on('exit', () => resolve())));
    }
  }

  /**
   * Opens the folders. Rejects with HostError when one cannot be had; then none is. `bell`: an i32 that is changed and
   * notified after each answer. `tell` gets lines for the user; `failed` hears of a thread that broke.
   */
  static async start(
    shares: readonly HostShare[],
    bell: SharedArrayBuffer,
    tell: (line: string) => void,
    failed: (error: unknown) => void,
  ): Promise<ShareHost> {
    const threads: Worker[] = [];
    const ends: ShareEnd[] = [];
    const opened: Promise<void>[] = [];
    for (const { name, path, readOnly } of shares) {
      const { port1, port2 } = new MessageChannel();
      const channel = createShareChannel();
      ends.push({ ...channel, port: port1 });
      const workerData: ShareThreadInput = { path, readOnly, end: { ...channel, port: port2 }, bell };
      const thread = new Worker(new URL('./share-thread.ts', import.meta.url), {
        workerData,
        transferList: [port2],
        // Descriptors go to the machine thread and back.
        trackUnmanagedFds: false,
      });
      threads.push(thread);
      opened.push(
        new Promise((resolve, reject) => {
          thread.on('message', (message: FromShare) => {
            switch (message.kind) {
              case 'ready':
                resolve();
                return;
              case 'refused':
                reject(shareRefusal(name, path, message.code));
                return;
              case 'trouble':
                tell(`share ${name} (${path}): ${message.message}`);
            }
          });
          thread.on('error', (error) => {
            reject(error);
            failed(error);
          });
        }),
      );
    }
    const host = new ShareHost(threads, ends);
    try {
      await Promise.all(opened);
    } catch (error) {
      await host.terminate();
      throw error;
    }
    for (const thread of threads) {
      thread.unref();
    }
    return host;
  }

  /** Ends the threads at once: no machine has used them. */
  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  /** Waits until the threads have done what the machine thread asked for before it let them go. Twice is once. */
  close(): Promise<void> {
    this.#end ??= this.#close();
    return this.#end;
  }

  async #close(): Promise<void> {
    for (const thread of this.#threads) {
      thread.ref();
    }
    const timer = setTimeout(() => void this.terminate(), END_MILLIS);
    await Promise.all(this.#ended);
    clearTimeout(timer);
  }
}

/** Why a folder cannot be shared, by the error that opening it gave. */
export function shareRefusal(name: string, path: string, code: string): HostError {
  const why =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'there is no such folder'
      : code === 'EACCES'
        ? 'no permission to open the folder'
        : `the folder cannot be opened (${code})`;
  return new HostError('share-unavailable', `share ${name}=${path}: ${why}`, {
    remedy: 'give a folder that you may read',
    details: { name, path, cause: code },
  });
}
