import type { IoApicState } from '../../irq/io-apic.ts';
import type { PicChipState, PicState } from '../../irq/pic.ts';
import * as K from './kvm-abi.ts';

const IO_APIC_PINS = 24;
const IO_APIC_ADDRESS = 0xfec00000n;
/** What counts of a redirection entry: the low half without delivery status and reserved bits, and the destination. */
const RTE_LOW = 0x1efff;
const RTE_HIGH = 0xff000000;
const RTE_LEVEL = 1 << 15;
export const RTE_MASKED = 1 << 16;
/** Inputs that the edge/level control registers can make levels. */
const ELCR_MASKS = [0xf8, 0xde] as const;
/** The master's input that the slave drives. */
const CASCADE = 1 << 2;

function page(chip: number): DataView {
  const view = new DataView(new ArrayBuffer(K.IRQCHIP_BYTES));
  view.setUint32(0, chip, true);
  return view;
}

function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer);
}

function state(of: Uint8Array): DataView {
  return new DataView(of.buffer, of.byteOffset + K.IRQCHIP_STATE, of.byteLength - K.IRQCHIP_STATE);
}

/** struct kvm_irqchip to be filled by KVM_GET_IRQCHIP. */
export function emptyPage(chip: number): Uint8Array {
  return bytes(page(chip));
}

/**
 * struct kvm_irqchip of one 8259. What KVM's do not have: a level-triggered mode for all inputs (ICW1's LTIM), working
 * without a slave (SNGL).
 */
export function picPage(chip: PicChipState, isMaster: boolean): Uint8Array {
  const view = page(isMaster ? K.KVM_IRQCHIP_PIC_MASTER : K.KVM_IRQCHIP_PIC_SLAVE);
  const set = (offset: number, value: number | boolean) => view.setUint8(K.IRQCHIP_STATE + offset, Number(value));
  // KVM signals the master by itself when the slave has a request.
  const own = isMaster ? ~CASCADE : ~0;
  set(K.PIC_LAST_IRR, chip.seen & own & 0xff);
  set(K.PIC_IRR, ((chip.latched & ~chip.elcr) | (chip.lines & chip.elcr)) & own & 0xff);
  set(K.PIC_IMR, chip.imr);
  set(K.PIC_ISR, chip.isr);
  set(K.PIC_PRIORITY_ADD, chip.highest);
  set(K.PIC_IRQ_BASE, chip.base);
  set(K.PIC_READ_REG_SELECT, chip.readIsr);
  set(K.PIC_POLL, chip.poll);
  set(K.PIC_SPECIAL_MASK, chip.specialMask);
  set(K.PIC_INIT_STATE, chip.initStep === 0 ? 0 : chip.initStep - 1);
  set(K.PIC_AUTO_EOI, chip.autoEoi);
  set(K.PIC_ROTATE_ON_AUTO_EOI, chip.rotateOnAutoEoi);
  set(K.PIC_SPECIAL_FULLY_NESTED, chip.specialFullyNested);
  set(K.PIC_INIT4, chip.needsIcw4);
  set(K.PIC_ELCR, chip.elcr);
  set(K.PIC_ELCR_MASK, ELCR_MASKS[isMaster ? 0 : 1]);
  return bytes(view);
}

function picChip(from: Uint8Array, lines: number, isMaster: boolean): PicChipState {
  const view = state(from);
  const get = (offset: number) => view.getUint8(offset);
  const flag = (offset: number) => get(offset) !== 0;
  const own = isMaster ? ~CASCADE : ~0;
  const elcr = get(K.PIC_ELCR) & ELCR_MASKS[isMaster ? 0 : 1];
  const initStep = ([0, 2, 3, 4] as const)[get(K.PIC_INIT_STATE)] ?? 0;
  return {
    // The cascade's level follows from the slave.
    lines: lines & own & 0xff,
    seen: get(K.PIC_LAST_IRR) & own & 0xff,
    latched: get(K.PIC_IRR) & ~elcr & own & 0xff,
    isr: get(K.PIC_ISR),
    imr: get(K.PIC_IMR),
    elcr,
    base: get(K.PIC_IRQ_BASE) & 0xf8,
    highest: get(K.PIC_PRIORITY_ADD) & 7,
    initStep,
    needsIcw4: flag(K.PIC_INIT4),
    single: false,
    levelMode: false,
    autoEoi: flag(K.PIC_AUTO_EOI),
    rotateOnAutoEoi: flag(K.PIC_ROTATE_ON_AUTO_EOI),
    specialFullyNested: flag(K.PIC_SPECIAL_FULLY_NESTED),
    specialMask: flag(K.PIC_SPECIAL_MASK),
    readIsr: flag(K.PIC_READ_REG_SELECT),
    poll: flag(K.PIC_POLL),
  };
}

/** The 8259 pair after KVM had it. `before` tells the levels of the inputs, which are noted here all the time. */
export function picState(master: Uint8Array, slave: Uint8Array, before: PicState): PicState {
  return {
    master: picChip(master, before.master.lines, true),
    slave: picChip(slave, before.slave.lines, false),
  };
}

/** Whether an 8259 with this page asks for its output: something is requested that is not masked. */
export function picRequests(master: Uint8Array): boolean {
  const view = state(master);
  return (view.getUint8(K.PIC_IRR) & ~view.getUint8(K.PIC_IMR)) !== 0;
}

/** Whether the timer's interrupt waits at the master. */
export function picTimerRequests(master: Uint8Array): boolean {
  return (state(master).getUint8(K.PIC_IRR) & 1) !== 0;
}

/** Whether input 0 of the master, the timer's, is masked. */
export function picTimerMasked(master: Uint8Array): boolean {
  return (state(master).getUint8(K.PIC_IMR) & 1) !== 0;
}

/**
 * struct kvm_irqchip of the I/O APIC. KVM sends at once what is asserted in it and can be sent; an edge at the moment of
 * the move is not one.
 */
export function ioApicPage(ioApic: IoApicState): Uint8Array {
  const view = page(K.KVM_IRQCHIP_IOAPIC);
  const at = K.IRQCHIP_STATE;
  view.setBigUint64(at + K.IOAPIC_BASE_ADDRESS, IO_APIC_ADDRESS, true);
  view.setUint32(at + K.IOAPIC_IOREGSEL, ioApic.select, true);
  view.setUint32(at + K.IOAPIC_ID, ioApic.apicId, true);
  let requests = 0;
  for (let pin = 0; pin < IO_APIC_PINS; pin++) {
    const low = ioApic.low[pin] ?? RTE_MASKED;
    view.setUint32(at + K.IOAPIC_REDIRECTION + pin * 8, low, true);
    view.setUint32(at + K.IOAPIC_REDIRECTION + pin * 8 + 4, ioApic.high[pin] ?? 0, true);
    if ((low & RTE_LEVEL) !== 0) {
      requests |= ioApic.levels & (1 << pin);
    }
  }
  view.setUint32(at + K.IOAPIC_IRR, requests, true);
  return bytes(view);
}

/** The I/O APIC after KVM had it. `levels` of its pins are noted here all the time. */
export function ioApicState(from: Uint8Array, levels: number): IoApicState {
  const view = state(from);
  const entries = Array.from({ length: IO_APIC_PINS }, (_, pin) => K.IOAPIC_REDIRECTION + pin * 8);
  return {
    apicId: view.getUint32(K.IOAPIC_ID, true) & 0x0f,
    select: view.getUint32(K.IOAPIC_IOREGSEL, true) & 0xff,
    levels,
    low: entries.map((at) => view.getUint32(at, true) & RTE_LOW),
    high: entries.map((at) => (view.getUint32(at + 4, true) & RTE_HIGH) >>> 0),
  };
}

/** Whether pin 2 of the I/O APIC, the timer's, is masked. */
export function ioApicTimerMasked(from: Uint8Array): boolean {
  return (state(from).getUint32(K.IOAPIC_REDIRECTION + 2 * 8, true) & RTE_MASKED) !== 0;
}
