import { seqAdd, seqDiff } from './sequence.ts';

/** Pieces that wait for what is missing before them. */
const MAX_PIECES = 128;

interface Piece {
  seq: number;
  bytes: Uint8Array;
}

/** Segments that came too early, in order, without overlap; what does not fit is left to be sent again. */
export class OutOfOrder {
  #pieces: Piece[] = [];
  #held = 0;
  /** Sequence number of a FIN that came early. */
  fin: number | undefined;

  /** Bytes that wait. */
  get held(): number {
    return this.#held;
  }

  /** Keeps a copy of bytes that are not there yet. */
  add(seq: number, bytes: Uint8Array): void {
    let start = seq;
    const end = seqAdd(seq, bytes.length);
    let index = 0;
    while (seqDiff(end, start) > 0 && this.#pieces.length < MAX_PIECES) {
      const next = this.#pieces[index];
      if (next !== undefined && seqDiff(start, next.seq) >= 0) {
        // Behind the beginning of this piece: what it covers is there already.
        const nextEnd = seqAdd(next.seq, next.bytes.length);
        if (seqDiff(nextEnd, start) > 0) {
          start = nextEnd;
        }
        index++;
        continue;
      }
      const stop = next !== undefined && seqDiff(end, next.seq) > 0 ? next.seq : end;
      const from = seqDiff(start, seq);
      const piece = bytes.slice(from, from + seqDiff(stop, start));
      this.#pieces.splice(index, 0, { seq: start, bytes: piece });
      this.#held += piece.length;
      start = stop;
      index++;
    }
  }

  /** The bytes that follow on `expected`, removed; undefined when they are still missing. */
  next(expected: number): Uint8Array | undefined {
    for (let piece = this.#pieces[0]; piece !== undefined; piece = this.#pieces[0]) {
      const behind = seqDiff(expected, piece.seq);
      if (behind < 0) {
        return undefined;
      }
      this.#pieces.shift();
      this.#held -= piece.bytes.length;
      if (behind < piece.bytes.length) {
        return piece.bytes.subarray(behind);
      }
    }
    return undefined;
  }

  clear(): void {
    this.#pieces = [];
    this.#held = 0;
    this.fin = undefined;
  }
}
