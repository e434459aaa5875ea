/** Files of captured frames in the format of libpcap, version 2.4, with times in microseconds. */

const MAGIC = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
/** No frame is longer; none is cut. */
const SNAP_LENGTH = 262_144;
export const PCAP_RECORD_BYTES = 16;

/** What a capture begins with. */
export function pcapHeader(): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, SNAP_LENGTH, true);
  view.setUint32(20, LINKTYPE_ETHERNET, true);
  return new Uint8Array(view.buffer);
}

/** A frame with what goes before it. */
export function pcapRecord(frame: Uint8Array, epochMillis: number): Uint8Array<ArrayBuffer> {
  const record = new Uint8Array(PCAP_RECORD_BYTES + frame.length);
  const view = new DataView(record.buffer);
  view.setUint32(0, Math.floor(epochMillis / 1000), true);
  view.setUint32(4, Math.floor((epochMillis % 1000) * 1000), true);
  view.setUint32(8, frame.length, true);
  view.setUint32(12, frame.length, true);
  record.set(frame, PCAP_RECORD_BYTES);
  return record;
}
