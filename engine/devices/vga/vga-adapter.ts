import type { DisplaySink } from '../../backends/display.ts';
import { assert } from '../../base/assert.ts';
import { type Log, limitedLog } from '../../base/log.ts';
import type { AccessSize, MmioHandler, PioHandler } from '../../bus/bus.ts';
import type { Clock } from '../../clock/clock.ts';
import type { BarSpec } from '../../pci/pci-function.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { DISPI_BPP, DISPI_ENABLE, DISPI_ID, DISPI_ID0, DISPI_ID5, DISPI_REGISTERS, Dispi } from './dispi.ts';
import { createEdid, type EdidOptions } from './edid.ts';
import { Retrace } from './retrace.ts';
import { type Area, type PixelTarget, VgaScreen } from './screen.ts';
import { VgaMemory } from './vga-memory.ts';
import { VgaRegisters } from './vga-registers.ts';

/** Where the legacy ports begin, and how many there are; {@link StdVga.legacyPorts} counts from here. */
export const VGA_PORT_BASE = 0x3b0;
export const VGA_PORT_COUNT = 0x30;
/** The Bochs interface: index at 0x1CE, data at 0x1CF and 0x1D0 (16 bits each, hence four ports). */
export const DISPI_PORT_BASE = 0x1ce;
export const DISPI_PORT_COUNT = 4;
/** The legacy memory window. */
export const VGA_WINDOW_BASE = 0xa0000;
export const VGA_WINDOW_BYTES = 0x20000;

export const VGA_MMIO_BYTES = 0x1000;
const MMIO_VGA_PORTS = 0x400;
const MMIO_VGA_PORTS_END = 0x420;
const MMIO_DISPI = 0x500;
const MMIO_DISPI_END = 0x516;
const MMIO_EXTENSION = 0x600;
const EXTENSION_BYTES = 8;
const EXTENSION_LITTLE_ENDIAN = 0x1e1e1e1e;
const EDID_WINDOW_BYTES = 0x100;

export type VgaAdapterState = { readonly [key: string]: StateValue };

/** Video memory: a view into the guest's arena, which the processor also reaches directly through BAR 0. */
export interface VideoMemory {
  /** A power of two of at least 256 KiB, aligned to 4 bytes in its buffer. */
  readonly bytes: Uint8Array;
  /**
   * Pages that the processor has written directly since the last call: one byte per 4-KiB page, not zero for a written
   * one; undefined when there are none. Only read until the next call. Writes through the legacy window are the
   * device's own business and need not be in it.
   */
  takeDirty(): Uint8Array | undefined;
}

export interface VgaAdapterWiring {
  readonly vram: VideoMemory;
  /** Told where the processor sees `vram` now (BAR 0), or undefined while it does not. */
  readonly placeVram: (base: number | undefined) => void;
  /** The VGA BIOS; the expansion ROM is this, filled up to a power of two. Empty: the card has no ROM. */
  readonly rom: Uint8Array;
  readonly clock: Clock;
  readonly display: DisplaySink;
  readonly log: Log;
}

export interface VgaAdapterConfig {
  /** The monitor's name and preferred resolution (1024 × 768). */
  readonly edid?: EdidOptions;
}

/**
 * An IBM VGA with the Bochs display interface, without the PCI function that it is found by: that may be its own, or
 * another device's that is compatible with VGA.
 *
 * BAR 0 is video memory; BAR 2 begins with a page of registers: the monitor's EDID at 0, ports 0x3C0–0x3DF at 0x400, the
 * Bochs registers at 0x500 + 2 × index, and the byte order of the framebuffer at 0x600. There is no interrupt.
 *
 * A saved state holds the registers. The contents of video memory belong to the guest's arena and are saved with it.
 */
export class VgaAdapter implements Device {
  readonly id: DeviceId;
  /** Ports from {@link VGA_PORT_BASE}. */
  readonly legacyPorts: PioHandler;
  /** Ports from {@link DISPI_PORT_BASE}. */
  readonly dispiPorts: PioHandler;
  /** The memory window at {@link VGA_WINDOW_BASE}. */
  readonly window: MmioHandler;
  /** What its PCI function has: video memory. */
  readonly vramBar: BarSpec;
  /** The first page of BAR 2. */
  readonly mmio: MmioHandler;
  /** The expansion ROM, and what of it the PCI function has; undefined without a ROM. */
  readonly romWindow: MmioHandler;
  readonly romBar: BarSpec | undefined;

  readonly #registers: VgaRegisters;
  readonly #dispi: Dispi;
  readonly #memory: VgaMemory;
  readonly #screen: VgaScreen;
  readonly #edid: Uint8Array;
  readonly #log: Log;

  constructor(id: DeviceId, wiring: VgaAdapterWiring, config: VgaAdapterConfig = {}) {
    const { vram, clock, rom } = wiring;
    const size = vram.bytes.length;
    assert(size >= 0x40000 && (size & (size - 1)) === 0, `${id}: video memory of ${size} bytes is no power of two`);
    assert((vram.bytes.byteOffset & 3) === 0, `${id}: video memory is not aligned`);
    this.id = id;
    this.#log = limitedLog(wiring.log);
    this.#edid = createEdid(config.edid);
    const retrace = new Retrace(clock);
    const registers = new VgaRegisters(() => retrace.inputStatus1(registers));
    const dispi = new Dispi(size, {
      changed: () => this.#dispiChanged(),
      clear: (bytes) => {
        vram.bytes.fill(0, 0, bytes);
        memory.markDirty(0, bytes);
      },
    });
    const memory = new VgaMemory(vram.bytes, registers, dispi);
    this.#registers = registers;
    this.#dispi = dispi;
    this.#memory = memory;
    registers.onMemoryChange = () => memory.update();
    registers.onModeWrite = () => dispi.imposeOn(registers);
    this.#screen = new VgaScreen({
      registers,
      dispi,
      memory,
      retrace,
      display: wiring.display,
      takeDirty: () => vram.takeDirty(),
    });
    this.window = memory;
    this.legacyPorts = {
      readPort: (offset, accessSize) => this.#readVgaPorts(VGA_PORT_BASE + offset, accessSize),
      writePort: (offset, accessSize, value) => this.#writeVgaPorts(VGA_PORT_BASE + offset, accessSize, value),
    };
    this.dispiPorts = {
      readPort: (offset, accessSize) => this.#readDispiPorts(offset, accessSize),
      writePort: (offset, accessSize, value) => this.#writeDispiPorts(offset, accessSize, value),
    };
    this.mmio = {
      readMmio: (offset, accessSize) => this.#readRegisters(offset, accessSize),
      writeMmio: (offset, accessSize, value) => this.#writeRegisters(offset, accessSize, value),
    };
    this.vramBar = { kind: 'ram', size, prefetchable: true, place: wiring.placeVram };
    let romSize = 0x800;
    while (romSize < rom.length) {
      romSize *= 2;
    }
    this.romWindow = {
      readMmio: (offset, accessSize) => littleEndian(rom, offset, accessSize),
      writeMmio() {},
    };
    this.romBar = rom.length === 0 ? undefined : { kind: 'mmio', size: romSize, handler: this.romWindow };
    registers.changed();
  }

  // The picture ------------------------------------------------------------------------------------------------------

  get width(): number {
    return this.#screen.width;
  }

  get height(): number {
    return this.#screen.height;
  }

  /** Reports changes to the display sink; see {@link VgaScreen.refresh}. */
  refresh(): void {
    this.#screen.refresh();
  }

  /** Makes the next refresh announce the mode and the whole picture, for a viewer that has just arrived. */
  reannounce(): void {
    this.#screen.reannounce();
  }

  /** Draws the screen or an area of it; see {@link VgaScreen.render}. */
  render(into: PixelTarget, area?: Area): void {
    this.#screen.render(into, area);
  }

  /** The screen as a picture of its own, for screenshots. */
  snapshot(): { width: number; height: number; rgba: Uint8ClampedArray } {
    const { width, height } = this.#screen;
    const picture = { width, height, rgba: new Uint8ClampedArray(width * height * 4) };
    this.#screen.render(picture);
    return picture;
  }

  /** The characters on the screen; undefined outside text modes. */
  screenText(): string[] | undefined {
    return this.#screen.screenText();
  }

  // Ports and registers ----------------------------------------------------------------------------------------------

  #readVgaPorts(port: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      value |= this.#registers.read(port + i) << (i * 8);
    }
    return value >>> 0;
  }

  #writeVgaPorts(port: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      this.#registers.write(port + i, (value >>> (i * 8)) & 0xff);
    }
  }

  #readDispiPorts(offset: number, size: AccessSize): number {
    if (size === 4) {
      return ((this.#readDispiPorts(offset + 2, 2) << 16) | this.#readDispiPorts(offset, 2)) >>> 0;
    }
    const value = offset === 0 ? this.#dispi.index : offset <= 2 ? this.#dispi.read(this.#dispi.index) : 0xffff;
    return size === 1 ? value & 0xff : value;
  }

  #writeDispiPorts(offset: number, size: AccessSize, value: number): void {
    if (offset === 0) {
      this.#dispi.index = value & 0xffff;
    } else if (offset <= 2) {
      this.#dispi.write(this.#dispi.index, value & 0xffff);
    }
    if (size === 4) {
      this.#writeDispiPorts(offset + 2, 2, value >>> 16);
    }
  }

  #readRegisters(offset: number, size: AccessSize): number {
    if (offset < EDID_WINDOW_BYTES) {
      return littleEndian(this.#edid, offset, size);
    }
    if (offset >= MMIO_VGA_PORTS && offset < MMIO_VGA_PORTS_END) {
      return this.#readVgaPorts(offset - MMIO_VGA_PORTS + 0x3c0, size);
    }
    if (offset >= MMIO_DISPI && offset < MMIO_DISPI_END) {
      const index = (offset - MMIO_DISPI) >>> 1;
      const low = this.#dispi.read(index) >>> ((offset & 1) * 8);
      return size === 4 ? (low | (this.#dispi.read(index + 1) << 16)) >>> 0 : size === 2 ? low : low & 0xff;
    }
    if (offset >= MMIO_EXTENSION && offset < MMIO_EXTENSION + EXTENSION_BYTES) {
      const word = offset < MMIO_EXTENSION + 4 ? EXTENSION_BYTES : EXTENSION_LITTLE_ENDIAN;
      const value = word >>> ((offset & 3) * 8);
      return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
    }
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }

  #writeRegisters(offset: number, size: AccessSize, value: number): void {
    if (offset >= MMIO_VGA_PORTS && offset < MMIO_VGA_PORTS_END) {
      this.#writeVgaPorts(offset - MMIO_VGA_PORTS + 0x3c0, size, value);
    } else if (offset >= MMIO_DISPI && offset < MMIO_DISPI_END) {
      const index = (offset - MMIO_DISPI) >>> 1;
      this.#dispi.write(index, value & 0xffff);
      if (size === 4) {
        this.#dispi.write(index + 1, value >>> 16);
      }
    } else if (offset === MMIO_EXTENSION + 4 && value !== EXTENSION_LITTLE_ENDIAN) {
      this.#log.warn(`${this.id}: the guest asks for a big-endian framebuffer, which there is not`);
    }
  }

  #dispiChanged(): void {
    const registers = this.#registers;
    this.#dispi.imposeOn(registers);
    registers.dac8Bit = this.#dispi.dac8Bit;
    registers.changed();
  }

  // Device -----------------------------------------------------------------------------------------------------------

  /** Registers only: memory keeps its contents. */
  reset(): void {
    this.#dispi.reset();
    this.#memory.latches = 0;
    this.#registers.reset();
  }

  save(): VgaAdapterState {
    const registers = this.#registers;
    const dispi = this.#dispi;
    return {
      miscellaneousOutput: registers.miscellaneousOutput,
      featureControl: registers.featureControl,
      sequencerIndex: registers.sequencerIndex,
      sequencer: registers.sequencer.slice(),
      crtcIndex: registers.crtcIndex,
      crtc: registers.crtc.slice(),
      graphicsIndex: registers.graphicsIndex,
      graphics: registers.graphics.slice(),
      attributeIndex: registers.attributeIndex,
      attributeFlipFlop: registers.attributeFlipFlop,
      attribute: registers.attribute.slice(),
      pelMask: registers.pelMask,
      dac: registers.dac.slice(),
      dacReadIndex: registers.dacReadIndex,
      dacWriteIndex: registers.dacWriteIndex,
      dacState: registers.dacState,
      dacComponent: registers.dacComponent,
      dacLatch: registers.dacLatch.slice(),
      latches: this.#memory.latches >>> 0,
      dispiIndex: dispi.index,
      dispi: [...dispi.registers],
    };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const miscellaneousOutput = reader.u8('miscellaneousOutput');
    const featureControl = reader.u8('featureControl');
    const sequencerIndex = reader.int('sequencerIndex', 0, 7);
    const sequencer = reader.bytes('sequencer', 8);
    const crtcIndex = reader.u8('crtcIndex');
    const crtc = reader.bytes('crtc', 256);
    const graphicsIndex = reader.int('graphicsIndex', 0, 15);
    const graphics = reader.bytes('graphics', 16);
    const attributeIndex = reader.int('attributeIndex', 0, 0x3f);
    const attributeFlipFlop = reader.boolean('attributeFlipFlop');
    const attribute = reader.bytes('attribute', 32);
    const pelMask = reader.u8('pelMask');
    const dac = reader.bytes('dac', 768);
    const dacReadIndex = reader.u8('dacReadIndex');
    const dacWriteIndex = reader.u8('dacWriteIndex');
    const dacState = reader.oneOf('dacState', [0, 3]);
    const dacComponent = reader.int('dacComponent', 0, 2);
    const dacLatch = reader.bytes('dacLatch', 3);
    const latches = reader.u32('latches');
    const dispiIndex = reader.u16('dispiIndex');
    const dispi = reader.ints('dispi', 0, 0xffff, DISPI_REGISTERS);
    const id = dispi[DISPI_ID] ?? 0;
    if (id < DISPI_ID0 || id > DISPI_ID5) {
      reader.refuse(`the saved Bochs interface version is ${id}`);
    }

    const registers = this.#registers;
    registers.miscellaneousOutput = miscellaneousOutput;
    registers.featureControl = featureControl;
    registers.sequencerIndex = sequencerIndex;
    registers.loadMasked(sequencer, graphics, attribute);
    registers.crtcIndex = crtcIndex;
    registers.crtc.set(crtc);
    registers.graphicsIndex = graphicsIndex;
    registers.attributeIndex = attributeIndex;
    registers.attributeFlipFlop = attributeFlipFlop;
    registers.pelMask = pelMask;
    registers.dac.set(dac);
    registers.dacReadIndex = dacReadIndex;
    registers.dacWriteIndex = dacWriteIndex;
    registers.dacState = dacState;
    registers.dacComponent = dacComponent;
    registers.dacLatch.set(dacLatch);
    this.#memory.latches = latches | 0;
    this.#dispi.index = dispiIndex;
    this.#dispi.registers.set(dispi);
    // Stride, start and every bound follow from the registers again, whatever the state claimed.
    this.#dispi.normalize();
    this.#memory.markDirty(0, this.#memory.bytes.length);
    this.#screen.invalidate();
    this.#dispiChanged();
  }

  describe(): string {
    const dispi = [...this.#dispi.registers].map((value) => value.toString(16)).join(' ');
    return [
      `${this.id}: ${this.#screen.describe()}`,
      `dispi ${dispi} (${DISPI_BPP}: depth, ${DISPI_ENABLE}: enable)`,
      `video memory ${this.#memory.bytes.length >>> 20} MiB`,
    ].join('\n');
  }

  dispose(): void {}
}

/** Bytes of `data` as a little-endian number; zeros beyond its end. */
function littleEndian(data: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) {
    value |= (data[offset + i] ?? 0) << (i * 8);
  }
  return value >>> 0;
}
