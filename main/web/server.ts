import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ApiError } from '../contract/errors.ts';
import { failure } from '../contract/failures.ts';
import { encodeBytesItem, MAX_CLIENT_MESSAGE_BYTES } from '../contract/wire.ts';
import { ApiConnection } from '../services/api-connection.ts';
import type { ApiHandlers } from '../services/api-handlers.ts';
import { causeOf } from '../services/failures.ts';
import { Access } from './access.ts';
import { StaticFiles } from './static-files.ts';

export const DEFAULT_PORT = 7380;
/** Where the WebSocket of the API is. */
export const SOCKET_PATH = '/api/socket';
/** The renderer as built. */
export const RENDERER_FOLDER = fileURLToPath(new URL('../../dist/renderer', import.meta.url));

const MAX_CONNECTIONS = 64;
/** A browser that takes nothing while so much waits for it is cut off. */
const MAX_WAITING_BYTES = 128 << 20;
const PING_MILLIS = 30_000;
/** WebSocket close codes (RFC 6455, 7.4.1). */
const CLOSE_GOING_AWAY = 1001;
const CLOSE_POLICY = 1008;

/** Nothing from elsewhere, nothing inline. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

export interface WebServerOptions {
  readonly handlers: ApiHandlers;
  /** 127.0.0.1 unless told otherwise. */
  readonly address?: string;
  /** 0: any free one. */
  readonly port?: number;
  readonly rendererFolder?: string;
  /** Replaced in tests. */
  readonly token?: string;
}

export interface WebServer {
  /** With the token: whoever has it may do everything. */
  readonly url: string;
  readonly port: number;
  readonly token: string;
  close(): Promise<void>;
}

/** Starts the web shell's server. Rejects with ApiError when it cannot listen. */
export async function startWebServer(options: WebServerOptions): Promise<WebServer> {
  const { handlers, address = '127.0.0.1', port = DEFAULT_PORT } = options;
  const files = new StaticFiles(options.rendererFolder ?? RENDERER_FOLDER);
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(address, port, error)));
    server.listen({ host: address, port }, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  const access = new Access(address, bound, options.token);
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_CLIENT_MESSAGE_BYTES,
    perMessageDeflate: false,
    clientTracking: true,
  });
  server.on('request', (request, response) => {
    try {
      answer(request, response, access, files);
    } catch {
      refuse(response, 400, 'the request is not understood');
    }
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => {});
    const problem = whyNoSocket(request, access, sockets.clients.size);
    if (problem !== undefined) {
      const [status, text] = problem;
      socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (accepted) => serveSocket(accepted, handlers));
  });
  const shown = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address;
  const host = shown.includes(':') ? `[${shown}]` : shown;
  return {
    url: `http://${host}:${bound}/?token=${access.token}`,
    port: bound,
    token: access.token,
    async close() {
      for (const socket of sockets.clients) {
        socket.close(CLOSE_GOING_AWAY, 'Lodge was closed');
        socket.terminate();
      }
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function cannotListen(address: string, port: number, error: unknown): ApiError {
  return failure('cannot-listen.port', { path: `${address}:${port}`, cause: causeOf(error) }, { cause: error });
}

function refuse(response: ServerResponse, status: number, what: string): void {
  for (const [name, value] of Object.entries(HEADERS)) {
    response.setHeader(name, value);
  }
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('Cache-Control', 'no-store');
  response.writeHead(status).end(`${what}\n`);
}

function answer(request: IncomingMessage, response: ServerResponse, access: Access, files: StaticFiles): void {
  if (!access.isOwnHost(request.headers)) {
    refuse(response, 403, 'Lodge does not answer under this name.');
    return;
  }
  if (!access.isOwnOrigin(request.headers, false)) {
    refuse(response, 403, 'Pages of other sites may not use Lodge.');
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    refuse(response, 405, 'Only GET and HEAD are answered here.');
    return;
  }
  const url = new URL(request.url ?? '/', 'http://lodge.invalid');
  const token = url.searchParams.get('token');
  if (token !== null) {
    if (!access.isToken(token)) {
      refuse(response, 401, 'This address is out of date. Open the one that lodge serve has printed last.');
      return;
    }
    // The token does not stay in the address bar or the history.
    url.searchParams.delete('token');
    response.setHeader('Set-Cookie', access.sessionCookie());
    response.setHeader('Cache-Control', 'no-store');
    response.setHeader('Referrer-Policy', 'no-referrer');
    response.setHeader('Location', `${url.pathname.replace(/^\/+/, '/')}${url.search}`);
    response.writeHead(303).end();
    return;
  }
  if (!access.hasSession(request.headers)) {
    refuse(response, 401, 'Open the address that lodge serve has printed: it holds the key to this page.');
    return;
  }
  for (const [name, value] of Object.entries(HEADERS)) {
    response.setHeader(name, value);
  }
  const path = decodeURIComponent(url.pathname);
  if (!files.serve(request, response, path)) {
    refuse(
      response,
      404,
      path === '/' ? 'The user interface is not built: npm run build makes it.' : 'There is nothing here.',
    );
  }
}

function whyNoSocket(
  request: IncomingMessage,
  access: Access,
  open: number,
): readonly [status: number, text: string] | undefined {
  const { headers } = request;
  if (!access.isOwnHost(headers) || !access.isOwnOrigin(headers, true)) {
    return [403, 'Forbidden'];
  }
  if (!access.hasSession(headers)) {
    return [401, 'Unauthorized'];
  }
  if (request.url !== SOCKET_PATH) {
    return [404, 'Not Found'];
  }
  return open >= MAX_CONNECTIONS ? [503, 'Service Unavailable'] : undefined;
}

/** One browser tab. */
function serveSocket(socket: WebSocket, handlers: ApiHandlers): void {
  const cutOff = (code: number, why: string) => {
    connection.dispose();
    socket.close(code, why.slice(0, 100));
  };
  const send = (data: string | Uint8Array) => {
    if (socket.readyState !== socket.OPEN) {
      return;
    }
    if (socket.bufferedAmount > MAX_WAITING_BYTES) {
      connection.dispose();
      socket.terminate();
      return;
    }
    socket.send(data);
  };
  const connection = new ApiConnection(
    handlers,
    { shell: 'web', compressFrames: true },
    {
      message: (message) => send(JSON.stringify(message)),
      bytes: (id, item) => send(encodeBytesItem(id, item)),
      violation: (what) => cutOff(CLOSE_POLICY, what),
    },
  );
  let alive = true;
  const pinging = setInterval(() => {
    if (!alive) {
      socket.terminate();
      return;
    }
    alive = false;
    socket.ping();
  }, PING_MILLIS);
  socket.on('pong', () => {
    alive = true;
  });
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary) {
      cutOff(CLOSE_POLICY, 'a binary message');
      return;
    }
    let message: unknown;
    try {
      message = JSON.parse(data.toString('utf8'));
    } catch {
      cutOff(CLOSE_POLICY, 'a message that is not JSON');
      return;
    }
    connection.receive(message);
  });
  // Oversized and malformed frames end here; ws closes the connection with the fitting code.
  socket.on('error', () => {});
  socket.on('close', () => {
    clearInterval(pinging);
    connection.dispose();
  });
}
