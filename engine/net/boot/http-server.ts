import type { BootFile, BootFolder } from '../host-sockets.ts';
import type { TcpConnection, TcpUser } from '../tcp/tcp-connection.ts';

/** HTTP/1.1 for booting (RFC 9110, RFC 9112): GET and HEAD of files, with ranges. */

const MAX_REQUEST_BYTES = 8 << 10;
const READ_BYTES = 128 << 10;

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  206: 'Partial Content',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  416: 'Range Not Satisfiable',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
};

/** One connection of the guest to the boot server. Requests are answered one after the other. */
export class HttpBootSession implements TcpUser {
  connection: TcpConnection | undefined;
  readonly #folder: BootFolder;
  #received = '';
  #answering = false;
  #guestFinished = false;
  #over = false;
  /** What the connection had no room for yet, and what is told when it has. */
  #rest: Uint8Array | undefined;
  #written: (() => void) | undefined;
  #file: BootFile | undefined;

  constructor(folder: BootFolder) {
    this.#folder = folder;
  }

  opened(): void {}

  data(bytes: Uint8Array): void {
    this.connection?.consumed(bytes.length);
    if (this.#over) {
      return;
    }
    if (this.#received.length + bytes.length > MAX_REQUEST_BYTES) {
      this.#refuse(431);
      return;
    }
    this.#received += String.fromCharCode(...bytes);
    this.#serve();
  }

  finished(): void {
    this.#guestFinished = true;
    this.#serve();
  }

  room(): void {
    const rest = this.#rest;
    if (rest === undefined || this.connection === undefined) {
      return;
    }
    const taken = this.connection.write(rest);
    if (taken < rest.length) {
      this.#rest = rest.subarray(taken);
    } else {
      this.#rest = undefined;
      const written = this.#written;
      this.#written = undefined;
      written?.();
    }
  }

  closed(): void {
    this.#over = true;
    this.#rest = undefined;
    const written = this.#written;
    this.#written = undefined;
    written?.();
    this.#file?.close();
    this.#file = undefined;
  }

  #serve(): void {
    if (this.#answering || this.#over) {
      return;
    }
    const end = this.#received.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#guestFinished) {
        this.#finish();
      }
      return;
    }
    const head = this.#received.slice(0, end);
    this.#received = this.#received.slice(end + 4);
    this.#answering = true;
    this.#answer(head).then(
      (goOn) => {
        this.#answering = false;
        if (goOn) {
          this.#serve();
        } else {
          this.#finish();
        }
      },
      () => {
        // The file failed in the middle: the guest sees that its answer is cut off.
        this.connection?.abort();
        this.closed();
      },
    );
  }

  #finish(): void {
    this.#over = true;
    this.connection?.finish();
  }

  #refuse(status: number): void {
    this.#write(new TextEncoder().encode(headOf(status, 0, 'Connection: close\r\n'))).then(
      () => this.#finish(),
      () => {},
    );
  }

  /** Answers one request; false when the connection ends with it. */
  async #answer(head: string): Promise<boolean> {
    const [requestLine = '', ...lines] = head.split('\r\n');
    const request = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(requestLine);
    const path = request === null ? undefined : pathOf(request[2] ?? '');
    const fields = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(':');
      fields.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
    if (request === null || path === undefined || fields.has('content-length') || fields.has('transfer-encoding')) {
      await this.#text(headOf(400, 0, 'Connection: close\r\n'));
      return false;
    }
    const [, method, , minor] = request;
    const keep = (fields.get('connection') ?? (minor === '1' ? 'keep-alive' : 'close')).toLowerCase() !== 'close';
    const connection = `Connection: ${keep ? 'keep-alive' : 'close'}\r\n`;
    if (method !== 'GET' && method !== 'HEAD') {
      await this.#text(headOf(405, 0, `Allow: GET, HEAD\r\n${connection}`));
      return keep;
    }
    const file = await this.#folder.open(path);
    if (file === undefined) {
      await this.#text(headOf(404, 0, connection));
      return keep;
    }
    this.#file = file;
    try {
      const size = file.sizeBytes;
      const range = rangeOf(fields.get('range'), size);
      if (range === 'unsatisfiable') {
        await this.#text(headOf(416, 0, `Content-Range: bytes */${size}\r\n${connection}`));
        return keep;
      }
      const [first, end] = range ?? [0, size];
      const partial = range === undefined ? '' : `Content-Range: bytes ${first}-${end - 1}/${size}\r\n`;
      const kind = 'Accept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n';
      await this.#text(headOf(range === undefined ? 200 : 206, end - first, partial + kind + connection));
      for (let at = first; method === 'GET' && at < end && !this.#over; ) {
        const bytes = await file.read(at, Math.min(READ_BYTES, end - at));
        if (bytes.length === 0) {
          throw new Error('the file has become shorter');
        }
        await this.#write(bytes);
        at += bytes.length;
      }
      return keep && !this.#over;
    } finally {
      file.close();
      this.#file = undefined;
    }
  }

  #text(text: string): Promise<void> {
    return this.#write(new TextEncoder().encode(text));
  }

  #write(bytes: Uint8Array): Promise<void> {
    const taken = this.#over ? bytes.length : (this.connection?.write(bytes) ?? bytes.length);
    if (taken >= bytes.length) {
      return Promise.resolve();
    }
    this.#rest = bytes.subarray(taken);
    return new Promise((resolve) => {
      this.#written = resolve;
    });
  }
}

function headOf(status: number, length: number, fields: string): string {
  return `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\nServer: Lodge\r\nContent-Length: ${length}\r\n${fields}\r\n`;
}

/** The path of a request's target, decoded; undefined for what cannot be one. */
function pathOf(target: string): string | undefined {
  const path = target.replace(/^http:\/\/[^/]*/i, '').replace(/[?#].*$/, '');
  try {
    const decoded = decodeURIComponent(path);
    return decoded.startsWith('/') && !decoded.includes('\0') ? decoded.slice(1) : undefined;
  } catch {
    return undefined;
  }
}

/** First and one past the last byte of a single range (RFC 9110, 14.1.2); undefined for all of the file. */
function rangeOf(field: string | undefined, size: number): readonly [number, number] | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(field ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (first === '' && last === '') {
    return undefined;
  }
  if (first === '') {
    const count = Math.min(size, Number(last));
    return count === 0 ? 'unsatisfiable' : [size - count, size];
  }
  const start = Number(first);
  const end = last === '' ? size : Math.min(size, Number(last) + 1);
  return start >= size || end <= start ? 'unsatisfiable' : [start, end];
}
