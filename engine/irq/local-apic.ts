import type { Device, StateValue } from '../devices/device.ts';
import { StateReader } from '../devices/state.ts';
import { ApicDelivery, type LocalApicWiring } from './apic-delivery.ts';
import { DELIVERY_EXTINT, DELIVERY_FIXED, DELIVERY_INIT, DELIVERY_LOWEST_PRIORITY } from './apic-messages.ts';
import {
  BASE_BSP,
  BASE_DEFAULT_ADDRESS,
  BASE_ENABLE,
  BASE_X2APIC,
  ESR_ILLEGAL_REGISTER,
  ESR_SEND_ILLEGAL_VECTOR,
  ICR_LEVEL,
  ICR_LEVEL_ASSERT,
  ICR_LOGICAL,
  ICR_LOW_WRITABLE,
  isReadOnly,
  isX2apicReadable,
  LVT_COUNT,
  LVT_LEVEL,
  LVT_LINT0,
  LVT_LINT0_BSP,
  LVT_MASKED,
  LVT_REMOTE_IRR,
  LVT_RESET,
  LVT_TIMER,
  LVT_WRITABLE,
  MSR_APIC_BASE,
  MSR_TSC_DEADLINE,
  MSR_X2APIC_FIRST,
  MSR_X2APIC_LAST,
  REG_APR,
  REG_CURRENT_COUNT,
  REG_DFR,
  REG_DIVIDE,
  REG_EOI,
  REG_ESR,
  REG_ICR_HIGH,
  REG_ICR_LOW,
  REG_ID,
  REG_INITIAL_COUNT,
  REG_IRR,
  REG_ISR,
  REG_LDR,
  REG_LVT_ERROR,
  REG_LVT_TIMER,
  REG_PPR,
  REG_SELF_IPI,
  REG_SVR,
  REG_TMR,
  REG_TPR,
  REG_VERSION,
  SVR_ENABLE,
  SVR_WRITABLE,
  VERSION,
  x2apicWritable,
} from './apic-registers.ts';
import { ApicTimer } from './apic-timer.ts';
import type { VectorSet } from './vector-set.ts';

/** The saved state of a local APIC. */
export type LocalApicState = ReturnType<LocalApic['save']>;

export interface LocalApicConfig {
  /** Index of the processor; also its APIC id. Processor 0 is the bootstrap processor. */
  readonly cpu: number;
  /** Period of the timer's input clock, default 1 ns. */
  readonly busCycleNanos?: number;
}

/**
 * The local APIC of one processor, in xAPIC and x2APIC mode (SDM volume 3A, chapter 11): its registers in memory and as
 * MSRs, the messages that it sends, and its saved state. What comes in is dealt with in {@link ApicDelivery}.
 */
export class LocalApic extends ApicDelivery implements Device {
  readonly id: string;
  readonly #wiring: LocalApicWiring;
  readonly #timer: ApicTimer;
  #baseHigh = 0;
  #esr = 0;
  #icrLow = 0;
  #icrHigh = 0;

  constructor(id: string, wiring: LocalApicWiring, config: LocalApicConfig) {
    super(config.cpu, wiring);
    this.id = id;
    this.#wiring = wiring;
    this.#timer = new ApicTimer(
      wiring.clock,
      config.busCycleNanos ?? 1,
      (tsc) => wiring.tscToNanos(tsc, config.cpu),
      () => this.deliverLvt(LVT_TIMER),
    );
    this.#resetBase();
    this.#resetRegisters();
  }

  /** The registers are lent: nothing is requested of the processor, and no alarm goes off, until `load`. */
  suspend(): void {
    this.#timer.suspend();
    this.withdrawAssist();
    this.withdrawRequest();
  }

  // ---- registers

  /** Register `register` (offset in the page divided by 16). */
  readRegister(register: number): number {
    this.settle();
    switch (register) {
      case REG_ID:
        return this.x2apic ? this.apicId : (this.xapicId << 24) >>> 0;
      case REG_VERSION:
        return VERSION;
      case REG_TPR:
        return this.taskPriority;
      case REG_APR:
        return this.#arbitrationPriority();
      case REG_PPR:
        return this.ppr();
      case REG_LDR:
        return this.logicalId();
      case REG_DFR:
        return this.dfr;
      case REG_SVR:
        return this.svr;
      case REG_ESR:
        return this.#esr;
      case REG_ICR_LOW:
        return this.#icrLow;
      case REG_ICR_HIGH:
        return this.#icrHigh;
      case REG_INITIAL_COUNT:
        return this.#timer.initialCount;
      case REG_CURRENT_COUNT:
        return this.#timer.currentCount();
      case REG_DIVIDE:
        return this.#timer.divideConfiguration;
    }
    if (register >= REG_ISR && register < REG_ISR + 8) {
      return this.isr.words[register - REG_ISR] ?? 0;
    }
    if (register >= REG_TMR && register < REG_TMR + 8) {
      return this.tmr.words[register - REG_TMR] ?? 0;
    }
    if (register >= REG_IRR && register < REG_IRR + 8) {
      return this.irr.words[register - REG_IRR] ?? 0;
    }
    if (register >= REG_LVT_TIMER && register <= REG_LVT_ERROR) {
      return this.lvt[register - REG_LVT_TIMER] ?? 0;
    }
    return 0;
  }

  /** SDM 3A, 11.6.2.4. */
  #arbitrationPriority(): number {
    const requested = Math.max(0, this.irr.highest()) >>> 4;
    const served = Math.max(0, this.isr.highest()) >>> 4;
    const task = this.taskPriority >>> 4;
    return task >= requested && task > served ? this.taskPriority : Math.max(task & served, requested) << 4;
  }

  writeRegister(register: number, value: number): void {
    switch (register) {
      case REG_ID:
        this.xapicId = value >>> 24;
        return;
      case REG_TPR:
        this.setTpr(value);
        return;
      case REG_EOI:
        this.endOfInterrupt();
        return;
      case REG_LDR:
        this.ldr = (value & 0xff000000) >>> 0;
        return;
      case REG_DFR:
        this.dfr = (value | 0x0fffffff) >>> 0;
        return;
      case REG_SVR:
        this.#writeSvr(value);
        return;
      case REG_ESR:
        // Writing latches what has been collected since the last write.
        this.#esr = this.pendingErrors;
        this.pendingErrors = 0;
        return;
      case REG_ICR_LOW:
        this.#icrLow = value & ICR_LOW_WRITABLE;
        this.#sendIpi();
        return;
      case REG_ICR_HIGH:
        this.#icrHigh = this.x2apic ? value >>> 0 : (value & 0xff000000) >>> 0;
        return;
      case REG_INITIAL_COUNT:
        this.#timer.writeInitialCount(value >>> 0);
        return;
      case REG_DIVIDE:
        this.#timer.writeDivide(value);
        return;
    }
    if (register >= REG_LVT_TIMER && register <= REG_LVT_ERROR) {
      this.#writeLvt(register - REG_LVT_TIMER, value);
    } else if (!isReadOnly(register)) {
      this.noteError(ESR_ILLEGAL_REGISTER);
    }
  }

  #writeSvr(value: number): void {
    this.svr = value & SVR_WRITABLE;
    if (!this.softwareEnabled) {
      // SDM 3A, 11.4.7.2: the mask bits of all LVT entries are set and stay set.
      for (let i = 0; i < LVT_COUNT; i++) {
        this.lvt[i] = (this.lvt[i] ?? 0) | LVT_MASKED;
      }
    }
    this.update();
  }

  #writeLvt(index: number, value: number): void {
    const old = this.lvt[index] ?? 0;
    let entry = value & (LVT_WRITABLE[index] ?? 0);
    if (!this.softwareEnabled) {
      entry |= LVT_MASKED;
    }
    if ((entry & (LVT_LEVEL | 0x700)) === LVT_LEVEL) {
      entry |= old & LVT_REMOTE_IRR;
    }
    this.lvt[index] = entry;
    if (index === LVT_TIMER) {
      this.#timer.setMode((entry >>> 17) & 3);
    } else if (index === LVT_LINT0) {
      this.levelLint0();
      this.update();
    }
  }

  #sendIpi(): void {
    const low = this.#icrLow;
    const mode = (low >>> 8) & 7;
    const vector = low & 0xff;
    if (mode === DELIVERY_INIT && (low & (ICR_LEVEL | ICR_LEVEL_ASSERT)) === ICR_LEVEL) {
      // INIT level de-assert only synchronised arbitration ids of long-gone processors.
      return;
    }
    if (mode === DELIVERY_EXTINT || mode === 3) {
      return;
    }
    if ((mode === DELIVERY_FIXED || mode === DELIVERY_LOWEST_PRIORITY) && vector < 16) {
      this.noteError(ESR_SEND_ILLEGAL_VECTOR);
      return;
    }
    const shorthand = (low >>> 18) & 3;
    // IPIs are edge triggered whatever the trigger mode says (SDM 3A, 11.6.1).
    if (shorthand !== 0) {
      this.#wiring.fabric.deliverShorthand(this.cpu, shorthand, mode, vector, false);
    } else {
      const destination = this.x2apic ? this.#icrHigh : this.#icrHigh >>> 24;
      this.#wiring.fabric.deliver(destination, (low & ICR_LOGICAL) !== 0, mode, vector, false);
    }
  }

  // ---- model-specific registers

  /** See InterruptAcknowledge. */
  readMsr(msr: number): bigint | undefined {
    if (msr === MSR_APIC_BASE) {
      return (BigInt(this.#baseHigh) << 32n) | BigInt(this.base >>> 0);
    }
    if (msr === MSR_TSC_DEADLINE) {
      return this.#timer.tscDeadline;
    }
    if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !this.x2apic) {
      return undefined;
    }
    const register = msr - MSR_X2APIC_FIRST;
    if (register === REG_ICR_LOW) {
      return (BigInt(this.#icrHigh) << 32n) | BigInt(this.#icrLow);
    }
    return isX2apicReadable(register) ? BigInt(this.readRegister(register)) : undefined;
  }

  /** See InterruptAcknowledge. */
  writeMsr(msr: number, value: bigint): boolean {
    if (msr === MSR_APIC_BASE) {
      return this.#writeBase(value);
    }
    if (msr === MSR_TSC_DEADLINE) {
      this.#timer.writeTscDeadline(value);
      return true;
    }
    if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !this.x2apic) {
      return false;
    }
    const register = msr - MSR_X2APIC_FIRST;
    const low = Number(value & 0xffffffffn);
    if (register === REG_ICR_LOW) {
      if ((low & ~ICR_LOW_WRITABLE) !== 0) {
        return false;
      }
      this.#icrHigh = Number(value >> 32n);
      this.writeRegister(REG_ICR_LOW, low);
      return true;
    }
    if (value > 0xffffffffn || (low & ~x2apicWritable(register)) !== 0) {
      return false;
    }
    if (register === REG_SELF_IPI) {
      if (low < 16) {
        this.noteError(ESR_SEND_ILLEGAL_VECTOR);
      } else {
        this.acceptFixed(low, false);
      }
      return true;
    }
    if (x2apicWritable(register) === 0 && register !== REG_EOI && register !== REG_ESR) {
      return false;
    }
    this.writeRegister(register, low);
    return true;
  }

  #writeBase(value: bigint): boolean {
    const low = Number(value & 0xffffffffn);
    const high = Number(value >> 32n);
    if ((low & 0x2ff) !== 0 || high > 0xfffff) {
      return false;
    }
    const wasOn = this.hardwareEnabled;
    const wasX2 = this.x2apic;
    const on = (low & BASE_ENABLE) !== 0;
    const x2 = (low & BASE_X2APIC) !== 0;
    // The legal transitions (SDM 3A, figure 11-27).
    if ((x2 && !on) || (x2 && !wasOn) || (wasX2 && on && !x2)) {
      return false;
    }
    if (wasX2 && !x2) {
      this.#resetRegisters();
    } else if (wasOn && !on) {
      this.#writeSvr(this.svr & ~SVR_ENABLE);
      this.#timer.reset();
    }
    this.base = (low & ~BASE_BSP) | (this.cpu === 0 ? BASE_BSP : 0);
    this.#baseHigh = high;
    this.update();
    return true;
  }

  /** The time-stamp counter of this processor was written. */
  tscChanged(): void {
    this.#timer.tscChanged();
  }

  // ---- life cycle

  #resetBase(): void {
    this.base = BASE_DEFAULT_ADDRESS | BASE_ENABLE | (this.cpu === 0 ? BASE_BSP : 0);
    this.#baseHigh = 0;
  }

  #resetRegisters(): void {
    this.withdrawAssist();
    this.#timer.reset();
    this.irr.clear();
    this.isr.clear();
    this.tmr.clear();
    this.lvt.fill(LVT_RESET);
    if (this.cpu === 0) {
      this.lvt[LVT_LINT0] = LVT_LINT0_BSP;
    }
    this.taskPriority = 0;
    this.ldr = 0;
    this.dfr = 0xffffffff;
    this.svr = 0xff;
    this.#esr = 0;
    this.pendingErrors = 0;
    this.#icrLow = 0;
    this.#icrHigh = 0;
    this.extInt = false;
    this.update();
  }

  override initReset(): void {
    this.#resetRegisters();
  }

  reset(): void {
    this.#wiring.fabric.recall();
    this.#resetBase();
    this.xapicId = this.apicId;
    this.#resetRegisters();
  }

  save() {
    this.#wiring.fabric.recall();
    this.withdrawAssist();
    return {
      base: this.base >>> 0,
      baseHigh: this.#baseHigh,
      xapicId: this.xapicId,
      tpr: this.taskPriority,
      ldr: this.ldr,
      dfr: this.dfr,
      svr: this.svr,
      esr: this.#esr,
      pendingErrors: this.pendingErrors,
      icrLow: this.#icrLow,
      icrHigh: this.#icrHigh,
      lint0: this.lint0,
      lint1: this.lint1,
      extInt: this.extInt,
      irr: Array.from(this.irr.words),
      isr: Array.from(this.isr.words),
      tmr: Array.from(this.tmr.words),
      lvt: Array.from(this.lvt),
      timer: this.#timer.save(),
    };
  }

  load(state: StateValue): void {
    this.#wiring.fabric.recall();
    const reader = new StateReader(this.id, state);
    const base = reader.u32('base');
    const baseHigh = reader.int('baseHigh', 0, 0xfffff);
    if ((base & 0x2ff) !== 0 || (base & (BASE_ENABLE | BASE_X2APIC)) === BASE_X2APIC) {
      reader.refuse('the saved APIC base is not possible');
    }
    const xapicId = reader.u8('xapicId');
    const tpr = reader.u8('tpr');
    const ldr = reader.u32('ldr');
    const dfr = reader.u32('dfr');
    const svr = reader.int('svr', 0, SVR_WRITABLE);
    const esr = reader.u8('esr');
    const pendingErrors = reader.u8('pendingErrors');
    const icrLow = reader.u32('icrLow') & ICR_LOW_WRITABLE;
    const icrHigh = reader.u32('icrHigh');
    const lint0 = reader.boolean('lint0');
    const lint1 = reader.boolean('lint1');
    const extInt = reader.boolean('extInt');
    const irr = reader.ints('irr', 0, 0xffffffff, 8);
    const isr = reader.ints('isr', 0, 0xffffffff, 8);
    const tmr = reader.ints('tmr', 0, 0xffffffff, 8);
    const lvt = reader.ints('lvt', 0, 0x7ffff, LVT_COUNT);
    const timer = ApicTimer.parse(reader.object('timer'));
    this.forgetAssist();
    this.base = base;
    this.#baseHigh = baseHigh;
    this.xapicId = xapicId;
    this.taskPriority = tpr;
    this.ldr = ldr;
    this.dfr = dfr;
    this.svr = svr;
    this.#esr = esr;
    this.pendingErrors = pendingErrors;
    this.#icrLow = icrLow;
    this.#icrHigh = icrHigh;
    this.lint0 = lint0;
    this.lint1 = lint1;
    this.extInt = extInt;
    this.irr.words.set(irr);
    this.isr.words.set(isr);
    this.tmr.words.set(tmr);
    this.lvt.set(lvt);
    this.#timer.apply(timer);
    this.update();
    // A freshly built processor may believe something else than this APIC remembers having told it.
    this.#wiring.signals.setInterruptRequest(this.cpu, this.requested);
  }

  describe(): string {
    this.#wiring.fabric.recall();
    this.settle();
    const hex = (value: number, digits = 8) => (value >>> 0).toString(16).padStart(digits, '0');
    const set = (vectors: VectorSet) =>
      Array.from(vectors.words, (word) => hex(word))
        .reverse()
        .join('_');
    return [
      `base ${hex(this.base)} id ${this.xapicId} svr ${hex(this.svr)} tpr ${hex(this.taskPriority, 2)} ppr ${hex(this.ppr(), 2)}`,
      `lvt ${Array.from(this.lvt, (entry) => hex(entry)).join(' ')} esr ${hex(this.#esr, 2)}`,
      `icr ${hex(this.#icrHigh)}:${hex(this.#icrLow)} ldr ${hex(this.ldr)} dfr ${hex(this.dfr)}`,
      `timer ${hex(this.#timer.initialCount)} → ${hex(this.#timer.currentCount())}`,
      `irr ${set(this.irr)}`,
      `isr ${set(this.isr)}`,
      `tmr ${set(this.tmr)}`,
    ].join('\n');
  }

  dispose(): void {
    this.#timer.dispose();
  }
}
