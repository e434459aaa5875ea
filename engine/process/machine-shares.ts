import { errnoName, isFileError } from '../backends/share/linux-errno.ts';
import { isOnThisHost } from '../backends/share/local-files.ts';
import { LocalShare } from '../backends/share/local-share.ts';
import { P9Server, type P9Session } from '../backends/share/p9-server.ts';
import type { ShareBackend } from '../backends/share/share-backend.ts';
import type { ShareEnd } from '../backends/share/share-channel.ts';
import { ShareClient } from '../backends/share/share-client.ts';
import { shareRefusal } from '../backends/share/share-host.ts';
import { defined } from '../base/assert.ts';
import type { MachineConfig } from '../config/machine-config.ts';
import type { ShareConfig } from '../config/share-config.ts';

/** The shared folders of a machine, in its machine thread. */
export class MachineShares {
  readonly #config: MachineConfig;
  readonly #ends: readonly ShareEnd[];
  readonly #bell: Int32Array;
  readonly #tell: (line: string) => void;
  readonly #clients: ShareClient[] = [];

  /** `ends` lead to the threads of the folders; `bell` is changed after each answer; `tell` gets lines for the user. */
  constructor(config: MachineConfig, ends: readonly ShareEnd[], bell: Int32Array, tell: (line: string) => void) {
    this.#config = config;
    this.#ends = ends;
    this.#bell = bell;
    this.#tell = tell;
  }

  /** The folders by their mount tags, for a machine that closes them. Throws HostError. `defer`: a moment later. */
  open(defer: (action: () => void) => void): { readonly tag: string; readonly backend: ShareBackend }[] {
    return this.#config.shares.map((share, index) => ({
      tag: share.name,
      backend: this.#config.virtualTime ? this.#openHere(share, defer) : this.#connect(share, index, defer),
    }));
  }

  #connect({ name, path, readOnly }: ShareConfig, index: number, defer: (action: () => void) => void): ShareBackend {
    const onTrouble = this.#onTrouble(name, path);
    // A server elsewhere that does not answer is to stop nothing but the share.
    const own = isOnThisHost(path)
      ? { defer, serve: (session: P9Session) => new P9Server({ path, readOnly, onTrouble, session }) }
      : undefined;
    const client = new ShareClient(name, defined(this.#ends[index], 'the thread of a share'), this.#bell, own);
    this.#clients.push(client);
    return client;
  }

  #onTrouble(name: string, path: string): (message: string) => void {
    return (message) => this.#tell(`share ${name} (${path}): ${message}`);
  }

  /** In virtual time, the host's speed is not to decide when an answer comes. */
  #openHere({ name, path, readOnly }: ShareConfig, defer: (action: () => void) => void): ShareBackend {
    try {
      return new LocalShare(new P9Server({ path, readOnly, onTrouble: this.#onTrouble(name, path) }), defer);
    } catch (error) {
      throw isFileError(error) ? shareRefusal(name, path, errnoName(error)) : error;
    }
  }

  /** Messages of the guest are being carried out. */
  get busy(): boolean {
    return this.#clients.some((client) => client.busy);
  }

  /** Answers wait for `poll`. */
  get ready(): boolean {
    return this.#clients.some((client) => client.ready);
  }

  /** Hands over the answers that have come. */
  poll(): void {
    for (const client of this.#clients) {
      client.poll();
    }
  }
}
