import type { Log } from '../base/log.ts';
import type { Clock } from '../clock/clock.ts';
import type { NetworkConfig, NetworkModel } from '../config/network-config.ts';
import type { Device } from '../devices/device.ts';
import { E1000 } from '../devices/e1000/e1000.ts';
import type { InterruptLine } from '../irq/line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { NetworkPort } from '../net/network-port.ts';
import type { PciBus } from '../pci/pci-bus.ts';
import type { PciBuses } from '../pci/pci-function.ts';
import { VirtioNet } from '../virtio/net/virtio-net.ts';
import { PCI_SLOTS } from './pc-layout.ts';
import type { VirtioBoard } from './virtio-devices.ts';

/** Pairs of queues of a virtio card: one a processor, up to so many. */
const MAX_PAIRS = 4;

/** A machine's network card, and what it is plugged into. */
export interface NetworkCardParts {
  readonly model: NetworkModel;
  readonly mac: Uint8Array;
  readonly port: NetworkPort;
}

/** What the board offers it. */
export interface NetworkBoard {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly log: Log;
  readonly cpuCount: number;
  readonly pci: PciBus;
  interruptLine(slot: number, pin: number): InterruptLine;
  /** Makes the board the device's owner. */
  add<T extends Device>(device: T): T;
  readonly plug: VirtioBoard['plug'];
}

/** The card of a configuration, for the parts of a board; nothing when there is none. */
export function networkCardOf(
  config: NetworkConfig | undefined,
  port: NetworkPort | undefined,
): { networkCard?: NetworkCardParts } {
  if (config === undefined || port === undefined) {
    return {};
  }
  const mac = Uint8Array.from(config.mac.split(':'), (byte) => Number.parseInt(byte, 16));
  return { networkCard: { model: config.model, mac, port } };
}

/** A virtio card, without its transport. */
export function virtioNetworkCard(
  mac: Uint8Array,
  port: NetworkPort,
  board: { readonly clock: Clock; readonly cpuCount: number },
): VirtioNet {
  const pairs = Math.min(board.cpuCount, MAX_PAIRS);
  return new VirtioNet({ port, clock: board.clock }, { mac, pairs });
}

/** Makes the network card and puts it into its slot. */
export function addNetworkCard({ model, mac, port: network }: NetworkCardParts, board: NetworkBoard): void {
  const { buses, memory, clock, log } = board;
  const [slot, fn] = PCI_SLOTS.network;
  if (model === 'virtio') {
    board.plug('network', slot, virtioNetworkCard(mac, network, board));
    return;
  }
  const line = board.interruptLine(slot, 1);
  const card = board.add(new E1000('network', { buses, memory, clock, line, network, log }, { mac }));
  board.pci.add(slot, fn, card.pci);
}
