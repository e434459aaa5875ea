import type { Log } from '../../../../base/log.ts';
import { ManualClock } from '../../../../clock/alarm-queue.ts';
import type { ApicDoor } from '../../../../irq/apic-door.ts';
import { EoiAssist } from '../../../../irq/eoi-assist.ts';
import { FakeMemory } from '../../../../testing/fakes.ts';
import { CpuState } from '../../cpu-state.ts';
import * as L from '../../layout.ts';
import type { HypervisorHost } from '../guest-interface.ts';

/** A machine of 2.5 GHz with memory and processors, whose counters a test moves. */
export class FakeHypervisorHost implements HypervisorHost {
  readonly memory = new FakeMemory(0x10000);
  readonly eoiAssist: EoiAssist | undefined = new EoiAssist(this.memory);
  countsStolenTime = true;
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
  readonly physicalAddressBits = 40;
  readonly clock = new ManualClock();
  hasAutoEoi = true;
  isSoftware = true;
  /** Interrupts that were sent, as "processor:vector". */
  readonly interrupts: string[] = [];
  /** What was written to registers of local APICs; reading gives the last value. */
  readonly apicRegisters = new Map<string, number>();
  /** Translations that were to be forgotten. */
  readonly flushes: { cpus: readonly number[]; pages: readonly bigint[] | undefined; includingGlobal: boolean }[] = [];
  readonly apics: ApicDoor = {
    interrupt: (cpu, vector) => this.interrupts.push(`${cpu}:${vector.toString(16)}`),
    readRegister: (cpu, register) => this.apicRegisters.get(`${cpu}:${register}`) ?? 0,
    writeRegister: (cpu, register, value) => this.apicRegisters.set(`${cpu}:${register}`, value),
  };
  /** The counter when the clock stood at 0. */
  #tscBase = 1_000_000n;
  readonly #startOfDay = Date.UTC(2026, 0, 1);

  constructor(cpuCount = 1) {
    this.cpuCount = cpuCount;
    this.processors = Array.from(
      { length: cpuCount },
      (_, index) => new CpuState(new SharedArrayBuffer(L.CPU_STATE_SIZE), 0, index),
    );
  }

  /** The machine's counter: it runs with the clock, and a test may set it to anything. */
  get tsc(): bigint {
    return this.#tscBase + (BigInt(this.clock.now()) * BigInt(this.tscFrequencyHz)) / 1_000_000_000n;
  }

  set tsc(value: bigint) {
    this.#tscBase += value - this.tsc;
  }

  timestamp(): bigint {
    return this.tsc;
  }

  flushTranslations(cpus: readonly number[], pages: readonly bigint[] | undefined, includingGlobal: boolean): void {
    this.flushes.push({ cpus, pages, includingGlobal });
  }

  tscOffset(cpu: number): bigint {
    return BigInt.asIntN(64, this.processors[cpu]?.u64(L.TSC_OFFSET) ?? 0n);
  }

  epochMillis(): number {
    return this.#startOfDay + this.clock.now() / 1e6;
  }

  /** Lets time pass. */
  advance(seconds: number): void {
    this.clock.advance(Math.round(seconds * 1e9));
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
