import { performance } from 'node:perf_hooks';
import type { BlockBackend, BlockError } from '../backends/block/block-backend.ts';
import { PatientImage, type TroubleKind } from '../backends/block/patient-image.ts';

/** What a machine waits for. */
export interface DiskTrouble {
  /** The image as the user calls it. */
  readonly path: string;
  readonly reason: BlockError['code'];
  /** What went wrong, in a few words. */
  readonly problem: string;
}

/** What could not be written is tried again so often, in milliseconds of the host's time. */
const RETRY_MILLIS = 2000;

/**
 * Watches a machine's disks for changes that the host could not carry out. The machine is paused while there are any
 * (`troubled`), and they are tried again from time to time until they succeed or the user has the guest told.
 */
export class DiskTroubles {
  readonly #tell: (message: string) => void;
  readonly #report: (message: string) => void;
  readonly #images = new Set<PatientImage>();
  #retryAt: number | undefined;
  /** What was told last, so that a failure that stays is told once. */
  #told: DiskTrouble | undefined;

  /** The last line about a failure that the guest was told of. */
  #reported = '';
  readonly #now: () => number;

  /**
   * `tell` gets one line for the user for each new trouble, and is to pause the machine; `report` one for what the guest
   * hears of itself. `now` is the host's clock in milliseconds.
   */
  constructor(
    tell: (message: string) => void,
    report: (message: string) => void = () => {},
    now = () => performance.now(),
  ) {
    this.#tell = tell;
    this.#report = report;
    this.#now = now;
  }

  /** `backend`, whose changes are kept when they fail; `path` is what the user calls it. */
  watch(path: string, backend: BlockBackend): BlockBackend {
    const image = new PatientImage(backend, (error, what) => this.#onTrouble(path, error, what));
    this.#images.add(image);
    return {
      size: image.size,
      readOnly: image.readOnly,
      submit: (request, done) => image.submit(request, done),
      dispose: () => {
        this.#images.delete(image);
        image.dispose();
      },
    };
  }

  #onTrouble(path: string, error: BlockError, what: TroubleKind): void {
    if (what === 'told') {
      const message = `${path}: ${error.message}; the guest gets an error of its disk`;
      if (message !== this.#reported) {
        this.#reported = message;
        this.#report(message);
      }
      return;
    }
    const remedy = error.code === 'no-space' ? 'free some space' : 'see that it can be written again';
    const message =
      what === 'lost'
        ? `${path}: ${error.message}, and what was written to it may be lost; the machine waits: resume it to let the guest know`
        : `${path}: ${error.message}; the machine waits, and goes on by itself: ${remedy}`;
    if (path !== this.#told?.path || error.message !== this.#told.problem) {
      this.#told = { path, reason: error.code, problem: error.message };
      this.#tell(message);
    }
    this.#retryAt ??= this.#now() + RETRY_MILLIS;
  }

  get troubled(): boolean {
    return [...this.#images].some((image) => image.troubled);
  }

  /** What the user was told, while it is so. */
  get present(): DiskTrouble | undefined {
    return this.troubled ? this.#told : undefined;
  }

  /** When `tick` wants to be called next, in milliseconds of the host's clock. */
  get nextTickMillis(): number | undefined {
    return this.#retryAt;
  }

  tick(now: number): void {
    if (this.#retryAt !== undefined && now >= this.#retryAt) {
      this.#retryAt = undefined;
      for (const image of this.#images) {
        image.retry();
      }
    }
    if (this.#retryAt === undefined && !this.troubled) {
      this.#told = undefined;
    }
  }

  /** The guest is to hear of the failures, as errors of its disk. */
  giveUp(): void {
    this.#retryAt = undefined;
    for (const image of this.#images) {
      image.giveUp();
    }
  }
}
