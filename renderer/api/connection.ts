import { Emitter } from '../../engine/base/event.ts';
import type { ApiClient } from '../../main/contract/client.ts';
import { ApiError, type ErrorData } from '../../main/contract/errors.ts';
import { failureData } from '../../main/contract/failures.ts';
import type { AppInfo, GuestSystem, Settings } from '../../main/contract/host.ts';
import type { Machine, MachinesChange } from '../../main/contract/machines.ts';
import { errorData } from './error-data.ts';

/** What every window knows of Lodge while it is connected. */
export interface Lodge {
  readonly api: ApiClient;
  readonly info: AppInfo;
  readonly guestSystems: readonly GuestSystem[];
  readonly settings: Settings;
  /** In the order of the list. */
  readonly machines: readonly Machine[];
}

export interface ConnectionState {
  readonly status: 'connecting' | 'open' | 'lost';
  /** The last that is known; stays while a lost connection is made again. */
  readonly lodge: Lodge | undefined;
  readonly problem: ErrorData | undefined;
  /** The services do not let this page in: trying again is of no use. */
  readonly refused: boolean;
}

const RETRY_MILLIS = [500, 1000, 2000, 5000];

/** Keeps one connection to the services, makes it again when it is lost, and knows what they say of themselves. */
export class Connection {
  #state: ConnectionState = { status: 'connecting', lodge: undefined, problem: undefined, refused: false };
  readonly #connect: () => ApiClient;
  readonly #isRefused: (() => Promise<boolean>) | undefined;
  readonly #changed = new Emitter<void>();
  #client: ApiClient | undefined;
  #retries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #disposed = false;

  /** `isRefused` tells, after a connection was lost, whether that is for good. */
  constructor(connect: () => ApiClient, isRefused?: () => Promise<boolean>) {
    this.#connect = connect;
    this.#isRefused = isRefused;
  }

  readonly getState = (): ConnectionState => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    const subscription = this.#changed.event(listener);
    return () => subscription.dispose();
  };

  open(): void {
    const api = this.#connect();
    this.#client = api;
    api.onClose((reason) => this.#lost(api, reason));
    this.#load(api).catch((error: unknown) => {
      const lost = error instanceof ApiError && error.code === 'disconnected';
      if (!lost) {
        // Nothing that another attempt would mend, but the services may be replaced by ones that can.
        this.#set({ status: 'lost', problem: errorData(error) });
        api.dispose();
      }
    });
  }

  dispose(): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#client?.dispose();
  }

  async #load(api: ApiClient): Promise<void> {
    const [info, guestSystems, settings] = await Promise.all([
      api.call('app.info'),
      api.call('osCatalogue.list'),
      api.call('settings.get'),
    ]);
    if (this.#disposed || api.closed) {
      return;
    }
    let lodge: Lodge = { api, info, guestSystems, settings, machines: [] };
    let complete = false;
    const update = (changes: Partial<Lodge>): void => {
      lodge = { ...lodge, ...changes };
      if (complete) {
        this.#set({ status: 'open', lodge, problem: undefined, refused: false });
      }
    };
    api.subscribe('settings.changes', {}, { item: (changed) => update({ settings: changed }) });
    api.subscribe(
      'machines.changes',
      {},
      {
        item: (change) => {
          complete = true;
          this.#retries = 0;
          update({ machines: applyChange(lodge.machines, change) });
        },
      },
    );
  }

  #lost(api: ApiClient, reason: string): void {
    if (this.#disposed || api !== this.#client) {
      return;
    }
    this.#set({
      status: this.#state.lodge === undefined ? 'connecting' : 'lost',
      problem: failureData('disconnected', { cause: reason }),
    });
    const wait = RETRY_MILLIS[Math.min(this.#retries, RETRY_MILLIS.length - 1)];
    this.#retries++;
    void this.#isRefused?.().then((refused) => {
      if (refused !== this.#state.refused && !this.#disposed) {
        this.#set({ refused });
      }
    });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.open(), wait);
  }

  #set(changes: Partial<ConnectionState>): void {
    this.#state = { ...this.#state, ...changes };
    this.#changed.fire();
  }
}

/** The list after a change. New machines come last. */
export function applyChange(machines: readonly Machine[], change: MachinesChange): readonly Machine[] {
  switch (change.kind) {
    case 'all':
      return change.machines;
    case 'changed':
      return machines.some(({ id }) => id === change.machine.id)
        ? machines.map((machine) => (machine.id === change.machine.id ? change.machine : machine))
        : [...machines, change.machine];
    case 'removed':
      return machines.filter(({ id }) => id !== change.id);
  }
}
