/** Sequence numbers of TCP count modulo 2^32 (RFC 9293, 3.4): kept as int32, compared by their difference. */

/** How far `a` is behind `b` … before it when negative. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}

export function seqAdd(a: number, count: number): number {
  return (a + count) | 0;
}
