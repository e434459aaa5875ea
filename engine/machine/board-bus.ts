import type { Doorbells } from '../bus/doorbells.ts';
import type { MmioWindows } from '../bus/mmio-bus.ts';
import type { Ports } from '../bus/port-bus.ts';
import type { CpuBus } from '../cpu/cpu-backend.ts';
import type { InterruptChips } from './interrupt-chips.ts';

/** What the processors of a board reach: its buses, its local APICs and its doorbells. */
export function boardBus(
  ports: Ports,
  mmio: MmioWindows,
  { apics, eoiAssist }: Pick<InterruptChips, 'apics' | 'eoiAssist'>,
  doorbells: Doorbells,
): CpuBus {
  return {
    readPort: (address, size) => ports.read(address, size),
    writePort: (address, size, value) => ports.write(address, size, value),
    readMmio: (address, size) => mmio.read(address, size),
    writeMmio: (address, size, value) => mmio.write(address, size, value),
    acknowledge: (cpu) => apics.acknowledge(cpu),
    tpr: (cpu) => apics.tpr(cpu),
    setTpr: (cpu, value) => apics.setTpr(cpu, value),
    readApicMsr: (cpu, msr) => apics.readApicMsr(cpu, msr),
    writeApicMsr: (cpu, msr, value) => apics.writeApicMsr(cpu, msr, value),
    tscChanged: (cpu) => apics.tscChanged(cpu),
    doorbells,
    localApics: apics,
    eoiAssist,
    apicDoor: apics,
  };
}
