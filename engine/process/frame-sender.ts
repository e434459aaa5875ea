import { promisify } from 'node:util';
import { constants, deflate } from 'node:zlib';
import { decodeFramePacket, encodeFramePacket } from '../base/frame-packet.ts';

const compress = promisify(deflate);
/** Below this, compressing costs more than it saves. */
const MIN_COMPRESSED_BYTES = 256;

interface Viewer {
  readonly compressed: boolean;
  /** Settles when everything handed in so far was sent, so that packets keep their order. */
  last: Promise<void>;
}

/** Passes frame packets on, compressed (outside this thread) for those viewers that want it. */
export class FrameSender {
  readonly #send: (viewer: number, packet: Uint8Array<ArrayBuffer>) => void;
  readonly #viewers = new Map<number, Viewer>();

  constructor(send: (viewer: number, packet: Uint8Array<ArrayBuffer>) => void) {
    this.#send = send;
  }

  attach(viewer: number, compressed: boolean): void {
    this.#viewers.set(viewer, { compressed, last: Promise.resolve() });
  }

  detach(viewer: number): void {
    this.#viewers.delete(viewer);
  }

  send(id: number, packet: Uint8Array<ArrayBuffer>): void {
    const viewer = this.#viewers.get(id);
    if (viewer === undefined) {
      return;
    }
    if (!viewer.compressed) {
      this.#send(id, packet);
      return;
    }
    const ready = compressPacket(packet);
    const before = viewer.last;
    viewer.last = (async () => {
      await before;
      const made = await ready;
      if (this.#viewers.get(id) === viewer) {
        this.#send(id, made);
      }
    })();
  }
}

async function compressPacket(packet: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const { payload, ...header } = decodeFramePacket(packet);
  if (payload.length < MIN_COMPRESSED_BYTES) {
    return packet;
  }
  const small = await compress(payload, { level: constants.Z_BEST_SPEED });
  return small.length < payload.length ? encodeFramePacket(header, small, { compressed: true }) : packet;
}
