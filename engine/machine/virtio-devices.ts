import type { AudioSink, AudioSource } from '../backends/audio/audio-backend.ts';
import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { ShareBackend } from '../backends/share/share-backend.ts';
import type { VsockBackend } from '../backends/vsock/vsock-backend.ts';
import type { Log } from '../base/log.ts';
import type { Clock } from '../clock/clock.ts';
import type { Device } from '../devices/device.ts';
import type { InterruptLine, MsiSink } from '../irq/line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { PciBus } from '../pci/pci-bus.ts';
import { PCI_HEADER_TYPE, PCI_MULTIFUNCTION, type PciBuses } from '../pci/pci-function.ts';
import { Virtio9p } from '../virtio/9p/virtio-9p.ts';
import { VirtioBalloon } from '../virtio/balloon/virtio-balloon.ts';
import { VirtioBlk } from '../virtio/blk/virtio-blk.ts';
import { type ConsolePortHost, MAX_CONSOLE_PORTS, VirtioConsole } from '../virtio/console/virtio-console.ts';
import { VirtioPci } from '../virtio/pci/virtio-pci.ts';
import { VirtioRng } from '../virtio/rng/virtio-rng.ts';
import { ScsiCdrom } from '../virtio/scsi/scsi-cdrom.ts';
import { ScsiDisk } from '../virtio/scsi/scsi-disk.ts';
import { VirtioScsi } from '../virtio/scsi/virtio-scsi.ts';
import { VirtioSound } from '../virtio/sound/virtio-sound.ts';
import type { VirtioDevice } from '../virtio/virtio-device.ts';
import { VirtioVsock } from '../virtio/vsock/virtio-vsock.ts';
import { VirtioInputs } from './guest-input.ts';
import { PCI_SLOTS } from './pc-layout.ts';

/** A virtio disk. */
export interface VirtioDisk {
  readonly backend: BlockBackend;
  /** Its number, from 0 on; decides its slot. */
  readonly port: number;
  readonly serial: string;
}

/** A drive on the SCSI controller. */
export interface ScsiDrive {
  readonly kind: 'disk' | 'cdrom';
  /** Undefined: a CD-ROM drive without a medium. */
  readonly backend: BlockBackend | undefined;
  readonly target: number;
  readonly serial: string;
}

/** A shared folder. */
export interface VirtioShare {
  /** What the guest mounts. */
  readonly tag: string;
  readonly backend: ShareBackend;
}

/** Which virtio devices a machine has. */
export interface VirtioParts {
  readonly disks: readonly VirtioDisk[];
  /** Without any there is no SCSI controller. */
  readonly scsi: readonly ScsiDrive[];
  readonly shares?: readonly VirtioShare[] | undefined;
  /** Undefined: no socket device. */
  readonly vsock?: { readonly cid: number; readonly backend: VsockBackend } | undefined;
  /** A keyboard, a tablet and a mouse. */
  readonly input: boolean;
  /** Gives RAM back to the host (VirtioBalloonWiring); undefined: no balloon. */
  readonly releaseMemory: ((base: number, length: number) => void) | undefined;
  /** Fills `bytes` with random numbers; undefined: no entropy device. */
  readonly entropy: ((bytes: Uint8Array) => void) | undefined;
  /** What stands behind the ports of the console device, by their numbers; undefined: no such device. */
  readonly console?: readonly (ConsolePortHost | undefined)[] | undefined;
  /** What the guest plays to and records from; undefined: no sound device. */
  readonly sound?: { readonly sink: AudioSink; readonly source: AudioSource } | undefined;
}

/** What the board offers them. */
export interface VirtioBoard {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly cpuCount: number;
  /**
   * Gives a device its transport and makes the board its owner. `slot` is its place where there is PCI, and `fn` its
   * function in a slot that several devices have.
   */
  plug(id: string, slot: number, device: VirtioDevice, fn?: number): void;
}

/** What a board with PCI needs to put virtio devices into slots. */
export interface VirtioSlots {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  readonly msi: MsiSink;
  readonly log: Log;
  readonly pci: PciBus;
  interruptLine(slot: number, pin: number): InterruptLine;
  add<T extends Device>(device: T): T;
}

/** The `plug` of boards with PCI. */
export function pciPlug({ buses, memory, msi, log, pci, interruptLine, add }: VirtioSlots): VirtioBoard['plug'] {
  return (id, slot, device, fn) => {
    const transport = add(new VirtioPci(id, device, { buses, memory, msi, line: interruptLine(slot, 1), log }));
    pci.add(slot, fn ?? 0, transport.pci);
    if (fn !== undefined) {
      transport.pci.setU8(PCI_HEADER_TYPE, PCI_MULTIFUNCTION);
    }
  };
}

/** More queues than this serve nobody: requests all end in one machine thread. */
const MAX_DISK_QUEUES = 4;

/** What the machine talks to afterwards. */
export interface VirtioDevices {
  readonly console: VirtioConsole | undefined;
  readonly scsi: VirtioScsi | undefined;
  readonly balloon: VirtioBalloon | undefined;
  readonly input: VirtioInputs | undefined;
}

/** Makes the virtio devices of a machine and plugs them in. */
export function addVirtioDevices(parts: VirtioParts, board: VirtioBoard): VirtioDevices {
  const { memory, clock } = board;
  const plug: VirtioBoard['plug'] = (id, slot, device, fn) => board.plug(id, slot, device, fn);
  if (parts.entropy !== undefined) {
    plug('entropy', PCI_SLOTS.entropy[0], new VirtioRng({ fill: parts.entropy }));
  }
  let balloon: VirtioBalloon | undefined;
  if (parts.releaseMemory !== undefined) {
    balloon = new VirtioBalloon({ memoryBytes: memory.sizeBytes, release: parts.releaseMemory });
    plug('balloon', PCI_SLOTS.balloon[0], balloon);
  }
  const input = parts.input ? new VirtioInputs() : undefined;
  if (input !== undefined) {
    plug('keyboard', PCI_SLOTS.virtioKeyboard[0], input.keyboard.device);
    plug('tablet', PCI_SLOTS.virtioTablet[0], input.tablet.device);
    plug('mouse', PCI_SLOTS.virtioMouse[0], input.mouse.device);
  }
  // Ports may come while the machine runs.
  const console = parts.console && new VirtioConsole(parts.console, MAX_CONSOLE_PORTS);
  if (console !== undefined) {
    plug('console', PCI_SLOTS.console[0], console);
  }
  if (parts.sound !== undefined) {
    plug('sound', PCI_SLOTS.sound[0], new VirtioSound({ clock, ...parts.sound }));
  }
  const queues = Math.min(board.cpuCount, MAX_DISK_QUEUES);
  const scsi = parts.scsi.length === 0 ? undefined : new VirtioScsi(clock, { queues });
  if (scsi !== undefined) {
    for (const { kind, backend, target, serial } of parts.scsi) {
      if (kind === 'cdrom') {
        scsi.plug(target, 0, new ScsiCdrom(backend, serial));
      } else if (backend !== undefined) {
        scsi.plug(target, 0, new ScsiDisk(backend, serial));
      }
    }
    plug('scsi', PCI_SLOTS.scsi[0], scsi);
  }
  for (const [index, { tag, backend }] of (parts.shares ?? []).entries()) {
    plug(`share${index}`, PCI_SLOTS.shares[0], new Virtio9p({ share: backend, clock }, tag), index);
  }
  if (parts.vsock !== undefined) {
    const { cid, backend } = parts.vsock;
    plug('vsock', PCI_SLOTS.vsock[0], new VirtioVsock({ backend, clock }, cid));
  }
  for (const { backend, port, serial } of parts.disks) {
    plug(`virtio-disk${port}`, PCI_SLOTS.virtioDisks[0] + port, new VirtioBlk({ backend, clock }, { serial, queues }));
  }
  return { console, scsi, balloon, input };
}
