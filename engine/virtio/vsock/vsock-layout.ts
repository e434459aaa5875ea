import type { DescriptorChain } from '../queue/descriptor-chain.ts';

/** The socket device (virtio 1.2, section 5.10). Everything is little endian. */
export const VIRTIO_VSOCK_F_STREAM = 1n << 0n;

export const QUEUE_RX = 0;
export const QUEUE_TX = 1;
export const QUEUE_EVENT = 2;

/** The host's context ID. */
export const HOST_CID = 2n;
export const HEADER_BYTES = 44;
export const TYPE_STREAM = 1;

/** Operations (section 5.10.6). */
export const OP = {
  request: 1,
  response: 2,
  reset: 3,
  shutdown: 4,
  data: 5,
  creditUpdate: 6,
  creditRequest: 7,
} as const;

/** Flags of a shutdown: who sends it receives no more, sends no more. */
export const SHUTDOWN_RECEIVE = 1;
export const SHUTDOWN_SEND = 2;
export const SHUTDOWN_BOTH = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/** The connections of before are no more (section 5.10.6.7). */
export const EVENT_TRANSPORT_RESET = 0;
export const EVENT_BYTES = 4;

export interface VsockHeader {
  readonly sourceCid: bigint;
  readonly targetCid: bigint;
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly length: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  /** Room for bytes at the sender, and how many have left it there since the beginning, modulo 2^32. */
  readonly bufferBytes: number;
  readonly forwarded: number;
}

/** The header of a packet, or undefined when the buffer is too short for one. */
export function readHeader(chain: DescriptorChain): VsockHeader | undefined {
  if (chain.readableBytes < HEADER_BYTES) {
    return undefined;
  }
  const view = new DataView(chain.bytes(0, HEADER_BYTES).buffer);
  return {
    sourceCid: view.getBigUint64(0, true),
    targetCid: view.getBigUint64(8, true),
    sourcePort: view.getUint32(16, true),
    targetPort: view.getUint32(20, true),
    length: view.getUint32(24, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufferBytes: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
  };
}

export function headerBytes(header: VsockHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, header.sourceCid, true);
  view.setBigUint64(8, header.targetCid, true);
  view.setUint32(16, header.sourcePort, true);
  view.setUint32(20, header.targetPort, true);
  view.setUint32(24, header.length, true);
  view.setUint16(28, header.type, true);
  view.setUint16(30, header.op, true);
  view.setUint32(32, header.flags, true);
  view.setUint32(36, header.bufferBytes, true);
  view.setUint32(40, header.forwarded, true);
  return bytes;
}
