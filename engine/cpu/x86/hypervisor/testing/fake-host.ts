import type { Log } from '../../../../base/log.ts';
import { EoiAssist } from '../../../../irq/eoi-assist.ts';
import { FakeMemory } from '../../../../testing/fakes.ts';
import { CpuState } from '../../cpu-state.ts';
import * as L from '../../layout.ts';
import type { HypervisorHost } from '../guest-interface.ts';

/** A machine of 2.5 GHz with memory and processors, whose counters a test moves. */
export class FakeHypervisorHost implements HypervisorHost {
  readonly memory = new FakeMemory(0x10000);
  readonly eoiAssist: EoiAssist | undefined = new EoiAssist(this.memory);
  readonly cpuCount: number;
  readonly processors: readonly CpuState[];
  tscFrequencyHz = 2_500_000_000;
  readonly apicFrequencyHz = 1_000_000_000;
  /** What was logged. */
  readonly lines: string[] = [];
  readonly log: Log = {
    info: (line) => this.lines.push(line),
    warn: (line) => this.lines.push(line),
  };
  tsc = 1_000_000n;
  wall = Date.UTC(2026, 0, 1);

  constructor(cpuCount = 1) {
    this.cpuCount = cpuCount;
    this.processors = Array.from(
      { length: cpuCount },
      (_, index) => new CpuState(new SharedArrayBuffer(L.CPU_STATE_SIZE), 0, index),
    );
  }

  timestamp(): bigint {
    return this.tsc;
  }

  tscOffset(cpu: number): bigint {
    return BigInt.asIntN(64, this.processors[cpu]?.u64(L.TSC_OFFSET) ?? 0n);
  }

  epochMillis(): number {
    return this.wall;
  }

  /** Lets time pass. */
  advance(seconds: number): void {
    this.tsc += BigInt(Math.round(seconds * this.tscFrequencyHz));
    this.wall += seconds * 1000;
  }
}

/** What a guest's kernel computes from the page of its clock, with the counter of the processor whose page it is. */
export function readGuestClock(page: DataView, tsc: bigint): { nanos: bigint; stable: boolean; version: number } {
  const delta = BigInt.asUintN(64, tsc - page.getBigUint64(8, true));
  const shift = page.getInt8(28);
  const scaled = shift < 0 ? delta >> BigInt(-shift) : delta << BigInt(shift);
  return {
    nanos: page.getBigUint64(16, true) + ((scaled * BigInt(page.getUint32(24, true))) >> 32n),
    stable: (page.getUint8(29) & 1) !== 0,
    version: page.getUint32(0, true),
  };
}
