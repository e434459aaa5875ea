import { HostError } from '../../base/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { type BootInput, KernelReader } from './boot-input.ts';
import { type DirectBootMachine, prepareMemory } from './boot-memory.ts';
import type { BootDisplay } from './display.ts';
import { isElf, readElf } from './elf.ts';
import { isLinux, loadLinux } from './linux.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';
import { loadPvh, pvhEntry } from './pvh.ts';
import type { StartState } from './start-state.ts';

/**
 * Boots a kernel without firmware: puts it, its ramdisk or modules, its command line and the tables that firmware
 * would have provided into memory, and returns how processor 0 is to be started. Call it after
 * `prepareWithoutFirmware` (the BIOS area must be RAM), on power-on and after every reset.
 *
 * Understands Linux bzImages, Multiboot kernels (ELF or with addresses in the header) and ELF kernels with a PVH note.
 * Throws HostError `bad-kernel` or `bad-initrd` with one line that names the file; memory is then in no defined state.
 */
export function loadKernel(
  memory: GuestMemory,
  input: BootInput,
  machine: DirectBootMachine,
  display?: BootDisplay,
): StartState {
  const kernel = new KernelReader(input.kernel);
  if (kernel.length === 0) {
    throw new HostError('bad-kernel', `the kernel '${kernel.name}' is empty`);
  }
  const linux = isLinux(kernel);
  const multiboot = linux ? undefined : findMultibootHeader(kernel);
  if (linux) {
    return loadLinux(memory, input, prepareMemory(memory, machine), display);
  }
  if (multiboot !== undefined) {
    return loadMultiboot(memory, input, prepareMemory(memory, machine), multiboot, display);
  }
  if (isElf(kernel)) {
    const elf = readElf(kernel);
    const entry = pvhEntry(kernel, elf);
    if (entry !== undefined) {
      return loadPvh(memory, input, prepareMemory(memory, machine), elf, entry);
    }
    kernel.refuse('this ELF file has neither a PVH note nor a Multiboot header');
  }
  return kernel.refuse('it is neither a Linux bzImage nor an ELF kernel with a PVH note nor a Multiboot kernel');
}
