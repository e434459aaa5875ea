import type { StateValue } from '../../../devices/device.ts';
import type { StateReader } from '../../../devices/state.ts';
import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import type { HypervisorHost } from './guest-interface.ts';

/** The synthetic interrupt controller's registers (Microsoft, Hypervisor Top Level Functional Specification 6.0b, 11.8). */
export const HV_X64_MSR_SCONTROL = 0x40000080;
export const HV_X64_MSR_SVERSION = 0x40000081;
export const HV_X64_MSR_SIEFP = 0x40000082;
export const HV_X64_MSR_SIMP = 0x40000083;
export const HV_X64_MSR_EOM = 0x40000084;
export const HV_X64_MSR_SINT0 = 0x40000090;
export const HV_X64_MSR_SINT15 = 0x4000009f;

const SINTS = 16;
const SYNIC_VERSION = 1n;
/** Of SCONTROL, SIEFP and SIMP. */
const ENABLED = 1n;
const PAGE = ~0xfffn;
const PAGE_BYTES = 4096;

/** A register of an interrupt source. */
const SINT_VECTOR = 0xffn;
const SINT_MASKED = 1n << 16n;
const SINT_AUTO_EOI = 1n << 17n;
/** Messages are put into their slots and nobody is interrupted for them. */
const SINT_POLLING = 1n << 18n;
/** Processors have the vectors below for their own exceptions. */
const FIRST_VECTOR = 16;

/**
 * HV_MESSAGE: type, size of the payload, flags, sender, payload. Size and flags are where Linux and QEMU have them, which
 * guests of both are proof of; some editions of the specification draw them two bytes further on.
 */
const MESSAGE_BYTES = 256;
const MESSAGE_PAYLOAD_SIZE = 4;
const MESSAGE_FLAGS = 5;
const MESSAGE_PAYLOAD = 16;
const MESSAGE_TYPE_NONE = 0;
const MESSAGE_PENDING = 1;

/** One processor's registers. */
interface Registers {
  control: bigint;
  eventFlagsPage: bigint;
  messagePage: bigint;
  readonly sources: bigint[];
}

/** What became of a message: delivered; its slot holds another one; the guest has switched messages off. */
export type Posted = 'delivered' | 'occupied' | 'off';

/**
 * Hyper-V's synthetic interrupt controllers (TLFS, chapter 11), one a processor: sixteen sources, each with a slot for a
 * message in a page of guest memory and a vector of the local APIC. Messages come from synthetic timers only: there is no
 * other partition, so nothing ever sets an event flag.
 */
export class HypervSynic {
  readonly #host: HypervisorHost;
  readonly #registers: Registers[];
  #anyAutoEoi = false;
  /** Slots of the processor may have become free. */
  onSlotsFree: (cpu: number) => void = () => {};

  constructor(host: HypervisorHost) {
    this.#host = host;
    this.#registers = Array.from({ length: host.cpuCount }, resetRegisters);
  }

  owns(msr: number): boolean {
    return (
      (msr >= HV_X64_MSR_SCONTROL && msr <= HV_X64_MSR_EOM) || (msr >= HV_X64_MSR_SINT0 && msr <= HV_X64_MSR_SINT15)
    );
  }

  read(cpu: number, msr: number): bigint {
    const registers = this.#of(cpu);
    switch (msr) {
      case HV_X64_MSR_SCONTROL:
        return registers.control;
      case HV_X64_MSR_SVERSION:
        return SYNIC_VERSION;
      case HV_X64_MSR_SIEFP:
        return registers.eventFlagsPage;
      case HV_X64_MSR_SIMP:
        return registers.messagePage;
      case HV_X64_MSR_EOM:
        return 0n;
      default:
        return registers.sources[msr - HV_X64_MSR_SINT0] as bigint;
    }
  }

  /** Throws GuestFault for values that a register cannot hold. */
  write(cpu: number, msr: number, value: bigint): void {
    const registers = this.#of(cpu);
    switch (msr) {
      case HV_X64_MSR_SCONTROL:
        registers.control = value;
        break;
      case HV_X64_MSR_SVERSION:
        throw new GuestFault(L.VECTOR_GP, 0);
      case HV_X64_MSR_SIEFP:
        this.#clearIfNew(registers.eventFlagsPage, value);
        registers.eventFlagsPage = value;
        return;
      case HV_X64_MSR_SIMP:
        this.#clearIfNew(registers.messagePage, value);
        registers.messagePage = value;
        break;
      case HV_X64_MSR_EOM:
        break;
      default:
        this.#writeSource(registers, msr - HV_X64_MSR_SINT0, value);
        return;
    }
    this.onSlotsFree(cpu);
  }

  /** The page that the guest names begins empty. */
  #clearIfNew(before: bigint, value: bigint): void {
    if ((value & ENABLED) !== 0n && ((before & ENABLED) === 0n || (before & PAGE) !== (value & PAGE))) {
      this.#host.memory.write(Number(value & PAGE), new Uint8Array(PAGE_BYTES));
    }
  }

  #writeSource(registers: Registers, index: number, value: bigint): void {
    if (this.#problemOf(value) !== undefined) {
      throw new GuestFault(L.VECTOR_GP, 0);
    }
    registers.sources[index] = value;
    this.#lookForAutoEoi();
  }

  #lookForAutoEoi(): void {
    this.#anyAutoEoi = this.#registers.some(({ sources }) =>
      sources.some((source) => (source & (SINT_AUTO_EOI | SINT_MASKED)) === SINT_AUTO_EOI),
    );
  }

  /** Why a source cannot be like this. */
  #problemOf(source: bigint): string | undefined {
    if ((source & SINT_MASKED) !== 0n) {
      return undefined;
    }
    if (Number(source & SINT_VECTOR) < FIRST_VECTOR) {
      return 'an interrupt source has a vector that belongs to exceptions';
    }
    if ((source & SINT_AUTO_EOI) !== 0n && !this.#host.hasAutoEoi) {
      // Guests are told not to ask for it.
      return 'an interrupt source ends its interrupts itself, which local APICs in KVM do not do';
    }
    return undefined;
  }

  /** The vector needs no EOI: its source asks for none. */
  isAutoEoi(cpu: number, vector: number): boolean {
    if (!this.#anyAutoEoi) {
      return false;
    }
    const { sources } = this.#of(cpu);
    for (let i = 0; i < SINTS; i++) {
      const source = sources[i] as bigint;
      if ((source & (SINT_AUTO_EOI | SINT_MASKED)) === SINT_AUTO_EOI && Number(source & SINT_VECTOR) === vector) {
        return true;
      }
    }
    return false;
  }

  /** Puts a message into the slot of source `index` and interrupts the processor. `payload`: at most 240 bytes. */
  post(cpu: number, index: number, type: number, payload: Uint8Array): Posted {
    const { control, messagePage, sources } = this.#of(cpu);
    if ((control & messagePage & ENABLED) === 0n) {
      return 'off';
    }
    const { memory } = this.#host;
    const slot = Number(messagePage & PAGE) + index * MESSAGE_BYTES;
    if (memory.readU32(slot) !== MESSAGE_TYPE_NONE) {
      memory.writeU8(slot + MESSAGE_FLAGS, MESSAGE_PENDING);
      // A processor on a thread of its own may have emptied it before it could see the flag.
      if (memory.readU32(slot) !== MESSAGE_TYPE_NONE) {
        return 'occupied';
      }
    }
    const message = new Uint8Array(MESSAGE_PAYLOAD + payload.length);
    message[MESSAGE_PAYLOAD_SIZE] = payload.length;
    message.set(payload, MESSAGE_PAYLOAD);
    memory.write(slot + MESSAGE_PAYLOAD_SIZE, message.subarray(MESSAGE_PAYLOAD_SIZE));
    memory.writeU32(slot, type);
    const source = sources[index] as bigint;
    if ((source & (SINT_MASKED | SINT_POLLING)) === 0n) {
      this.#host.apics.interrupt(cpu, Number(source & SINT_VECTOR));
    }
    return 'delivered';
  }

  #of(cpu: number): Registers {
    return this.#registers[cpu] as Registers;
  }

  reset(): void {
    for (const cpu of this.#registers.keys()) {
      this.#registers[cpu] = resetRegisters();
    }
    this.#anyAutoEoi = false;
  }

  save(): StateValue {
    return this.#registers.map(({ control, eventFlagsPage, messagePage, sources }) => ({
      control,
      eventFlagsPage,
      messagePage,
      sources: [...sources],
    }));
  }

  /** Checks what `save` gave, the reader's field `key`, and returns what puts it in force. Throws HostError('bad-state'). */
  prepareLoad(reader: StateReader, key: string): () => void {
    const loaded = reader.objects(key, this.#registers.length).map((one): Registers => {
      const sources = u64s(one, 'sources', SINTS);
      for (const source of sources) {
        const problem = this.#problemOf(source);
        if (problem !== undefined) {
          one.refuse(problem);
        }
      }
      return {
        control: one.u64('control'),
        eventFlagsPage: one.u64('eventFlagsPage'),
        messagePage: one.u64('messagePage'),
        sources,
      };
    });
    return () => {
      for (const [cpu, registers] of loaded.entries()) {
        this.#registers[cpu] = registers;
      }
      this.#lookForAutoEoi();
    };
  }
}

function resetRegisters(): Registers {
  return {
    control: 0n,
    eventFlagsPage: 0n,
    messagePage: 0n,
    sources: Array.from({ length: SINTS }, () => SINT_MASKED),
  };
}

function u64s(reader: StateReader, key: string, length: number): bigint[] {
  return reader.array(key, length).map((value) => reader.nested(key, { value }).u64('value'));
}
