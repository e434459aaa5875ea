import type { Clock, Nanos } from '../clock/clock.ts';
import {
  type ApicMessages,
  DELIVERY_EXTINT,
  DELIVERY_FIXED,
  DELIVERY_INIT,
  DELIVERY_LOWEST_PRIORITY,
  DELIVERY_NMI,
  DELIVERY_SMI,
  DELIVERY_STARTUP,
} from './apic-messages.ts';
import {
  BASE_ENABLE,
  BASE_X2APIC,
  ESR_RECEIVED_ILLEGAL_VECTOR,
  LVT_COUNT,
  LVT_ERROR,
  LVT_LEVEL,
  LVT_LINT0,
  LVT_LINT1,
  LVT_MASKED,
  LVT_REMOTE_IRR,
  LVT_TIMER,
  SVR_ENABLE,
  SVR_SUPPRESS_EOI_BROADCAST,
} from './apic-registers.ts';
import type { CpuSignals } from './cpu-signals.ts';
import type { EoiAssist } from './eoi-assist.ts';
import { VectorSet } from './vector-set.ts';

/** What a local APIC needs of the others and of the I/O APIC. */
export interface ApicFabric extends ApicMessages {
  /** An interrupt with a destination shorthand: 1 self, 2 all, 3 all but self. */
  deliverShorthand(sender: number, shorthand: number, mode: number, vector: number, level: boolean): void;
  broadcastEoi(vector: number): void;
  /** Brings the registers of all local APICs back if a processor backend has them (ApicBus.lend). */
  recall(): void;
}

export interface LocalApicWiring {
  readonly clock: Clock;
  readonly signals: CpuSignals;
  readonly fabric: ApicFabric;
  /** INTA of the 8259 pair. */
  readonly acknowledgePic: () => number;
  /** The moment at which the processor's time-stamp counter reaches `tsc`; may be in the past, or Infinity. */
  readonly tscToNanos: (tsc: bigint, cpu: number) => Nanos;
  /** Bits of guest memory by which EOIs can be left out; undefined: guests know of none. */
  readonly eoiAssist?: EoiAssist;
}

/**
 * Which interrupts a local APIC accepts, and in what order its processor gets them (SDM volume 3A, sections 11.8 and
 * 11.6.2): destinations, local vector table, request and in-service registers, and priorities.
 */
export abstract class ApicDelivery {
  readonly cpu: number;
  /** The id after reset; also the x2APIC id. */
  readonly apicId: number;
  readonly #wiring: LocalApicWiring;
  protected readonly irr = new VectorSet();
  protected readonly isr = new VectorSet();
  protected readonly tmr = new VectorSet();
  protected readonly lvt = new Uint32Array(LVT_COUNT);
  /** Low 32 bits of IA32_APIC_BASE. */
  protected base = 0;
  protected xapicId: number;
  protected taskPriority = 0;
  protected ldr = 0;
  protected dfr = 0xffffffff;
  protected svr = 0xff;
  /** Errors that are not in the error status register yet. */
  protected pendingErrors = 0;
  /** Level of LINT0, which the 8259s drive. */
  protected lint0 = false;
  protected lint1 = false;
  /** An ExtINT message has come and waits for INTA. */
  protected extInt = false;
  /** What the processor was told last. */
  protected requested = false;
  /**
   * The guest may end the one interrupt in service by its bit of memory (EoiAssist), of which nothing is heard here. So
   * this holds only while no other waits, and whoever asks what is in service settles it first.
   */
  #assisted = false;

  constructor(cpu: number, wiring: LocalApicWiring) {
    this.cpu = cpu;
    this.apicId = cpu;
    this.xapicId = cpu;
    this.#wiring = wiring;
    wiring.eoiAssist?.attach(cpu, () => this.withdrawAssist());
  }

  /** What INIT does: everything but the base register and the id (SDM 3A, 11.4.7.3). */
  abstract initReset(): void;

  // ---- modes

  get hardwareEnabled(): boolean {
    return (this.base & BASE_ENABLE) !== 0;
  }

  get x2apic(): boolean {
    return (this.base & BASE_X2APIC) !== 0;
  }

  protected get softwareEnabled(): boolean {
    return (this.svr & SVR_ENABLE) !== 0;
  }

  /** The vector waits here or is being served. */
  isUnderWay(vector: number): boolean {
    this.settle();
    return this.irr.has(vector) || this.isr.has(vector);
  }

  /** True while fixed interrupts are accepted. */
  get accepting(): boolean {
    return this.hardwareEnabled && this.softwareEnabled;
  }

  /** True while the registers answer at their address. */
  get memoryMapped(): boolean {
    return (this.base & (BASE_ENABLE | BASE_X2APIC)) === BASE_ENABLE;
  }

  // ---- the processor's side

  /** The vector that has to be served now, or −1: the highest of IRR if its class exceeds PPR's. */
  #deliverable(): number {
    if (!this.accepting) {
      return -1;
    }
    const vector = this.irr.highest();
    return vector >= 0 && vector >>> 4 > this.ppr() >>> 4 ? vector : -1;
  }

  /** True when an 8259 interrupt may pass: straight to the bootstrap processor while the APIC is off, else as ExtINT. */
  #picPasses(): boolean {
    if (!this.hardwareEnabled) {
      return this.cpu === 0;
    }
    return ((this.lvt[LVT_LINT0] ?? 0) & (LVT_MASKED | 0x700)) === DELIVERY_EXTINT << 8;
  }

  protected update(): void {
    const requested = this.extInt || (this.lint0 && this.#picPasses()) || this.#deliverable() >= 0;
    if (requested !== this.requested) {
      this.requested = requested;
      this.#wiring.signals.setInterruptRequest(this.cpu, requested);
    }
  }

  /** INTA: see InterruptAcknowledge. */
  acknowledge(): number {
    const vector = this.#deliverable();
    if (vector >= 0) {
      const isAlone = this.isr.highest() < 0;
      this.irr.delete(vector);
      this.isr.add(vector);
      if (isAlone && !this.tmr.has(vector) && this.irr.highest() < 0) {
        this.#assisted = this.#wiring.eoiAssist?.offer(this.cpu) === true;
      }
      this.update();
      return vector;
    }
    if (this.extInt || (this.lint0 && this.#picPasses())) {
      this.extInt = false;
      const fromPic = this.#wiring.acknowledgePic();
      this.update();
      return fromPic;
    }
    this.update();
    return this.svr & 0xff;
  }

  get tpr(): number {
    return this.taskPriority;
  }

  setTpr(value: number): void {
    this.taskPriority = value & 0xff;
    this.update();
  }

  /** The processor priority register (SDM 3A, 11.8.3.1). */
  ppr(): number {
    this.settle();
    const served = this.isr.highest();
    const isrClass = served < 0 ? 0 : served & 0xf0;
    return (this.taskPriority & 0xf0) >= isrClass ? this.taskPriority : isrClass;
  }

  /** Carries out the EOI that the guest has left out. */
  protected settle(): void {
    if (this.#assisted && this.#wiring.eoiAssist?.isTaken(this.cpu) === true) {
      this.#assisted = false;
      this.#endHighest();
    }
  }

  /** The same, and the guest is to tell of the EOI that is still to come. */
  protected withdrawAssist(): void {
    if (this.#assisted) {
      this.#assisted = false;
      if (this.#wiring.eoiAssist?.withdraw(this.cpu) === true) {
        this.#endHighest();
      }
    }
  }

  /** The registers were replaced, and guest memory with them. */
  protected forgetAssist(): void {
    this.#assisted = false;
  }

  /** A write to the EOI register. */
  protected endOfInterrupt(): void {
    this.withdrawAssist();
    this.#endHighest();
  }

  #endHighest(): void {
    const vector = this.isr.highest();
    if (vector < 0) {
      return;
    }
    this.isr.delete(vector);
    if (this.tmr.has(vector)) {
      const lint0 = this.lvt[LVT_LINT0] ?? 0;
      if ((lint0 & LVT_REMOTE_IRR) !== 0 && (lint0 & 0xff) === vector) {
        this.lvt[LVT_LINT0] = lint0 & ~LVT_REMOTE_IRR;
        this.levelLint0();
      } else if ((this.svr & SVR_SUPPRESS_EOI_BROADCAST) === 0) {
        this.#wiring.fabric.broadcastEoi(vector);
      }
    }
    this.update();
  }

  protected logicalId(): number {
    // An x2APIC derives it from its id (SDM 3A, 11.12.10.2).
    return this.x2apic ? (((this.apicId >>> 4) << 16) | (1 << (this.apicId & 15))) >>> 0 : this.ldr;
  }

  // ---- interrupts coming in

  /** Does a message with `destination` mean this APIC? */
  matches(destination: number, logical: boolean): boolean {
    if (!this.hardwareEnabled) {
      return false;
    }
    if (this.x2apic) {
      if (destination === 0xffffffff || destination === 0xff) {
        return true;
      }
      if (!logical) {
        return destination === this.apicId;
      }
      const ldr = this.logicalId();
      return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
    }
    const target = destination & 0xff;
    if (target === 0xff) {
      return true;
    }
    if (!logical) {
      return target === this.xapicId && destination <= 0xff;
    }
    const mine = this.ldr >>> 24;
    if (this.dfr >>> 28 === 0x0f) {
      return (mine & target) !== 0;
    }
    return this.dfr >>> 28 === 0 && mine >>> 4 === target >>> 4 && (mine & target & 0x0f) !== 0;
  }

  /** An interrupt message that means this APIC. */
  receive(mode: number, vector: number, level: boolean): void {
    const { signals } = this.#wiring;
    switch (mode) {
      case DELIVERY_FIXED:
      case DELIVERY_LOWEST_PRIORITY:
        this.acceptFixed(vector, level);
        return;
      case DELIVERY_SMI:
        signals.smi(this.cpu);
        return;
      case DELIVERY_NMI:
        signals.nmi(this.cpu);
        return;
      case DELIVERY_INIT:
        this.initReset();
        signals.init(this.cpu);
        return;
      case DELIVERY_STARTUP:
        signals.startup(this.cpu, vector & 0xff);
        return;
      case DELIVERY_EXTINT:
        this.extInt = true;
        this.update();
        return;
    }
  }

  protected acceptFixed(vector: number, level: boolean): void {
    if (!this.accepting) {
      return;
    }
    if (vector < 16) {
      this.noteError(ESR_RECEIVED_ILLEGAL_VECTOR);
      return;
    }
    this.withdrawAssist();
    this.irr.add(vector);
    if (level) {
      this.tmr.add(vector);
    } else {
      this.tmr.delete(vector);
    }
    this.update();
  }

  /** An interrupt of the APIC itself, as its LVT entry says. */
  protected deliverLvt(index: number): void {
    const entry = this.lvt[index] ?? 0;
    if ((entry & LVT_MASKED) !== 0 || !this.hardwareEnabled) {
      return;
    }
    const mode = index === LVT_TIMER || index === LVT_ERROR ? DELIVERY_FIXED : (entry >>> 8) & 7;
    switch (mode) {
      case DELIVERY_FIXED:
        this.acceptFixed(entry & 0xff, false);
        return;
      case DELIVERY_SMI:
        this.#wiring.signals.smi(this.cpu);
        return;
      case DELIVERY_NMI:
        this.#wiring.signals.nmi(this.cpu);
        return;
      case DELIVERY_INIT:
        this.initReset();
        this.#wiring.signals.init(this.cpu);
        return;
    }
  }

  /** INTA of the 8259 pair. */
  acknowledgePic(): number {
    return this.#wiring.acknowledgePic();
  }

  /** The level of LINT0 while the registers are lent: nothing follows from it here. */
  noteLint0(asserted: boolean): void {
    this.lint0 = asserted;
  }

  /** Takes back what the processor was told of waiting interrupts. */
  protected withdrawRequest(): void {
    if (this.requested) {
      this.requested = false;
      this.#wiring.signals.setInterruptRequest(this.cpu, false);
    }
  }

  /** The 8259s' INTR, wired to LINT0 of every processor. */
  setLint0(asserted: boolean): void {
    if (asserted === this.lint0) {
      return;
    }
    this.lint0 = asserted;
    const entry = this.lvt[LVT_LINT0] ?? 0;
    if (asserted && (entry & 0x700) !== DELIVERY_EXTINT << 8) {
      if ((entry & (LVT_LEVEL | 0x700)) === LVT_LEVEL) {
        this.levelLint0();
      } else {
        this.deliverLvt(LVT_LINT0);
      }
    }
    this.update();
  }

  /** LINT0 as a level-triggered fixed interrupt. */
  protected levelLint0(): void {
    const entry = this.lvt[LVT_LINT0] ?? 0;
    if (this.lint0 && this.accepting && (entry & (LVT_MASKED | LVT_REMOTE_IRR | LVT_LEVEL | 0x700)) === LVT_LEVEL) {
      this.lvt[LVT_LINT0] = entry | LVT_REMOTE_IRR;
      this.acceptFixed(entry & 0xff, true);
    }
  }

  /** The system's NMI source (port 0x61, NMI button), wired to LINT1 of every processor. */
  setLint1(asserted: boolean): void {
    const rising = asserted && !this.lint1;
    this.lint1 = asserted;
    if (!rising) {
      return;
    }
    if (!this.hardwareEnabled) {
      if (this.cpu === 0) {
        this.#wiring.signals.nmi(this.cpu);
      }
    } else {
      this.deliverLvt(LVT_LINT1);
    }
  }

  protected noteError(bit: number): void {
    const isNew = (this.pendingErrors & bit) === 0;
    this.pendingErrors |= bit;
    const vector = (this.lvt[LVT_ERROR] ?? 0) & 0xff;
    if (isNew && vector >= 16) {
      this.deliverLvt(LVT_ERROR);
    }
  }
}
