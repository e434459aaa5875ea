import { EXIT_A, EXIT_B, EXIT_C, EXIT_D, EXIT_MSR_ERROR, type KvmVcpu } from '../../../native/index.ts';
import type { AccessSize } from '../../bus/bus.ts';
import type { CpuBus } from '../cpu-backend.ts';
import { GuestFault } from '../x86/linear-memory.ts';
import type { Vcpu } from './vcpu.ts';

/** Writes that are taken out of KVM's ring at a time; it holds 170. */
const COALESCED_AT_ONCE = 64;
const COALESCED_WORDS = 6;

/** Carries out what guests of KVM access of ports and device memory. Words and data are those of an exit. */
export class DeviceExits {
  readonly #bus: CpuBus;
  readonly #late = new Uint32Array(COALESCED_AT_ONCE * COALESCED_WORDS);
  readonly #lateData = new DataView(this.#late.buffer);
  #isDraining = false;

  constructor(bus: CpuBus) {
    this.#bus = bus;
  }

  port(words: Uint32Array, data: DataView): void {
    const bus = this.#bus;
    const write = words[EXIT_A] !== 0;
    const size = words[EXIT_B] as AccessSize;
    const port = words[EXIT_C] as number;
    const count = words[EXIT_D] as number;
    for (let i = 0, at = 0; i < count; i++, at += size) {
      if (write) {
        bus.writePort(port, size, get(data, at, size));
      } else {
        put(data, at, size, bus.readPort(port, size));
      }
    }
  }

  memory(words: Uint32Array, data: DataView): void {
    const address = (words[EXIT_C] as number) + (words[EXIT_D] as number) * 2 ** 32;
    this.#memory(address, Math.min(8, words[EXIT_B] as number), words[EXIT_A] !== 0, data, 0);
  }

  /** KVM gives up to 8 bytes at a time; devices take at most 4. `at` is the first byte's place in `data`. */
  #memory(address: number, length: number, write: boolean, data: DataView, at: number): void {
    const bus = this.#bus;
    for (let done = 0; done < length; ) {
      const left = length - done;
      const size = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const place = address + done;
      if (!write) {
        put(data, at + done, size, place < 2 ** 32 ? bus.readMmio(place, size) : 0xffffffff);
      } else if (place < 2 ** 32) {
        bus.writeMmio(place, size, get(data, at + done, size));
      }
      done += size;
    }
  }

  /** Writes that KVM put off. They come before whatever has ended KVM_RUN. */
  coalesced(vcpu: KvmVcpu): void {
    if (this.#isDraining) {
      return;
    }
    this.#isDraining = true;
    const late = this.#late;
    for (;;) {
      const count = vcpu.takeCoalesced(late);
      for (let i = 0; i < count; i++) {
        const from = i * COALESCED_WORDS;
        const address = (late[from] as number) + (late[from + 1] as number) * 2 ** 32;
        if (late[from + 3] !== 0) {
          this.#bus.writePort(address, 1, this.#lateData.getUint8((from + 4) * 4));
          continue;
        }
        this.#memory(address, Math.min(8, late[from + 2] as number), true, this.#lateData, (from + 4) * 4);
      }
      if (count < COALESCED_AT_ONCE) {
        break;
      }
    }
    this.#isDraining = false;
  }
}

/** A register that KVM leaves to us: the APIC's, and those that only Lodge promises. */
export function answerMsr({ words, data, parts }: Vcpu, write: boolean): void {
  const index = words[EXIT_B] as number;
  words[EXIT_MSR_ERROR] = 0;
  try {
    if (write) {
      parts.writeMsr(index, data.getBigUint64(0, true));
    } else {
      data.setBigUint64(0, parts.readMsr(index), true);
    }
  } catch (error) {
    if (!(error instanceof GuestFault)) {
      throw error;
    }
    words[EXIT_MSR_ERROR] = 1;
  }
}

function get(data: DataView, at: number, size: AccessSize): number {
  return size === 1 ? data.getUint8(at) : size === 2 ? data.getUint16(at, true) : data.getUint32(at, true);
}

function put(data: DataView, at: number, size: AccessSize, value: number): void {
  if (size === 1) {
    data.setUint8(at, value);
  } else if (size === 2) {
    data.setUint16(at, value, true);
  } else {
    data.setUint32(at, value, true);
  }
}
