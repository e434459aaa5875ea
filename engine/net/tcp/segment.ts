import type { IpPacket } from '../packet.ts';

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;

export const TCP_HEADER = 20;
/** Where the checksum stands in the header. */
export const TCP_CHECKSUM = 16;

/** A segment as it came in (RFC 9293, 3.1). `data` is valid while the packet is handled. */
export interface Segment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  /** As in the header: not scaled. */
  readonly window: number;
  readonly data: Uint8Array;
  /** Maximum segment size and window shift of a SYN; undefined when the option is missing. */
  readonly mss: number | undefined;
  readonly windowShift: number | undefined;
}

/** Takes a segment apart; undefined for what is none. The checksum was looked at before. */
export function parseSegment({ bytes, view, payload }: IpPacket): Segment | undefined {
  if (bytes.length - payload < TCP_HEADER) {
    return undefined;
  }
  const header = (view.getUint8(payload + 12) >> 4) * 4;
  if (header < TCP_HEADER || payload + header > bytes.length) {
    return undefined;
  }
  const flags = view.getUint8(payload + 13);
  let mss: number | undefined;
  let windowShift: number | undefined;
  if ((flags & TCP_SYN) !== 0) {
    for (let at = payload + TCP_HEADER; at < payload + header; ) {
      const kind = view.getUint8(at);
      if (kind === 0) {
        break;
      }
      if (kind === 1) {
        at++;
        continue;
      }
      const length = at + 1 < payload + header ? view.getUint8(at + 1) : 0;
      if (length < 2 || at + length > payload + header) {
        break;
      }
      if (kind === 2 && length === 4) {
        mss = view.getUint16(at + 2);
      } else if (kind === 3 && length === 3) {
        // RFC 7323, 2.3: more than 14 count as 14.
        windowShift = Math.min(14, view.getUint8(at + 2));
      }
      at += length;
    }
  }
  return {
    sourcePort: view.getUint16(payload),
    destinationPort: view.getUint16(payload + 2),
    seq: view.getInt32(payload + 4),
    ack: view.getInt32(payload + 8),
    flags,
    window: view.getUint16(payload + 14),
    data: bytes.subarray(payload + header),
    mss,
    windowShift,
  };
}
