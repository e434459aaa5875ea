import { assemble } from '../../testing/assembler/assembler.ts';

/** 64 KiB of firmware: `source` (16-bit code at F000:0000) and a jump to it at the reset vector. */
export function firmware(source: string): Uint8Array {
  const bios = new Uint8Array(0x10000).fill(0xf4);
  bios.set(assemble(`bits 16\norg 0\n${source}`).bytes, 0);
  bios.set(assemble('bits 16\norg 0\njmp 0xf000:0').bytes, 0xfff0);
  return bios;
}
