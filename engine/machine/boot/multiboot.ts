import { basename } from 'node:path';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type BootInput, KernelReader, megabytes } from './boot-input.ts';
import {
  BOOT_AREA_END,
  BOOT_GDT_ADDRESS,
  BOOT_INFO_ADDRESS,
  BOOT_LIST_ADDRESS,
  BOOT_MAP_ADDRESS,
  type BootMemory,
  COMMAND_LINE_ADDRESS,
  COMMAND_LINE_ROOM,
  clear,
  HIGH_MEMORY,
  loadable,
  writeCommandLine,
} from './boot-memory.ts';
import type { BootDisplay } from './display.ts';
import { isElf, loadSegments, readElf, toPhysical } from './elf.ts';
import { checkModules, moduleDoesNotFit } from './pvh.ts';
import { BOOT_GDT, type StartState } from './start-state.ts';

/** Multiboot specification 0.6.96, section 3.1. */
const HEADER_MAGIC = 0x1badb002;
const LOADER_MAGIC = 0x2badb002;
/** The header lies whole within the first 8 KiB, on a 4-byte boundary. */
const SEARCH_LENGTH = 8192;
const FLAG_VIDEO = 1 << 2;
const FLAG_ADDRESSES = 1 << 16;
/** Requirements that this loader can meet: aligned modules, memory information, a video mode if there is one. */
const KNOWN_REQUIREMENTS = 0x7;

/** Flags of the information structure (section 3.3). */
const INFO_MEMORY = 1 << 0;
const INFO_COMMAND_LINE = 1 << 2;
const INFO_MODULES = 1 << 3;
const INFO_MAP = 1 << 6;
const INFO_LOADER_NAME = 1 << 9;
const INFO_FRAMEBUFFER = 1 << 12;
const INFO_LENGTH = 116;
const LOADER_NAME_AT = BOOT_INFO_ADDRESS + 0x100;

/** Where the Multiboot header stands in the file, or undefined. */
export function findMultibootHeader(kernel: KernelReader): number | undefined {
  const end = Math.min(SEARCH_LENGTH, kernel.length) - 12;
  for (let at = 0; at <= end; at += 4) {
    if (
      kernel.u32(at) === HEADER_MAGIC &&
      (HEADER_MAGIC + kernel.u32(at + 4) + kernel.u32(at + 8)) % 0x1_0000_0000 === 0
    ) {
      return at;
    }
  }
  return undefined;
}

/** Loads a Multiboot 1 kernel. At the entry EAX is 0x2BADB002 and EBX points to the information structure. */
export function loadMultiboot(
  memory: GuestMemory,
  input: BootInput,
  boot: BootMemory,
  header: number,
  display: BootDisplay | undefined,
): StartState {
  const kernel = new KernelReader(input.kernel);
  const flags = kernel.u32(header + 4);
  if ((flags & 0xffff & ~KNOWN_REQUIREMENTS) !== 0) {
    kernel.refuse(`its Multiboot header demands unknown features (flags 0x${flags.toString(16)})`);
  }
  const name = basename(input.kernel.name);
  const commandLine = writeCommandLine(memory, `${name} ${input.commandLine}`.trimEnd(), COMMAND_LINE_ROOM - 1);
  const { entry, end } =
    (flags & FLAG_ADDRESSES) !== 0 ? loadByAddresses(memory, kernel, header, boot) : loadElf(memory, kernel, boot);

  checkModules(input);
  const strings = new StringArea(memory, COMMAND_LINE_ADDRESS + COMMAND_LINE_ROOM, BOOT_AREA_END);
  const list = new DataView(new ArrayBuffer(Math.max(1, input.modules.length) * 16));
  let next = Math.max(HIGH_MEMORY, end);
  for (const [index, module] of input.modules.entries()) {
    const address = Math.ceil(next / 0x1000) * 0x1000;
    if (address + module.bytes.length > boot.highEnd) {
      throw moduleDoesNotFit(module.name, module.bytes.length, end, memory.sizeBytes);
    }
    memory.write(address, module.bytes);
    next = address + module.bytes.length;
    list.setUint32(index * 16, address, true);
    list.setUint32(index * 16 + 4, next, true);
    list.setUint32(index * 16 + 8, strings.add(`${basename(module.name)} ${module.commandLine ?? ''}`.trimEnd()), true);
  }
  memory.write(BOOT_LIST_ADDRESS, new Uint8Array(list.buffer));

  const map = new DataView(new ArrayBuffer(boot.map.length * 24));
  for (const [index, range] of boot.map.entries()) {
    map.setUint32(index * 24, 20, true);
    map.setBigUint64(index * 24 + 4, BigInt(range.base), true);
    map.setBigUint64(index * 24 + 12, BigInt(range.length), true);
    map.setUint32(index * 24 + 20, range.type, true);
  }
  memory.write(BOOT_MAP_ADDRESS, new Uint8Array(map.buffer));
  memory.write(LOADER_NAME_AT, Buffer.from('Lodge\0', 'latin1'));

  const framebuffer = display?.kind === 'framebuffer' && (flags & FLAG_VIDEO) !== 0 ? display : undefined;
  const info = new DataView(new ArrayBuffer(INFO_LENGTH));
  info.setUint32(
    0,
    INFO_MEMORY |
      INFO_COMMAND_LINE |
      INFO_MODULES |
      INFO_MAP |
      INFO_LOADER_NAME |
      (framebuffer === undefined ? 0 : INFO_FRAMEBUFFER),
    true,
  );
  info.setUint32(4, Math.floor((boot.map[0]?.length ?? 0) / 1024), true);
  info.setUint32(8, Math.floor((boot.highEnd - HIGH_MEMORY) / 1024), true);
  info.setUint32(16, commandLine, true);
  info.setUint32(20, input.modules.length, true);
  info.setUint32(24, BOOT_LIST_ADDRESS, true);
  info.setUint32(44, map.byteLength, true);
  info.setUint32(48, BOOT_MAP_ADDRESS, true);
  info.setUint32(64, LOADER_NAME_AT, true);
  if (framebuffer !== undefined) {
    info.setBigUint64(88, BigInt(framebuffer.base), true);
    info.setUint32(96, framebuffer.stride, true);
    info.setUint32(100, framebuffer.width, true);
    info.setUint32(104, framebuffer.height, true);
    // 32 bits a pixel, direct colour; position and width of red, green and blue.
    for (const [index, value] of [32, 1, 16, 8, 8, 8, 0, 8].entries()) {
      info.setUint8(108 + index, value);
    }
  }
  memory.write(BOOT_INFO_ADDRESS, new Uint8Array(info.buffer));
  return {
    mode: 'protected32',
    eip: entry,
    registers: {
      eax: LOADER_MAGIC,
      ebx: BOOT_INFO_ADDRESS,
      ecx: 0,
      edx: 0,
      esi: 0,
      edi: 0,
      ebp: 0,
      esp: BOOT_INFO_ADDRESS,
    },
    gdt: { base: BOOT_GDT_ADDRESS, limit: BOOT_GDT.length - 1 },
    description: `Multiboot kernel '${input.kernel.name}'`,
  };
}

interface Loaded {
  readonly entry: number;
  readonly end: number;
}

function loadElf(memory: GuestMemory, kernel: KernelReader, boot: BootMemory): Loaded {
  if (!isElf(kernel)) {
    kernel.refuse('its Multiboot header has no addresses, and it is not an ELF file');
  }
  const elf = readElf(kernel);
  const entry = toPhysical(elf, elf.entry);
  if (entry >= boot.highEnd) {
    kernel.refuse('its entry point lies outside of memory');
  }
  return { entry, end: loadSegments(memory, kernel, elf, boot.highEnd) };
}

/** Loads one block by the address fields of the header (section 3.1.3). */
function loadByAddresses(memory: GuestMemory, kernel: KernelReader, header: number, boot: BootMemory): Loaded {
  const headerAddress = kernel.u32(header + 12);
  const loadAddress = kernel.u32(header + 16);
  const loadEnd = kernel.u32(header + 20);
  const bssEnd = kernel.u32(header + 24);
  const entry = kernel.u32(header + 28);
  const start = header - (headerAddress - loadAddress);
  if (loadAddress > headerAddress || start < 0) {
    kernel.refuse('the addresses in its Multiboot header contradict each other');
  }
  const length = loadEnd === 0 ? kernel.length - start : loadEnd - loadAddress;
  if (length <= 0) {
    kernel.refuse('the addresses in its Multiboot header contradict each other');
  }
  const contents = kernel.slice(start, length);
  const end = Math.max(loadAddress + length, bssEnd);
  if (!loadable(loadAddress, end - loadAddress, boot.highEnd) || entry < loadAddress || entry >= end) {
    kernel.refuse(
      `it wants to be loaded to 0x${loadAddress.toString(16)}–0x${end.toString(16)} and entered at ` +
        `0x${entry.toString(16)}, and the machine has ${megabytes(memory.sizeBytes)}`,
    );
  }
  memory.write(loadAddress, contents);
  clear(memory, loadAddress + length, end - loadAddress - length);
  return { entry, end };
}

/** Zero-terminated strings one after the other; what no longer fits becomes an empty string. */
class StringArea {
  readonly #memory: GuestMemory;
  readonly #end: number;
  #next: number;

  constructor(memory: GuestMemory, start: number, end: number) {
    this.#memory = memory;
    this.#next = start;
    this.#end = end - 1;
  }

  add(text: string): number {
    const bytes = Buffer.from(`${text}\0`, 'utf8');
    if (this.#next + bytes.length > this.#end) {
      return this.#end;
    }
    const at = this.#next;
    this.#memory.write(at, bytes);
    this.#next += bytes.length;
    return at;
  }
}
