import { pirqOf } from '../../pci/pirq.ts';
import {
  type Aml,
  and,
  argument,
  byteFields,
  bytes,
  createDwordField,
  device,
  eisaId,
  integer,
  method,
  name,
  operationRegion,
  or,
  otherwise,
  packageOf,
  path,
  processor,
  REGION_PCI_CONFIG,
  returns,
  scope,
  store,
  string,
  when,
} from './aml.ts';
import {
  busNumbers,
  dmaChannel,
  ioPorts,
  ioWindow,
  irq,
  LEVEL_INTERRUPT_NUMBER,
  levelInterrupt,
  memoryFixed,
  memoryWindow,
  resourceTemplate,
} from './aml-resources.ts';
import { type AcpiConfig, HPET_ADDRESS, PCI_IRQS, SCI_IRQ } from './pc-config.ts';

const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;
const FW_CFG_PORTS = { base: 0x510, length: 12 };
const PM_IO_LENGTH = 64;

/** _STA: present and decoding; with bit 3 functioning, with bit 2 shown to people. */
const STATUS_HIDDEN = 0x0b;
const STATUS_SHOWN = 0x0f;
const STATUS_DISABLED = 0x09;

/** The body (without header) of the differentiated system description table. */
export function dsdtBody(config: AcpiConfig): Aml {
  return bytes(
    scope('\\_SB', pciRoot(config), ...LINKS.map(linkDevice), ...(config.hpet ? [hpet()] : [])),
    scope('\\_PR', ...processors(config)),
    // Soft-off is the only sleep state: SLP_TYP 0 on this chip.
    name('\\_S5', packageOf(integer(0), integer(0), integer(0), integer(0))),
  );
}

export function processors({ cpus }: AcpiConfig): Aml[] {
  return Array.from({ length: cpus }, (_, id) => processor(cpuName(id), id));
}

export function realTimeClock(): Aml {
  return isaDevice('RTC', 'PNP0B00', ioPorts(0x70, 2), irq(8));
}

export function serialPorts(config: AcpiConfig): Aml[] {
  return [serialPort('COM1', 1, 0x3f8, 4), serialPort('COM2', 2, 0x2f8, 3)].slice(0, config.serialPorts);
}

function cpuName(id: number): string {
  return `CPU${id.toString(16).toUpperCase()}`;
}

function pciRoot(config: AcpiConfig): Aml {
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_ADR', integer(0)),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resourceTemplate(
        busNumbers(0, 0xff),
        ioPorts(0xcf8, 8),
        ioWindow(0x0000, 0x0cf7),
        ioWindow(0x0d00, 0xffff),
        memoryWindow(0xa0000, 0xbffff, true),
        memoryWindow(config.pciMemory.first, config.pciMemory.last, false),
      ),
    ),
    name('_PRT', interruptRouting()),
    isaBridge(config),
  );
}

/** For INTA–INTD of every slot, the link that it ends at (6.2.13). */
function interruptRouting(): Aml {
  const entries: Aml[] = [];
  for (let slot = 1; slot < 32; slot++) {
    for (let pin = 1; pin <= 4; pin++) {
      const address = integer(slot * 0x10000 + 0xffff);
      entries.push(
        slot === 1 && pin === 1
          ? // The power management function's interrupt is the SCI, which no register can move.
            packageOf(address, integer(0), integer(0), integer(SCI_IRQ))
          : packageOf(address, integer(pin - 1), path(LINKS[pirqOf(slot, pin)] ?? 'LNKA'), integer(0)),
      );
    }
  }
  return packageOf(...entries);
}

/** One of the four PCI interrupt links: its route is a byte in the ISA bridge, with bit 7 set while it is off. */
function linkDevice(link: string, index: number): Aml {
  const route = path(`\\_SB.PCI0.ISA.PRQ${index}`);
  const current = path('CURR');
  return device(
    link,
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(index + 1)),
    name('_PRS', resourceTemplate(levelInterrupt(...PCI_IRQS))),
    name('CURR', resourceTemplate(levelInterrupt(0))),
    method(
      '_STA',
      0,
      when(and(route, integer(0x80)), returns(integer(STATUS_DISABLED))),
      otherwise(returns(integer(STATUS_HIDDEN))),
    ),
    method('_DIS', 0, or(route, integer(0x80), route)),
    method(
      '_CRS',
      0,
      createDwordField(current, LEVEL_INTERRUPT_NUMBER, 'IRQN'),
      when(and(route, integer(0x80)), store(integer(0), path('IRQN'))),
      otherwise(and(route, integer(0x0f), path('IRQN'))),
      returns(current),
    ),
    method(
      '_SRS',
      1,
      createDwordField(argument(0), LEVEL_INTERRUPT_NUMBER, 'IRQN'),
      and(path('IRQN'), integer(0x0f), route),
    ),
  );
}

function isaDevice(of: string, id: string, ...resources: Aml[]): Aml {
  return device(
    of,
    name('_HID', eisaId(id)),
    name('_STA', integer(STATUS_SHOWN)),
    name('_CRS', resourceTemplate(...resources)),
  );
}

function serialPort(of: string, uid: number, base: number, interrupt: number): Aml {
  return device(
    of,
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(uid)),
    name('_STA', integer(STATUS_SHOWN)),
    name('_CRS', resourceTemplate(ioPorts(base, 8), irq(interrupt))),
  );
}

function isaBridge(config: AcpiConfig): Aml {
  return device(
    'ISA',
    name('_ADR', integer(0x00010000)),
    operationRegion('PIRQ', REGION_PCI_CONFIG, 0x60, 4),
    byteFields('PIRQ', [
      ['PRQ0', 8],
      ['PRQ1', 8],
      ['PRQ2', 8],
      ['PRQ3', 8],
    ]),
    realTimeClock(),
    isaDevice('KBD', 'PNP0303', ioPorts(0x60, 1), ioPorts(0x64, 1), irq(1)),
    isaDevice('MOU', 'PNP0F13', irq(12)),
    ...(config.floppy
      ? [isaDevice('FDC0', 'PNP0700', ioPorts(0x3f2, 4), ioPorts(0x3f7, 1), irq(6), dmaChannel(2))]
      : []),
    ...serialPorts(config),
    device(
      'FWCF',
      name('_HID', string('QEMU0002')),
      name('_STA', integer(STATUS_HIDDEN)),
      name('_CRS', resourceTemplate(ioPorts(FW_CFG_PORTS.base, FW_CFG_PORTS.length))),
    ),
    // Ports of the chipset that nothing else may be placed on.
    device(
      'SYSR',
      name('_HID', eisaId('PNP0C02')),
      name('_UID', integer(1)),
      name(
        '_CRS',
        resourceTemplate(
          ioPorts(0x92, 1),
          ioPorts(config.smiCommandPort, 2),
          ioPorts(config.pmBase, PM_IO_LENGTH),
          ioPorts(config.gpeBase, 4),
        ),
      ),
    ),
  );
}

function hpet(): Aml {
  return device(
    'HPET',
    name('_HID', eisaId('PNP0103')),
    name('_UID', integer(0)),
    name('_STA', integer(STATUS_SHOWN)),
    name('_CRS', resourceTemplate(memoryFixed(HPET_ADDRESS, 0x400, false))),
  );
}
