import { HostError } from '../base/host-error.ts';

/**
 * The arena: one shared WebAssembly memory that holds guest RAM, ROM, VRAM, the map of physical pages and the software
 * processors' state and tables. All constants are byte addresses in it. Page 0 stays unused: address 0 means "nothing".
 */
const PAGE = 0x1000;
/** For each 4-KiB page of the 4-GiB physical address space a u32: arena address of the page | FRAME_* flags; 0 for devices. */
export const FRAMES = 0x10000;
export const FRAME_COUNT = 1 << 20;
export const FRAME_READABLE = 1;
export const FRAME_WRITABLE = 2;
/** The first write to the page since its dirty flag was taken is to be recorded (VRAM). */
export const FRAME_TRACKED = 4;
/** For each page a u64: which 64-byte granules hold decoded code. */
export const CODE_MAP = FRAMES + FRAME_COUNT * 4;
/** For each page a byte: written since last taken (tracked pages only). */
export const DIRTY_MAP = CODE_MAP + FRAME_COUNT * 8;
/** Belongs to the processors. */
export const PROCESSORS = DIRTY_MAP + FRAME_COUNT;
export const PROCESSORS_SIZE = 56 << 20;
/** Firmware and option ROM images. */
export const ROM = PROCESSORS + PROCESSORS_SIZE;
export const ROM_SIZE = 4 << 20;
export const VRAM = ROM + ROM_SIZE;
export const VRAM_SIZE = 16 << 20;
/** RAM begins off any large power of two, so that it does not share cache sets with the processors' tables. */
export const RAM = VRAM + VRAM_SIZE + 0x13 * PAGE;
const LARGE_PAGE = 2 << 20;
/**
 * Where RAM begins in machines for KVM: large pages of the host, of 2 MiB, serve as those of the guest if both begin
 * alike. (JavaScript's engine places the arena at a multiple of that.)
 */
export const RAM_IN_LARGE_PAGES = Math.ceil((VRAM + VRAM_SIZE) / LARGE_PAGE) * LARGE_PAGE;

const WASM_PAGE = 0x10000;

/** 64-KiB pages of an arena with `ramBytes` of guest RAM. */
export function arenaPages(ramBytes: number, ramAddress = RAM): number {
  return Math.ceil((ramAddress + ramBytes) / WASM_PAGE);
}

/** Allocates the arena; `ramAddress`: where RAM begins in it. Throws HostError('no-memory') when the host has no room. */
export function createArena(ramBytes: number, ramAddress = RAM): WebAssembly.Memory {
  const pages = arenaPages(ramBytes, ramAddress);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new HostError('no-memory', `The host has no room for a guest with ${ramBytes >> 20} MB of memory`, {
      cause,
      remedy: 'choose less memory or close other programs',
    });
  }
}
