import type { CharBackend } from '../backends/char.ts';
import { DisposableStore } from '../base/disposable.ts';
import type { Log } from '../base/log.ts';
import { Doorbells } from '../bus/doorbells.ts';
import { MmioWindows } from '../bus/mmio-bus.ts';
import { Ports } from '../bus/port-bus.ts';
import type { MachineClock } from '../clock/machine-clock.ts';
import type { CpuBus, MachineCpus } from '../cpu/cpu-backend.ts';
import {
  REDUCED_POWER_LENGTH,
  RESET_REGISTER,
  RESET_VALUE,
  ReducedPower,
  SLEEP_CONTROL,
  SLEEP_STATUS,
  SOFT_OFF_TYPE,
} from '../devices/acpi/reduced-power.ts';
import { DEBUG_EXIT_LENGTH, DEBUG_EXIT_PORT, DebugExit } from '../devices/debug/debug-exit.ts';
import type { Device } from '../devices/device.ts';
import { Rtc } from '../devices/rtc/rtc.ts';
import { Uart16550 } from '../devices/serial/uart-16550.ts';
import type { AcpiConfig, VirtioMmioPlace } from '../firmware/acpi/pc-config.ts';
import { pcAcpiConfig } from '../firmware/acpi/pc-config.ts';
import type { MachineMemory } from '../memory/machine-memory.ts';
import { VIRTIO_MMIO_BYTES, VirtioMmio, virtioMmioDoorbells, virtioMmioParameter } from '../virtio/mmio/virtio-mmio.ts';
import type { Board } from './board.ts';
import { boardBus } from './board-bus.ts';
import type { BootInput } from './boot/boot-input.ts';
import { addInterruptChips, addPit } from './interrupt-chips.ts';
import { type NetworkCardParts, virtioNetworkCard } from './network-card.ts';
import * as layout from './pc-layout.ts';
import { addVirtioDevices, type VirtioBoard, type VirtioDevices, type VirtioParts } from './virtio-devices.ts';

export interface MicrovmParts {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly log: Log;
  readonly cpuCount: number;
  readonly virtio: VirtioParts;
  readonly networkCard?: NetworkCardParts;
  readonly serialOutputs: readonly [CharBackend, CharBackend];
  readonly debugExit: boolean;
  onPowerOff(): void;
  onReset(): void;
  onDebugExit(value: number): void;
}

/** A command line that has this wants no ACPI, so that devices have to be named on it. */
const WITHOUT_ACPI = /(^|\s)acpi=off(\s|$)/;

/**
 * The board of a microVM: processors with their interrupt controllers, memory, timers, a clock, serial ports, and virtio
 * devices in windows of memory; no PCI, no display, no keyboard, no disks of old. It starts kernels only.
 *
 * Guests find the devices by ACPI, as hardware-reduced machines have it; with `acpi=off` on the kernel's command line
 * they are named there instead (`virtio_mmio.device=…`), with interrupts that the 8259s have too.
 */
export class MicrovmBoard implements Board {
  readonly ports = new Ports();
  readonly mmio = new MmioWindows();
  readonly doorbells = new Doorbells();
  readonly cpuBus: CpuBus;
  readonly virtio: VirtioDevices;
  readonly serial: readonly [Uart16550, Uart16550];
  readonly power: ReducedPower;
  readonly devices: readonly Device[];
  readonly display: Board['display'] = noDisplay;
  readonly input: Board['input'] = noInput;
  /** What the tables say of this board. */
  readonly acpi: AcpiConfig;
  readonly #places: VirtioMmioPlace[] = [];
  readonly #store = new DisposableStore();
  #cpus: MachineCpus | undefined;

  constructor(parts: MicrovmParts) {
    const { memory, clock, log, cpuCount } = parts;
    const devices: Device[] = [];
    const add = <T extends Device>(device: T): T => {
      devices.push(device);
      this.#store.add(device);
      return device;
    };
    const port = (place: readonly [number, number], handler: Parameters<Ports['map']>[2], owner: string) => {
      this.#store.add(this.ports.map(place[0], place[1], handler, owner));
    };
    const window = (
      place: { base: number; length: number },
      handler: Parameters<MmioWindows['map']>[2],
      owner: string,
    ) => {
      this.#store.add(this.mmio.map(place.base, place.length, handler, owner));
    };

    memory.mapRam(0, memory.sizeBytes);
    const interruptBoard = { clock, memory, cpuCount, cpus: () => this.#cpus, add, port, window };
    const chips = addInterruptChips(interruptBoard);
    const { apics, eoiAssist, isa, sharedLine } = chips;

    addPit(interruptBoard, chips, isa.gsi(layout.IRQ.timer), () => false);
    const rtc = add(new Rtc('rtc', { clock, wall: clock.wall, line: isa.gsi(layout.IRQ.rtc) }));
    port(layout.PORTS.rtc, rtc.ports, 'rtc');
    const serial = (id: string, irq: number, place: readonly [number, number], output: CharBackend) => {
      const uart = add(new Uart16550(id, { line: sharedLine(irq), clock, output, log }));
      port(place, uart, id);
      return uart;
    };
    this.serial = [
      serial('serial0', layout.IRQ.com1, layout.PORTS.com1, parts.serialOutputs[0]),
      serial('serial1', layout.IRQ.com2, layout.PORTS.com2, parts.serialOutputs[1]),
    ];
    const { powerPort, buttonGsi } = layout.MICROVM;
    this.power = add(
      new ReducedPower('power', {
        button: isa.gsi(buttonGsi),
        onPowerOff: () => parts.onPowerOff(),
        onReset: () => parts.onReset(),
      }),
    );
    port([powerPort, REDUCED_POWER_LENGTH], this.power.ports, 'power');
    if (parts.debugExit) {
      const exit = add(new DebugExit('debug-exit', { onExit: (value) => parts.onDebugExit(value) }));
      port([DEBUG_EXIT_PORT, DEBUG_EXIT_LENGTH], exit.ports, 'debug-exit');
    }

    const plug: VirtioBoard['plug'] = (id, _slot, device) => {
      const place = this.#nextPlace();
      const transport = add(new VirtioMmio(id, device, { memory, line: sharedLine(place.gsi), log }));
      window(place, transport.mmio, id);
      for (const doorbell of virtioMmioDoorbells(place.base, device.queueSizes.length)) {
        this.#store.add(this.doorbells.add(doorbell));
      }
    };
    if (parts.networkCard !== undefined) {
      const { mac, port: network } = parts.networkCard;
      plug('network', 0, virtioNetworkCard(mac, network, { clock, cpuCount }));
    }
    this.virtio = addVirtioDevices(parts.virtio, { memory, clock, cpuCount, plug });
    this.devices = devices;

    this.acpi = pcAcpiConfig(
      { cpus: cpuCount, memoryBytes: memory.sizeBytes },
      {
        hpet: false,
        floppy: false,
        reduced: {
          sleepControlPort: powerPort + SLEEP_CONTROL,
          sleepStatusPort: powerPort + SLEEP_STATUS,
          resetPort: powerPort + RESET_REGISTER,
          resetValue: RESET_VALUE,
          softOffType: SOFT_OFF_TYPE,
          buttonGsi,
          virtioMmio: this.#places,
        },
      },
    );
    this.cpuBus = boardBus(this.ports, this.mmio, { apics, eoiAssist }, this.doorbells);
  }

  /** Windows stand one behind the other; there are fewer interrupts, so that devices share them. */
  #nextPlace(): VirtioMmioPlace {
    const { virtioBase, virtioGsis } = layout.MICROVM;
    const index = this.#places.length;
    const place = {
      base: virtioBase + index * VIRTIO_MMIO_BYTES,
      length: VIRTIO_MMIO_BYTES,
      gsi: virtioGsis[index % virtioGsis.length] ?? virtioGsis[0],
    };
    this.#places.push(place);
    return place;
  }

  attach(cpus: MachineCpus): void {
    this.#cpus = cpus;
  }

  reset(): void {
    for (const device of this.devices) {
      device.reset();
    }
    this.#cpus?.setA20(true);
    this.#cpus?.reset();
  }

  prepareKernel(kernel: BootInput): { readonly kernel: BootInput } {
    if (!WITHOUT_ACPI.test(kernel.commandLine)) {
      return { kernel };
    }
    // Shared interrupts are levels: firmware would tell the 8259s so.
    const levels = this.#places.reduce((bits, { gsi }) => bits | (1 << gsi), 0);
    this.ports.write(layout.PORTS.elcr[0], 1, levels & 0xff);
    this.ports.write(layout.PORTS.elcr[0] + 1, 1, levels >> 8);
    const named = this.#places.map(({ base, gsi }) => virtioMmioParameter(base, gsi));
    return { kernel: { ...kernel, commandLine: [kernel.commandLine, ...named].join(' ') } };
  }

  dispose(): void {
    this.#store.dispose();
  }
}

const noDisplay: Board['display'] = {
  screens: [],
  gpu: undefined,
  snapshot: () => undefined,
  screenText: () => undefined,
  resize() {},
};

const noInput: Board['input'] = {
  key: () => false,
  releaseAll() {},
  drained: true,
  lights: { capsLock: false, numLock: false, scrollLock: false },
  pointer: 'relative',
  moveBy() {},
  moveTo() {},
};
