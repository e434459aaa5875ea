import type { PioHandler } from '../../bus/bus.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { Device, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { type DmaChannel, unconnectedDma } from './dma-channel.ts';
import { DmaController } from './dma-controller.ts';

/** The channel whose page register each port 0x80 – 0x8f is; undefined: a plain latch. Channel 4 is the cascade. */
const PAGE_CHANNELS = [
  undefined,
  2,
  3,
  1,
  undefined,
  undefined,
  undefined,
  0,
  undefined,
  6,
  7,
  5,
  undefined,
  undefined,
  undefined,
  4,
] as const;

export interface DmaWiring {
  readonly memory: GuestMemory;
}

/**
 * The two 8237A DMA controllers of a PC with their page registers: channels 0 – 3 move bytes, 5 – 7 words, 4 is the
 * cascade. Transfers happen at once when a device asks for them.
 */
export class Dma implements Device {
  readonly id: string;
  /** Ports 0x00 – 0x0f. */
  readonly first: PioHandler;
  /** Ports 0xc0 – 0xdf, where registers stand two apart. */
  readonly second: PioHandler;
  /** Ports 0x80 – 0x8f, the diagnostic port 0x80 included. */
  readonly pages: PioHandler;
  readonly #bytes: DmaController;
  readonly #words: DmaController;
  /** The latches among the page registers. */
  readonly #latches = new Uint8Array(16);

  constructor(id: string, wiring: DmaWiring) {
    this.id = id;
    const bytes = new DmaController(wiring.memory, 0);
    const words = new DmaController(wiring.memory, 1);
    this.#bytes = bytes;
    this.#words = words;
    this.first = {
      readPort: (offset) => bytes.read(offset & 15),
      writePort: (offset, _size, value) => bytes.write(offset & 15, value & 0xff),
    };
    this.second = {
      readPort: (offset) => words.read((offset >>> 1) & 15),
      writePort: (offset, _size, value) => words.write((offset >>> 1) & 15, value & 0xff),
    };
    this.pages = {
      readPort: (offset) => this.#page(offset & 15)?.page ?? this.#latches[offset & 15] ?? 0,
      writePort: (offset, _size, value) => {
        const channel = this.#page(offset & 15);
        if (channel === undefined) {
          this.#latches[offset & 15] = value;
        } else {
          channel.page = value & 0xff;
        }
      },
    };
  }

  #page(offset: number): { page: number } | undefined {
    const channel = PAGE_CHANNELS[offset];
    return channel === undefined ? undefined : (channel < 4 ? this.#bytes : this.#words).channels[channel & 3];
  }

  /** Channel 0 – 7 for the device on its request line. A PC's floppy controller has 2. */
  channel(index: number): DmaChannel {
    return (index < 4 ? this.#bytes : this.#words).channels[index & 3] ?? unconnectedDma;
  }

  reset(): void {
    this.#bytes.reset();
    this.#words.reset();
    this.#latches.fill(0);
  }

  save() {
    return { bytes: this.#bytes.save(), words: this.#words.save(), latches: this.#latches.slice() };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const bytes = DmaController.parse(reader.object('bytes'));
    const words = DmaController.parse(reader.object('words'));
    const latches = reader.bytes('latches', 16);
    this.#bytes.apply(bytes);
    this.#words.apply(words);
    this.#latches.set(latches);
  }

  describe(): string {
    return `${this.#bytes.describe('channels 0 – 3')}\n${this.#words.describe('channels 4 – 7')}`;
  }

  dispose(): void {}
}
