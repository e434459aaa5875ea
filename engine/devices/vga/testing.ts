import type { DisplaySink, Scanout } from '../../backends/display.ts';
import { silentLog } from '../../base/log.ts';
import type { Mapping } from '../../bus/bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { StdVga } from './std-vga.ts';
import { VGA_PORT_BASE, VGA_WINDOW_BASE } from './vga-adapter.ts';

/** Standard register sets of the IBM VGA BIOS modes, for tests: what a BIOS writes to get each mode. */
export interface ModeTable {
  readonly misc: number;
  readonly sequencer: readonly number[];
  readonly crtc: readonly number[];
  readonly graphics: readonly number[];
  readonly attribute: readonly number[];
}

const EGA_PALETTE = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f];
const IDENTITY_PALETTE = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const LINES_400 = [0x9c, 0x8e, 0x8f];
const LINES_480 = [0xea, 0x8c, 0xdf];

/** 80 × 25 characters of 9 × 16 dots, 16 colours. */
export const MODE_3: ModeTable = {
  misc: 0x67,
  sequencer: [3, 0x00, 0x03, 0, 0x02],
  crtc: [
    0x5f,
    0x4f,
    0x50,
    0x82,
    0x55,
    0x81,
    0xbf,
    0x1f,
    0,
    0x4f,
    0x0d,
    0x0e,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x28,
    0x1f,
    0x96,
    0xb9,
    0xa3,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
  attribute: [...EGA_PALETTE, 0x0c, 0, 0x0f, 8, 0],
};

/** 40 × 25 characters. */
export const MODE_1: ModeTable = {
  ...MODE_3,
  sequencer: [3, 0x08, 0x03, 0, 0x02],
  crtc: [
    0x2d,
    0x27,
    0x28,
    0x90,
    0x2b,
    0xa0,
    0xbf,
    0x1f,
    0,
    0x4f,
    0x0d,
    0x0e,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x14,
    0x1f,
    0x96,
    0xb9,
    0xa3,
    0xff,
  ],
};

/** 320 × 200, four colours, as on a CGA. */
export const MODE_4: ModeTable = {
  misc: 0x63,
  sequencer: [3, 0x09, 0x03, 0, 0x02],
  crtc: [
    0x2d,
    0x27,
    0x28,
    0x90,
    0x2b,
    0x80,
    0xbf,
    0x1f,
    0,
    0xc1,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x14,
    0x00,
    0x96,
    0xb9,
    0xa2,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff],
  attribute: [...IDENTITY_PALETTE, 0x01, 0, 0x03, 0, 0],
};

/** 640 × 200, two colours, as on a CGA. */
export const MODE_6: ModeTable = {
  misc: 0x63,
  sequencer: [3, 0x01, 0x01, 0, 0x06],
  crtc: [
    0x5f,
    0x4f,
    0x50,
    0x82,
    0x54,
    0x80,
    0xbf,
    0x1f,
    0,
    0xc1,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x28,
    0x00,
    0x96,
    0xb9,
    0xc2,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0, 0x0d, 0x0f, 0xff],
  attribute: [...IDENTITY_PALETTE, 0x01, 0, 0x01, 0, 0],
};

/** 320 × 200, 16 colours. */
export const MODE_D: ModeTable = {
  misc: 0x63,
  sequencer: [3, 0x09, 0x0f, 0, 0x06],
  crtc: [
    0x2d,
    0x27,
    0x28,
    0x90,
    0x2b,
    0x80,
    0xbf,
    0x1f,
    0,
    0xc0,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x14,
    0x00,
    0x96,
    0xb9,
    0xe3,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff],
  attribute: [...IDENTITY_PALETTE, 0x01, 0, 0x0f, 0, 0],
};

/** 640 × 480, 16 colours. */
export const MODE_12: ModeTable = {
  misc: 0xe3,
  sequencer: [3, 0x01, 0x0f, 0, 0x06],
  crtc: [
    0x5f,
    0x4f,
    0x50,
    0x82,
    0x54,
    0x80,
    0x0b,
    0x3e,
    0,
    0x40,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_480,
    0x28,
    0x00,
    0xe7,
    0x04,
    0xe3,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff],
  attribute: [...EGA_PALETTE, 0x01, 0, 0x0f, 0, 0],
};

/** 320 × 200, 256 colours. */
export const MODE_13: ModeTable = {
  misc: 0x63,
  sequencer: [3, 0x01, 0x0f, 0, 0x0e],
  crtc: [
    0x5f,
    0x4f,
    0x50,
    0x82,
    0x54,
    0x80,
    0xbf,
    0x1f,
    0,
    0x41,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_400,
    0x28,
    0x40,
    0x96,
    0xb9,
    0xa3,
    0xff,
  ],
  graphics: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff],
  attribute: [...IDENTITY_PALETTE, 0x41, 0, 0x0f, 0, 0],
};

/** 320 × 240, 256 colours, unchained ("mode X"). */
export const MODE_X: ModeTable = {
  ...MODE_13,
  misc: 0xe3,
  sequencer: [3, 0x01, 0x0f, 0, 0x06],
  crtc: [
    0x5f,
    0x4f,
    0x50,
    0x82,
    0x54,
    0x80,
    0x0d,
    0x3e,
    0,
    0x41,
    0,
    0,
    0,
    0,
    0,
    0,
    ...LINES_480,
    0x28,
    0x00,
    0xe7,
    0x06,
    0xe3,
    0xff,
  ],
};

/** Remembers what a display device announced. */
export class RecordingDisplay implements DisplaySink {
  shown: Scanout[] = [];
  damaged: [x: number, y: number, width: number, height: number][] = [];

  show(scanout: Scanout): void {
    this.shown.push(scanout);
  }

  damage(x: number, y: number, width: number, height: number): void {
    this.damaged.push([x, y, width, height]);
  }

  clear(): void {
    this.shown = [];
    this.damaged = [];
  }
}

/** A VGA with its fakes, and the few guest instructions that tests need. */
export class VgaBench {
  readonly clock = new ManualClock();
  readonly display = new RecordingDisplay();
  readonly vram: Uint8Array;
  /** Pages to report as written directly at the next refresh. */
  readonly direct: Uint8Array;
  directWrites = false;
  /** Mappings on the fake memory bus by base address. */
  readonly mapped = new Map<number, number>();
  vramBase: number | undefined;
  readonly vga: StdVga;

  constructor(vramBytes = 1 << 24, rom: Uint8Array = new Uint8Array(0x9c00).fill(0x55)) {
    this.vram = new Uint8Array(vramBytes);
    this.direct = new Uint8Array(vramBytes >>> 12);
    const { mapped } = this;
    const bus = {
      map(base: number, length: number): Mapping {
        let at = base;
        mapped.set(base, length);
        return {
          get base() {
            return at;
          },
          length,
          move(to: number) {
            mapped.delete(at);
            at = to;
            mapped.set(at, length);
          },
          dispose() {
            mapped.delete(at);
          },
        };
      },
    };
    this.vga = new StdVga('vga', {
      buses: { ports: bus, mmio: bus },
      vram: {
        bytes: this.vram,
        takeDirty: () => {
          const dirty = this.directWrites;
          this.directWrites = false;
          return dirty ? this.direct : undefined;
        },
      },
      placeVram: (base) => {
        this.vramBase = base;
      },
      rom,
      clock: this.clock,
      display: this.display,
      log: silentLog,
    });
  }

  out(port: number, value: number): void {
    this.vga.legacyPorts.writePort(port - VGA_PORT_BASE, 1, value);
  }

  in(port: number): number {
    return this.vga.legacyPorts.readPort(port - VGA_PORT_BASE, 1);
  }

  /** Writes an indexed register with one 16-bit access, as BIOSes do. */
  indexed(port: number, index: number, value: number): void {
    this.vga.legacyPorts.writePort(port - VGA_PORT_BASE, 2, index | (value << 8));
  }

  attribute(index: number, value: number): void {
    this.in(0x3da);
    this.out(0x3c0, index);
    this.out(0x3c0, value);
    this.out(0x3c0, 0x20);
  }

  dispi(index: number, value: number): void {
    this.vga.dispiPorts.writePort(0, 2, index);
    this.vga.dispiPorts.writePort(1, 2, value);
  }

  readDispi(index: number): number {
    this.vga.dispiPorts.writePort(0, 2, index);
    return this.vga.dispiPorts.readPort(1, 2);
  }

  poke(address: number, value: number, size: 1 | 2 | 4 = 1): void {
    this.vga.window.writeMmio(address - VGA_WINDOW_BASE, size, value);
  }

  peek(address: number, size: 1 | 2 | 4 = 1): number {
    return this.vga.window.readMmio(address - VGA_WINDOW_BASE, size);
  }

  setMode(mode: ModeTable): void {
    this.out(0x3c2, mode.misc);
    mode.sequencer.forEach((value, index) => {
      this.indexed(0x3c4, index, value);
    });
    this.indexed(0x3d4, 0x11, 0);
    mode.crtc.forEach((value, index) => {
      this.indexed(0x3d4, index, value);
    });
    mode.graphics.forEach((value, index) => {
      this.indexed(0x3ce, index, value);
    });
    this.in(0x3da);
    mode.attribute.forEach((value, index) => {
      this.out(0x3c0, index);
      this.out(0x3c0, value);
    });
    this.out(0x3c0, 0x20);
    this.out(0x3c6, 0xff);
    this.out(0x3c8, 0);
    for (let i = 0; i < 256; i++) {
      for (const component of paletteEntry(i)) {
        this.out(0x3c9, component);
      }
    }
  }

  /** The pixel at (x, y) as 0xRRGGBB. */
  pixel(x: number, y: number): number {
    const { width, height } = this.vga;
    const rgba = new Uint8ClampedArray(width * height * 4);
    this.vga.render({ width, height, rgba }, { x, y, width: 1, height: 1 });
    const at = (y * width + x) * 4;
    return ((rgba[at] ?? 0) << 16) | ((rgba[at + 1] ?? 0) << 8) | (rgba[at + 2] ?? 0);
  }
}

/** The palette of {@link VgaBench.setMode}, 6 bits a component: every entry has a colour of its own. */
export function paletteEntry(index: number): [number, number, number] {
  return [index & 0x3f, (index >>> 2) & 0x3f, 0x3f - (index & 0x3f)];
}

/** The colour of palette entry `index` on the screen, as 0xRRGGBB. */
export function paletteColor(index: number): number {
  return paletteEntry(index).reduce((color, component) => (color << 8) | (component << 2) | (component >>> 4), 0);
}
