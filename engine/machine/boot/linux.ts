import { HostError } from '../../base/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type BootInput, KernelReader, megabytes } from './boot-input.ts';
import {
  BOOT_GDT_ADDRESS,
  BOOT_INFO_ADDRESS,
  type BootMemory,
  HIGH_MEMORY,
  loadable,
  writeCommandLine,
} from './boot-memory.ts';
import type { BootDisplay } from './display.ts';
import { BOOT_GDT, type StartState } from './start-state.ts';

/** Offsets in the setup header and in boot_params alike (Documentation/arch/x86/boot.rst and zero-page.rst). */
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const BOOT_FLAG = 0x1fe;
const JUMP_LENGTH = 0x201;
const HEADER = 0x202;
const VERSION = 0x206;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const HEAP_END_PTR = 0x224;
const CMD_LINE_PTR = 0x228;
const INITRD_ADDR_MAX = 0x22c;
const RELOCATABLE_KERNEL = 0x234;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;
const HEADER_START = SETUP_SECTS;
const HEADER_MAX_END = 0x290;

/** Offsets in boot_params only. */
const ACPI_RSDP_ADDR = 0x070;
const ALT_MEM_K = 0x1e0;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;

const LOADED_HIGH = 1 << 0;
const CAN_USE_HEAP = 1 << 7;
const LOADER_UNDEFINED = 0xff;
/** The first version with a command line pointer, and the first that states the limits of command line and ramdisk. */
const VERSION_CMD_LINE_PTR = 0x0202;
const VERSION_INITRD_ADDR_MAX = 0x0203;
const VERSION_RELOCATABLE = 0x0205;
const VERSION_CMDLINE_SIZE = 0x0206;
const VERSION_INIT_SIZE = 0x020a;

export function isLinux(kernel: KernelReader): boolean {
  return kernel.length > VERSION && kernel.u16(BOOT_FLAG) === 0xaa55 && kernel.hasText(HEADER, 'HdrS');
}

/**
 * Loads a bzImage by the 32-bit boot protocol: the protected-mode part at 1 MiB, the ramdisk as high as it may be.
 * At the entry ESI points to boot_params and EBX, EBP and EDI are 0.
 */
export function loadLinux(
  memory: GuestMemory,
  input: BootInput,
  boot: BootMemory,
  display: BootDisplay | undefined,
): StartState {
  const kernel = new KernelReader(input.kernel);
  const version = kernel.u16(VERSION);
  const loadFlags = kernel.u8(LOADFLAGS);
  if (version < VERSION_CMD_LINE_PTR || (loadFlags & LOADED_HIGH) === 0) {
    kernel.refuse(`its boot protocol ${version >> 8}.${version & 0xff} is too old (a bzImage is needed)`);
  }
  const setupBytes = ((kernel.u8(SETUP_SECTS) || 4) + 1) * 512;
  const body = kernel.slice(setupBytes, Math.max(0, kernel.length - setupBytes));
  // The size is given in 16-byte units, rounded up.
  const declared = kernel.u32(SYSSIZE) * 16;
  if (kernel.length < setupBytes || body.length === 0 || body.length + 15 < declared) {
    kernel.refuse(`the file is truncated: it has ${kernel.length} bytes and should have ${setupBytes + declared}`);
  }
  const relocatable = version >= VERSION_RELOCATABLE && kernel.u8(RELOCATABLE_KERNEL) !== 0;
  const loadAt = relocatable ? HIGH_MEMORY : kernel.u32(CODE32_START);
  let end = loadAt + body.length;
  if (version >= VERSION_INIT_SIZE) {
    const runAt = Math.max(loadAt, kernel.u64(PREF_ADDRESS));
    end = Math.max(end, runAt + kernel.u32(INIT_SIZE));
  }
  if (loadAt < HIGH_MEMORY || !loadable(loadAt, body.length, boot.highEnd) || end > boot.highEnd) {
    kernel.refuse(`it needs memory up to ${megabytes(end)}, and the machine has ${megabytes(memory.sizeBytes)}`);
  }

  const commandLimit = version >= VERSION_CMDLINE_SIZE ? kernel.u32(CMDLINE_SIZE) : 255;
  const commandLine = writeCommandLine(memory, input.commandLine, commandLimit);
  const initrdMax = version >= VERSION_INITRD_ADDR_MAX ? kernel.u32(INITRD_ADDR_MAX) : 0x37ff_ffff;
  const initrd = placeInitrd(memory, input, end, Math.min(boot.highEnd, initrdMax + 1));
  memory.write(loadAt, body);

  const params = new Uint8Array(0x1000);
  const view = new DataView(params.buffer);
  const headerEnd = Math.min(HEADER_MAX_END, HEADER + kernel.u8(JUMP_LENGTH), kernel.length);
  params.set(kernel.bytes.subarray(HEADER_START, headerEnd), HEADER_START);
  params[TYPE_OF_LOADER] = LOADER_UNDEFINED;
  params[LOADFLAGS] = loadFlags & ~CAN_USE_HEAP;
  view.setUint16(HEAP_END_PTR, 0, true);
  view.setUint32(CODE32_START, loadAt, true);
  view.setUint32(CMD_LINE_PTR, commandLine, true);
  view.setUint32(RAMDISK_IMAGE, initrd.address, true);
  view.setUint32(RAMDISK_SIZE, initrd.length, true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(boot.rsdp), true);
  const highKilobytes = Math.floor((boot.highEnd - HIGH_MEMORY) / 1024);
  view.setUint16(0x02, Math.min(0xffff, highKilobytes), true);
  view.setUint32(ALT_MEM_K, highKilobytes, true);
  params[E820_ENTRIES] = boot.map.length;
  for (const [index, range] of boot.map.entries()) {
    view.setBigUint64(E820_TABLE + index * 20, BigInt(range.base), true);
    view.setBigUint64(E820_TABLE + index * 20 + 8, BigInt(range.length), true);
    view.setUint32(E820_TABLE + index * 20 + 16, range.type, true);
  }
  describeDisplay(view, display);
  memory.write(BOOT_INFO_ADDRESS, params);
  return {
    mode: 'protected32',
    eip: loadAt,
    registers: { eax: 0, ebx: 0, ecx: 0, edx: 0, esi: BOOT_INFO_ADDRESS, edi: 0, ebp: 0, esp: BOOT_INFO_ADDRESS },
    gdt: { base: BOOT_GDT_ADDRESS, limit: BOOT_GDT.length - 1 },
    description: `Linux kernel '${input.kernel.name}' (boot protocol ${version >> 8}.${version & 0xff})`,
  };
}

/** The parts of the ramdisk one after the other, each on a 4-byte boundary, as high as memory and kernel allow. */
function placeInitrd(
  memory: GuestMemory,
  input: BootInput,
  kernelEnd: number,
  limit: number,
): { address: number; length: number } {
  let length = 0;
  for (const { name, bytes } of input.modules) {
    if (bytes.length === 0) {
      throw new HostError('bad-initrd', `the initrd '${name}' is empty`);
    }
    length = Math.ceil(length / 4) * 4 + bytes.length;
  }
  if (length === 0) {
    return { address: 0, length: 0 };
  }
  const address = Math.floor((limit - length) / 0x1000) * 0x1000;
  if (address < kernelEnd) {
    const names = input.modules.map(({ name }) => `'${name}'`).join(' and ');
    throw new HostError(
      'bad-initrd',
      `the initrd ${names} (${megabytes(length)}) does not fit: the kernel takes memory up to ` +
        `${megabytes(kernelEnd)} of ${megabytes(memory.sizeBytes)}; give the machine more memory`,
    );
  }
  let at = address;
  for (const { bytes } of input.modules) {
    at = Math.ceil(at / 4) * 4;
    memory.write(at, bytes);
    at += bytes.length;
  }
  return { address, length };
}

/** screen_info: a VESA linear framebuffer, colour text mode, or nothing. */
function describeDisplay(view: DataView, display: BootDisplay | undefined): void {
  if (display === undefined) {
    return;
  }
  if (display.kind === 'text') {
    view.setUint8(0x06, 3);
    view.setUint8(0x07, 80);
    view.setUint16(0x0a, 3, true);
    view.setUint8(0x0e, 25);
    view.setUint8(0x0f, 1);
    view.setUint16(0x10, 16, true);
    return;
  }
  view.setUint8(0x0f, 0x23);
  view.setUint16(0x12, display.width, true);
  view.setUint16(0x14, display.height, true);
  view.setUint16(0x16, 32, true);
  view.setUint32(0x18, display.base, true);
  view.setUint32(0x1c, Math.ceil((display.stride * display.height) / 0x1_0000), true);
  view.setUint16(0x24, display.stride, true);
  for (const [at, position] of [
    [0x26, 16],
    [0x28, 8],
    [0x2a, 0],
    [0x2c, 24],
  ] as const) {
    view.setUint8(at, 8);
    view.setUint8(at + 1, position);
  }
  view.setUint16(0x32, 1, true);
}
