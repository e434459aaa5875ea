/** Shared folders and sockets of a machine: what `--share` and `--vsock` say. */

/** A folder of the host that the guest mounts by its name. */
export interface ShareConfig {
  /** The mount tag. */
  readonly name: string;
  readonly path: string;
  readonly readOnly: boolean;
}

export interface ShareConfigInput {
  readonly name: string;
  readonly path: string;
  readonly readOnly?: boolean | undefined;
}

/** Functions of one PCI slot. */
export const MAX_SHARES = 8;
/** The longest mount tag that every driver takes. */
export const MAX_SHARE_NAME = 31;

/** Stream sockets between guest and host (AF_VSOCK). */
export interface VsockConfig {
  /** The guest's address, its context ID. */
  readonly cid: number;
  /**
   * A Unix socket, on Windows the name of a pipe: programs of the host connect to it and write `CONNECT PORT` to reach the
   * guest; what the guest connects to at port N is the socket of this name with `_N` behind it.
   */
  readonly socket: string;
}

export interface VsockConfigInput {
  readonly cid?: number | undefined;
  readonly socket: string;
}

/** 0 and 1 are reserved and 2 is the host; so is the highest (virtio 1.2, section 5.10.4). */
export const MIN_CID = 3;
export const MAX_CID = 0xfffffffe;
export const DEFAULT_CID = MIN_CID;
/** The longest path of a Unix socket that every system takes, less `_4294967295`. */
export const MAX_VSOCK_PATH = 103 - 11;
