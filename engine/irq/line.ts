/** A level: the device asserts or deasserts it; edge or level interpretation belongs to the controller. */
export interface InterruptLine {
  set(asserted: boolean): void;
}

/** Takes message-signalled interrupts. `address` and `data` as written by the guest into MSI registers (SDM 3A, 11.11). */
export interface MsiSink {
  send(address: number, data: number): void;
}

export const unconnectedLine: InterruptLine = { set() {} };
