/** The network of a machine: what `--net` says. */

export const NETWORK_MODELS = ['virtio', 'e1000'] as const;
export type NetworkModel = (typeof NETWORK_MODELS)[number];

/** The address of a card whose settings name none; every machine has a network to itself. */
export const DEFAULT_MAC = '52:54:00:12:34:56';
/** Forwarded ports are open to the host alone unless another address is given. */
export const DEFAULT_HOST_ADDRESS = '127.0.0.1';
export const MAX_PORT_FORWARDS = 256;

/** A port of the host that leads to a port of the guest. */
export interface PortForwardConfig {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress: string;
  /** 0: any that is free. */
  readonly hostPort: number;
  /** Undefined: the guest's first address, 10.0.2.15. */
  readonly guestAddress?: string | undefined;
  readonly guestPort: number;
}

/** The user-mode network (NAT) and the card that is plugged into it. */
export interface NetworkConfig {
  readonly model: NetworkModel;
  /** Six bytes in hexadecimal with colons between them. */
  readonly mac: string;
  /** False: the cable is not plugged in at the start. */
  readonly linkUp: boolean;
  readonly forwards: readonly PortForwardConfig[];
  /** The gateway, 10.0.2.2, is the host's 127.0.0.1. */
  readonly hostLoopback: boolean;
  /** Nothing outside can be reached. */
  readonly isolated: boolean;
  /** A pcap file to which all frames are written. */
  readonly capture?: string;
  /** A folder that the gateway serves by TFTP and HTTP, for network boot. */
  readonly bootFolder?: string;
  /** What network boot loads: a path in the folder, or a URL. */
  readonly bootFile?: string;
}

export interface NetworkConfigInput {
  readonly model?: string | undefined;
  readonly mac?: string | undefined;
  readonly linkUp?: boolean | undefined;
  readonly forwards?:
    | readonly {
        readonly protocol: string;
        readonly hostAddress?: string | undefined;
        readonly hostPort: number;
        readonly guestAddress?: string | undefined;
        readonly guestPort: number;
      }[]
    | undefined;
  readonly hostLoopback?: boolean | undefined;
  readonly isolated?: boolean | undefined;
  readonly capture?: string | undefined;
  readonly bootFolder?: string | undefined;
  readonly bootFile?: string | undefined;
}

/** A forward as it is written: `tcp:2222:22`, with addresses `tcp:0.0.0.0:2222:10.0.2.16:22`. */
export function forwardText(forward: Omit<PortForwardConfig, 'protocol'> & { readonly protocol: string }): string {
  const { protocol, hostAddress, hostPort, guestAddress, guestPort } = forward;
  const host =
    hostAddress === DEFAULT_HOST_ADDRESS ? '' : `${hostAddress.includes(':') ? `[${hostAddress}]` : hostAddress}:`;
  return `${protocol}:${host}${hostPort}:${guestAddress === undefined ? '' : `${guestAddress}:`}${guestPort}`;
}
