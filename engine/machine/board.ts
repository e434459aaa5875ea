import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { Disposable } from '../base/disposable.ts';
import type { Doorbells } from '../bus/doorbells.ts';
import type { Ports } from '../bus/port-bus.ts';
import type { CpuBus, MachineCpus } from '../cpu/cpu-backend.ts';
import type { Device } from '../devices/device.ts';
import type { AtapiCdrom } from '../devices/ide/atapi-cdrom.ts';
import type { Uart16550 } from '../devices/serial/uart-16550.ts';
import type { BootInput } from './boot/boot-input.ts';
import type { BootDisplay } from './boot/display.ts';
import type { DisplayAdapter } from './display-adapter.ts';
import type { GuestInput } from './guest-input.ts';
import type { VirtioDevices } from './virtio-devices.ts';

/** A machine's main board, as the machine and those who use it see it. */
export interface Board extends Disposable {
  readonly ports: Ports;
  readonly doorbells: Doorbells;
  readonly cpuBus: CpuBus;
  readonly virtio: VirtioDevices;
  readonly serial: readonly [Uart16550, Uart16550];
  /** Every device, in the order in which they are reset and saved. */
  readonly devices: readonly Device[];
  /** Without screens on machines that have no display. */
  readonly display: Pick<DisplayAdapter, 'screens' | 'gpu' | 'snapshot' | 'screenText' | 'resize'>;
  /** Without effect on machines that nobody types at. */
  readonly input: Pick<GuestInput, 'key' | 'releaseAll' | 'drained' | 'lights' | 'pointer' | 'moveBy' | 'moveTo'>;
  readonly power: { pressPowerButton(): void };
  /** The floppy controller; undefined: there is none. */
  readonly floppy?: { insert(drive: number, backend: BlockBackend): void; eject(drive: number): void };
  readonly ide?: { cdrom(port: number): AtapiCdrom | undefined };
  /** Connects the processors that were made with `cpuBus`. */
  attach(cpus: MachineCpus): void;
  /** Power-on or hardware reset of everything but RAM. */
  reset(): void;
  /** Sets the freshly reset board up as firmware would for a kernel that is started without any. */
  prepareKernel(kernel: BootInput): { readonly kernel: BootInput; readonly display?: BootDisplay | undefined };
}
