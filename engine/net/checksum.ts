/** The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit big-endian words. */

const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Adds the carries of a sum of 16-bit words back in: 0 to FFFFh. */
export function foldSum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) {
    folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  }
  return folded;
}

/**
 * The sum, not yet complemented, of the bytes `start … end − 1` as 16-bit words from `start` on, a last odd byte padded
 * with zero. `initial` is added. 0 to FFFFh.
 */
export function sumBytes(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  // The sum does not depend on the byte order of the words but for that of its own bytes (RFC 1071, 2(B)), so whole
  // words are taken in the host's order where they are aligned, eight bytes at a time.
  const length = end - start;
  let at = start;
  let sum = 0;
  const offset = bytes.byteOffset + start;
  if (length >= 32 && (offset & 1) === 0) {
    let lead = 0;
    if ((offset & 2) !== 0) {
      lead = littleEndian
        ? (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
        : ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
      at += 2;
    }
    const count = (end - at) >>> 2;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, count);
    let low = lead;
    let high = 0;
    let i = 0;
    // At most 16,384 words: neither half can pass 2^31.
    for (; i + 4 <= count; i += 4) {
      const a = words[i] as number;
      const b = words[i + 1] as number;
      const c = words[i + 2] as number;
      const d = words[i + 3] as number;
      low += (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff);
      high += (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16);
    }
    for (; i < count; i++) {
      const word = words[i] as number;
      low += word & 0xffff;
      high += word >>> 16;
    }
    at += count * 4;
    const native = foldSum(low + high);
    sum = littleEndian ? ((native & 0xff) << 8) | (native >>> 8) : native;
  }
  for (; at + 1 < end; at += 2) {
    sum += ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  }
  if (at < end) {
    sum += (bytes[at] as number) << 8;
  }
  return foldSum(sum + initial);
}

/** The checksum of bytes whose checksum field is zero; of bytes with a right checksum it is zero. */
export function checksum(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  return ~sumBytes(bytes, start, end, initial) & 0xffff;
}

/**
 * The sum over the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1).
 * @param source of 4 or 16 bytes, as `destination`
 * @param length bytes of the transport's header and data
 */
export function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  const addresses = sumBytes(destination, 0, destination.length, sumBytes(source, 0, source.length));
  return foldSum(addresses + protocol + (length >>> 16) + (length & 0xffff));
}
