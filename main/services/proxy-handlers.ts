import { calls, feeds } from '../contract/api.ts';
import type { ApiClient } from '../contract/client.ts';
import type { ApiHandlers, ConnectionTraits } from './api-handlers.ts';

/**
 * Handlers that pass everything on to another process: the web shell beside a running owner of the data folder. Frames
 * come as the traits of `client` say.
 */
export function proxyHandlers(client: ApiClient, shell: ConnectionTraits['shell']): ApiHandlers {
  // One function serves all names: the client checks arguments and results by each name's own schemas.
  const call = client.call.bind(client) as (name: string, args: unknown) => Promise<unknown>;
  const subscribe = client.subscribe.bind(client) as (name: string, args: unknown, handlers: object) => object;
  const callHandlers = Object.keys(calls).map((name) => [
    name,
    async (args: unknown) => {
      const result = await call(name, args);
      return name === 'app.info' ? { ...(result as object), shell } : result;
    },
  ]);
  const feedHandlers = Object.keys(feeds).map((name) => [
    name,
    (args: unknown, sink: object) => subscribe(name, args, sink),
  ]);
  return {
    calls: Object.fromEntries(callHandlers) as ApiHandlers['calls'],
    feeds: Object.fromEntries(feedHandlers) as ApiHandlers['feeds'],
  };
}
