import type { ClientTransport, TransportListener } from './client.ts';
import { type ClientMessage, decodeBytesItem } from './wire.ts';

/** What is used of a WebSocket: a browser's, or Node's own. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  send(data: string): void;
  close(): void;
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: 'close', listener: (event: { readonly code: number; readonly reason: string }) => void): void;
  addEventListener(type: 'open', listener: () => void): void;
}

const OPEN = 1;

/**
 * The transport of the web shell. The server's WebSocket is at `/api/socket` of the page's own origin:
 *
 *     const url = new URL('/api/socket', location.href); url.protocol = url.protocol.replace('http', 'ws');
 *     const api = createApiClient(webSocketTransport(new WebSocket(url)));
 *
 * Calls made before the socket is open wait for it.
 */
export function webSocketTransport(socket: WebSocketLike): ClientTransport {
  socket.binaryType = 'arraybuffer';
  let listener: TransportListener | undefined;
  const waiting: ClientMessage[] = [];
  socket.addEventListener('open', () => {
    for (const message of waiting.splice(0)) {
      socket.send(JSON.stringify(message));
    }
  });
  socket.addEventListener('message', ({ data }) => {
    if (typeof data === 'string') {
      let message: unknown;
      try {
        message = JSON.parse(data);
      } catch {
        message = undefined;
      }
      listener?.message(message);
    } else if (data instanceof ArrayBuffer) {
      const decoded = decodeBytesItem(new Uint8Array(data));
      if (decoded !== undefined) {
        listener?.bytes(decoded.id, decoded.item);
      }
    }
  });
  socket.addEventListener('close', ({ reason }) => {
    listener?.closed(reason === '' ? 'the connection to Lodge was lost' : reason);
  });
  return {
    send(message) {
      if (socket.readyState === OPEN) {
        socket.send(JSON.stringify(message));
      } else {
        waiting.push(message);
      }
    },
    listen(to) {
      listener = to;
    },
    close() {
      socket.close();
    },
  };
}
