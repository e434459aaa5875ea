/** The low `length` bytes of a value, lowest first. */
export function littleEndianBytes(value: bigint | number, length: number): number[] {
  const big = BigInt(value);
  return Array.from({ length }, (_, i) => Number((big >> BigInt(i * 8)) & 0xffn));
}

export const hexBytes = (bytes: Iterable<number>): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
