import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize } from '../../bus/bus.ts';
import { MmioWindows } from '../../bus/mmio-bus.ts';
import { Ports } from '../../bus/port-bus.ts';
import { ManualClock } from '../../clock/alarm-queue.ts';
import { PciBus } from '../../pci/pci-bus.ts';
import { deviceConformance } from '../../testing/conformance.ts';
import { FakeLine } from '../../testing/fakes.ts';
import { ACPI_DISABLE, ACPI_ENABLE, GPE0_LENGTH, GPE0_PORT, Piix4Pm, PM1_PWRBTN, PM1_TMR } from './piix4-pm.ts';
import { nanosOf, PM_TIMER_HZ, ticksAt } from './pm-timer.ts';

const DEVFN = (1 << 3) | 3;
const BASE = 0x600;

function build(timerBits: 24 | 32 = 24) {
  const ports = new Ports();
  const bus = new PciBus();
  const clock = new ManualClock();
  const sci = new FakeLine();
  const events: string[] = [];
  const pm = new Piix4Pm(
    'pm',
    { ports, mmio: new MmioWindows(), bus, clock, sci, onPowerOff: () => events.push('off') },
    { timerBits },
  );
  ports.map(0xb2, 2, pm.apm, 'pm');
  ports.map(GPE0_PORT, GPE0_LENGTH, pm.gpe, 'pm');
  return { ports, bus, clock, sci, events, pm };
}

/** As firmware leaves it: I/O block in place. */
function enabled(timerBits: 24 | 32 = 24) {
  const all = build(timerBits);
  all.bus.write(DEVFN, 0x40, 4, BASE | 1);
  all.bus.write(DEVFN, 0x80, 1, 1);
  return all;
}

test('the timer is exact over long spans', () => {
  assert.equal(ticksAt(1e9), PM_TIMER_HZ);
  assert.equal(ticksAt(7_000_000e9), 7_000_000 * PM_TIMER_HZ);
  for (const ticks of [1, 2, 3579544, 3579545, 0x800000, 123456789012]) {
    assert.equal(ticksAt(nanosOf(ticks)), ticks);
    assert.equal(ticksAt(nanosOf(ticks) - 1), ticks - 1);
  }
});

test('the I/O block appears where PMBA says, once it is enabled', () => {
  const { ports, bus } = build();
  assert.equal(bus.read(DEVFN, 0, 4), 0x71138086);
  assert.equal(bus.read(DEVFN, 8, 4), 0x06800003);
  assert.equal(bus.read(DEVFN, 0x40, 4), 1);
  assert.equal(bus.read(DEVFN, 0x5b, 1) & 2, 2, 'firmware is told that there is no SMM to set up');
  bus.write(DEVFN, 0x40, 4, BASE | 1);
  assert.equal(ports.read(BASE, 2), 0xffff);
  bus.write(DEVFN, 0x80, 1, 1);
  assert.equal(ports.read(BASE, 2), 0);
  bus.write(DEVFN, 0x40, 4, 0xb001);
  assert.equal(ports.read(BASE, 2), 0xffff);
  assert.equal(ports.read(0xb000, 2), 0);
});

test('the PM timer counts at 3.579545 MHz in 24 bits, in any access size', () => {
  const { ports, clock } = enabled();
  clock.advanceTo(1e9);
  assert.equal(ports.read(BASE + 8, 4), PM_TIMER_HZ);
  assert.equal(ports.read(BASE + 9, 1), (PM_TIMER_HZ >> 8) & 0xff);
  assert.equal(ports.read(BASE + 8, 2), PM_TIMER_HZ & 0xffff);
  clock.advanceTo(5e9);
  assert.equal(ports.read(BASE + 8, 4), (5 * PM_TIMER_HZ) % 2 ** 24);
  const wide = enabled(32);
  wide.clock.advanceTo(5e9);
  assert.equal(wide.ports.read(BASE + 8, 4), 5 * PM_TIMER_HZ);
});

test('SMI_CMD switches ACPI mode on and off', () => {
  const { ports, pm } = enabled();
  ports.write(0xb2, 1, ACPI_ENABLE);
  assert.equal(ports.read(BASE + 4, 2), 1);
  assert.equal(pm.acpiEnabled, true);
  ports.write(0xb2, 1, ACPI_DISABLE);
  assert.equal(ports.read(BASE + 4, 2), 0);
  ports.write(0xb3, 1, 0x42);
  assert.equal(ports.read(0xb3, 1), 0x42);
  assert.equal(ports.read(0xb2, 2), 0x42f0);
});

test('the power button raises the SCI when it is enabled, until its status is cleared', () => {
  const { ports, sci, pm } = enabled();
  ports.write(BASE + 2, 2, PM1_PWRBTN);
  pm.pressPowerButton();
  assert.equal(sci.asserted, false, 'legacy mode has no SCI');
  ports.write(0xb2, 1, ACPI_ENABLE);
  assert.equal(sci.asserted, true);
  assert.equal(ports.read(BASE, 4), (PM1_PWRBTN << 16) | PM1_PWRBTN);
  ports.write(BASE, 2, PM1_TMR);
  assert.equal(sci.asserted, true);
  ports.write(BASE, 2, PM1_PWRBTN);
  assert.equal(sci.asserted, false);
});

test('a change of the highest timer bit sets TMR_STS and raises the SCI at that moment', () => {
  const { ports, sci, clock } = enabled();
  ports.write(0xb2, 1, ACPI_ENABLE);
  ports.write(BASE + 2, 2, PM1_TMR);
  clock.advanceTo(nanosOf(0x800000) - 1);
  assert.equal(sci.asserted, false);
  clock.advance(1);
  assert.equal(sci.asserted, true);
  assert.equal(ports.read(BASE, 2), PM1_TMR);
  ports.write(BASE, 2, PM1_TMR);
  assert.equal(sci.asserted, false);
  clock.advanceTo(nanosOf(0x1000000));
  assert.equal(sci.asserted, true);
});

test('general purpose events raise the SCI', () => {
  const { ports, sci, pm } = enabled();
  ports.write(0xb2, 1, ACPI_ENABLE);
  pm.raiseGpe(9);
  assert.equal(sci.asserted, false);
  ports.write(GPE0_PORT + 2, 2, 1 << 9);
  assert.equal(sci.asserted, true);
  assert.equal(ports.read(GPE0_PORT, 4), 0x02000200);
  ports.write(GPE0_PORT + 1, 1, 2);
  assert.equal(sci.asserted, false);
});

test('SLP_EN with the S5 type powers off; other types do nothing', () => {
  const { ports, events } = enabled();
  ports.write(BASE + 4, 2, 0x2001 | (1 << 10));
  assert.deepEqual(events, []);
  ports.write(BASE + 4, 2, 0x0001);
  assert.deepEqual(events, []);
  ports.write(BASE + 4, 2, 0x2001);
  assert.deepEqual(events, ['off']);
  assert.equal(ports.read(BASE + 4, 2), 1, 'SLP_EN reads as zero');
});

deviceConformance('PIIX4 power management', () => {
  const { pm, ports, clock } = enabled();
  return {
    device: pm,
    clock,
    poke(random) {
      const size = random.pick([1, 2, 4] as AccessSize[]);
      const port = random.pick([BASE + random.below(64), 0xb2 + random.below(2), GPE0_PORT + random.below(4)]);
      switch (random.below(8)) {
        case 0:
          pm.pci.writeConfig(random.below(64) * 4, 4, random.u32());
          break;
        case 1:
          pm.pci.writeConfig(0x40, 4, BASE);
          pm.pci.writeConfig(0x80, 1, 1);
          break;
        case 2:
          ports.read(port, size);
          break;
        case 3:
          pm.pressPowerButton();
          break;
        default:
          ports.write(port, size, random.u32());
      }
    },
  };
});
