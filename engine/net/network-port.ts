import type { Disposable } from '../base/disposable.ts';

/**
 * The socket in the wall: what a network card sees of the network it is plugged into. Ethernet II frames without
 * preamble and frame check sequence, in both directions. All of it is synchronous and belongs to the machine thread.
 *
 * Both directions hold frames back instead of dropping them: a network without room gives the card no buffer, and a card
 * without room does not take what waits. Who could go on is told once by `roomToSend` and `frameWaiting`.
 *
 *     const buffer = port.reserve(length);            // sending
 *     if (buffer === undefined) return;               // roomToSend() will be called
 *     memory.read(gpa, buffer); port.commit(plainFrame);
 *
 *     for (let frame = port.peek(); frame !== undefined && hasRoom(frame); frame = port.peek()) {
 *       memory.write(gpa, frame.bytes); port.take();  // receiving
 *     }
 */
export interface NetworkPort {
  /** The cable is plugged in. While it is not, nothing waits, and what is sent is lost as on an open cable. */
  readonly linkUp: boolean;
  /** Plugs in the card: at most one at a time, and before anything else is called. Disposal unplugs it. */
  connect(card: NetworkCard): Disposable;
  /**
   * What the card, or the driver behind it, takes from the network; nothing until it is said. The network then hands
   * over frames with work left to do. Frames that wait already keep the form they have.
   */
  setReceiveOffloads(offloads: ReceiveOffloads): void;
  /**
   * Memory for an outgoing frame of `length` bytes (14 to {@link MAX_FRAME_BYTES}, otherwise and when the network has
   * no room undefined). It holds garbage; the card fills all of it and calls `commit`. Without `commit` the next
   * `reserve` gives it anew. After undefined for want of room `roomToSend` is called once there may be some.
   */
  reserve(length: number): Uint8Array | undefined;
  /** Sends the frame in the memory that `reserve` gave last; `work` says what the card leaves to the network. */
  commit(work: FrameWork): void;
  /** The oldest frame that waits for the card, or undefined. It stays until `take`; its bytes are valid until then. */
  peek(): ReceivedFrame | undefined;
  /** Removes the frame that `peek` gave. */
  take(): void;
}

/** What a network tells a card. Calls come between two slices of the processors, never inside a call of the port. */
export interface NetworkCard {
  /** Frames wait where none did when `peek` was last called. */
  frameWaiting(): void;
  /** `reserve` failed and may now succeed. */
  roomToSend(): void;
  /** `linkUp` has changed. */
  linkChanged(): void;
}

/** Ethernet header and an IPv4 packet of the greatest length: the longest frame with segmentation left to do. */
export const MAX_FRAME_BYTES = 14 + 65535;

/**
 * What is still to be done to a frame before it could go on a wire; the fields mean what those of virtio's
 * `virtio_net_hdr` mean (virtio 1.2, section 5.1.6), so that they can be passed on as they are. Offsets and lengths in
 * bytes. They come from the guest: a network checks them against the frame.
 */
export interface FrameWork {
  /**
   * Where the data begin over which a TCP or UDP checksum is to be computed, up to the end of the frame; 0: nothing is
   * to be computed. The checksum field holds the sum of the pseudo-header.
   */
  readonly checksumStart: number;
  /** From `checksumStart` to the checksum field. */
  readonly checksumOffset: number;
  /** TCP over IPv4 or IPv6 is to be cut into segments with so many bytes of data at most; 0: it is one segment. */
  readonly segmentBytes: number;
  /** What is to be cut; 'none' exactly if `segmentBytes` is 0. */
  readonly segmentKind: 'none' | 'tcp4' | 'tcp6';
}

/** A frame complete in itself. */
export const plainFrame: FrameWork = { checksumStart: 0, checksumOffset: 0, segmentBytes: 0, segmentKind: 'none' };

/** A frame for a card, at most 1514 bytes long unless it is to be cut. */
export interface ReceivedFrame {
  readonly bytes: Uint8Array;
  /** Work that the card said it takes. */
  readonly work: FrameWork;
  /** The TCP or UDP checksum was verified or needs no verifying: VIRTIO_NET_HDR_F_DATA_VALID, or "checksum good". */
  readonly checksumGood: boolean;
}

export interface ReceiveOffloads {
  /** Frames may come with `checksumStart` (VIRTIO_NET_F_GUEST_CSUM). */
  readonly checksum: boolean;
  /** TCP over IPv4 may come in one piece, up to {@link MAX_FRAME_BYTES} (VIRTIO_NET_F_GUEST_TSO4; needs `checksum`). */
  readonly segment4: boolean;
  /** As `segment4`, over IPv6 (VIRTIO_NET_F_GUEST_TSO6). */
  readonly segment6: boolean;
}

export const noOffloads: ReceiveOffloads = { checksum: false, segment4: false, segment6: false };
