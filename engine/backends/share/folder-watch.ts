import type { ErrnoName } from './linux-errno.ts';

/** The same trouble is told again after so many milliseconds. */
const AGAIN_MILLIS = 60_000;
/** Whether the folder is there is looked at so often at most, in milliseconds: guests ask for missing files all the time. */
const LOOK_MILLIS = 1000;

const TROUBLES: Partial<Record<ErrnoName, string>> = {
  ENOSPC: 'the host has no space left; the guest gets an error: free some space',
  EDQUOT: 'the quota on the host is used up; the guest gets an error: free some space',
  EIO: "the host's disk fails; the guest gets an error",
  ENODEV: "the host's disk has gone; the guest gets an error: put it back",
  ENXIO: "the host's disk has gone; the guest gets an error: put it back",
  EHOSTDOWN: 'the server of the folder does not answer; the guest gets an error',
  ETIMEDOUT: 'the server of the folder does not answer; the guest gets an error',
  EMFILE: 'the host lets Lodge open no more files; the guest gets an error: raise the limit of open files',
  ENFILE: 'the host has too many files open; the guest gets an error',
};
const GONE = 'the folder is not there any more; the guest gets an error: put it back';

/** Tells the user about failures of a shared folder that no guest can be blamed for, each from time to time only. */
export class FolderWatch {
  readonly #isThere: () => boolean;
  readonly #tell: (message: string) => void;
  readonly #now: () => number;
  readonly #told = new Map<string, number>();
  #lookAt = 0;

  /** `now` in milliseconds. */
  constructor(isThere: () => boolean, tell: (message: string) => void, now: () => number) {
    this.#isThere = isThere;
    this.#tell = tell;
    this.#now = now;
  }

  /** A file call failed. */
  failed(name: ErrnoName): void {
    const now = this.#now();
    if (name === 'ENOENT' || name === 'ENOTDIR' || name === 'ESTALE') {
      if (now >= this.#lookAt) {
        this.#lookAt = now + LOOK_MILLIS;
        if (!this.#isThere()) {
          this.#say(GONE, now);
        }
      }
      return;
    }
    const message = TROUBLES[name];
    if (message !== undefined) {
      this.#say(message, now);
    }
  }

  #say(message: string, now: number): void {
    const told = this.#told.get(message);
    if (told === undefined || now - told >= AGAIN_MILLIS) {
      this.#told.set(message, now);
      this.#tell(message);
    }
  }
}
