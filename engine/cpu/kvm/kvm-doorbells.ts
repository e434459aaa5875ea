import { isKvmError, type KvmVm } from '../../../native/index.ts';
import type { Doorbell, Doorbells } from '../../bus/doorbells.ts';
import type { CpuBus } from '../cpu-backend.ts';

const TAKEN_AT_ONCE = 32;

/**
 * The doorbells of a machine as eventfds of KVM (KVM_IOEVENTFD), for processors on threads of their own: their writes end
 * no KVM_RUN, the machine thread hears of them while it waits. With a processor in this very thread they would only come
 * later: nobody else could do what they ask for.
 */
export class KvmDoorbells {
  readonly #vm: KvmVm;
  readonly #bus: CpuBus;
  readonly #doorbells: Doorbells;
  readonly #tokens = new Map<Doorbell, number>();
  readonly #byToken = new Map<number, Doorbell>();
  readonly #taken = new Uint32Array(TAKEN_AT_ONCE);
  /** Rung, to be carried out as soon as no device is at work. */
  readonly #rung: Doorbell[] = [];
  #next = 1;
  #isRinging = false;

  constructor(vm: KvmVm, doorbells: Doorbells, bus: CpuBus) {
    this.#vm = vm;
    this.#bus = bus;
    this.#doorbells = doorbells;
    for (const doorbell of doorbells.all) {
      this.#add(doorbell);
    }
    doorbells.onChange = (doorbell, present) => {
      if (present) {
        this.#add(doorbell);
      } else {
        this.#remove(doorbell);
      }
    };
  }

  #add(doorbell: Doorbell): void {
    const { space, address, size, value, exact } = doorbell;
    const token = this.#next++;
    try {
      this.#vm.setDoorbell(token, address, size, space === 'port', exact ? value : undefined);
    } catch (error) {
      if (!isKvmError(error)) {
        throw error;
      }
      // There is one already (a guest has put two windows in one place), or too many: these writes stay exits.
      return;
    }
    this.#tokens.set(doorbell, token);
    this.#byToken.set(token, doorbell);
  }

  #remove(doorbell: Doorbell): void {
    const token = this.#tokens.get(doorbell);
    if (token !== undefined) {
      this.ring();
      this.#vm.setDoorbell(token, 0, 0, false, undefined);
      this.#tokens.delete(doorbell);
      this.#byToken.delete(token);
    }
  }

  /** Hears what has rung without carrying it out. */
  listen(): void {
    const taken = this.#taken;
    for (;;) {
      const count = this.#vm.takeDoorbells(taken);
      for (let i = 0; i < count; i++) {
        const doorbell = this.#byToken.get(taken[i] as number);
        if (doorbell !== undefined) {
          this.#rung.push(doorbell);
        }
      }
      if (count < TAKEN_AT_ONCE) {
        return;
      }
    }
  }

  /** Makes the writes of the doorbells that have rung. */
  ring(): void {
    if (this.#tokens.size === 0 || this.#isRinging) {
      return;
    }
    this.#isRinging = true;
    try {
      this.listen();
      for (let doorbell = this.#rung.shift(); doorbell !== undefined; doorbell = this.#rung.shift()) {
        const { space, address, size, value } = doorbell;
        if (space === 'port') {
          this.#bus.writePort(address, size, value);
        } else {
          this.#bus.writeMmio(address, size, value);
        }
      }
    } finally {
      this.#isRinging = false;
    }
  }

  dispose(): void {
    this.#doorbells.onChange = undefined;
  }
}
