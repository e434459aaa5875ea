import { type DisplaySink, noDisplay } from '../backends/display.ts';
import type { Log } from '../base/log.ts';
import type { Clock } from '../clock/clock.ts';
import type { VgaKind } from '../config/display-config.ts';
import type { Device } from '../devices/device.ts';
import { createEdid } from '../devices/vga/edid.ts';
import type { Area, PixelTarget } from '../devices/vga/screen.ts';
import { ownLegacyPorts, StdVga } from '../devices/vga/std-vga.ts';
import { VgaAdapter, type VideoMemory } from '../devices/vga/vga-adapter.ts';
import type { InterruptLine, MsiSink } from '../irq/line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { PciBuses, PciFunction } from '../pci/pci-function.ts';
import type { GpuHead, HeadSize } from '../virtio/gpu/gpu-head.ts';
import { VirtioGpu } from '../virtio/gpu/virtio-gpu.ts';
import { virtioPciIdentity } from '../virtio/pci/pci-identity.ts';
import { VirtioPci } from '../virtio/pci/virtio-pci.ts';
import { VIRTIO_ID } from '../virtio/virtio-device.ts';

/** One picture of the guest's that can be watched. */
export interface Screen {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Reports changes since the last call to the display sink of this screen. */
  refresh(): void;
  /** Makes the next refresh report everything, for a viewer that has just arrived. */
  reannounce(): void;
  /** Draws the screen or an area of it into the same place of `into`. */
  render(into: PixelTarget, area?: Area): void;
}

/** What the machine wants of its adapter. */
export interface DisplayParts {
  readonly kind: VgaKind;
  readonly heads: number;
  /** The VGA BIOS that fits `kind`. */
  readonly rom: Uint8Array;
  /** One for each head; missing ones are not watched. */
  readonly sinks: readonly DisplaySink[];
}

/** What the board offers it. */
export interface DisplayBoard {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  readonly vram: VideoMemory;
  readonly placeVram: (base: number | undefined) => void;
  readonly clock: Clock;
  readonly msi: MsiSink;
  readonly line: InterruptLine;
  readonly log: Log;
  add<T extends Device>(device: T): T;
}

/** Until a guest or a window wants another one. */
const FIRST_SIZE: HeadSize = { width: 1024, height: 768 };
/** Where a virtio GPU has its structures, as its drivers and VGA BIOSes know it: video memory stays in BAR 0. */
const BAR_REGISTERS = 2;
const BAR_MSI_X = 4;
const CLASS_VGA = 0x030000;

/** The display adapter: a VGA alone, or one that becomes a virtio GPU once the guest's driver shows something. */
export class DisplayAdapter {
  readonly vga: VgaAdapter;
  readonly gpu: VirtioGpu | undefined;
  readonly pci: PciFunction;
  readonly screens: readonly Screen[];

  constructor(parts: DisplayParts, board: DisplayBoard) {
    const { buses, memory, clock, log, msi, line, add } = board;
    const sinks = Array.from({ length: parts.heads }, (_, head) => parts.sinks[head] ?? noDisplay);
    const first = sinks[0] ?? noDisplay;
    const wiring = { vram: board.vram, placeVram: board.placeVram, rom: parts.rom, clock, display: first, log };
    if (parts.kind === 'std') {
      const vga = add(new StdVga('vga', { ...wiring, buses }));
      this.vga = vga;
      this.gpu = undefined;
      this.pci = vga.pci;
      this.screens = [vga];
      return;
    }
    const vga = add(new VgaAdapter('vga', wiring));
    const edid = (size: HeadSize) => createEdid({ ...size, exact: true });
    const gpu = new VirtioGpu({ memory, clock, edid, displays: sinks }, { size: FIRST_SIZE });
    const bars = [vga.vramBar, undefined, undefined, undefined, undefined, undefined, vga.romBar];
    const within = {
      identity: { ...virtioPciIdentity(VIRTIO_ID.gpu, false), classCode: CLASS_VGA },
      bars,
      modernBar: BAR_REGISTERS,
      msiXBar: BAR_MSI_X,
      firstPage: vga.mmio,
    };
    this.pci = add(new VirtioPci('gpu', gpu, { buses, memory, msi, line, log }, { within })).pci;
    ownLegacyPorts(this.pci);
    this.vga = vga;
    this.gpu = gpu;
    this.screens = gpu.heads.map((head) => (head.index === 0 ? new FirstScreen(vga, gpu, head, first) : head));
  }

  /** The VGA shows the picture, rather than a GPU. */
  get showsVga(): boolean {
    return this.gpu?.takenOver !== true;
  }

  /** A screen as a picture of its own; undefined when there is no such screen. */
  snapshot(head: number): { width: number; height: number; rgba: Uint8ClampedArray } | undefined {
    const screen = this.screens[head];
    if (screen === undefined) {
      return undefined;
    }
    const { width, height } = screen;
    const picture = { width, height, rgba: new Uint8ClampedArray(width * height * 4) };
    screen.render(picture);
    return picture;
  }

  /** The characters on the first screen; undefined while it shows none. */
  screenText(): string[] | undefined {
    return this.showsVga ? this.vga.screenText() : undefined;
  }

  /** Gives a monitor another resolution; what has no such monitors ignores it. */
  resize(head: number, size: HeadSize): void {
    this.gpu?.resize(head, size);
  }

  /**
   * Where a point of one screen (0 to 1 in both directions) is on the guest's whole desktop (0 to 1 as well), over which
   * a tablet points: where screens show parts of one picture, in that; else they stand side by side.
   */
  onDesktop(head: number, x: number, y: number): { readonly x: number; readonly y: number } {
    const active = this.gpu?.heads.filter((one) => one.active) ?? [];
    const shared = active.every(({ resourceId }) => resourceId === active[0]?.resourceId);
    let left = 0;
    const places = active.map(({ index, area, width, height }) => {
      const place = shared && area !== undefined ? area : { x: left, y: 0, width, height };
      left += width;
      return { index, ...place };
    });
    const place = places.find(({ index }) => index === head);
    if (place === undefined || places.length === 1) {
      return { x, y };
    }
    const minX = Math.min(...places.map((one) => one.x));
    const minY = Math.min(...places.map((one) => one.y));
    const width = Math.max(...places.map((one) => one.x + one.width)) - minX;
    const height = Math.max(...places.map((one) => one.y + one.height)) - minY;
    return { x: (place.x - minX + x * place.width) / width, y: (place.y - minY + y * place.height) / height };
  }
}

/** The first screen of an adapter that is two: the VGA until the GPU has shown something, then that. */
class FirstScreen implements Screen {
  readonly #vga: VgaAdapter;
  readonly #gpu: VirtioGpu;
  readonly #head: GpuHead;
  readonly #sink: DisplaySink;
  #shown: Screen;

  constructor(vga: VgaAdapter, gpu: VirtioGpu, head: GpuHead, sink: DisplaySink) {
    this.#vga = vga;
    this.#gpu = gpu;
    this.#head = head;
    this.#sink = sink;
    this.#shown = vga;
  }

  get #present(): Screen {
    return this.#gpu.takenOver ? this.#head : this.#vga;
  }

  get width(): number {
    return this.#present.width;
  }

  get height(): number {
    return this.#present.height;
  }

  refresh(): void {
    const present = this.#present;
    if (present !== this.#shown) {
      this.#shown = present;
      present.reannounce();
      if (present === this.#vga) {
        this.#sink.cursor?.(undefined);
      }
    }
    present.refresh();
  }

  reannounce(): void {
    this.#present.reannounce();
  }

  render(into: PixelTarget, area?: Area): void {
    this.#present.render(into, area);
  }
}
