import type { TransportListener } from '../contract/client.ts';
import type { DesktopBridge } from '../contract/desktop-bridge.ts';
import type { ConnectionId, FromPage, PickAnswer, PickRequest, ToPage } from './channels.ts';

/** A MessagePort of the page's process, with a machine's process at its other end. */
export interface DirectPort {
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
  postMessage(message: unknown): void;
  start(): void;
  close(): void;
}

/** What the bridge needs of Electron's ipcRenderer. */
export interface PageIpc {
  send(message: FromPage): void;
  pick(request: PickRequest): Promise<PickAnswer>;
  /** Called once. */
  listen(listener: (message: ToPage, port: DirectPort | undefined) => void): void;
}

interface OpenConnection {
  listener: TransportListener | undefined;
  /** Subscriptions that are open, with the port on which their items come where they have one. */
  readonly feeds: Map<number, DirectPort | undefined>;
  /** Why it was closed, where that came before anyone listened. */
  closedEarly: string | undefined;
}

/**
 * The page's end of the desktop shell. It runs in the preload script: the page sees plain functions and copies of
 * data, never Electron.
 */
export function createBridge(ipc: PageIpc, newId: () => ConnectionId): DesktopBridge {
  const connections = new Map<ConnectionId, OpenConnection>();
  const closeListeners = new Set<() => void>();

  const forget = (connection: ConnectionId): OpenConnection | undefined => {
    const open = connections.get(connection);
    connections.delete(connection);
    for (const port of open?.feeds.values() ?? []) {
      port?.close();
    }
    return open;
  };
  const closeFeed = (open: OpenConnection, id: number) => {
    open.feeds.get(id)?.close();
    open.feeds.delete(id);
  };

  ipc.listen((message, port) => {
    if (message.kind === 'close-request') {
      for (const listener of [...closeListeners]) {
        listener();
      }
      return;
    }
    const open = connections.get(message.connection);
    if (open === undefined) {
      port?.close();
      return;
    }
    switch (message.kind) {
      case 'message':
        if (message.message.kind === 'end') {
          closeFeed(open, message.message.id);
        }
        open.listener?.message(message.message);
        return;
      case 'bytes':
        open.listener?.bytes(message.id, message.item);
        return;
      case 'direct': {
        const { id } = message;
        if (port === undefined || !open.feeds.has(id)) {
          port?.close();
          return;
        }
        // A machine that was started again comes with another port.
        open.feeds.get(id)?.close();
        open.feeds.set(id, port);
        port.addEventListener('message', ({ data }) => {
          if (isBytes(data) && open.feeds.get(id) === port) {
            open.listener?.bytes(id, data);
          }
        });
        port.start();
        return;
      }
      case 'closed':
        forget(message.connection);
        if (open.listener === undefined) {
          open.closedEarly = message.reason;
        } else {
          open.listener.closed(message.reason);
        }
        return;
    }
  });
  ipc.send({ kind: 'hello' });

  return {
    connect() {
      const connection = newId();
      const open: OpenConnection = { listener: undefined, feeds: new Map(), closedEarly: undefined };
      connections.set(connection, open);
      ipc.send({ kind: 'connect', connection });
      return {
        send(message) {
          if (!connections.has(connection)) {
            return;
          }
          switch (message.kind) {
            case 'subscribe':
              open.feeds.set(message.id, undefined);
              break;
            case 'unsubscribe':
              closeFeed(open, message.id);
              break;
            case 'ack': {
              const port = open.feeds.get(message.id);
              if (port !== undefined) {
                port.postMessage(message.sequence);
                return;
              }
              break;
            }
          }
          ipc.send({ kind: 'message', connection, message });
        },
        listen(to) {
          open.listener = to;
          const { closedEarly } = open;
          if (closedEarly !== undefined) {
            queueMicrotask(() => to.closed(closedEarly));
          }
        },
        close() {
          if (forget(connection) !== undefined) {
            ipc.send({ kind: 'disconnect', connection });
          }
        },
      };
    },
    openConsole: (machine) => ipc.send({ kind: 'open-console', machine }),
    closeWindow: () => ipc.send({ kind: 'close-window' }),
    showLog: (machine) => ipc.send({ kind: 'show-log', machine }),
    async pickPath(request) {
      const answer = await ipc.pick(request);
      if ('error' in answer) {
        // Only an error's message survives the way into the page.
        throw new Error(answer.error.message);
      }
      return answer.path ?? undefined;
    },
    onCloseRequest(listener) {
      // The same function may be given twice.
      const entry = () => listener();
      closeListeners.add(entry);
      if (closeListeners.size === 1) {
        ipc.send({ kind: 'guard-close', on: true });
      }
      return () => {
        if (closeListeners.delete(entry) && closeListeners.size === 0) {
          ipc.send({ kind: 'guard-close', on: false });
        }
      };
    },
  };
}

function isBytes(data: unknown): data is Uint8Array<ArrayBuffer> {
  return data instanceof Uint8Array && data.buffer instanceof ArrayBuffer;
}
