/** What may be wrong with the host itself, by its error codes. Others (refused, timed out) are between the two ends. */
const TROUBLES: Readonly<Record<string, string>> = {
  ENETDOWN: "the host's network is down",
  ENETUNREACH: 'the host knows no way there',
  EMFILE: 'this process has too many files and sockets open',
  ENFILE: 'the host has too many files and sockets open',
  ENOBUFS: 'the host has no memory for sockets',
  ENOMEM: 'the host has no memory for sockets',
  EADDRNOTAVAIL: 'the host has no free port or address for it',
  EACCES: 'the host forbids it',
  EPERM: 'the host forbids it',
};
/** Guests try again and again: each trouble is told once in so many milliseconds. */
const SILENCE_MILLIS = 60_000;

/** Tells the user of connections and datagrams of the guest that the host does not carry out. */
export class HostTroubles {
  readonly #tell: (message: string) => void;
  readonly #now: () => number;
  readonly #silentUntil = new Map<string, number>();

  /** `now` in milliseconds. */
  constructor(tell: (message: string) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** Something for an address and port has failed with a code of the host. */
  failed(code: string | undefined, address: string, port: number): void {
    const trouble = code === undefined ? undefined : TROUBLES[code];
    if (code === undefined || trouble === undefined) {
      return;
    }
    const now = this.#now();
    if (now >= (this.#silentUntil.get(code) ?? Number.NEGATIVE_INFINITY)) {
      this.#silentUntil.set(code, now + SILENCE_MILLIS);
      this.#tell(`network: the guest does not reach ${address} port ${port}: ${trouble} (${code})`);
    }
  }
}
