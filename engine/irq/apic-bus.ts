import { assert } from '../base/assert.ts';
import type { AccessSize, MmioHandler } from '../bus/bus.ts';
import type { ApicFabric } from './apic-delivery.ts';
import type { ApicDoor } from './apic-door.ts';
import { DELIVERY_FIXED, DELIVERY_LOWEST_PRIORITY } from './apic-messages.ts';
import { MSR_APIC_BASE } from './apic-registers.ts';
import type { InterruptAcknowledge } from './cpu-signals.ts';
import type { IoApic } from './io-apic.ts';
import type { ApicBorrower, LendableApics, LendableChips, LevelEntry, LineBorrower } from './lent-apics.ts';
import type { InterruptLine, MsiSink } from './line.ts';
import type { LocalApic, LocalApicState } from './local-apic.ts';

const SHORTHAND_SELF = 1;
const SHORTHAND_ALL = 2;

/** Fields of the message address and data registers (SDM 3A, 11.11). */
const MSI_ADDRESS_BASE = 0xfee;
const MSI_ADDRESS_LOGICAL = 1 << 2;
const MSI_DATA_LEVEL = 1 << 15;

/**
 * Joins the local APICs of all processors, the I/O APIC and MSI. It routes messages and gives the processors, the buses
 * and the 8259s one door each: {@link InterruptAcknowledge}, {@link page}, {@link lint0}, {@link lint1}, MsiSink.
 * It holds no state of its own but who has borrowed the local APICs.
 */
export class ApicBus implements ApicFabric, InterruptAcknowledge, MsiSink, LendableApics, ApicDoor {
  /** The register page at 0xfee00000; the processor that is running sees its own APIC there. */
  readonly page: MmioHandler;
  /** The 8259s' INTR output. */
  readonly lint0: InterruptLine;
  /** NMI sources. */
  readonly lint1: InterruptLine;
  readonly #apics: LocalApic[] = [];
  readonly #currentCpu: () => number;
  #ioApic: IoApic | undefined;
  #borrower: ApicBorrower | undefined;
  #chips: LendableChips | undefined;
  #picRequest = false;

  /** `currentCpu` names the processor whose access the page is serving. */
  constructor(currentCpu: () => number) {
    this.#currentCpu = currentCpu;
    this.page = {
      readMmio: (offset, size) => this.#readPage(offset, size),
      writeMmio: (offset, size, value) => this.#writePage(offset, size, value),
    };
    this.lint0 = {
      set: (asserted) => {
        this.#picRequest = asserted;
        for (const apic of this.#apics) {
          if (this.#borrower === undefined) {
            apic.setLint0(asserted);
          } else {
            apic.noteLint0(asserted);
          }
        }
        this.#borrower?.picRequestChanged();
      },
    };
    this.lint1 = {
      set: (asserted) => {
        this.recall();
        for (const apic of this.#apics) {
          apic.setLint1(asserted);
        }
      },
    };
  }

  /** Adds a processor's APIC; in the order of processors. */
  attach(apic: LocalApic): void {
    assert(apic.cpu === this.#apics.length, 'local APICs are attached in the order of their processors');
    this.#apics.push(apic);
  }

  attachIoApic(ioApic: IoApic): void {
    this.#ioApic = ioApic;
    ioApic.onRedirection = () => this.#borrower?.levelEntriesChanged();
  }

  // ---- lending

  get lent(): boolean {
    return this.#borrower !== undefined;
  }

  /** The board has these, and they may be lent together with the local APICs. */
  attachChips(chips: LendableChips): void {
    this.#chips = chips;
  }

  get chips(): LendableChips | undefined {
    return this.#chips;
  }

  /** Who has the 8259s and the I/O APIC. */
  get lineBorrower(): LineBorrower | undefined {
    return this.#borrower?.lines;
  }

  /** Brings everything back if more than the local APICs is lent. */
  recallChips(): void {
    if (this.#borrower?.lines !== undefined) {
      this.recall();
    }
  }

  get picRequest(): boolean {
    return this.#picRequest;
  }

  lend(to: ApicBorrower): void {
    this.#borrower = to;
    for (const apic of this.#apics) {
      apic.suspend();
    }
  }

  recall(): void {
    const borrower = this.#borrower;
    if (borrower !== undefined) {
      this.#borrower = undefined;
      borrower.giveBack();
    }
  }

  state(cpu: number): LocalApicState {
    return this.#apic(cpu).save();
  }

  setState(cpu: number, state: LocalApicState): void {
    this.#apic(cpu).load(state);
  }

  settle(): void {
    this.#ioApic?.settle((vector) => this.#apics.some((apic) => apic.isUnderWay(vector)));
  }

  acknowledgePic(): number {
    return this.#apic(0).acknowledgePic();
  }

  levelEntries(): readonly LevelEntry[] {
    return this.#ioApic?.levelEntries() ?? [];
  }

  endOfInterrupt(vector: number): void {
    this.#ioApic?.endOfInterrupt(vector);
  }

  /** An APIC whose registers are to be looked at. */
  #own(cpu: number): LocalApic {
    this.recall();
    return this.#apic(cpu);
  }

  #apic(cpu: number): LocalApic {
    const apic = this.#apics[cpu];
    assert(apic !== undefined, `there is no processor ${cpu}`);
    return apic;
  }

  // ---- messages

  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void {
    if (this.#borrower !== undefined) {
      this.#borrower.deliver(destination, logical, mode, vector, level);
      return;
    }
    const apics = this.#apics;
    if (mode === DELIVERY_LOWEST_PRIORITY) {
      let best: LocalApic | undefined;
      let bestPriority = 0;
      for (let i = 0; i < apics.length; i++) {
        const apic = apics[i];
        if (apic?.accepting && apic.matches(destination, logical)) {
          const priority = apic.ppr() >>> 4;
          if (best === undefined || priority < bestPriority) {
            best = apic;
            bestPriority = priority;
          }
        }
      }
      best?.receive(mode, vector, level);
      return;
    }
    for (let i = 0; i < apics.length; i++) {
      const apic = apics[i];
      if (apic?.matches(destination, logical)) {
        apic.receive(mode, vector, level);
      }
    }
  }

  deliverShorthand(sender: number, shorthand: number, mode: number, vector: number, level: boolean): void {
    if (shorthand === SHORTHAND_SELF) {
      this.#apic(sender).receive(mode, vector, level);
      return;
    }
    for (let i = 0; i < this.#apics.length; i++) {
      if (shorthand === SHORTHAND_ALL || i !== sender) {
        const apic = this.#apics[i];
        if (apic?.hardwareEnabled) {
          apic.receive(mode, vector, level);
        }
      }
    }
  }

  broadcastEoi(vector: number): void {
    this.#ioApic?.endOfInterrupt(vector);
  }

  /** A write by a device to 0xfeexxxxx. */
  send(address: number, data: number): void {
    if (address >>> 20 !== MSI_ADDRESS_BASE) {
      return;
    }
    const destination = (address >>> 12) & 0xff;
    // Processors heed the destination mode with and without the redirection hint, and guests rely on it.
    const logical = (address & MSI_ADDRESS_LOGICAL) !== 0;
    this.deliver(destination, logical, (data >>> 8) & 7, data & 0xff, (data & MSI_DATA_LEVEL) !== 0);
  }

  // ---- ApicDoor

  interrupt(cpu: number, vector: number): void {
    if (this.#borrower !== undefined) {
      this.#borrower.deliver(cpu, false, DELIVERY_FIXED, vector, false);
    } else {
      this.#apic(cpu).receive(DELIVERY_FIXED, vector, false);
    }
  }

  readRegister(cpu: number, register: number): number {
    return this.#own(cpu).readRegister(register);
  }

  writeRegister(cpu: number, register: number, value: number): void {
    this.#own(cpu).writeRegister(register, value);
  }

  // ---- the register page

  #readPage(offset: number, size: AccessSize): number {
    const apic = this.#own(this.#currentCpu());
    if (!apic.memoryMapped) {
      return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
    }
    // Registers are the first four bytes of each 16.
    if ((offset & 0x0c) !== 0) {
      return 0;
    }
    const value = apic.readRegister((offset >>> 4) & 0xff);
    if (size === 4) {
      return value;
    }
    const shifted = value >>> ((offset & 3) * 8);
    return size === 2 ? shifted & 0xffff : shifted & 0xff;
  }

  #writePage(offset: number, size: AccessSize, value: number): void {
    const apic = this.#own(this.#currentCpu());
    // Only aligned 32-bit writes are defined (SDM 3A, 11.4.1).
    if (size === 4 && (offset & 0x0f) === 0 && apic.memoryMapped) {
      apic.writeRegister((offset >>> 4) & 0xff, value);
    }
  }

  // ---- the processors' side

  acknowledge(cpu: number): number {
    return this.#own(cpu).acknowledge();
  }

  tpr(cpu: number): number {
    return this.#own(cpu).tpr >>> 4;
  }

  setTpr(cpu: number, value: number): void {
    this.#own(cpu).setTpr((value & 0x0f) << 4);
  }

  readApicMsr(cpu: number, msr: number): bigint | undefined {
    if (msr === MSR_APIC_BASE && this.#borrower !== undefined) {
      // CPUID asks for it; that is no reason to bring everything back.
      return this.#borrower.apicBase(cpu);
    }
    return this.#own(cpu).readMsr(msr);
  }

  writeApicMsr(cpu: number, msr: number, value: bigint): boolean {
    return this.#own(cpu).writeMsr(msr, value);
  }

  /** Guest software wrote the time-stamp counter of `cpu`. */
  tscChanged(cpu: number): void {
    this.#own(cpu).tscChanged();
  }
}
