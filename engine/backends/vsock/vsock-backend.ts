import type { Disposable } from '../../base/disposable.ts';

/** So many bytes of a connection may be on their way from the host to the device. */
export const HOST_WINDOW_BYTES = 64 << 10;
/** The same the other way: what the device lets a guest send before the host has taken it. */
export const GUEST_WINDOW_BYTES = 128 << 10;

/** The host's end of a connection, as the device uses it. After `destroy` nothing more is heard of it. */
export interface VsockStream {
  /** The guest accepts the connection that a program of the host asked for; `hostPort` is what it calls its other end. */
  accept(hostPort: number): void;
  /** Bytes from the guest; `written` tells when they have gone. The array becomes the callee's. */
  write(bytes: Uint8Array<ArrayBuffer>): void;
  /** The guest sends no more. */
  end(): void;
  /** The guest has got `count` bytes: as many more may come. */
  taken(count: number): void;
  /** Cuts the connection off, or refuses it. */
  destroy(): void;
}

/** The device's end of a connection, told by the host; never from inside a method of the stream. */
export interface VsockPeer {
  /** A program of the host has taken the connection that the guest asked for. */
  opened(): void;
  /** At most HOST_WINDOW_BYTES that were not `taken`. */
  data(bytes: Uint8Array): void;
  written(count: number): void;
  /** The program sends no more. */
  ended(): void;
  /** There is no connection any more, or none came about. `broken`: bytes may have been lost. The last call. */
  closed(broken: boolean): void;
}

/** Where the connections of a guest lead on the host. */
export interface VsockBackend extends Disposable {
  /** The guest wants to be connected to a port of the host. */
  connect(port: number, peer: VsockPeer): VsockStream;
  /** Set by the device: a program of the host wants a port of the guest. Undefined refuses. */
  onIncoming: ((port: number, stream: VsockStream) => VsockPeer | undefined) | undefined;
}
