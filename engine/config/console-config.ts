/** Virtio consoles and channels of a machine: what `--console` and `--channel` say. */

/** Where the guest's first virtio console, hvc0, leads. */
export type ConsoleTarget =
  | { readonly kind: 'stdio' }
  /** What the guest says is written to a file; nobody answers. */
  | { readonly kind: 'file'; readonly path: string }
  /** A Unix socket that one terminal at a time may connect to; on Windows the name of a pipe. */
  | { readonly kind: 'socket'; readonly path: string };

/** A way between a program of the guest and one of the host: /dev/virtio-ports/NAME there, a socket here. */
export interface ChannelConfig {
  readonly name: string;
  readonly socket: string;
}

/** Port 0 is for the console. */
export const MAX_CHANNELS = 15;
export const MAX_CHANNEL_NAME = 64;
/** The longest path of a Unix socket that every system takes. */
export const MAX_SOCKET_PATH = 103;
