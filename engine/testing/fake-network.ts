import type { Disposable } from '../base/disposable.ts';
import {
  type FrameWork,
  MAX_FRAME_BYTES,
  type NetworkCard,
  type NetworkPort,
  noOffloads,
  plainFrame,
  type ReceivedFrame,
  type ReceiveOffloads,
} from '../net/network-port.ts';

/** A network that keeps what a card sends, and gives it what a test wants it to receive. */
export class FakeNetwork implements NetworkPort {
  linkUp = true;
  /** Frames that the card has sent. */
  readonly sent: { bytes: Uint8Array; work: FrameWork }[] = [];
  /** Frames that wait for the card. */
  readonly waiting: ReceivedFrame[] = [];
  offloads: ReceiveOffloads = noOffloads;
  /** So many frames can be sent before `makeRoom`. */
  room = Number.POSITIVE_INFINITY;
  card: NetworkCard | undefined;
  #buffer: Uint8Array | undefined;

  connect(card: NetworkCard): Disposable {
    this.card = card;
    return {
      dispose: () => {
        this.card = undefined;
      },
    };
  }

  setReceiveOffloads(offloads: ReceiveOffloads): void {
    this.offloads = offloads;
  }

  reserve(length: number): Uint8Array | undefined {
    if (this.room <= 0 || length < 14 || length > MAX_FRAME_BYTES) {
      return undefined;
    }
    this.#buffer = new Uint8Array(length).fill(0xee);
    return this.#buffer;
  }

  commit(work: FrameWork): void {
    if (this.#buffer !== undefined) {
      this.sent.push({ bytes: this.#buffer, work: { ...work } });
      this.#buffer = undefined;
      this.room--;
    }
  }

  peek(): ReceivedFrame | undefined {
    return this.waiting[0];
  }

  take(): void {
    this.waiting.shift();
  }

  /** A frame comes from the network. */
  deliver(bytes: Uint8Array, work: FrameWork = plainFrame, checksumGood = false): void {
    this.waiting.push({ bytes, work, checksumGood });
    if (this.waiting.length === 1) {
      this.card?.frameWaiting();
    }
  }

  makeRoom(frames: number): void {
    this.room = frames;
    this.card?.roomToSend();
  }

  /** Plugs the cable in or out. */
  setLink(up: boolean): void {
    this.linkUp = up;
    if (!up) {
      this.waiting.length = 0;
    }
    this.card?.linkChanged();
  }
}
