import type { BlockError } from '../backends/block/block-backend.ts';
import type { Staging } from '../base/staging.ts';
import type { BlockLane } from './block-lane.ts';

/** Data of one request in flight at a time; longer ones go piece by piece. A multiple of 512. */
const MAX_PIECE_BYTES = 512 << 10;

/** What a transfer needs to know of its request. */
export interface Transfer {
  readonly kind: 'read' | 'write';
  /** Bytes into the image. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  /** For a read: takes `bytes` that belong at `at` of the request. For a write: fills them. */
  copy(bytes: Uint8Array, at: number): void;
  /** False once nobody waits for it any more (a reset came): then nothing is copied and `done` not called. */
  alive(): boolean;
  done(error: BlockError | undefined): void;
}

/** Carries out `transfer` on `lane` through memory borrowed from `staging`. `done` is never called from within. */
export function transferBlocks(lane: BlockLane, staging: Staging, transfer: Transfer): void {
  const { kind, offset, length } = transfer;
  const piece = (at: number) => {
    if (!transfer.alive()) {
      return;
    }
    const count = Math.min(length - at, MAX_PIECE_BYTES);
    const buffer = staging.take(count);
    if (buffer === undefined) {
      staging.wait(() => piece(at));
      return;
    }
    if (kind === 'write') {
      transfer.copy(buffer, at);
    }
    lane.submit({ kind, offset: offset + at, buffer }, (error) => {
      const alive = transfer.alive();
      if (alive && kind === 'read' && error === undefined) {
        transfer.copy(buffer, at);
      }
      staging.give(buffer);
      if (!alive) {
        return;
      }
      if (error !== undefined || at + count >= length) {
        transfer.done(error);
      } else {
        piece(at + count);
      }
    });
  };
  piece(0);
}
