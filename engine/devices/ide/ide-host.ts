import type { PioHandler } from '../../bus/bus.ts';
import { FakeLine, FakeMemory } from '../../testing/fakes.ts';
import { type IdeDriveConfig, PiixIde } from './piix-ide.ts';

/** The driver's side of the IDE controller, for tests: registers, addresses, data, tables and packets. */
export class IdeHost {
  readonly device: PiixIde;
  readonly memory: FakeMemory;
  readonly lines = [new FakeLine(), new FakeLine()] as const;
  readonly busMaster: PioHandler;
  #channel: 0 | 1 = 0;
  #drive = 0;

  constructor(drives: readonly (IdeDriveConfig | undefined)[], memoryBytes = 1 << 20) {
    this.memory = new FakeMemory(memoryBytes);
    const noMapping = { base: 0, length: 0, move() {}, dispose() {} };
    const handlers: PioHandler[] = [];
    const ports = {
      map: (_base: number, _length: number, handler: PioHandler) => {
        handlers.push(handler);
        return noMapping;
      },
    };
    this.device = new PiixIde(
      'ide',
      {
        buses: { ports, mmio: { map: () => noMapping } },
        memory: this.memory,
        primaryLine: this.lines[0],
        secondaryLine: this.lines[1],
      },
      { drives },
    );
    // What firmware does: place the bus master registers and switch everything on.
    this.device.pci.writeConfig(0x20, 4, 0xc000);
    this.device.pci.writeConfig(4, 2, 5);
    const busMaster = handlers[0];
    if (busMaster === undefined) {
      throw new Error('the bus master registers were not placed');
    }
    this.busMaster = busMaster;
  }

  get line(): FakeLine {
    return this.lines[this.#channel];
  }

  get #commands(): PioHandler {
    return this.device.commandBlocks[this.#channel];
  }

  out(register: number, value: number): void {
    this.#commands.writePort(register, 1, value);
  }

  reg(register: number): number {
    return this.#commands.readPort(register, 1);
  }

  select(channel: 0 | 1, drive: 0 | 1): void {
    this.#channel = channel;
    this.#drive = drive;
    this.out(6, 0xe0 | (drive << 4));
  }

  command(command: number): void {
    this.out(7, command);
  }

  status(): number {
    return this.reg(7);
  }

  altStatus(): number {
    return this.device.controlBlocks[this.#channel].readPort(0, 1);
  }

  control(value: number): void {
    this.device.controlBlocks[this.#channel].writePort(0, 1, value);
  }

  address28(lba: number, count: number): void {
    this.out(2, count & 0xff);
    this.out(3, lba & 0xff);
    this.out(4, (lba >>> 8) & 0xff);
    this.out(5, (lba >>> 16) & 0xff);
    this.out(6, 0xe0 | (this.#drive << 4) | ((lba >>> 24) & 0xf));
  }

  address48(lba: number, count: number): void {
    this.out(2, (count >>> 8) & 0xff);
    this.out(3, (lba >>> 24) & 0xff);
    this.out(4, 0);
    this.out(5, 0);
    this.address28(lba & 0xffffff, count & 0xff);
  }

  readWords(count: number): Uint16Array {
    return Uint16Array.from({ length: count }, () => this.#commands.readPort(0, 2));
  }

  readBytes(count: number, size: 2 | 4 = 2): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count; at += size) {
      const value = this.#commands.readPort(0, size);
      for (let i = 0; i < size && at + i < count; i++) {
        bytes[at + i] = value >>> (i * 8);
      }
    }
    return bytes;
  }

  writeBytes(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 2) {
      this.#commands.writePort(0, 2, (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8));
    }
  }

  bmRead(register: number, size: 1 | 4 = 1): number {
    return this.busMaster.readPort(this.#channel * 8 + register, size);
  }

  bmWrite(register: number, value: number, size: 1 | 4 = 1): void {
    this.busMaster.writePort(this.#channel * 8 + register, size, value);
  }

  /** Writes a descriptor table to memory. */
  prd(table: number, regions: readonly [address: number, bytes: number][]): void {
    for (const [index, [address, bytes]] of regions.entries()) {
      this.memory.writeU32(table + index * 8, address);
      const last = index === regions.length - 1 ? 0x80000000 : 0;
      this.memory.writeU32(table + index * 8 + 4, ((bytes & 0xffff) | last) >>> 0);
    }
  }

  /** Programs the engine, issues a command and starts. */
  dma(table: number, toMemory: boolean, issue: () => void): void {
    this.bmWrite(0, toMemory ? 8 : 0);
    this.bmWrite(4, table, 4);
    this.bmWrite(2, 6);
    issue();
    this.bmWrite(0, toMemory ? 9 : 1);
  }

  /** Issues PACKET and writes the packet; `limit` is the most bytes per block. */
  packet(bytes: readonly number[], options: { limit?: number; dma?: boolean } = {}): void {
    const limit = options.limit ?? 0xfffe;
    this.out(1, options.dma ? 1 : 0);
    this.out(4, limit & 0xff);
    this.out(5, limit >>> 8);
    this.command(0xa0);
    const packet = new Uint8Array(12);
    packet.set(bytes);
    this.writeBytes(packet);
  }

  /** Reads all blocks of a packet's reply; `complete` lets the medium finish its requests. */
  reply(complete: () => void = () => {}): Uint8Array {
    const bytes: number[] = [];
    for (;;) {
      complete();
      const status = this.status();
      if ((status & 0x88) !== 0x08) {
        return Uint8Array.from(bytes);
      }
      bytes.push(...this.readBytes(this.reg(4) | (this.reg(5) << 8)));
    }
  }
}
