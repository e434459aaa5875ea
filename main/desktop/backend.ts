import { becomeOwner, joinOwner } from '../cli/owner.ts';
import type { ApiClient } from '../contract/client.ts';
import type { ApiHandlers, ConnectionTraits } from '../services/api-handlers.ts';
import { directClient } from '../services/direct-client.ts';
import { OwnedElsewhere } from '../services/lodge-services.ts';
import { proxyHandlers } from '../services/proxy-handlers.ts';
import type { ProcessHost } from '../vms/process-host.ts';

/** What the windows are connected to: services of this process, or those of a process that owns the data folder. */
export interface Backend {
  readonly handlers: ApiHandlers;
  /** For the shell itself. It closes when the services are gone. */
  readonly client: ApiClient;
  /** Whether the machines end with this process. */
  readonly isOwner: boolean;
  /** Of an owner, switches its machines off. */
  close(): Promise<void>;
}

export interface BackendOptions {
  readonly dataFolder: string;
  readonly processHost: ProcessHost;
  log(line: string): void;
}

const TRAITS: ConnectionTraits = { shell: 'desktop', compressFrames: false };

/** Rejects with ApiError when the data folder cannot be used. */
export async function openBackend({ dataFolder, processHost, log }: BackendOptions): Promise<Backend> {
  try {
    const owner = await becomeOwner(dataFolder, 'Lodge', log, processHost);
    const client = directClient(owner.services.handlers, TRAITS);
    return { handlers: owner.services.handlers, client, isOwner: true, close: () => owner.close() };
  } catch (error) {
    if (!(error instanceof OwnedElsewhere)) {
      throw error;
    }
    const session = await joinOwner(dataFolder, error.owner, TRAITS);
    const handlers = proxyHandlers(session.client, 'desktop');
    return { handlers, client: session.client, isOwner: false, close: () => session.close() };
  }
}
