import type { AccessSize } from '../../bus/bus.ts';
import { PCI_IRQS, SCI_IRQ } from '../../firmware/acpi/pc-config.ts';
import {
  PCI_BAR0,
  PCI_COMMAND,
  PCI_COMMAND_BUS_MASTER,
  PCI_COMMAND_IO,
  PCI_COMMAND_MEMORY,
  PCI_INTERRUPT_LINE,
  PCI_INTERRUPT_PIN,
} from '../../pci/pci-function.ts';
import { pirqOf } from '../../pci/pirq.ts';
import type { BootDisplay } from './display.ts';

/** The port accesses by which a processor would set up the machine. */
export interface PortAccess {
  read(port: number, size: AccessSize): number;
  write(port: number, size: AccessSize, value: number): void;
}

export interface WithoutFirmwareOptions {
  /** Addresses at which BARs may be placed, from the machine's ACPI configuration. */
  readonly pciMemory: { readonly first: number; readonly last: number };
  readonly pmBase: number;
  /** Size of a linear framebuffer to set up on the display adapter, or undefined to leave it as it is. */
  readonly framebuffer?: { readonly width: number; readonly height: number };
}

const PCI_IO_FIRST = 0xc000;
const PCI_IO_LAST = 0xffff;
const CLASS_DISPLAY_VGA = 0x0300;
const CLASS_IDE = 0x0101;

interface Bar {
  readonly devfn: number;
  readonly offset: number;
  readonly io: boolean;
  readonly size: number;
}

/**
 * Sets up the chipset as firmware leaves it, through the same ports: the BIOS area is RAM, the PCI interrupts are
 * routed, the power management block and all BARs are placed and enabled. Returns the display set up for the kernel.
 * Used when a kernel is booted directly; call it on the freshly reset machine, before loadKernel.
 */
export function prepareWithoutFirmware(ports: PortAccess, options: WithoutFirmwareOptions): BootDisplay | undefined {
  const pci = new ConfigSpace(ports);
  // Host bridge: the whole area from 768 KiB on is RAM (PAM0–PAM6).
  pci.write(0, 0x59, 1, 0x30);
  for (let offset = 0x5a; offset <= 0x5f; offset++) {
    pci.write(0, offset, 1, 0x33);
  }
  // ISA bridge: PIRQA, B → 10, PIRQC, D → 11, both level-triggered at the 8259s, as is the SCI.
  const routes = [PCI_IRQS[1], PCI_IRQS[1], PCI_IRQS[2], PCI_IRQS[2]] as const;
  const isaBridge = 1 << 3;
  for (const [pirq, irq] of routes.entries()) {
    pci.write(isaBridge, 0x60 + pirq, 1, irq);
  }
  const level = (1 << PCI_IRQS[1]) | (1 << PCI_IRQS[2]) | (1 << SCI_IRQ);
  ports.write(0x4d0, 1, level & 0xff);
  ports.write(0x4d1, 1, level >> 8);

  const bars: Bar[] = [];
  for (let slot = 0; slot < 32; slot++) {
    const functions = (pci.read(slot << 3, 0x0e, 1) & 0x80) !== 0 ? 8 : 1;
    for (let fn = 0; fn < functions; fn++) {
      const devfn = (slot << 3) | fn;
      if (pci.read(devfn, 0, 2) === 0xffff) {
        continue;
      }
      if ((pci.read(devfn, 0x0e, 1) & 0x7f) === 0) {
        bars.push(...measure(pci, devfn));
      }
      const pin = pci.read(devfn, PCI_INTERRUPT_PIN, 1);
      if (pin >= 1 && pin <= 4) {
        pci.write(devfn, PCI_INTERRUPT_LINE, 1, routes[pirqOf(slot, pin)] ?? 0);
      }
      if (pci.read(devfn, 0x0a, 2) === CLASS_IDE && pci.read(devfn, 0, 2) === 0x8086) {
        pci.write(devfn, 0x40, 4, 0x80008000); // both channels decode their legacy ports
      }
    }
  }
  place(pci, bars, options);

  const powerManagement = (1 << 3) | 3;
  if (pci.read(powerManagement, 0, 4) === 0x71138086) {
    pci.write(powerManagement, PCI_INTERRUPT_LINE, 1, SCI_IRQ);
    pci.write(powerManagement, 0x40, 4, options.pmBase | 1);
    pci.write(powerManagement, 0x80, 1, 1);
  }
  return options.framebuffer === undefined ? undefined : setFramebuffer(ports, pci, options.framebuffer);
}

/** Configuration mechanism #1 as a driver uses it. */
class ConfigSpace {
  readonly #ports: PortAccess;

  constructor(ports: PortAccess) {
    this.#ports = ports;
  }

  read(devfn: number, offset: number, size: AccessSize): number {
    this.#ports.write(0xcf8, 4, (0x80000000 | (devfn << 8) | (offset & 0xfc)) >>> 0);
    return this.#ports.read(0xcfc + (offset & 3), size);
  }

  write(devfn: number, offset: number, size: AccessSize, value: number): void {
    this.#ports.write(0xcf8, 4, (0x80000000 | (devfn << 8) | (offset & 0xfc)) >>> 0);
    this.#ports.write(0xcfc + (offset & 3), size, value);
  }
}

/** Finds the sizes of a function's BARs by writing ones (PCI Local Bus 3.0, section 6.2.5.1). */
function measure(pci: ConfigSpace, devfn: number): Bar[] {
  const bars: Bar[] = [];
  for (let index = 0; index < 6; index++) {
    const offset = PCI_BAR0 + index * 4;
    const before = pci.read(devfn, offset, 4);
    pci.write(devfn, offset, 4, 0xffffffff);
    const mask = pci.read(devfn, offset, 4);
    pci.write(devfn, offset, 4, before);
    if (mask === 0) {
      continue;
    }
    const io = (mask & 1) !== 0;
    const size = (~(mask & (io ? 0xfffc : 0xfffffff0)) & (io ? 0xffff : 0xffffffff)) + 1;
    bars.push({ devfn, offset, io, size: io ? size & 0xffff : size >>> 0 });
    if (!io && (mask & 6) === 4) {
      index++; // the upper half of a 64-bit BAR stays 0
    }
  }
  return bars.filter(({ size }) => size > 0);
}

/** Places the largest windows first, each at a multiple of its size, and lets every function decode what fitted. */
function place(pci: ConfigSpace, bars: readonly Bar[], options: WithoutFirmwareOptions): void {
  let nextIo = PCI_IO_FIRST;
  // Memory is filled from the top, so that the start of the window remains for the operating system to use.
  let memoryEnd = options.pciMemory.last + 1;
  for (const { devfn, offset, io, size } of [...bars].sort((a, b) => b.size - a.size)) {
    if (io) {
      const at = Math.ceil(nextIo / size) * size;
      if (at + size - 1 > PCI_IO_LAST) {
        continue;
      }
      nextIo = at + size;
      pci.write(devfn, offset, 4, at);
    } else {
      const at = Math.floor((memoryEnd - size) / size) * size;
      if (at < options.pciMemory.first) {
        continue;
      }
      memoryEnd = at;
      pci.write(devfn, offset, 4, at);
    }
    const command = pci.read(devfn, PCI_COMMAND, 2);
    pci.write(devfn, PCI_COMMAND, 2, command | PCI_COMMAND_BUS_MASTER | (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
  }
}

/** Registers of the Bochs VBE extension: index at 0x1CE, data at 0x1CF. */
const VBE_INDEX = 0x1ce;
const VBE_DATA = 0x1cf;
const VBE_ENABLED_LFB = 0x41;

function setFramebuffer(
  ports: PortAccess,
  pci: ConfigSpace,
  { width, height }: { readonly width: number; readonly height: number },
): BootDisplay | undefined {
  for (let slot = 1; slot < 32; slot++) {
    const devfn = slot << 3;
    if (pci.read(devfn, 0x0a, 2) !== CLASS_DISPLAY_VGA) {
      continue;
    }
    const base = (pci.read(devfn, PCI_BAR0, 4) & 0xfffffff0) >>> 0;
    ports.write(VBE_INDEX, 2, 0);
    if ((ports.read(VBE_DATA, 2) & 0xfff0) !== 0xb0c0 || base === 0) {
      return undefined;
    }
    for (const [register, value] of [
      [4, 0],
      [1, width],
      [2, height],
      [3, 32],
      [4, VBE_ENABLED_LFB],
    ] as const) {
      ports.write(VBE_INDEX, 2, register);
      ports.write(VBE_DATA, 2, value);
    }
    return { kind: 'framebuffer', base, width, height, stride: width * 4 };
  }
  return undefined;
}
