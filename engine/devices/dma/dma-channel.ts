/** How far one transfer came. */
export interface DmaProgress {
  /** Bytes moved. Less than asked for when terminal count was reached or the channel is not ready. */
  readonly transferred: number;
  /** TC was signalled during this transfer: the programmed count has run out. */
  readonly terminalCount: boolean;
}

/**
 * One channel of the 8237 as the device on its DREQ/DACK pair sees it. A transfer happens at once, as far as the
 * programmed count allows; auto-initialisation is observed. Channels 4–7 move 16-bit words (an odd last byte stays).
 */
export interface DmaChannel {
  /** Unmasked and the controller enabled: a request would be served. */
  readonly ready: boolean;
  /** Bytes left until terminal count. */
  readonly remaining: number;
  /**
   * Device to memory ("write transfer"). When the guest programmed a verify transfer the bytes are counted but not
   * stored; when it programmed the opposite direction or the channel is not ready, nothing is transferred.
   */
  transferToMemory(bytes: Uint8Array): DmaProgress;
  /** Memory to device ("read transfer"): fills `into` from its start. For verify transfers it is filled with zeros. */
  transferFromMemory(into: Uint8Array): DmaProgress;
  /** Raises or drops DREQ, which a guest sees in the status register; purely informational. */
  request(asserted: boolean): void;
}

/** A channel that is never ready. */
export const unconnectedDma: DmaChannel = {
  ready: false,
  remaining: 0,
  transferToMemory: () => ({ transferred: 0, terminalCount: false }),
  transferFromMemory: () => ({ transferred: 0, terminalCount: false }),
  request() {},
};
