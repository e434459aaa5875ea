import type { GuestMemory } from '../memory/guest-memory.ts';

/** The bit in the byte at the place that a guest has named. */
const NO_EOI_REQUIRED = 1;

/**
 * One bit of guest memory for each processor that says "no EOI required". While it is set, a guest that has served an
 * interrupt clears it, with one instruction that also tells what it was, and leaves the write to the EOI register out.
 * KVM's guests name its place in MSR_KVM_PV_EOI_EN (Linux, Documentation/virt/kvm/x86/msr.rst), Hyper-V's have it in
 * their APIC assist page (TLFS 10.3.5).
 *
 * The bit is written only while its processor stands still: guests clear it without a locked instruction.
 */
export class EoiAssist {
  readonly #memory: GuestMemory;
  /** By processor: guest-physical addresses of the bytes that hold the bits. */
  readonly #places: (number | undefined)[] = [];
  readonly #settle: (() => void)[] = [];
  /** False where processors may run on other threads while interrupts are delivered: then no bit is ever set. */
  usable = true;
  /** A processor's place has changed. */
  onPlaced: ((cpu: number) => void) | undefined;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  // ---- the side of those who speak with guests

  /** Where the bit of processor `cpu` is, or undefined. */
  place(cpu: number): number | undefined {
    return this.#places[cpu];
  }

  /**
   * The guest has named another place, a guest-physical address, or none. The bit is cleared there; what is no RAM
   * counts for none. The processor stands still.
   */
  setPlace(cpu: number, gpa: number | undefined): void {
    this.#settle[cpu]?.();
    this.#places[cpu] = gpa !== undefined && this.#holdsBits(gpa) ? gpa : undefined;
    this.onPlaced?.(cpu);
  }

  #holdsBits(gpa: number): boolean {
    this.#write(gpa, true);
    const wasSet = this.#read(gpa);
    this.#write(gpa, false);
    return wasSet && !this.#read(gpa);
  }

  /** No processor has a place; guest memory is left as it is. */
  forget(): void {
    this.#places.length = 0;
  }

  // ---- the local APICs' side

  /** `settle` is called before a processor's place changes: the APIC withdraws the bit. */
  attach(cpu: number, settle: () => void): void {
    this.#settle[cpu] = settle;
  }

  /** Sets the bit; false when there is none to set. */
  offer(cpu: number): boolean {
    const gpa = this.#places[cpu];
    if (gpa === undefined || !this.usable) {
      return false;
    }
    this.#write(gpa, true);
    return true;
  }

  /** The bit was offered: whether the guest has cleared it, and so ended the interrupt. */
  isTaken(cpu: number): boolean {
    const gpa = this.#places[cpu];
    return gpa !== undefined && !this.#read(gpa);
  }

  /** Clears the bit that was offered. True when the guest had done so before. */
  withdraw(cpu: number): boolean {
    const gpa = this.#places[cpu];
    if (gpa === undefined) {
      return false;
    }
    const taken = !this.#read(gpa);
    if (!taken) {
      this.#write(gpa, false);
    }
    return taken;
  }

  #read(gpa: number): boolean {
    return (this.#memory.readU8(gpa) & NO_EOI_REQUIRED) !== 0;
  }

  #write(gpa: number, set: boolean): void {
    const rest = this.#memory.readU8(gpa) & ~NO_EOI_REQUIRED;
    this.#memory.writeU8(gpa, set ? rest | NO_EOI_REQUIRED : rest);
  }
}
