import { HostError } from '../../base/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type BootInput, KernelReader, megabytes } from './boot-input.ts';
import {
  BOOT_GDT_ADDRESS,
  BOOT_INFO_ADDRESS,
  BOOT_LIST_ADDRESS,
  BOOT_MAP_ADDRESS,
  type BootMemory,
  COMMAND_LINE_ROOM,
  writeCommandLine,
} from './boot-memory.ts';
import { type Elf, findNote, loadSegments } from './elf.ts';
import { BOOT_GDT, type StartState } from './start-state.ts';

/** The note by which a kernel announces its 32-bit physical entry (Xen public/elfnote.h). */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** hvm_start_info (Xen public/arch-x86/hvm/start_info.h), version 1. */
const START_MAGIC = 0x336ec578;
const START_INFO_LENGTH = 56;
const MODULE_LENGTH = 32;
const MAP_ENTRY_LENGTH = 24;
export const MAX_MODULES = 64;

/** The PVH entry point, or undefined when the kernel has no such note. */
export function pvhEntry(kernel: KernelReader, elf: Elf): number | undefined {
  const note = findNote(kernel, elf, 'Xen', XEN_ELFNOTE_PHYS32_ENTRY);
  if (note === undefined) {
    return undefined;
  }
  if (note.length !== 4 && note.length !== 8) {
    kernel.refuse('its PVH note is malformed');
  }
  const view = new DataView(note.buffer, note.byteOffset, note.byteLength);
  return view.getUint32(0, true);
}

/** Loads an ELF kernel by the PVH boot protocol. At the entry EBX points to hvm_start_info. */
export function loadPvh(memory: GuestMemory, input: BootInput, boot: BootMemory, elf: Elf, entry: number): StartState {
  const kernel = new KernelReader(input.kernel);
  const commandLine = writeCommandLine(memory, input.commandLine, COMMAND_LINE_ROOM - 1);
  const kernelEnd = loadSegments(memory, kernel, elf, boot.highEnd);
  if (entry >= boot.highEnd) {
    kernel.refuse('its entry point lies outside of memory');
  }
  // Modules go to the end of memory: kernels of this kind do not say how much room they need behind themselves.
  const modules = placeModulesHigh(memory, input, kernelEnd, boot.highEnd);
  const list = new DataView(new ArrayBuffer(Math.max(1, modules.length) * MODULE_LENGTH));
  for (const [index, module] of modules.entries()) {
    list.setBigUint64(index * MODULE_LENGTH, BigInt(module.address), true);
    list.setBigUint64(index * MODULE_LENGTH + 8, BigInt(module.length), true);
  }
  memory.write(BOOT_LIST_ADDRESS, new Uint8Array(list.buffer));
  const map = new DataView(new ArrayBuffer(boot.map.length * MAP_ENTRY_LENGTH));
  for (const [index, range] of boot.map.entries()) {
    map.setBigUint64(index * MAP_ENTRY_LENGTH, BigInt(range.base), true);
    map.setBigUint64(index * MAP_ENTRY_LENGTH + 8, BigInt(range.length), true);
    map.setUint32(index * MAP_ENTRY_LENGTH + 16, range.type, true);
  }
  memory.write(BOOT_MAP_ADDRESS, new Uint8Array(map.buffer));
  const info = new DataView(new ArrayBuffer(START_INFO_LENGTH));
  info.setUint32(0, START_MAGIC, true);
  info.setUint32(4, 1, true);
  info.setUint32(12, modules.length, true);
  info.setBigUint64(16, BigInt(modules.length === 0 ? 0 : BOOT_LIST_ADDRESS), true);
  info.setBigUint64(24, BigInt(commandLine), true);
  info.setBigUint64(32, BigInt(boot.rsdp), true);
  info.setBigUint64(40, BigInt(BOOT_MAP_ADDRESS), true);
  info.setUint32(48, boot.map.length, true);
  memory.write(BOOT_INFO_ADDRESS, new Uint8Array(info.buffer));
  return {
    mode: 'protected32',
    eip: entry,
    registers: { eax: 0, ebx: BOOT_INFO_ADDRESS, ecx: 0, edx: 0, esi: 0, edi: 0, ebp: 0, esp: BOOT_INFO_ADDRESS },
    gdt: { base: BOOT_GDT_ADDRESS, limit: BOOT_GDT.length - 1 },
    description: `ELF kernel '${input.kernel.name}' (PVH)`,
  };
}

function placeModulesHigh(
  memory: GuestMemory,
  input: BootInput,
  kernelEnd: number,
  highEnd: number,
): { address: number; length: number }[] {
  checkModules(input);
  let next = highEnd;
  return input.modules.map(({ name, bytes }) => {
    const address = Math.floor((next - bytes.length) / 0x1000) * 0x1000;
    if (address < kernelEnd) {
      throw moduleDoesNotFit(name, bytes.length, kernelEnd, memory.sizeBytes);
    }
    next = address;
    memory.write(address, bytes);
    return { address, length: bytes.length };
  });
}

/** Refuses empty modules and more of them than the list has room for. */
export function checkModules(input: BootInput): void {
  if (input.modules.length > MAX_MODULES) {
    throw new HostError('bad-initrd', `${input.modules.length} modules are given; at most ${MAX_MODULES} are possible`);
  }
  for (const { name, bytes } of input.modules) {
    if (bytes.length === 0) {
      throw new HostError('bad-initrd', `the initrd '${name}' is empty`);
    }
  }
}

export function moduleDoesNotFit(name: string, length: number, kernelEnd: number, memoryBytes: number): HostError {
  return new HostError(
    'bad-initrd',
    `the initrd '${name}' (${megabytes(length)}) does not fit: the kernel takes memory up to ` +
      `${megabytes(kernelEnd)} of ${megabytes(memoryBytes)}; give the machine more memory`,
  );
}
