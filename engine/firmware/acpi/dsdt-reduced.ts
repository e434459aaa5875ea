import {
  type Aml,
  bytes,
  device,
  eisaId,
  integer,
  method,
  name,
  notify,
  packageOf,
  path,
  scope,
  string,
} from './aml.ts';
import { edgeInterrupt, levelInterrupt, memoryFixed, resourceTemplate } from './aml-resources.ts';
import { processors, realTimeClock, serialPorts } from './dsdt.ts';
import type { AcpiConfig, ReducedAcpi } from './pc-config.ts';

/** The notification of a power button (ACPI 6.4, table 5.7). */
const NOTIFY_PRESSED = 0x80;

/** The body of the DSDT of a machine with reduced hardware: no PCI, and devices that are found by name only. */
export function reducedDsdtBody(config: AcpiConfig, reduced: ReducedAcpi): Aml {
  const softOff = integer(reduced.softOffType);
  return bytes(
    scope(
      '\\_SB',
      realTimeClock(),
      ...serialPorts(config),
      device('PWRB', name('_HID', eisaId('PNP0C0C')), name('_UID', integer(0))),
      // The generic event device (5.6.9): its one interrupt is the power button.
      device(
        'GED',
        name('_HID', string('ACPI0013')),
        name('_UID', integer(0)),
        name('_CRS', resourceTemplate(edgeInterrupt(reduced.buttonGsi))),
        method('_EVT', 1, notify(path('\\_SB.PWRB'), NOTIFY_PRESSED)),
      ),
      ...reduced.virtioMmio.map(({ base, length, gsi }, index) =>
        device(
          `VR${index.toString(16).toUpperCase().padStart(2, '0')}`,
          name('_HID', string('LNRO0005')),
          name('_UID', integer(index)),
          name('_CRS', resourceTemplate(memoryFixed(base, length, true), levelInterrupt(gsi))),
        ),
      ),
    ),
    scope('\\_PR', ...processors(config)),
    name('\\_S5', packageOf(softOff, softOff, integer(0), integer(0))),
  );
}
