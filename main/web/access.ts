import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { hostname, networkInterfaces } from 'node:os';

/**
 * Who may use the web shell: whoever has the token of the printed URL, which a browser exchanges for a cookie. Names
 * of hosts are checked against DNS rebinding, origins against other sites' pages.
 */
export class Access {
  /** For the printed URL. */
  readonly token: string;
  readonly cookieName: string;
  readonly #session: string;
  readonly #hosts: ReadonlySet<string>;

  /** `address` is what the server listens on. */
  constructor(address: string, port: number, token: string = randomBytes(24).toString('base64url')) {
    this.token = token;
    // Cookies are shared by all ports of a host; several Lodges must not log each other out.
    this.cookieName = `lodge-${port}`;
    this.#session = randomBytes(24).toString('base64url');
    this.#hosts = new Set(hostNames(address).map((name) => `${name}:${port}`.toLowerCase()));
  }

  /** Whether a request is really meant for this server, and not for a name that was made to point here. */
  isOwnHost(headers: IncomingHttpHeaders): boolean {
    const { host } = headers;
    return host !== undefined && this.#hosts.has(host.toLowerCase());
  }

  /** Whether a request comes from a page of this server; `required` where browsers always say where from. */
  isOwnOrigin(headers: IncomingHttpHeaders, required: boolean): boolean {
    const { origin, host } = headers;
    if (origin === undefined) {
      return !required;
    }
    return host !== undefined && origin.toLowerCase() === `http://${host.toLowerCase()}`;
  }

  isToken(given: string): boolean {
    return sameText(given, this.token);
  }

  hasSession(headers: IncomingHttpHeaders): boolean {
    for (const part of (headers.cookie ?? '').split(';')) {
      const at = part.indexOf('=');
      if (
        at > 0 &&
        part.slice(0, at).trim() === this.cookieName &&
        sameText(part.slice(at + 1).trim(), this.#session)
      ) {
        return true;
      }
    }
    return false;
  }

  /** The value of a Set-Cookie header: gone with the browser's session, and worthless after this server's. */
  sessionCookie(): string {
    return `${this.cookieName}=${this.#session}; Path=/; HttpOnly; SameSite=Strict`;
  }
}

/** In a time that does not tell how much of it is right. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const bracketed = (address: string) => (address.includes(':') ? `[${address}]` : address);

export function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address);
}

/** The names under which a server that listens on `address` is reached. */
function hostNames(address: string): string[] {
  const loopback = ['127.0.0.1', 'localhost', '[::1]'];
  if (isLoopback(address)) {
    return [...loopback, bracketed(address)];
  }
  if (address === '0.0.0.0' || address === '::') {
    const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address));
    return [...loopback, ...own.map(bracketed), hostname()];
  }
  return [...loopback, bracketed(address), hostname()];
}
