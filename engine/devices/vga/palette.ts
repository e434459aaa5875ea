import {
  AR10_P54_SELECT,
  ATTR_COLOR_PLANE_ENABLE,
  ATTR_COLOR_SELECT,
  ATTR_MODE,
  type VgaRegisters,
} from './vga-registers.ts';

export const OPAQUE_BLACK = 0xff000000 | 0;

/** Colours as pixels of an RGBA byte array read as little-endian words 0xAABBGGRR, signed as bit operations give them. */
export class Palette {
  /** By pixel value, in modes of 256 colours. */
  readonly colors256 = new Int32Array(256);
  /** By attribute, in text modes and modes of 16 colours or fewer. */
  readonly colors16 = new Int32Array(16);

  update(registers: VgaRegisters): void {
    const { dac, attribute, pelMask, dac8Bit } = registers;
    for (let i = 0; i < 256; i++) {
      const entry = (i & pelMask) * 3;
      const red = dac[entry] ?? 0;
      const green = dac[entry + 1] ?? 0;
      const blue = dac[entry + 2] ?? 0;
      this.colors256[i] = dac8Bit
        ? OPAQUE_BLACK | (blue << 16) | (green << 8) | red
        : OPAQUE_BLACK | (sixToEight(blue) << 16) | (sixToEight(green) << 8) | sixToEight(red);
    }
    const mode = attribute[ATTR_MODE] ?? 0;
    const select = attribute[ATTR_COLOR_SELECT] ?? 0;
    const planes = (attribute[ATTR_COLOR_PLANE_ENABLE] ?? 0) & 0x0f;
    for (let i = 0; i < 16; i++) {
      const entry = attribute[i & planes] ?? 0;
      const index =
        (mode & AR10_P54_SELECT) !== 0
          ? (entry & 0x0f) | ((select & 0x0f) << 4)
          : (entry & 0x3f) | ((select & 0x0c) << 4);
      this.colors16[i] = this.colors256[index] ?? OPAQUE_BLACK;
    }
  }
}

/** Six bits of a component as eight, so that full brightness stays full. */
function sixToEight(component: number): number {
  const value = component & 0x3f;
  return (value << 2) | (value >>> 4);
}
