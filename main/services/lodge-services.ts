import { ApiError } from '../contract/errors.ts';
import { failure, failureData } from '../contract/failures.ts';
import type { ProcessHost } from '../vms/process-host.ts';
import { type ApiHandlers, apiHandlers } from './api-handlers.ts';
import { removeUnfinished } from './atomic-file.ts';
import { demoGuestImage } from './demo-guest.ts';
import { causeOf } from './failures.ts';
import { Machines } from './machines.ts';
import { lockDataFolder, type Owner } from './owner-lock.ts';
import { Registry } from './registry.ts';
import { SettingsStore } from './settings-store.ts';

export interface ServicesOptions {
  readonly dataFolder: string;
  /** What this process is, for the message that others get: 'lodge serve'. */
  readonly what: string;
  readonly processHost: ProcessHost;
  /** Replaced in tests. */
  readonly demoImage?: () => Promise<Uint8Array>;
  log(line: string): void;
}

/** Everything behind the API. Whoever holds this owns the data folder. */
export interface LodgeServices {
  readonly dataFolder: string;
  readonly machines: Machines;
  readonly handlers: ApiHandlers;
  /** Switches all machines off and gives the data folder back. */
  close(): Promise<void>;
}

/** Thrown by {@link openServices} when another process owns the data folder. */
export class OwnedElsewhere extends ApiError {
  readonly owner: Owner;

  constructor(dataFolder: string, owner: Owner) {
    super(failureData('owned-elsewhere', { folder: dataFolder, owner: owner.what, pid: owner.pid }));
    this.owner = owner;
  }
}

/** Becomes the owner of a data folder. Throws {@link OwnedElsewhere}, or ApiError when the folder cannot be used. */
export function openServices(options: ServicesOptions): LodgeServices {
  const { dataFolder, processHost, log } = options;
  let result: ReturnType<typeof lockDataFolder>;
  try {
    result = lockDataFolder(dataFolder, options.what);
  } catch (error) {
    throw failure('data-folder', { folder: dataFolder, cause: causeOf(error) }, { cause: error });
  }
  if ('owner' in result) {
    throw new OwnedElsewhere(dataFolder, result.owner);
  }
  const { lock } = result;
  try {
    const registry = new Registry(dataFolder);
    if (registry.problem !== undefined) {
      log(registry.problem);
    }
    for (const folder of [dataFolder, ...registry.entries.map((entry) => entry.folder)]) {
      removeUnfinished(folder);
    }
    const machines = new Machines(registry, processHost, options.demoImage ?? demoGuestImage);
    const settings = new SettingsStore(dataFolder);
    const { machinesFolder } = registry;
    return {
      dataFolder,
      machines,
      handlers: apiHandlers({ dataFolder, machinesFolder, machines, settings }),
      async close() {
        await machines.stopAll();
        machines.dispose();
        processHost.dispose();
        lock.dispose();
      },
    };
  } catch (error) {
    lock.dispose();
    throw error;
  }
}
