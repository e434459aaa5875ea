import type { Nanos } from '../../clock/clock.ts';
import { DELIVERY_EXTINT } from '../../irq/apic-messages.ts';
import {
  BASE_ENABLE,
  BASE_X2APIC,
  LVT_COUNT,
  LVT_LINT0,
  LVT_MASKED,
  REG_CURRENT_COUNT,
  REG_DFR,
  REG_DIVIDE,
  REG_ESR,
  REG_ICR_HIGH,
  REG_ICR_LOW,
  REG_ID,
  REG_INITIAL_COUNT,
  REG_IRR,
  REG_ISR,
  REG_LDR,
  REG_LVT_TIMER,
  REG_SVR,
  REG_TMR,
  REG_TPR,
  SVR_WRITABLE,
} from '../../irq/apic-registers.ts';
import { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE } from '../../irq/apic-timer.ts';
import type { LocalApicState } from '../../irq/local-apic.ts';
import { LAPIC_BYTES } from './kvm-abi.ts';

/** The period of the timer's input clock in KVM, and in Lodge. */
const BUS_CYCLE_NANOS = 1;

/** Nanoseconds that the timer counts one in, by the divide configuration register (SDM 3A, figure 11-10). */
function tickNanos(divideConfiguration: number): number {
  const code = (divideConfiguration & 3) | ((divideConfiguration & 8) >> 1);
  return BUS_CYCLE_NANOS * (1 << ((code + 1) & 7));
}

/** The rest of the timer's count at `now`; 0 when it is over or does not count. */
function countLeft({ mode, divideConfiguration, initialCount, loadedAt }: LocalApicState['timer'], now: Nanos): number {
  if (initialCount === 0 || mode === TIMER_TSC_DEADLINE) {
    return 0;
  }
  const ticks = Math.floor((now - loadedAt) / tickNanos(divideConfiguration));
  return mode === TIMER_PERIODIC ? initialCount - (ticks % initialCount) : Math.max(0, initialCount - ticks);
}

/**
 * struct kvm_lapic_state, the page of registers, of a local APIC's state; x2APIC ids have 32 bits in it
 * (KVM_X2APIC_API_USE_32BIT_IDS). IA32_APIC_BASE and IA32_TSC_DEADLINE travel by themselves.
 */
export function lapicPage(state: LocalApicState, cpu: number, now: Nanos): Uint8Array {
  const view = new DataView(new ArrayBuffer(LAPIC_BYTES));
  const set = (register: number, value: number) => view.setUint32(register * 16, value, true);
  set(REG_ID, (state.base & BASE_X2APIC) === 0 ? state.xapicId << 24 : cpu);
  set(REG_TPR, state.tpr);
  set(REG_LDR, state.ldr);
  set(REG_DFR, state.dfr);
  set(REG_SVR, state.svr);
  set(REG_ESR, state.esr);
  set(REG_ICR_LOW, state.icrLow);
  set(REG_ICR_HIGH, state.icrHigh);
  for (let i = 0; i < 8; i++) {
    set(REG_ISR + i, state.isr[i] ?? 0);
    set(REG_TMR + i, state.tmr[i] ?? 0);
    set(REG_IRR + i, state.irr[i] ?? 0);
  }
  for (let i = 0; i < LVT_COUNT; i++) {
    set(REG_LVT_TIMER + i, state.lvt[i] ?? 0);
  }
  const { timer } = state;
  const left = countLeft(timer, now);
  // KVM lets a count of which nothing is left expire at once. It is to do so only where that is still to come here.
  const isOver = timer.mode === TIMER_ONE_SHOT && left === 0 && timer.alarm === undefined;
  set(REG_INITIAL_COUNT, isOver ? 0 : timer.initialCount);
  set(REG_CURRENT_COUNT, left);
  set(REG_DIVIDE, timer.divideConfiguration);
  return new Uint8Array(view.buffer);
}

/** What KVM tells of a local APIC. */
export interface KernelApic {
  /** struct kvm_lapic_state. */
  readonly page: Uint8Array;
  readonly apicBase: bigint;
  readonly tscDeadline: bigint;
}

/** When the timer expires next; undefined: it does not run. */
function timerAlarm(
  view: DataView,
  tscDeadline: bigint,
  now: Nanos,
  tscToNanos: (tsc: bigint) => Nanos,
): Nanos | undefined {
  const get = (register: number) => view.getUint32(register * 16, true);
  const mode = (get(REG_LVT_TIMER) >>> 17) & 3;
  const initialCount = get(REG_INITIAL_COUNT);
  if (mode === TIMER_TSC_DEADLINE) {
    return tscDeadline === 0n
      ? undefined
      : Math.min(Math.max(now, Math.ceil(tscToNanos(tscDeadline))), Number.MAX_SAFE_INTEGER);
  }
  const left = Math.min(get(REG_CURRENT_COUNT), initialCount);
  const counts = initialCount !== 0 && (mode === TIMER_PERIODIC || left > 0);
  return counts ? now + left * tickNanos(get(REG_DIVIDE)) : undefined;
}

/** Whether the 8259s' requests reach the processor of a local APIC (SDM 3A, 11.6.1: delivery mode ExtINT). */
export function acceptsPic(page: Uint8Array, apicBase: bigint): boolean {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const lint0 = view.getUint32((REG_LVT_TIMER + LVT_LINT0) * 16, true);
  const isOff = (apicBase & BigInt(BASE_ENABLE)) === 0n;
  return isOff || (lint0 & (LVT_MASKED | 0x700)) === DELIVERY_EXTINT << 8;
}

/** Whether an interrupt waits in the page of a local APIC, and when its timer wakes the processor. */
export function wakesAt(
  page: Uint8Array,
  tscDeadline: bigint,
  now: Nanos,
  tscToNanos: (tsc: bigint) => Nanos,
): Nanos | undefined {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  for (let i = 0; i < 8; i++) {
    if (view.getUint32((REG_IRR + i) * 16, true) !== 0) {
      return now;
    }
  }
  return timerAlarm(view, tscDeadline, now, tscToNanos);
}

/**
 * The state of a local APIC after KVM had it. `before` is what was lent and tells what KVM does not know: the levels of
 * its pins. `tscToNanos` says when the processor's counter reaches a value.
 */
export function lapicState(
  { page, apicBase, tscDeadline }: KernelApic,
  before: LocalApicState,
  now: Nanos,
  tscToNanos: (tsc: bigint) => Nanos,
): LocalApicState {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const get = (register: number) => view.getUint32(register * 16, true);
  const vectors = (first: number) => Array.from({ length: 8 }, (_, i) => get(first + i));
  const base = Number(apicBase & 0xffffffffn);
  const isX2 = (base & BASE_X2APIC) !== 0;
  const lvt = Array.from({ length: LVT_COUNT }, (_, i) => get(REG_LVT_TIMER + i) & 0x7ffff);
  const mode = ((lvt[0] ?? 0) >>> 17) & 3;
  const divideConfiguration = get(REG_DIVIDE) & 0x0b;
  const initialCount = get(REG_INITIAL_COUNT);
  const left = Math.min(get(REG_CURRENT_COUNT), initialCount);
  const tick = tickNanos(divideConfiguration);
  return {
    ...before,
    base,
    baseHigh: Number(apicBase >> 32n),
    xapicId: isX2 ? before.xapicId : get(REG_ID) >>> 24,
    tpr: get(REG_TPR) & 0xff,
    // That of an x2APIC follows from its id.
    ldr: isX2 ? before.ldr : get(REG_LDR),
    dfr: isX2 ? before.dfr : get(REG_DFR),
    svr: get(REG_SVR) & SVR_WRITABLE,
    esr: get(REG_ESR) & 0xff,
    pendingErrors: 0,
    icrLow: get(REG_ICR_LOW),
    icrHigh: get(REG_ICR_HIGH),
    extInt: false,
    irr: vectors(REG_IRR),
    isr: vectors(REG_ISR),
    tmr: vectors(REG_TMR),
    lvt,
    timer: {
      mode,
      divideConfiguration,
      initialCount,
      loadedAt: initialCount === 0 ? 0 : Math.max(0, Math.round(now - (initialCount - left) * tick)),
      tscDeadline: mode === TIMER_TSC_DEADLINE ? tscDeadline : 0n,
      alarm: timerAlarm(view, tscDeadline, now, tscToNanos),
    },
  };
}
