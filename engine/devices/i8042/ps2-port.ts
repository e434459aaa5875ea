/** A PS/2 device as its controller sees it. */
export interface Ps2Device {
  /** A byte from the host system (through the controller). */
  receive(byte: number): void;
  /** Whether a byte waits to be sent. */
  readonly hasOutput: boolean;
  /** Takes the next byte to send; call only when `hasOutput`. */
  takeOutput(): number;
}

// Bytes that both kinds of device send (IBM PS/2 Hardware Interface Technical Reference)
export const PS2_ACK = 0xfa;
export const PS2_RESEND = 0xfe;
/** The basic assurance test passed. */
export const PS2_BAT_PASSED = 0xaa;

// Commands that both kinds of device know
export const PS2_IDENTIFY = 0xf2;
export const PS2_ENABLE = 0xf4;
export const PS2_DISABLE = 0xf5;
export const PS2_SET_DEFAULTS = 0xf6;
export const PS2_RESEND_COMMAND = 0xfe;
export const PS2_RESET = 0xff;
