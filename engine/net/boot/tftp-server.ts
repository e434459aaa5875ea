import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { IpAddress } from '../address.ts';
import type { BootFile, BootFolder } from '../host-sockets.ts';

/** TFTP (RFC 1350) for booting: reading only, in binary, with the options of RFC 2348 (blksize) and 2349 (tsize). */

const RRQ = 1;
const WRQ = 2;
const DATA = 3;
const ACK = 4;
const ERROR = 5;
const OACK = 6;
const ERROR_NOT_FOUND = 1;
const ERROR_ACCESS = 2;
const ERROR_ILLEGAL = 4;

const MAX_SESSIONS = 16;
const MAX_PATH = 512;
const DEFAULT_BLOCK = 512;
/** What fits into a packet of the guest's link with IP, UDP and TFTP headers. */
const LARGEST_BLOCK = 1468;
const TIMEOUT_NANOS: Nanos = 1e9;
const MAX_RETRIES = 8;
/** Transfers have ports of their own (RFC 1350, section 4). */
const FIRST_PORT = 40_000;
const PORTS = 1000;

interface Session {
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly port: number;
  readonly alarm: Alarm;
  readonly path: string;
  file: BootFile | undefined;
  block: number;
  /** Block number as it goes on without end; 16 bits of it are sent. */
  position: number;
  /** What was sent last, for when it is lost. */
  sent: Uint8Array | undefined;
  retries: number;
  last: boolean;
  busy: boolean;
}

export type SendUdp = (sourcePort: number, destination: IpAddress, destinationPort: number, data: Uint8Array) => void;

export class TftpServer {
  readonly #clock: Clock;
  readonly #folder: BootFolder;
  readonly #send: SendUdp;
  readonly #sessions = new Map<number, Session>();
  #nextPort = 0;

  constructor(clock: Clock, folder: BootFolder, send: SendUdp) {
    this.#clock = clock;
    this.#folder = folder;
    this.#send = send;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  dispose(): void {
    for (const session of [...this.#sessions.values()]) {
      this.#end(session);
    }
  }

  /** A datagram to a port of the gateway. True: it was for this server. `data` is ours. */
  receive(guest: IpAddress, guestPort: number, port: number, data: Uint8Array): boolean {
    if (port === 69) {
      this.#request(guest.slice(), guestPort, data);
      return true;
    }
    const session = this.#sessions.get(port);
    if (session === undefined || session.guestPort !== guestPort || session.guest.join() !== guest.join()) {
      return false;
    }
    const operation = data[1] ?? 0;
    if (operation === ERROR) {
      this.#end(session);
    } else if (operation === ACK && data.length >= 4) {
      this.#acknowledged(session, ((data[2] ?? 0) << 8) | (data[3] ?? 0));
    }
    return true;
  }

  /** There are many more ports than transfers. */
  #freePort(): number {
    for (;;) {
      const port = FIRST_PORT + (this.#nextPort++ % PORTS);
      if (!this.#sessions.has(port)) {
        return port;
      }
    }
  }

  #request(guest: IpAddress, guestPort: number, data: Uint8Array): void {
    const operation = data[1] ?? 0;
    if (operation !== RRQ && operation !== WRQ) {
      return;
    }
    const port = this.#freePort();
    const refuse = (code: number, text: string) => this.#send(port, guest, guestPort, errorPacket(code, text));
    if (operation === WRQ) {
      refuse(ERROR_ACCESS, 'files cannot be written');
      return;
    }
    const words = new TextDecoder().decode(data.subarray(2)).split('\0');
    const [path = '', mode = ''] = words;
    if (path === '' || path.length > MAX_PATH || words.length < 3) {
      refuse(ERROR_ILLEGAL, 'not a request');
      return;
    }
    // Nobody boots what is translated; most clients say octet, and netascii means the same for what is no text.
    if (!/^(octet|netascii)$/i.test(mode)) {
      refuse(ERROR_ILLEGAL, 'mode is not octet');
      return;
    }
    for (const other of this.#sessions.values()) {
      if (other.guestPort === guestPort && other.guest.join() === guest.join()) {
        if (other.path === path && other.position <= 1) {
          // A repeated request: the first one is being answered, or its answer was slow.
          if (other.sent !== undefined) {
            this.#transmit(other, other.sent);
          }
          return;
        }
        this.#end(other);
      }
    }
    const [oldest] = this.#sessions.values();
    if (this.#sessions.size >= MAX_SESSIONS && oldest !== undefined) {
      this.#end(oldest);
    }
    const session: Session = {
      guest,
      guestPort,
      port,
      alarm: this.#clock.createAlarm(() => this.#timeout(session)),
      path,
      file: undefined,
      block: DEFAULT_BLOCK,
      position: 0,
      sent: undefined,
      retries: 0,
      last: false,
      busy: false,
    };
    this.#sessions.set(port, session);
    this.#folder.open(path.replace(/^\/+/, '')).then(
      (file) => {
        if (!this.#sessions.has(port)) {
          file?.close();
        } else if (file === undefined) {
          this.#end(session);
          refuse(ERROR_NOT_FOUND, 'no such file');
        } else {
          session.file = file;
          this.#begin(session, file, words.slice(2));
        }
      },
      () => this.#end(session),
    );
  }

  #begin(session: Session, file: BootFile, words: readonly string[]): void {
    const answers: string[] = [];
    for (let i = 0; i + 1 < words.length; i += 2) {
      const name = (words[i] ?? '').toLowerCase();
      const value = Number(words[i + 1]);
      if (name === 'blksize' && value >= 8 && value <= 65464) {
        session.block = Math.min(Math.floor(value), LARGEST_BLOCK);
        answers.push(name, String(session.block));
      } else if (name === 'tsize') {
        answers.push(name, String(file.sizeBytes));
      }
    }
    if (answers.length > 0) {
      const text = new TextEncoder().encode(answers.map((answer) => `${answer}\0`).join(''));
      this.#transmit(session, Uint8Array.of(0, OACK, ...text));
    } else {
      this.#next(session);
    }
  }

  #transmit(session: Session, packet: Uint8Array): void {
    session.sent = packet;
    this.#send(session.port, session.guest, session.guestPort, packet);
    session.alarm.set(this.#clock.now() + TIMEOUT_NANOS);
  }

  #acknowledged(session: Session, block: number): void {
    // Others are repetitions, which must not be answered (RFC 1123, 4.2.3.1).
    if (block !== (session.position & 0xffff) || session.busy || session.sent === undefined) {
      return;
    }
    session.retries = 0;
    if (session.last) {
      this.#end(session);
    } else {
      this.#next(session);
    }
  }

  #next(session: Session): void {
    const { file } = session;
    if (file === undefined) {
      return;
    }
    session.busy = true;
    session.alarm.cancel();
    file.read(session.position * session.block, session.block).then(
      (bytes) => {
        if (!this.#sessions.has(session.port)) {
          return;
        }
        session.busy = false;
        session.position++;
        session.last = bytes.length < session.block;
        const packet = new Uint8Array(4 + bytes.length);
        packet.set([0, DATA, (session.position >> 8) & 0xff, session.position & 0xff]);
        packet.set(bytes, 4);
        this.#transmit(session, packet);
      },
      () => {
        this.#send(session.port, session.guest, session.guestPort, errorPacket(0, 'the file cannot be read'));
        this.#end(session);
      },
    );
  }

  #timeout(session: Session): void {
    session.retries++;
    if (session.retries > MAX_RETRIES || session.sent === undefined) {
      this.#end(session);
    } else {
      this.#transmit(session, session.sent);
    }
  }

  #end(session: Session): void {
    this.#sessions.delete(session.port);
    session.alarm.dispose();
    session.file?.close();
    session.file = undefined;
  }
}

function errorPacket(code: number, text: string): Uint8Array {
  return Uint8Array.of(0, ERROR, 0, code, ...new TextEncoder().encode(text), 0);
}
