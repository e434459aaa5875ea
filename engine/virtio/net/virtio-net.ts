import type { Disposable } from '../../base/disposable.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import {
  type FrameWork,
  MAX_FRAME_BYTES,
  type NetworkPort,
  noOffloads,
  plainFrame,
  type ReceivedFrame,
} from '../../net/network-port.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { VirtQueue } from '../queue/virt-queue.ts';
import {
  type ActiveDriver,
  VIRTIO_F_VERSION_1,
  VIRTIO_ID,
  type VirtioDevice,
  type VirtioTransport,
} from '../virtio-device.ts';
import { FlowTable } from './flow-table.ts';
import * as L from './net-layout.ts';
import { ReceiveFilter } from './receive-filter.ts';

const QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;
const MIN_FRAME_BYTES = 14;
/** Frames that are sent before the processors get their turn again. */
const MAX_BURST = 1024;
const MAX_CONTROL_BYTES = 4096;
/**
 * Buffers of frames that went out are given back together: with the next frames for the driver, after so long, or when so
 * many wait. Each time costs the guest an interrupt, and until then its TCP gathers small writes into larger segments.
 */
const GIVE_BACK_NANOS: Nanos = 200_000;
const GIVE_BACK_AT = 32;
const OFFLOAD_BITS = L.VIRTIO_NET_F_GUEST_CSUM | L.VIRTIO_NET_F_GUEST_TSO4 | L.VIRTIO_NET_F_GUEST_TSO6;

export interface VirtioNetWiring {
  readonly port: NetworkPort;
  readonly clock: Clock;
}

export interface VirtioNetConfig {
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Pairs of a receive and a transmit queue, from 1 on. */
  readonly pairs: number;
}

/** The network card (virtio 1.2, section 5.1). It unplugs itself from the network when it is disposed of. */
export class VirtioNet implements VirtioDevice {
  readonly type = VIRTIO_ID.net;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(L.NET_CONFIG.length);
  readonly #port: NetworkPort;
  readonly #clock: Clock;
  readonly #plug: Disposable;
  readonly #initialMac: Uint8Array;
  readonly #maxPairs: number;
  readonly #filter: ReceiveFilter;
  readonly #flows = new FlowTable();
  /** Goes on with what had to wait, once the processors had their turn. */
  readonly #continue: Alarm;
  /** Gives back the buffers of frames that went out. */
  readonly #giveBack: Alarm;
  readonly #header = new Uint8Array(L.NET_HDR_BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  #transport: VirtioTransport | undefined;
  #driver: ActiveDriver | undefined;
  #headerBytes = L.NET_HDR_BYTES;
  /** Pairs that the driver uses. */
  #pairs = 1;
  /** What the driver takes at present: a selection of OFFLOAD_BITS. */
  #offloads = 0n;
  /** By pair: a frame that waits for room in the network. */
  readonly #unsent: (DescriptorChain | undefined)[];
  /** By pair: buffers whose frames went out and that the driver does not have back yet. */
  readonly #sent: DescriptorChain[][];
  /** By pair: buffers that were taken for a frame and do not suffice for it yet. */
  readonly #gathered: DescriptorChain[][];
  #dropped = 0;

  constructor(wiring: VirtioNetWiring, { mac, pairs }: VirtioNetConfig) {
    this.#port = wiring.port;
    this.#initialMac = mac.slice(0, 6);
    this.#maxPairs = pairs;
    this.#unsent = new Array<DescriptorChain | undefined>(pairs).fill(undefined);
    this.#sent = Array.from({ length: pairs }, () => []);
    this.#gathered = Array.from({ length: pairs }, () => []);
    const pairSizes = Array.from({ length: pairs * 2 }, () => QUEUE_SIZE);
    this.queueSizes = [...pairSizes, CONTROL_QUEUE_SIZE];
    this.features =
      L.VIRTIO_NET_F_CSUM |
      L.VIRTIO_NET_F_HOST_TSO4 |
      L.VIRTIO_NET_F_HOST_TSO6 |
      OFFLOAD_BITS |
      L.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS |
      L.VIRTIO_NET_F_MAC |
      L.VIRTIO_NET_F_MRG_RXBUF |
      L.VIRTIO_NET_F_STATUS |
      L.VIRTIO_NET_F_CTRL_VQ |
      L.VIRTIO_NET_F_CTRL_RX |
      L.VIRTIO_NET_F_CTRL_MAC_ADDR |
      (pairs > 1 ? L.VIRTIO_NET_F_MQ : 0n);
    this.config.set(this.#initialMac, L.NET_CONFIG.mac);
    this.config[L.NET_CONFIG.maxPairs] = pairs;
    this.#filter = new ReceiveFilter(this.config.subarray(0, 6));
    this.#clock = wiring.clock;
    this.#continue = wiring.clock.createAlarm(() => this.#goOn());
    this.#giveBack = wiring.clock.createAlarm(() => this.#signalSent());
    this.#plug = wiring.port.connect({
      frameWaiting: () => this.#receive(),
      roomToSend: () => this.#goOn(),
      linkChanged: () => this.#linkChanged(),
    });
    this.#showLink();
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  acceptsFeatures(features: bigint): boolean {
    return L.NET_FEATURE_NEEDS.every(([feature, needed]) => (features & feature) === 0n || (features & needed) !== 0n);
  }

  #has(feature: bigint): boolean {
    return ((this.#driver?.features ?? 0n) & feature) !== 0n;
  }

  /** Legacy drivers set the address byte by byte in the configuration; others have a command for it. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (!this.#has(VIRTIO_F_VERSION_1) && !this.#has(L.VIRTIO_NET_F_CTRL_MAC_ADDR) && offset + data.length <= 6) {
      this.config.set(data, offset);
    }
  }

  #showLink(): void {
    this.config[L.NET_CONFIG.status] = this.#port.linkUp ? L.NET_S_LINK_UP : 0;
  }

  #linkChanged(): void {
    this.#showLink();
    this.#transport?.configChanged();
    this.#goOn();
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
    const short = !this.#has(VIRTIO_F_VERSION_1) && !this.#has(L.VIRTIO_NET_F_MRG_RXBUF);
    this.#headerBytes = short ? L.NET_LEGACY_HDR_BYTES : L.NET_HDR_BYTES;
    this.#setOffloads(driver.features & OFFLOAD_BITS);
  }

  #setOffloads(offloads: bigint): void {
    this.#offloads = offloads;
    const on = (feature: bigint) => (offloads & feature) !== 0n;
    this.#port.setReceiveOffloads({
      checksum: on(L.VIRTIO_NET_F_GUEST_CSUM),
      segment4: on(L.VIRTIO_NET_F_GUEST_TSO4),
      segment6: on(L.VIRTIO_NET_F_GUEST_TSO6),
    });
  }

  /** The queue of commands; its place depends on whether several pairs were negotiated (section 5.1.2). */
  get #controlIndex(): number {
    return this.#has(L.VIRTIO_NET_F_MQ) ? this.#maxPairs * 2 : 2;
  }

  notify(index: number): void {
    if (index === this.#controlIndex && this.#has(L.VIRTIO_NET_F_CTRL_VQ)) {
      this.#control(index);
    } else if (index >= this.#maxPairs * 2) {
      return;
    } else if (index & 1) {
      this.#send(index >> 1);
    } else {
      this.#receive();
    }
  }

  #goOn(): void {
    for (let pair = 0; pair < this.#maxPairs; pair++) {
      this.#send(pair);
    }
    this.#receive();
  }

  // ---- sending

  #send(pair: number): void {
    const queue = this.#driver?.queues[pair * 2 + 1];
    if (queue === undefined || !queue.enabled) {
      return;
    }
    const sent = this.#sent[pair] ?? [];
    const giveBackAt = Math.min(GIVE_BACK_AT, queue.size >> 3);
    let count = 0;
    let chain = this.#unsent[pair] ?? queue.pop();
    this.#unsent[pair] = undefined;
    for (; chain !== undefined; chain = queue.pop()) {
      if (!this.#sendFrame(chain, pair)) {
        this.#unsent[pair] = chain;
        break;
      }
      sent.push(chain);
      if (sent.length > giveBackAt) {
        this.#returnSent(pair);
        queue.signal();
      }
      if (++count >= MAX_BURST) {
        this.#continue.set(0);
        break;
      }
    }
    if (sent.length > 0 && this.#giveBack.deadline === undefined) {
      this.#giveBack.set(this.#clock.now() + GIVE_BACK_NANOS);
    }
  }

  /** Gives the buffers of sent frames back without telling the driver. */
  #returnSent(pair: number): void {
    const queue = this.#driver?.queues[pair * 2 + 1];
    const sent = this.#sent[pair];
    if (queue === undefined || sent === undefined) {
      return;
    }
    for (const chain of sent) {
      queue.push(chain, 0);
    }
    sent.length = 0;
  }

  #signalSent(): void {
    for (let pair = 0; pair < this.#maxPairs; pair++) {
      this.#returnSent(pair);
      this.#driver?.queues[pair * 2 + 1]?.signal();
    }
  }

  /** False when the network has no room; frames that cannot be sent at all are dropped. */
  #sendFrame(chain: DescriptorChain, pair: number): boolean {
    const length = chain.readableBytes - this.#headerBytes;
    if (length < MIN_FRAME_BYTES || length > MAX_FRAME_BYTES) {
      this.#dropped++;
      return true;
    }
    chain.read(0, this.#header.subarray(0, this.#headerBytes));
    const work = this.#workToDo();
    if (work === undefined) {
      this.#dropped++;
      return true;
    }
    const buffer = this.#port.reserve(length);
    if (buffer === undefined) {
      return false;
    }
    chain.read(this.#headerBytes, buffer);
    this.#port.commit(work);
    if (this.#pairs > 1) {
      this.#flows.sent(buffer, pair);
    }
    return true;
  }

  /** What the header leaves to the network, or undefined when it asks for what was not negotiated. */
  #workToDo(): FrameWork | undefined {
    const view = this.#headerView;
    const needsChecksum = (view.getUint8(L.NET_HDR.flags) & L.NET_HDR_F_NEEDS_CSUM) !== 0;
    const gsoType = view.getUint8(L.NET_HDR.gsoType) & ~L.NET_HDR_GSO_ECN;
    if (!needsChecksum && gsoType === L.NET_HDR_GSO_NONE) {
      return plainFrame;
    }
    const segmentBytes = gsoType === L.NET_HDR_GSO_NONE ? 0 : view.getUint16(L.NET_HDR.gsoSize, true);
    const segmentKind = this.#segmentKind(gsoType);
    if (!needsChecksum || !this.#has(L.VIRTIO_NET_F_CSUM) || segmentKind === undefined) {
      return undefined;
    }
    if ((segmentKind === 'none') !== (segmentBytes === 0)) {
      return undefined;
    }
    return {
      checksumStart: view.getUint16(L.NET_HDR.checksumStart, true),
      checksumOffset: view.getUint16(L.NET_HDR.checksumOffset, true),
      segmentBytes,
      segmentKind,
    };
  }

  #segmentKind(gsoType: number): FrameWork['segmentKind'] | undefined {
    switch (gsoType) {
      case L.NET_HDR_GSO_NONE:
        return 'none';
      case L.NET_HDR_GSO_TCPV4:
        return this.#has(L.VIRTIO_NET_F_HOST_TSO4) ? 'tcp4' : undefined;
      case L.NET_HDR_GSO_TCPV6:
        return this.#has(L.VIRTIO_NET_F_HOST_TSO6) ? 'tcp6' : undefined;
      default:
        return undefined;
    }
  }

  // ---- receiving

  #receive(): void {
    const driver = this.#driver;
    if (driver === undefined) {
      return;
    }
    let touched = 0;
    for (let frame = this.#port.peek(); frame !== undefined; frame = this.#port.peek()) {
      if (!this.#filter.accepts(frame.bytes) || !this.#canTake(frame.work)) {
        this.#port.take();
        continue;
      }
      const pair = this.#pairFor(frame.bytes);
      const queue = driver.queues[pair * 2];
      if (queue === undefined || !this.#deliver(frame, queue, pair)) {
        break;
      }
      touched |= 1 << pair;
      this.#port.take();
    }
    for (let pair = 0; touched !== 0; pair++, touched >>>= 1) {
      if (touched & 1) {
        // A driver that looks for frames looks for these too; the alarm tells it where it does not.
        this.#returnSent(pair);
        driver.queues[pair * 2]?.signal();
      }
    }
  }

  #pairFor(frame: Uint8Array): number {
    const pair = this.#pairs > 1 ? this.#flows.pairFor(frame) : 0;
    return pair < this.#pairs ? pair : 0;
  }

  /** Frames made for the driver before this one may carry work that it does not take. */
  #canTake({ checksumStart, segmentKind }: FrameWork): boolean {
    const on = (feature: bigint) => (this.#offloads & feature) !== 0n;
    return (
      (checksumStart === 0 || on(L.VIRTIO_NET_F_GUEST_CSUM)) &&
      (segmentKind !== 'tcp4' || on(L.VIRTIO_NET_F_GUEST_TSO4)) &&
      (segmentKind !== 'tcp6' || on(L.VIRTIO_NET_F_GUEST_TSO6))
    );
  }

  /** Writes a frame into the driver's buffers; false when there are too few. */
  #deliver(frame: ReceivedFrame, queue: VirtQueue, pair: number): boolean {
    const gathered = this.#gathered[pair] ?? [];
    const needed = this.#headerBytes + frame.bytes.length;
    const mergeable = this.#has(L.VIRTIO_NET_F_MRG_RXBUF);
    let room = 0;
    for (const chain of gathered) {
      room += chain.writableBytes;
    }
    while (room < needed) {
      if (!mergeable && gathered.length > 0) {
        // The frame does not fit into the one buffer it may have: it is lost, the buffer serves the next one.
        this.#dropped++;
        return true;
      }
      const chain = queue.pop();
      if (chain === undefined) {
        return false;
      }
      if (chain.writableBytes < this.#headerBytes) {
        queue.push(chain, 0);
        continue;
      }
      gathered.push(chain);
      room += chain.writableBytes;
    }
    this.#scatter(frame, queue, gathered);
    gathered.length = 0;
    return true;
  }

  #scatter(frame: ReceivedFrame, queue: VirtQueue, chains: readonly DescriptorChain[]): void {
    const { bytes } = frame;
    this.#fillHeader(frame, chains.length);
    const written: number[] = [];
    let at = 0;
    for (const [index, chain] of chains.entries()) {
      const skip = index === 0 ? chain.write(0, this.#header.subarray(0, this.#headerBytes)) : 0;
      const count = chain.write(skip, at === 0 ? bytes : bytes.subarray(at));
      at += count;
      written.push(skip + count);
    }
    queue.pushTogether(chains, written);
  }

  #fillHeader({ bytes, work, checksumGood }: ReceivedFrame, buffers: number): void {
    const view = this.#headerView;
    const { checksumStart, checksumOffset, segmentBytes, segmentKind } = work;
    this.#header.fill(0);
    if (checksumStart !== 0) {
      view.setUint8(L.NET_HDR.flags, L.NET_HDR_F_NEEDS_CSUM);
      view.setUint16(L.NET_HDR.checksumStart, checksumStart, true);
      view.setUint16(L.NET_HDR.checksumOffset, checksumOffset, true);
    } else if (checksumGood && (this.#offloads & L.VIRTIO_NET_F_GUEST_CSUM) !== 0n) {
      view.setUint8(L.NET_HDR.flags, L.NET_HDR_F_DATA_VALID);
    }
    if (segmentKind !== 'none') {
      view.setUint8(L.NET_HDR.gsoType, segmentKind === 'tcp4' ? L.NET_HDR_GSO_TCPV4 : L.NET_HDR_GSO_TCPV6);
      view.setUint16(L.NET_HDR.gsoSize, segmentBytes, true);
      // Up to the end of the TCP header, whose length it tells itself.
      const tcpHeader = ((bytes[checksumStart + 12] ?? 0x50) >> 4) * 4;
      view.setUint16(L.NET_HDR.headerLength, checksumStart + tcpHeader, true);
    }
    view.setUint16(L.NET_HDR.buffers, buffers, true);
  }

  // ---- commands

  #control(index: number): void {
    const queue = this.#driver?.queues[index];
    for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
      const request = chain.bytes(0, MAX_CONTROL_BYTES);
      const ok = request.length >= 2 && this.#command(request[0] ?? 0, request[1] ?? 0, request.subarray(2));
      queue.push(chain, chain.write(0, Uint8Array.of(ok ? L.NET_OK : L.NET_ERR)));
    }
    queue?.signal();
  }

  #command(group: number, command: number, data: Uint8Array): boolean {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    switch (group) {
      case L.CTRL_RX:
        if (!this.#has(L.VIRTIO_NET_F_CTRL_RX) || data.length !== 1 || command > L.CTRL_RX_ALLMULTI) {
          return false;
        }
        if (command === L.CTRL_RX_PROMISC) {
          this.#filter.promiscuous = data[0] !== 0;
        } else {
          this.#filter.allMulticast = data[0] !== 0;
        }
        return true;
      case L.CTRL_MAC:
        if (command === L.CTRL_MAC_TABLE_SET && this.#has(L.VIRTIO_NET_F_CTRL_RX)) {
          return this.#filter.setTables(data);
        }
        if (command === L.CTRL_MAC_ADDR_SET && this.#has(L.VIRTIO_NET_F_CTRL_MAC_ADDR) && data.length === 6) {
          this.config.set(data, L.NET_CONFIG.mac);
          return true;
        }
        return false;
      case L.CTRL_MQ: {
        const pairs = data.length === 2 ? view.getUint16(0, true) : 0;
        if (command !== L.CTRL_MQ_PAIRS_SET || !this.#has(L.VIRTIO_NET_F_MQ) || pairs < 1 || pairs > this.#maxPairs) {
          return false;
        }
        this.#pairs = pairs;
        return true;
      }
      case L.CTRL_GUEST_OFFLOADS: {
        const wanted = data.length === 8 ? view.getBigUint64(0, true) : undefined;
        const allowed = (this.#driver?.features ?? 0n) & OFFLOAD_BITS;
        if (
          command !== L.CTRL_GUEST_OFFLOADS_SET ||
          !this.#has(L.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
          wanted === undefined ||
          (wanted & ~allowed) !== 0n
        ) {
          return false;
        }
        this.#setOffloads(wanted);
        return true;
      }
      default:
        return false;
    }
  }

  // ---- life

  resetQueue(index: number): void {
    const pair = index >> 1;
    if (pair < this.#maxPairs) {
      if (index & 1) {
        this.#unsent[pair] = undefined;
        this.#sent[pair] = [];
      } else {
        this.#gathered[pair] = [];
      }
    }
  }

  reset(): void {
    this.#driver = undefined;
    this.#continue.cancel();
    this.#headerBytes = L.NET_HDR_BYTES;
    this.#pairs = 1;
    this.#giveBack.cancel();
    this.#unsent.fill(undefined);
    for (const chains of [...this.#sent, ...this.#gathered]) {
      chains.length = 0;
    }
    this.#flows.reset();
    this.#filter.reset();
    this.config.set(this.#initialMac, L.NET_CONFIG.mac);
    this.#offloads = 0n;
    this.#port.setReceiveOffloads(noOffloads);
    this.#showLink();
  }

  save(): StateValue {
    return {
      mac: this.config.slice(0, 6),
      pairs: this.#pairs,
      offloads: this.#offloads,
      filter: this.#filter.save(),
      unsent: this.#unsent.map((chain) => chain?.save() ?? null),
      sent: this.#sent.map((chains) => chains.map((chain) => chain.save())),
      gathered: this.#gathered.map((chains) => chains.map((chain) => chain.save())),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const mac = reader.bytes('mac', 6);
    const pairs = reader.int('pairs', 1, this.#maxPairs);
    const offloads = reader.u64('offloads') & OFFLOAD_BITS;
    const applyFilter = this.#filter.load(reader.object('filter'));
    const adopt = (queue: number, item: StateValue): DescriptorChain => {
      const saved = reader.nested(`queue ${queue}`, item);
      return driver?.queues[queue]?.adopt(saved) ?? saved.refuse('a buffer of a device that sleeps');
    };
    const unsent = reader
      .array('unsent', this.#maxPairs)
      .map((item, pair) => (item === null ? undefined : adopt(pair * 2 + 1, item)));
    const adoptAll = (key: string, direction: 0 | 1): DescriptorChain[][] =>
      reader
        .array(key, this.#maxPairs)
        .map((list, pair) =>
          Array.isArray(list)
            ? list.map((item) => adopt(pair * 2 + direction, item))
            : reader.refuse(`'${key}' holds no lists`),
        );
    const sent = adoptAll('sent', 1);
    const gathered = adoptAll('gathered', 0);
    this.reset();
    this.config.set(mac, L.NET_CONFIG.mac);
    applyFilter();
    if (driver !== undefined) {
      this.activate(driver);
      this.#setOffloads(offloads);
      this.#continue.set(0);
      this.#giveBack.set(0);
    }
    this.#pairs = pairs;
    for (let pair = 0; pair < this.#maxPairs; pair++) {
      this.#unsent[pair] = unsent[pair];
      this.#sent[pair] = sent[pair] ?? [];
      this.#gathered[pair] = gathered[pair] ?? [];
    }
  }

  describe(): string {
    const mac = Buffer.from(this.config.subarray(0, 6)).toString('hex');
    return `network card ${mac}, link ${this.#port.linkUp ? 'up' : 'down'}, ${this.#pairs} pair(s), ${this.#dropped} frames dropped`;
  }

  dispose(): void {
    this.#continue.dispose();
    this.#giveBack.dispose();
    this.#plug.dispose();
    this.#driver = undefined;
  }
}
