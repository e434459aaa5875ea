import type { BlockBackend } from '../../backends/block/block-backend.ts';
import { type Log, limitedLog, silentLog } from '../../base/log.ts';
import type { AccessSize, PioHandler } from '../../bus/bus.ts';
import type { InterruptLine } from '../../irq/line.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { PCI_STATUS, type PciBuses, PciFunction, type PciFunctionState } from '../../pci/pci-function.ts';
import type { Device, DeviceId, StateValue } from '../device.ts';
import { StateReader } from '../state.ts';
import { AtaDisk } from './ata-disk.ts';
import { AtapiCdrom } from './atapi-cdrom.ts';
import { type ChannelState, type Drive, IdeChannel } from './ide-channel.ts';

/** IDE timing registers, one word a channel; bit 15 enables the decoding of its ports (PIIX3 datasheet, 2.3.8). */
export const PIIX_IDETIM = 0x40;
const IDETIM_DECODE_ENABLE = 0x8000;

export interface DiskDriveConfig {
  readonly kind: 'disk';
  readonly backend: BlockBackend;
  /** At most 20 characters. */
  readonly serial?: string;
  /** At most 40 characters. */
  readonly model?: string;
  readonly onActivity?: (kind: 'read' | 'write') => void;
}

export interface CdromDriveConfig {
  readonly kind: 'cdrom';
  readonly backend?: BlockBackend | undefined;
  readonly serial?: string;
  readonly model?: string;
  readonly onActivity?: (kind: 'read' | 'write') => void;
  /** The guest has opened or closed the tray. */
  readonly onTray?: (open: boolean) => void;
}

export type IdeDriveConfig = DiskDriveConfig | CdromDriveConfig;

export interface PiixIdeWiring {
  readonly buses: PciBuses;
  readonly memory: GuestMemory;
  /** IRQ 14. */
  readonly primaryLine: InterruptLine;
  /** IRQ 15. */
  readonly secondaryLine: InterruptLine;
  readonly log?: Log;
}

export interface PiixIdeConfig {
  /** Primary master, primary slave, secondary master, secondary slave. */
  readonly drives: readonly (IdeDriveConfig | undefined)[];
}

export type PiixIdeState = { pci: PciFunctionState; channels: ChannelState[] };

/**
 * The IDE function of the PIIX3 (Intel 82371SB, function 1): two channels at their legacy ports and a bus master for
 * each. The machine places `commandBlocks` at 1F0h and 170h (8 ports) and `controlBlocks` at 3F6h and 376h (1 port);
 * they answer from reset on, as firmware expects, whatever the I/O enable bit says. Backends stay the caller's.
 */
export class PiixIde implements Device<PiixIdeState> {
  readonly id: DeviceId;
  readonly pci: PciFunction;
  readonly commandBlocks: readonly [PioHandler, PioHandler];
  readonly controlBlocks: readonly [PioHandler, PioHandler];
  readonly #channels: readonly [IdeChannel, IdeChannel];

  constructor(id: DeviceId, wiring: PiixIdeWiring, config: PiixIdeConfig) {
    this.id = id;
    const log = limitedLog(wiring.log ?? silentLog);
    const busMasterEnabled = () => this.pci.busMaster;
    const channel = (index: number, line: InterruptLine) =>
      new IdeChannel(line, wiring.memory, busMasterEnabled, (bus, position): Drive | undefined => {
        const drive = config.drives[index * 2 + position];
        const serial = drive?.serial ?? `LD${String(index * 2 + position + 1).padStart(5, '0')}`;
        switch (drive?.kind) {
          case 'disk': {
            const model = drive.model ?? 'LODGE HARDDISK';
            const { backend, onActivity } = drive;
            return new AtaDisk(bus, { backend, serial, model, slave: position === 1, onActivity }, log);
          }
          case 'cdrom': {
            const model = drive.model ?? 'LODGE CD-ROM';
            const { onActivity, onTray } = drive;
            return new AtapiCdrom(bus, { serial, model, onActivity, onTray }, drive.backend, log);
          }
          default:
            return undefined;
        }
      });
    const primary = channel(0, wiring.primaryLine);
    const secondary = channel(1, wiring.secondaryLine);
    this.#channels = [primary, secondary];
    this.commandBlocks = [primary.commandBlock, secondary.commandBlock];
    this.controlBlocks = [primary.controlBlock, secondary.controlBlock];
    const busMaster: PioHandler = {
      readPort: (offset, size) => this.#readBusMaster(offset, size),
      writePort: (offset, size, value) => this.#writeBusMaster(offset, size, value),
    };
    this.pci = new PciFunction(id, { vendorId: 0x8086, deviceId: 0x7010, classCode: 0x010180 }, wiring.buses, [
      undefined,
      undefined,
      undefined,
      undefined,
      { kind: 'io', size: 16, handler: busMaster },
    ]);
    this.pci.setU16(PCI_STATUS, 0x0280); // fast back-to-back, medium DEVSEL timing
    // The timing registers are kept and mean nothing. The ports answer from reset on, so they also say so.
    this.pci.writable.fill(0xff, PIIX_IDETIM, PIIX_IDETIM + 5);
    this.pci.setU16(PIIX_IDETIM, IDETIM_DECODE_ENABLE);
    this.pci.setU16(PIIX_IDETIM + 2, IDETIM_DECODE_ENABLE);
    this.pci.onConfigWrite = (offset) => {
      if (offset < 0x06) {
        primary.pumpDma(); // a transfer may have waited for the bus master bit
        secondary.pumpDma();
      }
    };
    this.reset();
  }

  /** The CD-ROM drive at a position (0–3 as in the configuration), for changing its medium; undefined if it is none. */
  cdrom(position: number): AtapiCdrom | undefined {
    const drive = this.#channels[position >> 1]?.drive(position & 1);
    return drive instanceof AtapiCdrom ? drive : undefined;
  }

  #readBusMaster(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      value |= (at < 8 ? this.#channels[0] : this.#channels[1]).busMaster.readByte(at & 7) << (i * 8);
    }
    return value >>> 0;
  }

  #writeBusMaster(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      (at < 8 ? this.#channels[0] : this.#channels[1]).busMaster.writeByte(at & 7, (value >>> (i * 8)) & 0xff);
    }
  }

  reset(): void {
    this.pci.reset();
    for (const channel of this.#channels) {
      channel.reset();
    }
  }

  save(): PiixIdeState {
    return { pci: this.pci.save(), channels: this.#channels.map((channel) => channel.save()) };
  }

  load(state: StateValue): void {
    const reader = new StateReader(this.id, state);
    const config = reader.object('pci').bytes('config', 256);
    const [primary, secondary] = this.#channels;
    const [first, second] = reader.objects('channels', 2);
    if (first === undefined || second === undefined) {
      reader.refuse('two channels are expected');
      return;
    }
    const states = [primary.read(first), secondary.read(second)] as const;
    this.pci.load({ config });
    primary.load(states[0]);
    secondary.load(states[1]);
  }

  dispose(): void {
    for (const channel of this.#channels) {
      channel.dispose();
    }
    this.pci.dispose();
  }

  describe(): string {
    return this.#channels
      .map((channel, i) => `${i === 0 ? 'primary' : 'secondary'}:\n${channel.describe()}`)
      .join('\n');
  }
}
