/**
 * What the user-mode network needs of the host: sockets, the name servers, files to boot from. Everything is called back
 * later, never inside the call that started it. Addresses are text as `parseAddress` reads it.
 */
export interface HostSockets {
  /** Starts a connection; what becomes of it is told to `events`. */
  connectTcp(address: string, port: number, events: HostTcpEvents): HostTcpSocket;
  /**
   * Accepts connections; rejects with HostError when the port cannot be had. `accept` gives who listens to the new
   * connection, or undefined to refuse it.
   */
  listenTcp(
    address: string,
    port: number,
    accept: (socket: HostTcpSocket, from: HostEndpoint) => HostTcpEvents | undefined,
  ): Promise<HostListener>;
  /** A socket of any free port. */
  openUdp(family: 4 | 6, events: HostUdpEvents): HostUdpSocket;
  /** A socket of a certain port; rejects with HostError when it cannot be had. */
  bindUdp(
    address: string,
    port: number,
    events: HostUdpEvents,
  ): Promise<{ readonly socket: HostUdpSocket; readonly port: number }>;
  /** The host's name servers at present, best first. */
  nameServers(): readonly HostEndpoint[];
  /** The address belongs to an interface of the host that is reached from the host only. */
  isLoopback(address: string): boolean;
}

export interface HostEndpoint {
  readonly address: string;
  readonly port: number;
}

export interface HostListener {
  readonly port: number;
  close(): void;
}

export interface HostTcpSocket {
  /** Sends bytes; the array is the socket's from now on. `sent` tells when they have left. */
  write(bytes: Uint8Array<ArrayBuffer>): void;
  /** Nothing more will be written; the other side sees the end after what was written. */
  end(): void;
  /** Ends both directions at once; `closed` is not called any more. */
  reset(): void;
  /** Holds incoming data back, and lets them come again. */
  pause(): void;
  resume(): void;
}

export interface HostTcpEvents {
  connected(): void;
  /** `bytes` are valid during the call only. */
  data(bytes: Uint8Array): void;
  /** So many bytes that were written have left. */
  sent(bytes: number): void;
  /** The other side will send nothing more. */
  ended(): void;
  /** Nothing comes any more; `error` is the host's code (`ECONNREFUSED`), undefined after an orderly end. */
  closed(error: string | undefined): void;
}

export interface HostUdpSocket {
  /** Sends a datagram; the array is the socket's from now on. `failed` is told what the host refuses. */
  send(bytes: Uint8Array<ArrayBuffer>, address: string, port: number, failed?: (error: string) => void): void;
  close(): void;
}

export interface HostUdpEvents {
  /** `bytes` are valid during the call only. */
  datagram(bytes: Uint8Array, from: HostEndpoint): void;
}

/** A folder whose files guests can boot from; nothing outside it can be reached. */
export interface BootFolder {
  /** Opens a file by its path inside the folder, with slashes; undefined when there is none, for whatever reason. */
  open(path: string): Promise<BootFile | undefined>;
}

export interface BootFile {
  readonly sizeBytes: number;
  /** Bytes from `offset` on, fewer than asked for at the end. Rejects when the host fails. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): void;
}
