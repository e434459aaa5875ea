import { type ApiClient, createApiClient, type TransportListener } from '../contract/client.ts';
import { ApiConnection } from './api-connection.ts';
import type { ApiHandlers, ConnectionTraits } from './api-handlers.ts';

/** A client in the same process: the command line when it owns the data folder itself, and tests. */
export function directClient(
  handlers: ApiHandlers,
  traits: ConnectionTraits = { shell: 'cli', compressFrames: false },
): ApiClient {
  let listener: TransportListener | undefined;
  const connection = new ApiConnection(handlers, traits, {
    message: (message) => listener?.message(message),
    bytes: (id, item) => listener?.bytes(id, item),
    violation: (what) => {
      connection.dispose();
      listener?.closed(what);
    },
  });
  return createApiClient({
    send: (message) => connection.receive(message),
    listen: (to) => {
      listener = to;
    },
    close: () => connection.dispose(),
  });
}
