import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ApiClient } from '../contract/client.ts';
import { ApiError } from '../contract/errors.ts';
import type { ConnectionTraits } from '../services/api-handlers.ts';
import { directClient } from '../services/direct-client.ts';
import { connectLocally, type LocalServer, listenLocally } from '../services/local-socket.ts';
import { type LodgeServices, OwnedElsewhere, openServices } from '../services/lodge-services.ts';
import { type Owner, ownerOf } from '../services/owner-lock.ts';
import { nodeProcessHost } from '../vms/node-process-host.ts';
import type { ProcessHost } from '../vms/process-host.ts';

const CLI: ConnectionTraits = { shell: 'cli', compressFrames: false };
/** An owner that has just been started is given this long to listen. */
const CONNECT_MILLIS = 10_000;
const RETRY_MILLIS = 50;
/** So often in a row an owner may end just before it is talked to. */
const MAX_OWNERS = 5;
/** The background owner ends when nothing runs and nobody has been connected for so long. */
const AGENT_IDLE_MILLIS = 3000;

export interface Session {
  readonly client: ApiClient;
  close(): Promise<void>;
}

/** Connects to the process that owns the data folder, waiting for one that is just starting. */
async function connectToOwner(
  dataFolder: string,
  owner: Owner | undefined,
  traits: ConnectionTraits,
): Promise<Session> {
  const until = Date.now() + CONNECT_MILLIS;
  for (;;) {
    try {
      const client = await connectLocally(dataFolder, traits);
      return { client, close: async () => client.dispose() };
    } catch (error) {
      if (Date.now() > until) {
        throw owner === undefined ? error : new OwnedElsewhere(dataFolder, owner);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLIS));
    // It may have ended meanwhile, and another one may have come.
    const present = ownerOf(dataFolder);
    if (present === undefined && owner !== undefined) {
      throw new ApiError({ code: 'disconnected', message: `${owner.what} has just ended`, remedy: 'try again' });
    }
  }
}

/**
 * A client of the machines in `dataFolder`: of the process that owns it, or of this one for as long as the session
 * lasts. With `stay` what is started stays after the session, so a background owner is started if there is none.
 */
export async function openSession(dataFolder: string, what: string, stay: boolean): Promise<Session> {
  for (let owners = 1; ; owners++) {
    try {
      return await tryToOpen(dataFolder, what, stay);
    } catch (error) {
      // The background owner ends when it has nothing to do, also between its lock having been read and its answer.
      if (owners === MAX_OWNERS || !(error instanceof ApiError && error.code === 'disconnected')) {
        throw error;
      }
    }
  }
}

async function tryToOpen(dataFolder: string, what: string, stay: boolean): Promise<Session> {
  const owner = ownerOf(dataFolder);
  if (owner !== undefined) {
    return connectToOwner(dataFolder, owner, CLI);
  }
  if (stay) {
    startAgent(dataFolder);
    return connectToOwner(dataFolder, undefined, CLI);
  }
  try {
    const services = openServices({ dataFolder, what, processHost: nodeProcessHost(), log: () => {} });
    return { client: directClient(services.handlers), close: () => services.close() };
  } catch (error) {
    if (error instanceof OwnedElsewhere) {
      return connectToOwner(dataFolder, error.owner, CLI);
    }
    throw error;
  }
}

/** `lodge agent` in the background, with its messages in agent.log of the data folder. */
function startAgent(dataFolder: string): void {
  let log: number | 'ignore';
  try {
    log = openSync(join(dataFolder, 'agent.log'), 'a', 0o600);
  } catch {
    log = 'ignore';
  }
  const program = fileURLToPath(new URL('../../bin/lodge.js', import.meta.url));
  const child = spawn(process.execPath, [program, 'agent'], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, LODGE_HOME: dataFolder },
  });
  child.on('error', () => {});
  child.unref();
}

export interface OwnerProcess {
  readonly services: LodgeServices;
  readonly local: LocalServer;
  close(): Promise<void>;
}

/** Becomes the owner of the data folder and offers the API to other processes. Rejects with {@link OwnedElsewhere}. */
export async function becomeOwner(
  dataFolder: string,
  what: string,
  log: (line: string) => void,
  processHost: ProcessHost = nodeProcessHost(),
): Promise<OwnerProcess> {
  const services = openServices({ dataFolder, what, processHost, log });
  try {
    const local = await listenLocally(services.handlers, dataFolder);
    return {
      services,
      local,
      async close() {
        await local.close();
        await services.close();
      },
    };
  } catch (error) {
    await services.close();
    throw error;
  }
}

/** The background owner: lives while a machine runs or a client is connected. Settles when it has ended. */
export async function runAgent(dataFolder: string, log: (line: string) => void, stop: Promise<void>): Promise<void> {
  const owner = await becomeOwner(dataFolder, 'lodge in the background', log);
  const { local, services } = owner;
  await new Promise<void>((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const look = () => {
      clearTimeout(timer);
      if (local.connections === 0 && !services.machines.anyRunning) {
        timer = setTimeout(resolve, AGENT_IDLE_MILLIS);
      }
    };
    services.machines.onChange(look);
    local.onDisconnect = look;
    // A client that connects in the last moment keeps it alive.
    const idle = setInterval(look, AGENT_IDLE_MILLIS * 2);
    look();
    stop.then(resolve, resolve).finally(() => clearInterval(idle));
  });
  await owner.close();
}

/** Connects to the running owner as another front end does. */
export function joinOwner(dataFolder: string, owner: Owner, traits: ConnectionTraits): Promise<Session> {
  return connectToOwner(dataFolder, owner, traits);
}
