/** The host side of a serial port or console: bytes out, and bytes in through `onInput`. */
export interface CharBackend {
  write(byte: number): void;
}
