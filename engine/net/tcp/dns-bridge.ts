import { isDnsQuery } from '../dns.ts';
import { HostBridge } from './host-bridge.ts';

/** A message and its length (RFC 1035, 4.2.2). */
const MAX_MESSAGE = 2 + 65535;

/** Passes queries over TCP on to a name server, and nothing that is no query. */
export class DnsBridge extends HostBridge {
  #pending = new Uint8Array(0);
  #refused = false;

  override data(bytes: Uint8Array): void {
    if (this.#refused || this.#pending.length + bytes.length > MAX_MESSAGE * 4) {
      this.#refuse();
      return;
    }
    const all = new Uint8Array(this.#pending.length + bytes.length);
    all.set(this.#pending);
    all.set(bytes, this.#pending.length);
    let at = 0;
    while (at + 2 <= all.length) {
      const end = at + 2 + (((all[at] ?? 0) << 8) | (all[at + 1] ?? 0));
      if (end > all.length) {
        break;
      }
      if (!isDnsQuery(all.subarray(at + 2, end))) {
        this.#refuse();
        return;
      }
      super.data(all.subarray(at, end));
      at = end;
    }
    this.#pending = all.slice(at);
  }

  #refuse(): void {
    this.#refused = true;
    this.#pending = new Uint8Array(0);
    this.connection?.abort();
    this.closed('reset');
  }
}
