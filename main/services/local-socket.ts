import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type ApiClient, createApiClient, type TransportListener } from '../contract/client.ts';
import { failure } from '../contract/failures.ts';
import { decodeBytesItem, encodeBytesItem, MAX_CLIENT_MESSAGE_BYTES } from '../contract/wire.ts';
import { ApiConnection } from './api-connection.ts';
import type { ApiHandlers, ConnectionTraits } from './api-handlers.ts';
import { causeOf } from './failures.ts';

/**
 * The API for other processes of the same user on the same host: a Unix socket in the data folder, on Windows a named
 * pipe. Messages are a u32 length (little-endian, of what follows), a byte that says what they are, and their contents.
 * The first one of a client tells its traits.
 */
const TEXT = 0;
const BYTES = 1;
const HEAD_BYTES = 5;
const MAX_SERVER_MESSAGE_BYTES = 128 << 20;
/** sockaddr_un takes 108 bytes on Linux and 104 on macOS, with a zero at the end. */
const MAX_SOCKET_PATH = 100;

const traitsSchema = z.object({ shell: z.enum(['desktop', 'web', 'cli']), compressFrames: z.boolean() });

/** Where the owner of a data folder listens. */
export function localSocketPath(dataFolder: string, platform: string = process.platform): string {
  const hash = createHash('sha256').update(dataFolder).digest('hex').slice(0, 16);
  if (platform === 'win32') {
    return `\\\\.\\pipe\\lodge-${hash}`;
  }
  const path = join(dataFolder, 'owner.sock');
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH ? path : join(tmpdir(), `lodge-${userInfo().uid}`, `${hash}.sock`);
}

function frame(kind: number, payload: Uint8Array): Buffer {
  const message = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
  message.writeUInt32LE(payload.length + 1, 0);
  message[4] = kind;
  message.set(payload, HEAD_BYTES);
  return message;
}

const textFrame = (message: unknown) => frame(TEXT, Buffer.from(JSON.stringify(message), 'utf8'));

/** Cuts a stream into messages. `refuse` is called for what is too large or unknown; nothing follows then. */
function receive(
  socket: Socket,
  maximum: number,
  on: { text(message: unknown): void; bytes(payload: Uint8Array<ArrayBuffer>): void; refuse(): void },
): void {
  let parts: Buffer[] = [];
  let have = 0;
  let refused = false;
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    have += part.length;
    while (!refused && have >= 4) {
      if ((parts[0]?.length ?? 0) < 4) {
        parts = [Buffer.concat(parts)];
      }
      const length = parts[0]?.readUInt32LE(0) ?? 0;
      if (length < 1 || length > maximum) {
        refused = true;
        break;
      }
      if (have < 4 + length) {
        return;
      }
      const all = Buffer.concat(parts);
      const kind = all[4];
      const payload = Uint8Array.from(all.subarray(HEAD_BYTES, 4 + length));
      parts = [all.subarray(4 + length)];
      have -= 4 + length;
      if (kind === BYTES) {
        on.bytes(payload);
        continue;
      }
      try {
        on.text(JSON.parse(new TextDecoder().decode(payload)));
      } catch {
        refused = true;
      }
    }
    if (refused) {
      on.refuse();
    }
  });
}

export interface LocalServer {
  readonly connections: number;
  /** Called when a connection has ended. */
  onDisconnect: (() => void) | undefined;
  close(): Promise<void>;
}

/** Offers the API to other processes. Only the owner of the data folder may call this. */
export async function listenLocally(handlers: ApiHandlers, dataFolder: string): Promise<LocalServer> {
  const path = localSocketPath(dataFolder);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let connection: ApiConnection | undefined;
    receive(socket, MAX_CLIENT_MESSAGE_BYTES, {
      text(message) {
        if (connection !== undefined) {
          connection.receive(message);
          return;
        }
        const traits: ConnectionTraits = traitsSchema.parse(message);
        connection = new ApiConnection(handlers, traits, {
          message: (answer) => socket.write(textFrame(answer)),
          bytes: (id, item) => socket.write(frame(BYTES, encodeBytesItem(id, item))),
          violation: () => socket.destroy(),
        });
      },
      bytes: () => socket.destroy(),
      refuse: () => socket.destroy(),
    });
    socket.on('close', () => {
      sockets.delete(socket);
      connection?.dispose();
      result.onDisconnect?.();
    });
  });
  if (process.platform !== 'win32') {
    const folder = join(path, '..');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Left over from an owner that was killed; the lock says that nobody listens there.
    rmSync(path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(failure('cannot-listen', { path, cause: causeOf(error) })));
    server.listen(path, resolve);
  });
  if (process.platform !== 'win32') {
    chmodSync(path, 0o600);
  }
  const result: LocalServer = {
    get connections() {
      return sockets.size;
    },
    onDisconnect: undefined,
    async close() {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return result;
}

/** Connects to the owner of a data folder. Rejects with ApiError when nobody answers. */
export async function connectLocally(dataFolder: string, traits: ConnectionTraits): Promise<ApiClient> {
  const path = localSocketPath(dataFolder);
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(failure('cannot-connect', { path, cause: causeOf(error) })));
  });
  let listener: TransportListener | undefined;
  socket.on('error', () => {});
  socket.on('close', () => listener?.closed('Lodge was closed'));
  receive(socket, MAX_SERVER_MESSAGE_BYTES, {
    text: (message) => listener?.message(message),
    bytes(payload) {
      const decoded = decodeBytesItem(payload);
      if (decoded !== undefined) {
        listener?.bytes(decoded.id, decoded.item);
      }
    },
    refuse: () => socket.destroy(),
  });
  socket.write(textFrame(traits));
  return createApiClient({
    send: (message) => socket.write(textFrame(message)),
    listen: (to) => {
      listener = to;
    },
    close: () => socket.destroy(),
  });
}
