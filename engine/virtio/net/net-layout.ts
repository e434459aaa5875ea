/** Feature bits of the network device (virtio 1.2, section 5.1.3). */
export const VIRTIO_NET_F_CSUM = 1n << 0n;
export const VIRTIO_NET_F_GUEST_CSUM = 1n << 1n;
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 1n << 2n;
export const VIRTIO_NET_F_MAC = 1n << 5n;
export const VIRTIO_NET_F_GUEST_TSO4 = 1n << 7n;
export const VIRTIO_NET_F_GUEST_TSO6 = 1n << 8n;
export const VIRTIO_NET_F_HOST_TSO4 = 1n << 11n;
export const VIRTIO_NET_F_HOST_TSO6 = 1n << 12n;
export const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
export const VIRTIO_NET_F_STATUS = 1n << 16n;
export const VIRTIO_NET_F_CTRL_VQ = 1n << 17n;
export const VIRTIO_NET_F_CTRL_RX = 1n << 18n;
export const VIRTIO_NET_F_MQ = 1n << 22n;
export const VIRTIO_NET_F_CTRL_MAC_ADDR = 1n << 23n;

/** What needs what (section 5.1.3.1). */
export const NET_FEATURE_NEEDS: readonly (readonly [feature: bigint, needed: bigint])[] = [
  [VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM],
  [VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM],
  [VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM],
  [VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM],
  [VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ],
  [VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ],
  [VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_VQ],
  [VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ],
];

/** Offsets in the configuration (section 5.1.4). */
export const NET_CONFIG = { mac: 0, status: 6, maxPairs: 8, length: 12 } as const;
export const NET_S_LINK_UP = 1;

/** The header before each frame (section 5.1.6). */
export const NET_HDR_BYTES = 12;
/** Of legacy drivers without mergeable buffers: without the number of buffers. */
export const NET_LEGACY_HDR_BYTES = 10;
export const NET_HDR = {
  flags: 0,
  gsoType: 1,
  headerLength: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
  buffers: 10,
};
export const NET_HDR_F_NEEDS_CSUM = 1;
export const NET_HDR_F_DATA_VALID = 2;
export const NET_HDR_GSO_NONE = 0;
export const NET_HDR_GSO_TCPV4 = 1;
export const NET_HDR_GSO_TCPV6 = 4;
export const NET_HDR_GSO_ECN = 0x80;

/** Commands of the control queue: class and command (section 5.1.6.5). */
export const CTRL_RX = 0;
export const CTRL_RX_PROMISC = 0;
export const CTRL_RX_ALLMULTI = 1;
export const CTRL_MAC = 1;
export const CTRL_MAC_TABLE_SET = 0;
export const CTRL_MAC_ADDR_SET = 1;
export const CTRL_MQ = 4;
export const CTRL_MQ_PAIRS_SET = 0;
export const CTRL_GUEST_OFFLOADS = 5;
export const CTRL_GUEST_OFFLOADS_SET = 0;
export const NET_OK = 0;
export const NET_ERR = 1;
