import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type KernelReader, megabytes } from './boot-input.ts';
import { clear, loadable } from './boot-memory.ts';

/** The parts of the ELF format that a loader needs (System V ABI, chapters 4 and 5). */
const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;
const MAX_PROGRAM_HEADERS = 1024;

export interface ElfSegment {
  readonly type: number;
  readonly offset: number;
  readonly virtualAddress: number;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

export interface Elf {
  readonly bits: 32 | 64;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
}

export function isElf(kernel: KernelReader): boolean {
  return kernel.hasText(0, '\x7fELF');
}

/** Reads header and program headers; segments with contents outside the file are refused. */
export function readElf(kernel: KernelReader): Elf {
  const elfClass = kernel.u8(4);
  if ((elfClass !== 1 && elfClass !== 2) || kernel.u8(5) !== 1) {
    kernel.refuse('it is not a little-endian ELF file');
  }
  const bits = elfClass === 1 ? 32 : 64;
  const machine = kernel.u16(18);
  if (machine !== EM_386 && machine !== EM_X86_64) {
    kernel.refuse(`it is made for another processor (ELF machine ${machine})`);
  }
  const entry = bits === 32 ? kernel.u32(24) : kernel.u64(24);
  const table = bits === 32 ? kernel.u32(28) : kernel.u64(32);
  const entrySize = kernel.u16(bits === 32 ? 42 : 54);
  const count = kernel.u16(bits === 32 ? 44 : 56);
  if (count > MAX_PROGRAM_HEADERS || entrySize < (bits === 32 ? 32 : 56)) {
    kernel.refuse('its program headers are malformed');
  }
  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entrySize;
    const segment: ElfSegment =
      bits === 32
        ? {
            type: kernel.u32(at),
            offset: kernel.u32(at + 4),
            virtualAddress: kernel.u32(at + 8),
            physicalAddress: kernel.u32(at + 12),
            fileSize: kernel.u32(at + 16),
            memorySize: kernel.u32(at + 20),
          }
        : {
            type: kernel.u32(at),
            offset: kernel.u64(at + 8),
            virtualAddress: kernel.u64(at + 16),
            physicalAddress: kernel.u64(at + 24),
            fileSize: kernel.u64(at + 32),
            memorySize: kernel.u64(at + 40),
          };
    if (segment.type === PT_LOAD || segment.type === PT_NOTE) {
      kernel.slice(segment.offset, segment.fileSize);
    }
    segments.push(segment);
  }
  return { bits, entry, segments };
}

/** Loads all PT_LOAD segments to their physical addresses and returns the end of the highest. */
export function loadSegments(memory: GuestMemory, kernel: KernelReader, elf: Elf, highEnd: number): number {
  let end = 0;
  const loads = elf.segments.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  if (loads.length === 0) {
    kernel.refuse('it has nothing to load');
  }
  for (const { physicalAddress, fileSize, memorySize } of loads) {
    if (fileSize > memorySize) {
      kernel.refuse('its program headers are malformed');
    }
    if (!loadable(physicalAddress, memorySize, highEnd)) {
      kernel.refuse(
        `it wants to be loaded to 0x${physicalAddress.toString(16)}–0x${(physicalAddress + memorySize).toString(16)}, ` +
          `and the machine has ${megabytes(memory.sizeBytes)}, of which the area from 576 KB to 1 MB is taken`,
      );
    }
    end = Math.max(end, physicalAddress + memorySize);
  }
  for (const { offset, physicalAddress, fileSize, memorySize } of loads) {
    memory.write(physicalAddress, kernel.slice(offset, fileSize));
    clear(memory, physicalAddress + fileSize, memorySize - fileSize);
  }
  return end;
}

/** The physical address for a virtual one, by the segment that holds it; unchanged when none does. */
export function toPhysical(elf: Elf, virtualAddress: number): number {
  for (const segment of elf.segments) {
    const offset = virtualAddress - segment.virtualAddress;
    if (segment.type === PT_LOAD && offset >= 0 && offset < segment.memorySize) {
      return segment.physicalAddress + offset;
    }
  }
  return virtualAddress;
}

/** The contents of the note `name`/`type`, or undefined. */
export function findNote(kernel: KernelReader, elf: Elf, name: string, type: number): Uint8Array | undefined {
  for (const segment of elf.segments) {
    if (segment.type !== PT_NOTE) {
      continue;
    }
    const end = segment.offset + segment.fileSize;
    for (let at = segment.offset; at + 12 <= end; ) {
      const nameSize = kernel.u32(at);
      const size = kernel.u32(at + 4);
      const nameAt = at + 12;
      const contentAt = nameAt + Math.ceil(nameSize / 4) * 4;
      const next = contentAt + Math.ceil(size / 4) * 4;
      if (contentAt + size > end) {
        kernel.refuse('its notes are malformed');
      }
      if (kernel.u32(at + 8) === type && nameSize === name.length + 1 && kernel.hasText(nameAt, `${name}\0`)) {
        return kernel.slice(contentAt, size);
      }
      at = next;
    }
  }
  return undefined;
}
