import type { KvmVcpu, KvmVm } from '../../../native/index.ts';
import type { Nanos } from '../../clock/clock.ts';
import type { EoiAssist } from '../../irq/eoi-assist.ts';
import type { ApicBorrower, LendableApics, LineBorrower } from '../../irq/lent-apics.ts';
import { MSR_KVM_PV_EOI_EN } from '../x86/hypervisor/kvm-interface.ts';
import { IA32_TSC_DEADLINE } from '../x86/system/msr.ts';
import * as K from './kvm-abi.ts';
import { KvmChips } from './kvm-chips.ts';
import { acceptsPic, lapicPage, lapicState, wakesAt } from './lapic-page.ts';

/** The pins of the I/O APIC, whose interrupts' ends KVM tells us of. */
const IO_APIC_PINS = 24;
const MSI_ADDRESS = 0xfee00000;

/** What the APICs need of the processors. */
export interface ApicHost {
  readonly vcpus: readonly KvmVcpu[];
  now(): Nanos;
  /** Ends every KVM_RUN, without carrying out what they ended with. */
  standStill(): void;
  /** Has a processor's timer that has expired taken into its APIC's registers. */
  settle(cpu: number): void;
  /** Has processor 0 look at the 8259s. */
  picRequestChanged(): void;
  /** When a processor's counter reaches a value. */
  tscToNanos(tsc: bigint, cpu: number): Nanos;
  /** Where guests have their bits by which EOIs can be left out. KVM writes them while the processors run. */
  readonly eoiAssist: EoiAssist | undefined;
}

/**
 * The local APICs inside KVM: their timers, EOIs and messages from processor to processor cost no exit, and a halted
 * processor waits in the kernel. The 8259s, the I/O APIC and the 8254 come along (kvm-chips.ts), or stay the machine's own
 * (a "split" interrupt controller): then they interrupt by messages.
 */
export class KvmApics implements ApicBorrower {
  readonly #vm: KvmVm;
  readonly #apics: LendableApics;
  readonly #host: ApicHost;
  readonly #chips: KvmChips | undefined;
  #levelEntries = '';

  /** Before any processor is made. `withChips`: the other controllers and the timer as well. */
  static prepare(vm: KvmVm, withChips: boolean): void {
    if (withChips) {
      KvmChips.prepare(vm);
    } else {
      vm.enableCapability(K.KVM_CAP_SPLIT_IRQCHIP, IO_APIC_PINS);
    }
    vm.enableCapability(K.KVM_CAP_X2APIC_API, K.KVM_X2APIC_API_USE_32BIT_IDS);
  }

  constructor(vm: KvmVm, apics: LendableApics, host: ApicHost, withChips: boolean) {
    this.#vm = vm;
    this.#apics = apics;
    this.#host = host;
    this.#chips = withChips && apics.chips !== undefined ? new KvmChips(vm, apics.chips) : undefined;
    if (host.eoiAssist !== undefined) {
      host.eoiAssist.onPlaced = (cpu) => {
        if (this.here) {
          this.#placeEoiBit(cpu);
        }
      };
    }
  }

  /** KVM settles the bit at every exit, so that nobody else finds it set. */
  #placeEoiBit(cpu: number): void {
    const place = this.#host.eoiAssist?.place(cpu);
    this.#host.vcpus[cpu]?.setMsrs(msrEntry(MSR_KVM_PV_EOI_EN, place === undefined ? 0n : BigInt(place) | 1n));
  }

  /** Where the lines go while KVM has the I/O APIC and the 8259s. */
  get lines(): LineBorrower | undefined {
    return this.#chips;
  }

  /** The machine's own 8259s ask for processor 0. */
  get picRequest(): boolean {
    return this.#chips === undefined && this.#apics.picRequest;
  }

  acknowledgePic(): number {
    return this.#apics.acknowledgePic();
  }

  endOfInterrupt(vector: number): void {
    this.#apics.endOfInterrupt(vector);
  }

  /** KVM has them. */
  get here(): boolean {
    return this.#apics.lent;
  }

  /** Hands KVM the local APICs, unless it has them. All processors stand still, and KVM has their registers. */
  borrow(): void {
    if (this.#apics.lent) {
      return;
    }
    const now = this.#host.now();
    this.#chips?.begin();
    for (const [cpu, vcpu] of this.#host.vcpus.entries()) {
      const state = this.#apics.state(cpu);
      this.#setApicBase(vcpu, BigInt(state.base) | (BigInt(state.baseHigh) << 32n));
      vcpu.set('lapic', lapicPage(state, cpu, now));
      // Also where there is none: KVM may still know that of the last time.
      vcpu.setMsrs(deadlineEntry(state.timer.tscDeadline));
      this.#placeEoiBit(cpu);
    }
    this.#apics.lend(this);
    this.#chips?.finish();
    this.levelEntriesChanged();
  }

  /**
   * Until when a processor, which stands still in KVM, waits for an interrupt; Infinity: until something comes from
   * outside. Undefined: it does not wait.
   */
  waitsUntil(cpu: number): Nanos | undefined {
    const vcpu = this.#host.vcpus[cpu];
    if (vcpu === undefined) {
      return undefined;
    }
    const state = new DataView(new ArrayBuffer(K.MP_STATE_BYTES));
    vcpu.get('mp-state', new Uint8Array(state.buffer));
    switch (state.getUint32(0, true)) {
      case K.KVM_MP_STATE_UNINITIALIZED:
      case K.KVM_MP_STATE_INIT_RECEIVED:
        return Number.POSITIVE_INFINITY;
      case K.KVM_MP_STATE_HALTED:
        break;
      default:
        return undefined;
    }
    this.#host.settle(cpu);
    const now = this.#host.now();
    const { page, tscDeadline } = this.#read(vcpu);
    const own = wakesAt(page, tscDeadline, now, (tsc) => this.#host.tscToNanos(tsc, cpu)) ?? Number.POSITIVE_INFINITY;
    if (this.#chips === undefined || cpu !== 0 || own <= now) {
      return own;
    }
    const silent = this.#chips.silentFor(acceptsPic(page, this.apicBase(cpu)));
    return silent === 0 ? undefined : Math.min(own, now + silent);
  }

  /** The processors go on, maybe after a wait. */
  waited(): void {
    if (this.here) {
      this.#chips?.waited();
    }
  }

  #read(vcpu: KvmVcpu): { page: Uint8Array; tscDeadline: bigint } {
    const page = new Uint8Array(K.LAPIC_BYTES);
    vcpu.get('lapic', page);
    const entry = deadlineEntry(0n);
    vcpu.getMsrs(entry);
    return { page, tscDeadline: new DataView(entry.buffer).getBigUint64(8, true) };
  }

  giveBack(): void {
    this.#host.standStill();
    this.#chips?.stop();
    const now = this.#host.now();
    for (const [cpu, vcpu] of this.#host.vcpus.entries()) {
      this.#host.settle(cpu);
      const kernel = { ...this.#read(vcpu), apicBase: this.apicBase(cpu) };
      const state = lapicState(kernel, this.#apics.state(cpu), now, (tsc) => this.#host.tscToNanos(tsc, cpu));
      this.#apics.setState(cpu, state);
    }
    this.#chips?.giveBack();
    this.#apics.settle();
  }

  apicBase(cpu: number): bigint {
    const sregs = new DataView(new ArrayBuffer(K.SREGS_BYTES));
    this.#host.vcpus[cpu]?.get('sregs', new Uint8Array(sregs.buffer));
    return sregs.getBigUint64(K.SREGS_APIC_BASE, true);
  }

  #setApicBase(vcpu: KvmVcpu, base: bigint): void {
    const sregs = new DataView(new ArrayBuffer(K.SREGS_BYTES));
    const bytes = new Uint8Array(sregs.buffer);
    vcpu.get('sregs', bytes);
    if (sregs.getBigUint64(K.SREGS_APIC_BASE, true) !== base) {
      sregs.setBigUint64(K.SREGS_APIC_BASE, base, true);
      vcpu.set('sregs', bytes);
    }
  }

  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void {
    this.#vm.signalMsi(messageAddress(destination, logical), messageData(mode, vector, level), 0);
  }

  picRequestChanged(): void {
    this.#host.picRequestChanged();
  }

  levelEntriesChanged(): void {
    if (this.#chips !== undefined) {
      return;
    }
    const entries = this.#apics.levelEntries();
    const words = entries.flatMap(({ pin, destination, logical, mode, vector }) => [
      pin,
      K.KVM_IRQ_ROUTING_MSI,
      messageAddress(destination, logical),
      0,
      messageData(mode, vector, true),
    ]);
    const text = words.join();
    if (text !== this.#levelEntries) {
      this.#levelEntries = text;
      this.#vm.setGsiRouting(Uint32Array.from(words));
    }
  }
}

/** The message that a redirection entry or another APIC's command makes (SDM 3A, 11.11). */
function messageAddress(destination: number, logical: boolean): number {
  return (MSI_ADDRESS | ((destination & 0xff) << 12) | (logical ? 4 : 0)) >>> 0;
}

function messageData(mode: number, vector: number, level: boolean): number {
  return vector | (mode << 8) | (level ? 0xc000 : 0);
}

function deadlineEntry(value: bigint): Uint8Array {
  return msrEntry(IA32_TSC_DEADLINE, value);
}

/** struct kvm_msr_entry. */
function msrEntry(msr: number, value: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(K.MSR_ENTRY_BYTES));
  view.setUint32(0, msr, true);
  view.setBigUint64(8, value, true);
  return new Uint8Array(view.buffer);
}
