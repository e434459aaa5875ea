import type { MmioWindows } from '../bus/mmio-bus.ts';
import type { Ports } from '../bus/port-bus.ts';
import type { MachineClock } from '../clock/machine-clock.ts';
import type { MachineCpus } from '../cpu/cpu-backend.ts';
import type { Device } from '../devices/device.ts';
import { Pit } from '../devices/pit/pit.ts';
import { Port61 } from '../devices/pit/port61.ts';
import { ApicBus } from '../irq/apic-bus.ts';
import { EoiAssist } from '../irq/eoi-assist.ts';
import { IoApic } from '../irq/io-apic.ts';
import { IsaInterrupts } from '../irq/isa-interrupts.ts';
import type { InterruptLine } from '../irq/line.ts';
import { LocalApic } from '../irq/local-apic.ts';
import { Pic } from '../irq/pic.ts';
import { SharedLine } from '../irq/shared-line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import * as layout from './pc-layout.ts';

/** What the board offers its interrupt controllers. */
export interface InterruptBoard {
  readonly clock: MachineClock;
  readonly memory: GuestMemory;
  readonly cpuCount: number;
  /** The processors, once they are attached. */
  cpus(): MachineCpus | undefined;
  add<T extends Device>(device: T): T;
  port(place: readonly [number, number], handler: Parameters<Ports['map']>[2], owner: string): void;
  window(place: { base: number; length: number }, handler: Parameters<MmioWindows['map']>[2], owner: string): void;
}

export interface InterruptChips {
  readonly apics: ApicBus;
  readonly pic: Pic;
  readonly ioApic: IoApic;
  readonly eoiAssist: EoiAssist;
  readonly isa: IsaInterrupts;
  /** A connection to a global system interrupt that others may have too. */
  sharedLine(gsi: number): InterruptLine;
}

/** The two 8259s, the I/O APIC and a local APIC for each processor, at the places of a PC. */
export function addInterruptChips(board: InterruptBoard): InterruptChips {
  const { add, clock } = board;
  const apics = new ApicBus(() => board.cpus()?.current ?? 0);
  const recall = () => apics.recallChips();
  const pic = add(new Pic('pic', { intr: apics.lint0, recall }));
  // The version of KVM's, so that guests find the same one on both.
  const ioApic = add(new IoApic('ioapic', { messages: apics, recall }, { version: 0x11 }));
  apics.attachIoApic(ioApic);
  const isa = new IsaInterrupts(pic, ioApic, () => apics.lineBorrower);
  const eoiAssist = new EoiAssist(board.memory);
  const signals = {
    setInterruptRequest: (cpu: number, pending: boolean) => board.cpus()?.signals.setInterruptRequest(cpu, pending),
    nmi: (cpu: number) => board.cpus()?.signals.nmi(cpu),
    init: (cpu: number) => board.cpus()?.signals.init(cpu),
    startup: (cpu: number, vector: number) => board.cpus()?.signals.startup(cpu, vector),
    smi: (cpu: number) => board.cpus()?.signals.smi(cpu),
  };
  for (let cpu = 0; cpu < board.cpuCount; cpu++) {
    const wiring = {
      clock,
      signals,
      fabric: apics,
      acknowledgePic: () => pic.acknowledge(),
      tscToNanos: (tsc: bigint, index: number) => board.cpus()?.tscToNanos(tsc, index) ?? Number.POSITIVE_INFINITY,
      eoiAssist,
    };
    apics.attach(add(new LocalApic(`apic${cpu}`, wiring, { cpu })));
  }
  board.port(layout.PORTS.picMaster, pic.master, 'pic');
  board.port(layout.PORTS.picSlave, pic.slave, 'pic');
  board.port(layout.PORTS.elcr, pic.elcr, 'pic');
  board.window(layout.IO_APIC, ioApic.mmio, 'ioapic');
  board.window(layout.LOCAL_APIC, apics.page, 'apic');
  const shared = new Map<number, SharedLine>();
  const sharedLine = (gsi: number): InterruptLine => {
    let line = shared.get(gsi);
    if (line === undefined) {
      line = new SharedLine(isa.gsi(gsi));
      shared.set(gsi, line);
    }
    return line.connect();
  };
  return { apics, pic, ioApic, eoiAssist, isa, sharedLine };
}

/**
 * The 8254 and port 0x61. Both can be lent together with the interrupt controllers. `line` is what counter 0 drives;
 * `isReplaced` tells whether an HPET stands in for it.
 */
export function addPit(
  { clock, add, port }: InterruptBoard,
  { apics, pic, ioApic }: InterruptChips,
  line: InterruptLine,
  isReplaced: () => boolean,
): void {
  const recall = () => apics.recallChips();
  const pit = add(new Pit('pit', { clock, line, recall }));
  port(layout.PORTS.pit, pit.ports, 'pit');
  const port61 = add(new Port61('port61', { clock, pit, recall }));
  port(layout.PORTS.systemControlB, port61.port, 'port61');
  apics.attachChips({
    pic,
    ioApic,
    pit: {
      tick: () => pit.tick(),
      get isReplaced() {
        return isReplaced();
      },
      hand: () => ({ counters: pit.hand(), speakerData: port61.speakerData }),
      take: (counters, speakerData) => {
        pit.take(counters);
        port61.take(counters[2]?.gate === true, speakerData);
      },
    },
  });
}
