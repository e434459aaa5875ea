import type { Disposable } from '../base/disposable.ts';
import { createFrameRing, FrameRingReader, FrameRingWriter } from './frame-ring.ts';
import {
  type FrameWork,
  MAX_FRAME_BYTES,
  type NetworkCard,
  type NetworkPort,
  noOffloads,
  type ReceivedFrame,
  type ReceiveOffloads,
} from './network-port.ts';

const OFFLOAD_CHECKSUM = 1;
const OFFLOAD_SEGMENT4 = 2;
const OFFLOAD_SEGMENT6 = 4;

/** The shared memory of a cable between the machine thread, where the card is, and the thread of the network. */
export interface NetworkCable {
  readonly toNetwork: SharedArrayBuffer;
  readonly toCard: SharedArrayBuffer;
  /** One i32: the card's receive offloads as bits. */
  readonly offloads: SharedArrayBuffer;
}

export function createNetworkCable(): NetworkCable {
  return { toNetwork: createFrameRing(), toCard: createFrameRing(), offloads: new SharedArrayBuffer(4) };
}

/** The offloads that the card of a cable has asked for. */
export function cableOffloads(cable: NetworkCable): () => ReceiveOffloads {
  const word = new Int32Array(cable.offloads);
  let seen = 0;
  let value = noOffloads;
  return () => {
    const bits = Atomics.load(word, 0);
    if (bits !== seen) {
      seen = bits;
      value = {
        checksum: (bits & OFFLOAD_CHECKSUM) !== 0,
        segment4: (bits & OFFLOAD_SEGMENT4) !== 0,
        segment6: (bits & OFFLOAD_SEGMENT6) !== 0,
      };
    }
    return value;
  };
}

/**
 * The machine thread's end of a cable. `wake` tells the other thread that frames have come or room was made;
 * the machine thread calls `poll` between slices, and after its bell was rung.
 */
export class RingNetworkPort implements NetworkPort {
  readonly #out: FrameRingWriter;
  readonly #in: FrameRingReader;
  readonly #offloads: Int32Array;
  readonly #wake: () => void;
  #card: NetworkCard | undefined;
  #linkUp = true;
  /** The card has seen that nothing waits, so it is to be told of the next frame. */
  #starved = true;
  /** The card was refused room and is to be told of some. */
  #refused = false;
  readonly #activity: (kind: 'read' | 'write') => void;
  /** Where frames of an unplugged cable are written to. */
  #lost: Uint8Array | undefined;

  /** `activity` is told of every frame: read from the network, or written to it. */
  constructor(cable: NetworkCable, wake: () => void, activity: (kind: 'read' | 'write') => void = () => {}) {
    this.#activity = activity;
    this.#out = new FrameRingWriter(cable.toNetwork);
    this.#in = new FrameRingReader(cable.toCard);
    this.#offloads = new Int32Array(cable.offloads);
    this.#wake = wake;
  }

  get linkUp(): boolean {
    return this.#linkUp;
  }

  /** Plugs the cable in or out. */
  setLink(up: boolean): void {
    if (up !== this.#linkUp) {
      this.#linkUp = up;
      this.#discard();
      this.#starved = true;
      this.#card?.linkChanged();
    }
  }

  connect(card: NetworkCard): Disposable {
    this.#card = card;
    return {
      dispose: () => {
        this.#card = undefined;
      },
    };
  }

  setReceiveOffloads(offloads: ReceiveOffloads): void {
    const bits =
      (offloads.checksum ? OFFLOAD_CHECKSUM : 0) |
      (offloads.checksum && offloads.segment4 ? OFFLOAD_SEGMENT4 : 0) |
      (offloads.checksum && offloads.segment6 ? OFFLOAD_SEGMENT6 : 0);
    Atomics.store(this.#offloads, 0, bits);
  }

  reserve(length: number): Uint8Array | undefined {
    if (length < 14 || length > MAX_FRAME_BYTES) {
      return undefined;
    }
    if (!this.#linkUp) {
      this.#lost ??= new Uint8Array(MAX_FRAME_BYTES);
      return this.#lost.subarray(0, length);
    }
    let buffer = this.#out.reserve(length);
    if (buffer === undefined && !this.#out.wantRoom()) {
      buffer = this.#out.reserve(length); // there is some by now, and nobody will tell
    }
    this.#refused ||= buffer === undefined;
    return buffer;
  }

  commit(work: FrameWork): void {
    if (this.#linkUp) {
      this.#out.commit(work, false);
      this.#activity('write');
      if (this.#out.publish()) {
        this.#wake();
      }
    }
  }

  peek(): ReceivedFrame | undefined {
    const frame = this.#linkUp ? this.#in.peek() : undefined;
    if (frame === undefined) {
      this.#starved = true;
    }
    return frame;
  }

  take(): void {
    this.#in.take();
    this.#activity('read');
    if (this.#in.release()) {
      this.#wake();
    }
  }

  #discard(): void {
    while (this.#in.peek() !== undefined) {
      this.take();
    }
  }

  /** Tells the card what has become possible. */
  poll(): void {
    if (!this.#linkUp) {
      this.#discard();
      return;
    }
    if (this.#starved && !this.#in.isEmpty) {
      this.#starved = false;
      this.#card?.frameWaiting();
    }
    if (this.#refused && this.#out.hasRoom) {
      this.#refused = false;
      this.#card?.roomToSend();
    }
  }
}
