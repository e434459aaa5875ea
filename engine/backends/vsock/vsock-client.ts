import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { VsockBackend, VsockPeer, VsockStream } from './vsock-backend.ts';
import type { FromSockets, ToSockets } from './vsock-messages.ts';

/** What joins a machine thread to the sockets of its host thread. */
export interface VsockCable {
  readonly port: MessagePort;
  /** One i32: how many messages were sent to the machine thread. */
  readonly count: SharedArrayBuffer;
}

/** The machine thread's way to the sockets of a guest, which are in another thread (vsock-host.ts). */
export class VsockClient implements VsockBackend {
  onIncoming: VsockBackend['onIncoming'];
  readonly #port: MessagePort;
  readonly #count: Int32Array;
  readonly #peers = new Map<number, VsockPeer>();
  #received = 0;
  #nextId = 0;
  #disposed = false;

  constructor({ port, count }: VsockCable) {
    this.#port = port;
    this.#count = new Int32Array(count);
  }

  connect(port: number, peer: VsockPeer): VsockStream {
    const id = this.#nextId;
    this.#nextId += 2;
    this.#peers.set(id, peer);
    this.#send({ kind: 'connect', id, port });
    return this.#stream(id);
  }

  #send(message: ToSockets): void {
    if (this.#disposed) {
      return;
    }
    this.#port.postMessage(message, message.kind === 'write' ? [message.bytes.buffer] : []);
  }

  #stream(id: number): VsockStream {
    return {
      accept: (hostPort) => this.#send({ kind: 'accept', id, hostPort }),
      write: (bytes) => this.#send({ kind: 'write', id, bytes }),
      end: () => this.#send({ kind: 'end', id }),
      taken: (count) => this.#send({ kind: 'taken', id, count }),
      destroy: () => {
        this.#peers.delete(id);
        this.#send({ kind: 'destroy', id });
      },
    };
  }

  /** Hands over what has come since the last call. */
  poll(): void {
    if (Atomics.load(this.#count, 0) === this.#received) {
      return;
    }
    for (;;) {
      const entry = receiveMessageOnPort(this.#port) as { readonly message: FromSockets } | undefined;
      if (entry === undefined) {
        return;
      }
      this.#received = (this.#received + 1) | 0;
      this.#receive(entry.message);
    }
  }

  #receive(message: FromSockets): void {
    const { id } = message;
    if (message.kind === 'incoming') {
      const peer = this.onIncoming?.(message.port, this.#stream(id));
      if (peer === undefined) {
        this.#send({ kind: 'destroy', id });
      } else {
        this.#peers.set(id, peer);
      }
      return;
    }
    const peer = this.#peers.get(id);
    switch (message.kind) {
      case 'opened':
        peer?.opened();
        return;
      case 'data':
        peer?.data(message.bytes);
        return;
      case 'written':
        peer?.written(message.count);
        return;
      case 'ended':
        peer?.ended();
        return;
      case 'closed':
        this.#peers.delete(id);
        peer?.closed(message.broken);
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#peers.clear();
    this.#port.close();
  }
}
