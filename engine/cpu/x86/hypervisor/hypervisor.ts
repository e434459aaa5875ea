import type { StateValue } from '../../../devices/device.ts';
import { StateReader } from '../../../devices/state.ts';
import type { CpuState } from '../cpu-state.ts';
import { GuestClock } from './guest-clock.ts';
import type { GuestInterface, HypervisorHost, Leaf } from './guest-interface.ts';
import { HypervInterface } from './hyperv-interface.ts';
import { KvmInterface } from './kvm-interface.ts';

/** Where the leaves of hypervisors begin; each further interface has its own 256 leaves behind. */
const FIRST_LEAF = 0x40000000;
const LEAVES = 0x100;

/** What a machine tells a guest that asks who runs it. */
export interface HypervisorOptions {
  /** KVM's interface: its clock. */
  readonly kvm: boolean;
  /** Hyper-V's, in front of KVM's. */
  readonly hyperv: boolean;
}

/** The interfaces that a machine offers guests which know that they are guests, the same on every processor backend. */
export class Hypervisor {
  readonly #host: HypervisorHost;
  readonly #clock: GuestClock;
  readonly #hyperv: HypervInterface | undefined;
  readonly #kvm: KvmInterface | undefined;
  readonly #interfaces: readonly GuestInterface[];
  /** VMCALL is answered with an error instead of #UD: KVM's interface is there. */
  readonly answersHypercalls: boolean;

  constructor(host: HypervisorHost, options: HypervisorOptions) {
    this.#host = host;
    const clock = new GuestClock(host);
    this.#clock = clock;
    this.answersHypercalls = options.kvm;
    this.#hyperv = options.hyperv ? new HypervInterface(host, clock) : undefined;
    this.#kvm = options.kvm ? new KvmInterface(host, clock) : undefined;
    this.#interfaces = [this.#hyperv, this.#kvm].filter((one) => one !== undefined);
  }

  /** The first leaf that is none of the interfaces'. */
  get nextLeaf(): number {
    return FIRST_LEAF + this.#interfaces.length * LEAVES;
  }

  /** Numbers of all leaves that say something, the one behind the interfaces included. */
  get leaves(): readonly number[] {
    const ours = this.#interfaces.flatMap(({ leafCount }, i) =>
      Array.from({ length: leafCount + 1 }, (_, number) => FIRST_LEAF + i * LEAVES + number),
    );
    return [...ours, this.nextLeaf];
  }

  /** Undefined: not an interface's leaf. */
  cpuid(leaf: number, cpu: number): Leaf | undefined {
    const index = Math.floor((leaf - FIRST_LEAF) / LEAVES);
    const chosen = this.#interfaces[index];
    if (chosen === undefined) {
      return undefined;
    }
    const number = (leaf - FIRST_LEAF) % LEAVES;
    if (number === 0) {
      const [ebx, ecx, edx] = chosen.signature;
      return { eax: leaf + chosen.leafCount, ebx, ecx, edx };
    }
    return number <= chosen.leafCount ? chosen.leaf(number, cpu) : { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  }

  /** Undefined: not an interface's register. Throws GuestFault for those that cannot be read. */
  readMsr(state: CpuState, msr: number): bigint | undefined {
    return this.#owner(msr)?.readMsr(state, msr);
  }

  /** False: not an interface's register. Throws GuestFault for values that it cannot hold. */
  writeMsr(state: CpuState, msr: number, value: bigint): boolean {
    const owner = this.#owner(msr);
    owner?.writeMsr(state, msr, value);
    return owner !== undefined;
  }

  #owner(msr: number): GuestInterface | undefined {
    return this.#interfaces.find((one) => one.ownsMsr(msr));
  }

  /** The machine goes on from a saved state: see GuestInterface. */
  restored(state: CpuState): void {
    for (const one of this.#interfaces) {
      one.restored?.(state);
    }
    this.tscMoved(state);
  }

  /** See GuestInterface. Costs next to nothing where no guest uses a page that the counter's offset is written to. */
  tscMoved(state: CpuState): void {
    for (const one of this.#interfaces) {
      one.tscMoved(state);
    }
  }

  /** The processor wanted to run, and was kept from it for so many nanoseconds. */
  stolen(state: CpuState, nanos: number): void {
    this.#kvm?.stolen(state, nanos);
  }

  /** A guest calls Hyper-V by the page that it was given. */
  hypercall(state: CpuState): void {
    this.#hyperv?.hypercall(state);
  }

  /** Power-on of a machine whose counter does not begin at 0. */
  beginClock(timestamp: bigint): void {
    this.#clock.begin(timestamp);
  }

  /** See HypervSynic. */
  isAutoEoi(cpu: number, vector: number): boolean {
    return this.#hyperv?.isAutoEoi(cpu, vector) === true;
  }

  reset(): void {
    this.#host.eoiAssist?.forget();
    for (const one of this.#interfaces) {
      one.reset();
    }
  }

  /** What belongs to no single processor, at the moment at which the machine's counter stands at `timestamp`. */
  save(timestamp: bigint): StateValue {
    return { clock: this.#clock.save(timestamp), hyperv: this.#hyperv?.save() };
  }

  /** Throws HostError('bad-state'). Then `tscMoved` is due for every processor, once guest memory is restored too. */
  load(saved: StateValue, timestamp: bigint): void {
    const reader = new StateReader('hypervisor', saved);
    if (reader.has('hyperv') !== (this.#hyperv !== undefined)) {
      reader.refuse("Hyper-V's interface is on in one of the two machines only");
    }
    this.reset();
    this.#clock.load('hypervisor clock', reader.value('clock'), timestamp);
    this.#hyperv?.load(reader.value('hyperv'));
  }

  dispose(): void {
    this.#hyperv?.dispose();
  }
}
