/** Register offsets and bits of the 16550A UART (National Semiconductor PC16550D data sheet, section 8). */

/** Offset 0: receiver buffer (read), transmitter holding (write); divisor latch low while LCR.DLAB is set. */
export const UART_DATA = 0;
/** Offset 1: interrupt enable; divisor latch high while LCR.DLAB is set. */
export const UART_IER = 1;
/** Offset 2: interrupt identification (read), FIFO control (write). */
export const UART_IIR_FCR = 2;
export const UART_LCR = 3;
export const UART_MCR = 4;
export const UART_LSR = 5;
export const UART_MSR = 6;
export const UART_SCRATCH = 7;

// Interrupt enable register (8.6)
export const IER_RECEIVED_DATA = 0x01;
export const IER_THR_EMPTY = 0x02;
export const IER_LINE_STATUS = 0x04;
export const IER_MODEM_STATUS = 0x08;
export const IER_MASK = 0x0f;

// Interrupt identification register (8.5, table IV), highest priority first
export const IIR_LINE_STATUS = 0x06;
export const IIR_RECEIVED_DATA = 0x04;
export const IIR_CHARACTER_TIMEOUT = 0x0c;
export const IIR_THR_EMPTY = 0x02;
export const IIR_MODEM_STATUS = 0x00;
export const IIR_NONE = 0x01;
export const IIR_FIFOS_ENABLED = 0xc0;

// FIFO control register (8.4)
export const FCR_ENABLE = 0x01;
export const FCR_CLEAR_RECEIVER = 0x02;
export const FCR_CLEAR_TRANSMITTER = 0x04;
export const FCR_DMA_MODE = 0x08;
export const FCR_TRIGGER_SHIFT = 6;
/** Bytes in the receiver FIFO at which it interrupts, by FCR bits 6–7. */
export const RECEIVER_TRIGGERS = [1, 4, 8, 14] as const;
export const FIFO_BYTES = 16;

// Line control register (8.1)
export const LCR_WORD_LENGTH = 0x03;
export const LCR_TWO_STOP_BITS = 0x04;
export const LCR_PARITY = 0x08;
export const LCR_BREAK = 0x40;
export const LCR_DLAB = 0x80;

// Modem control register (8.7)
export const MCR_DTR = 0x01;
export const MCR_RTS = 0x02;
export const MCR_OUT1 = 0x04;
export const MCR_OUT2 = 0x08;
export const MCR_LOOPBACK = 0x10;
export const MCR_MASK = 0x1f;

// Line status register (8.3)
export const LSR_DATA_READY = 0x01;
export const LSR_OVERRUN = 0x02;
export const LSR_PARITY_ERROR = 0x04;
export const LSR_FRAMING_ERROR = 0x08;
export const LSR_BREAK = 0x10;
export const LSR_THR_EMPTY = 0x20;
export const LSR_TRANSMITTER_EMPTY = 0x40;
export const LSR_ERROR_IN_FIFO = 0x80;
/** Bits that raise the line status interrupt. */
export const LSR_ERRORS = LSR_OVERRUN | LSR_PARITY_ERROR | LSR_FRAMING_ERROR | LSR_BREAK;

// Modem status register (8.8)
export const MSR_DELTA_CTS = 0x01;
export const MSR_DELTA_DSR = 0x02;
export const MSR_TRAILING_RI = 0x04;
export const MSR_DELTA_DCD = 0x08;
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;
export const MSR_DELTAS = 0x0f;
