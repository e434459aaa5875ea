import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { CharBackend } from '../backends/char.ts';
import { DisposableStore } from '../base/disposable.ts';
import type { Log } from '../base/log.ts';
import { Doorbells } from '../bus/doorbells.ts';
import { MmioWindows } from '../bus/mmio-bus.ts';
import { Ports } from '../bus/port-bus.ts';
import type { MachineClock } from '../clock/machine-clock.ts';
import type { CpuBus, MachineCpus } from '../cpu/cpu-backend.ts';
import { DEBUG_CONSOLE_PORT, DebugConsole } from '../devices/debug/debug-console.ts';
import { DEBUG_EXIT_LENGTH, DEBUG_EXIT_PORT, DebugExit } from '../devices/debug/debug-exit.ts';
import type { Device } from '../devices/device.ts';
import { Dma } from '../devices/dma/dma.ts';
import { FloppyController } from '../devices/floppy/floppy-controller.ts';
import { driveTypeFor, FLOPPY_DRIVE_TYPES, floppyFormat } from '../devices/floppy/floppy-format.ts';
import { FW_CFG_PORT, FW_CFG_PORT_COUNT, FwCfg } from '../devices/fw-cfg/fw-cfg.ts';
import { Hpet } from '../devices/hpet/hpet.ts';
import { I8042 } from '../devices/i8042/i8042.ts';
import { type IdeDriveConfig, PiixIde } from '../devices/ide/piix-ide.ts';
import { Piix3 } from '../devices/piix/piix3.ts';
import { GPE0_LENGTH, GPE0_PORT, Piix4Pm } from '../devices/piix/piix4-pm.ts';
import { Rtc } from '../devices/rtc/rtc.ts';
import { Uart16550 } from '../devices/serial/uart-16550.ts';
import { DISPI_PORT_BASE, DISPI_PORT_COUNT, VGA_PORT_BASE, VGA_PORT_COUNT } from '../devices/vga/vga-adapter.ts';
import type { AcpiConfig } from '../firmware/acpi/pc-config.ts';
import type { Firmware } from '../firmware/find-firmware.ts';
import { firmwareItems } from '../firmware/firmware-items.ts';
import type { ApicBus } from '../irq/apic-bus.ts';
import type { MachineMemory } from '../memory/machine-memory.ts';
import { HostBridge, type PamMode } from '../pci/host-bridge.ts';
import { PciBus } from '../pci/pci-bus.ts';
import type { Board } from './board.ts';
import { boardBus } from './board-bus.ts';
import type { BootInput } from './boot/boot-input.ts';
import type { BootDisplay } from './boot/display.ts';
import { prepareWithoutFirmware } from './boot/without-firmware.ts';
import { DisplayAdapter, type DisplayParts } from './display-adapter.ts';
import { GuestInput } from './guest-input.ts';
import { addInterruptChips, addPit } from './interrupt-chips.ts';
import { addNetworkCard, type NetworkCardParts } from './network-card.ts';
import * as layout from './pc-layout.ts';
import { addVirtioDevices, pciPlug, type VirtioDevices, type VirtioParts } from './virtio-devices.ts';

/** What a board is made of, besides its own chips. */
export interface PcBoardParts {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly log: Log;
  readonly cpuCount: number;
  /** Undefined for machines that boot a kernel directly: they have no firmware. */
  readonly firmware: Firmware | undefined;
  readonly display: DisplayParts;
  readonly acpi: AcpiConfig;
  /** Boot devices in order, as Open Firmware paths. */
  readonly bootOrder: readonly string[];
  /** Primary master, primary slave, secondary master, secondary slave. */
  readonly ideDrives: readonly (IdeDriveConfig | undefined)[];
  readonly virtio: VirtioParts;
  readonly networkCard?: NetworkCardParts;
  /** Undefined: a drive without a disk. */
  readonly floppy: BlockBackend | undefined;
  readonly serialOutputs: readonly [CharBackend, CharBackend];
  readonly debugExit: boolean;
  onPowerOff(): void;
  onReset(): void;
  onDebugExit(value: number): void;
}

/**
 * The PC's main board: all chips, all wires. Processors are attached afterwards, as they need the board's buses:
 *
 *     const board = new PcBoard(parts); board.attach(makeCpus(board.cpuBus)); board.reset();
 */
export class PcBoard implements Board {
  readonly ports = new Ports();
  readonly mmio = new MmioWindows();
  readonly doorbells = new Doorbells();
  readonly cpuBus: CpuBus;
  readonly apics: ApicBus;
  readonly display: DisplayAdapter;
  readonly input: GuestInput;
  readonly ide: PiixIde;
  readonly virtio: VirtioDevices;
  readonly floppy: FloppyController;
  readonly keyboardController: I8042;
  readonly serial: readonly [Uart16550, Uart16550];
  readonly power: Piix4Pm;
  readonly rtc: Rtc;
  /** Every device, in the order in which they are reset and saved. */
  readonly devices: readonly Device[];
  readonly #memory: MachineMemory;
  readonly #store = new DisposableStore();
  readonly #biosAddress: number | undefined;
  readonly #pam: (PamMode | undefined)[] = [];
  readonly #parts: PcBoardParts;
  #cpus: MachineCpus | undefined;
  /** Opens and closes address line 20 of all processors. */
  #setA20: (enabled: boolean) => void = () => {};

  constructor(parts: PcBoardParts) {
    this.#parts = parts;
    const { memory, clock, log } = parts;
    this.#memory = memory;
    const { doorbells } = this;
    const buses = { ports: this.ports, mmio: this.mmio, doorbells };
    const devices: Device[] = [];
    const add = <T extends Device>(device: T): T => {
      devices.push(device);
      this.#store.add(device);
      return device;
    };
    const port = (place: readonly [number, number], handler: Parameters<Ports['map']>[2], owner: string) => {
      this.#store.add(this.ports.map(place[0], place[1], handler, owner));
    };

    // Memory: RAM around the legacy hole, firmware at its top and below 4 GiB.
    memory.mapRam(0, layout.CONVENTIONAL_MEMORY_END);
    memory.mapRam(layout.HIGH_MEMORY, memory.sizeBytes - layout.HIGH_MEMORY);
    if (parts.firmware !== undefined) {
      const { bios } = parts.firmware;
      const address = memory.addRom(bios);
      const length = Math.ceil(bios.length / 0x1000) * 0x1000;
      memory.mapRom(2 ** 32 - length, length, address);
      this.#biosAddress = address + length - layout.BIOS_LOW.length;
    }
    this.#store.add(
      this.mmio.map(
        layout.SHADOW_AREA.base,
        layout.SHADOW_AREA.length,
        {
          readMmio: () => 0xffffffff,
          writeMmio: (offset, size, value) => this.#writeShadow(layout.SHADOW_AREA.base + offset, size, value),
        },
        'shadow',
      ),
    );

    const window = (
      place: { base: number; length: number },
      handler: Parameters<MmioWindows['map']>[2],
      owner: string,
    ) => {
      this.#store.add(this.mmio.map(place.base, place.length, handler, owner));
    };
    const { cpuCount } = parts;
    const interruptBoard = { clock, memory, cpuCount, cpus: () => this.#cpus, add, port, window };
    const chips = addInterruptChips(interruptBoard);
    const { isa, sharedLine: isaLine } = chips;
    this.apics = chips.apics;

    // PCI.
    const pci = new PciBus();
    const requestReset = () => parts.onReset();
    const setA20 = (enabled: boolean) => this.#setA20(enabled);
    const isaBridge = add(new Piix3('piix3', { ...buses, bus: pci, isaLine, onReset: requestReset, setA20 }));
    const hostBridge = add(
      new HostBridge('host-bridge', {
        ...buses,
        bus: pci,
        setPam: (segment, base, length, mode) => this.#placeShadow(segment, base, length, mode),
        resetControl: isaBridge.resetControl,
      }),
    );
    port([0xcf8, 8], hostBridge.ports, 'host-bridge');
    port(layout.PORTS.systemControlA, isaBridge.systemControl, 'piix3');
    this.power = add(
      new Piix4Pm('power', {
        ...buses,
        bus: pci,
        clock,
        sci: isaLine(layout.IRQ.sci),
        onPowerOff: () => parts.onPowerOff(),
      }),
    );
    port(layout.PORTS.apm, this.power.apm, 'power');
    port([GPE0_PORT, GPE0_LENGTH], this.power.gpe, 'power');

    // Timers.
    const hpet = add(
      new Hpet('hpet', {
        clock,
        gsi: (n) => isa.gsi(n),
        irq0: isa.gsi(layout.IRQ.timer),
        irq8: isa.gsi(layout.IRQ.rtc),
        onReplace: () => this.apics.recallChips(),
      }),
    );
    this.#store.add(this.mmio.map(layout.HPET.base, layout.HPET.length, hpet.mmio, 'hpet'));
    addPit(interruptBoard, chips, hpet.pitLine, () => hpet.replacesLegacy);
    this.rtc = add(new Rtc('rtc', { clock, wall: clock.wall, line: hpet.rtcLine }));
    port(layout.PORTS.rtc, this.rtc.ports, 'rtc');

    // Storage.
    const dma = add(new Dma('dma', { memory }));
    port(layout.PORTS.dmaFirst, dma.first, 'dma');
    port(layout.PORTS.dmaPages, dma.pages, 'dma');
    port(layout.PORTS.dmaSecond, dma.second, 'dma');
    this.ide = add(
      new PiixIde(
        'ide',
        {
          buses,
          memory,
          primaryLine: isaLine(layout.IRQ.primaryIde),
          secondaryLine: isaLine(layout.IRQ.secondaryIde),
          log,
        },
        { drives: parts.ideDrives },
      ),
    );
    pci.add(...layout.PCI_SLOTS.ide, this.ide.pci);
    port(layout.PORTS.primaryIde, this.ide.commandBlocks[0], 'ide');
    port(layout.PORTS.secondaryIde, this.ide.commandBlocks[1], 'ide');
    port(layout.PORTS.primaryIdeControl, this.ide.controlBlocks[0], 'ide');
    port(layout.PORTS.secondaryIdeControl, this.ide.controlBlocks[1], 'ide');
    this.floppy = add(
      new FloppyController(
        'floppy',
        { line: isaLine(layout.IRQ.floppy), dma: dma.channel(layout.FLOPPY_DMA_CHANNEL), clock, log },
        { drives: [{ backend: parts.floppy }] },
      ),
    );
    port(layout.PORTS.floppy, this.floppy.ports, 'floppy');
    port(layout.PORTS.floppyInput, this.floppy.inputPort, 'floppy');
    const interruptLine = (slot: number, pin: number) => isaBridge.pciInterruptLine(slot, pin);
    const plug = pciPlug({ buses, memory, msi: this.apics, log, pci, interruptLine, add });
    this.virtio = addVirtioDevices(parts.virtio, { memory, clock, cpuCount: parts.cpuCount, plug });

    if (parts.networkCard !== undefined) {
      addNetworkCard(parts.networkCard, {
        buses,
        memory,
        clock,
        log,
        cpuCount: parts.cpuCount,
        pci,
        interruptLine,
        add,
        plug,
      });
    }

    // People.
    this.display = new DisplayAdapter(parts.display, {
      buses,
      memory,
      vram: { bytes: memory.vram, takeDirty: () => this.#takeDirtyVram() },
      placeVram: (base) => memory.placeVram(base),
      clock,
      msi: this.apics,
      line: isaBridge.pciInterruptLine(layout.PCI_SLOTS.vga[0], 1),
      log,
      add,
    });
    const { vga } = this.display;
    pci.add(...layout.PCI_SLOTS.vga, this.display.pci);
    port([VGA_PORT_BASE, VGA_PORT_COUNT], vga.legacyPorts, 'vga');
    port([DISPI_PORT_BASE, DISPI_PORT_COUNT], vga.dispiPorts, 'vga');
    this.#store.add(this.mmio.map(layout.VGA_WINDOW.base, layout.VGA_WINDOW.length, vga.window, 'vga'));
    this.keyboardController = add(
      new I8042('i8042', {
        keyboardLine: isaLine(layout.IRQ.keyboard),
        mouseLine: isaLine(layout.IRQ.mouse),
        clock,
        log,
        setA20,
        reset: requestReset,
      }),
    );
    port(layout.PORTS.keyboardData, this.keyboardController.dataPort, 'i8042');
    port(layout.PORTS.keyboardCommand, this.keyboardController.commandPort, 'i8042');
    this.input = new GuestInput(this.keyboardController, this.virtio.input, (head, x, y) =>
      this.display.onDesktop(head, x, y),
    );
    const serial = (id: string, irq: number, place: readonly [number, number], output: CharBackend) => {
      const uart = add(new Uart16550(id, { line: isaLine(irq), clock, output, log }));
      port(place, uart, id);
      return uart;
    };
    this.serial = [
      serial('serial0', layout.IRQ.com1, layout.PORTS.com1, parts.serialOutputs[0]),
      serial('serial1', layout.IRQ.com2, layout.PORTS.com2, parts.serialOutputs[1]),
    ];

    // Firmware's helpers.
    const items = firmwareItems({
      cpus: parts.cpuCount,
      memoryBytes: memory.sizeBytes,
      acpi: parts.acpi,
      bootOrder: parts.bootOrder,
      bootMenuMillis: 1000,
    });
    port([FW_CFG_PORT, FW_CFG_PORT_COUNT], add(new FwCfg('fw-cfg', { memory, log }, items)).ports, 'fw-cfg');
    port(
      [DEBUG_CONSOLE_PORT, 1],
      add(new DebugConsole('debug-console', { onLine: (line) => log.info(`firmware: ${line}`) })).ports,
      'debug-console',
    );
    if (parts.debugExit) {
      const exit = add(new DebugExit('debug-exit', { onExit: (value) => parts.onDebugExit(value) }));
      port([DEBUG_EXIT_PORT, DEBUG_EXIT_LENGTH], exit.ports, 'debug-exit');
    }
    this.devices = devices;
    this.#fillCmos();

    this.cpuBus = {
      ...boardBus(this.ports, this.mmio, chips, doorbells),
      lateWrites: [layout.VGA_WINDOW],
      latePorts: layout.LATE_PORTS,
    };
  }

  /** Connects the processors that were made with `cpuBus`. */
  attach(cpus: MachineCpus): void {
    this.#cpus = cpus;
    this.#setA20 = (enabled) => cpus.setA20(enabled);
  }

  /** Power-on or hardware reset of everything but RAM. */
  reset(): void {
    for (const device of this.devices) {
      device.reset();
    }
    this.#setA20(true);
    this.#cpus?.reset();
  }

  prepareKernel(kernel: BootInput): { readonly kernel: BootInput; readonly display: BootDisplay | undefined } {
    const { pciMemory, pmBase } = this.#parts.acpi;
    const framebuffer = { width: 1024, height: 768 };
    return { kernel, display: prepareWithoutFirmware(this.ports, { pciMemory, pmBase, framebuffer }) };
  }

  /** What firmware looks for in CMOS RAM: memory sizes in the places that the IBM AT and its successors defined. */
  #fillCmos(): void {
    const { rtc } = this;
    const word = (index: number, value: number) => {
      rtc.setCmos(index, value & 0xff);
      rtc.setCmos(index + 1, (value >> 8) & 0xff);
    };
    const { sizeBytes } = this.#memory;
    word(0x15, 640);
    const extended = Math.min(0xffff, (sizeBytes - layout.HIGH_MEMORY) / 1024);
    word(0x17, extended);
    word(0x30, extended);
    // Above 16 MiB, in units of 64 KiB.
    word(0x34, Math.min(0xffff, Math.max(0, sizeBytes - 0x1000000) / 0x10000));
    rtc.setCmos(0x5f, this.#parts.cpuCount - 1);
    const { floppy } = this.#parts;
    const type = FLOPPY_DRIVE_TYPES[driveTypeFor(floppy === undefined ? undefined : floppyFormat(floppy.size))];
    rtc.setCmos(0x10, type << 4);
    // Equipment: one floppy drive, mouse port, FPU.
    rtc.setCmos(0x14, 0x07);
  }

  #takeDirtyVram(): Uint8Array | undefined {
    this.#cpus?.collectDirty();
    return this.#memory.takeDirtyVram();
  }

  #placeShadow(segment: number, base: number, length: number, mode: PamMode): void {
    this.#pam[segment] = mode;
    if (mode.read === 'ram') {
      if (mode.write === 'ram') {
        this.#memory.mapRam(base, length);
      } else {
        this.#memory.mapRom(base, length, this.#memory.ramAddress + base);
      }
    } else if (base >= layout.BIOS_LOW.base && this.#biosAddress !== undefined) {
      this.#memory.mapRom(base, length, this.#biosAddress + (base - layout.BIOS_LOW.base));
    } else {
      this.#memory.unmap(base, length);
    }
  }

  /** A write that memory did not take: into RAM behind ROM where the host bridge says so, else dropped. */
  #writeShadow(address: number, size: number, value: number): void {
    const segment = address >= 0xf0000 ? 0 : 1 + ((address - layout.SHADOW_AREA.base) >> 14);
    const mode = this.#pam[segment];
    if (mode?.write === 'ram' && mode.read === 'rom') {
      for (let i = 0; i < size; i++) {
        this.#memory.ram[address + i] = (value >>> (i * 8)) & 0xff;
      }
      this.#memory.noteRamWritten(address, size);
    }
  }

  dispose(): void {
    this.#store.dispose();
  }
}
