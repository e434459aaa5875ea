import * as L from '../layout.ts';
import { GuestFault } from '../linear-memory.ts';
import {
  type Batch,
  CASE_BYTES,
  CODE,
  CODE_BYTES,
  FX_CONTROL,
  FX_MXCSR,
  FX_ST,
  FX_STATUS,
  FX_TAG,
  FX_XMM,
  GS_BASE,
  RECORD_ADDRESS,
  RECORD_BITS,
  RECORD_ERROR,
  RECORD_FLAGS,
  RECORD_RIP,
  RECORD_SIZE,
  RECORD_TEMPLATE,
  RECORD_VECTOR,
  RECORD_YMM_HIGH,
  VECTOR_END,
  WINDOW,
  WINDOW_BYTES,
} from './case-records.ts';
import { TestMachine } from './test-machine.ts';

/** INT3 ends a case. */
export const STOP = 0xcc;

const RAM_BYTES = 4 << 20;
const PHYSICAL_CODE = 0x200000;
const PHYSICAL_WINDOW = 0x100000;
const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const LARGE = 0x80;
const NO_EXECUTE_HIGH = 0x80000000;
const FUEL = 200_000;

/** The software processor, running the same cases as the host's: in user mode, with the same memory mapped. */
export class EmulatedProcessor {
  readonly machine: TestMachine;
  /** The window's bytes. */
  readonly window: Uint8Array;
  readonly #templates: readonly Uint8Array[];
  readonly #arena: Uint8Array;
  readonly #view: DataView;
  #fault: GuestFault | undefined;
  #bits = 0;
  /** Instructions that the last case carried out, including one that faulted. */
  executed = 0;

  constructor(templates: readonly Uint8Array[]) {
    this.#templates = templates;
    const machine = new TestMachine({ ramBytes: RAM_BYTES });
    this.machine = machine;
    machine.enterLong();
    const { memory, cpu } = machine;
    this.#arena = new Uint8Array(memory.arena.buffer);
    this.#view = new DataView(memory.arena.buffer, cpu.record, L.CPU_STATE_SIZE);
    this.window = memory.ram.subarray(PHYSICAL_WINDOW, PHYSICAL_WINDOW + WINDOW_BYTES);
    // Nothing but the window and the code is mapped.
    const put = (address: number, low: number, high = 0) => {
      memory.writeU32(address, low);
      memory.writeU32(address + 4, high);
    };
    for (let i = 0; i < 4 * 512; i++) {
      put(0x3000 + i * 8, 0);
    }
    const table = 0x10000;
    put(0x3000 + (WINDOW >>> 21) * 8, table | PRESENT | WRITABLE | USER);
    for (let i = 0; i < WINDOW_BYTES / 4096; i++) {
      put(table + i * 8, (PHYSICAL_WINDOW + i * 4096) | PRESENT | WRITABLE | USER, NO_EXECUTE_HIGH);
    }
    put(0x3000 + (CODE >>> 21) * 8, PHYSICAL_CODE | LARGE | PRESENT | USER);
    cpu.system.deliverFault = (fault) => {
      this.#fault = fault;
      cpu.stopSoon();
    };
    cpu.system.int3 = () => {
      this.#fault = new GuestFault(L.VECTOR_BP);
      cpu.stopSoon();
    };
    const { state } = machine;
    for (const segment of [state.ds, state.es, state.ss, state.cs]) {
      segment.selector = 0x2b;
      segment.attributes |= 3 << L.ATTR_DPL_SHIFT;
    }
    state.setU64(L.CR4, state.u64(L.CR4) | BigInt(L.CR4_OSXSAVE));
    state.setU64(L.XCR0, BigInt(L.XCR0_X87 | L.XCR0_AVX_STATE));
    for (const segment of [state.fs, state.gs]) {
      segment.assign(0, 0n, 0, L.ATTR_UNUSABLE);
    }
  }

  #enterMode(bits: number): void {
    if (this.#bits === bits) {
      return;
    }
    this.#bits = bits;
    const { state } = this.machine;
    state.cs.selector = bits === 32 ? 0x23 : 0x33;
    state.cs.attributes = (state.cs.attributes & ~(L.ATTR_LONG | L.ATTR_DB)) | (bits === 32 ? L.ATTR_DB : L.ATTR_LONG);
    state.gs.base = bits === 32 ? 0n : BigInt(GS_BASE);
    this.machine.update();
  }

  /** Puts the code of a batch into memory, with this processor's own stops. */
  loadCode(batch: Batch): void {
    this.machine.write(PHYSICAL_CODE, batch.code.subarray(0, batch.count * CASE_BYTES));
  }

  /** The code of all cases as this processor sees it. */
  codeBytes(): Uint8Array {
    return this.machine.memory.ram.subarray(PHYSICAL_CODE, PHYSICAL_CODE + CODE_BYTES);
  }

  /** Runs one case from its record and writes the resulting state to `result`. */
  run(record: Uint8Array<ArrayBuffer>, result: Uint8Array<ArrayBuffer>): void {
    const input = new DataView(record.buffer, record.byteOffset, RECORD_SIZE);
    const { machine } = this;
    const { state, cpu } = machine;
    const bits = input.getUint32(RECORD_BITS, true);
    this.#enterMode(bits);
    this.window.set(this.#templates[input.getUint32(RECORD_TEMPLATE, true)] as Uint8Array);
    const arena = this.#arena;
    const view = this.#view;
    const base = cpu.record;
    arena.set(record.subarray(0, 128), base + L.GPR);
    state.setU64(L.RIP, input.getBigUint64(RECORD_RIP, true));
    state.flags = input.getUint32(RECORD_FLAGS, true);
    // x87: the image has the registers in stack order, the record in physical order.
    view.setInt32(L.FPU_CONTROL, input.getUint16(FX_CONTROL, true), true);
    const status = input.getUint16(FX_STATUS, true);
    const top = (status >> 11) & 7;
    view.setInt32(L.FPU_STATUS, status & ~0x3800, true);
    view.setInt32(L.FPU_TOP, top, true);
    view.setInt32(L.FPU_VALID, record[FX_TAG] as number, true);
    for (let i = 0; i < 8; i++) {
      const from = FX_ST + i * 16;
      arena.set(record.subarray(from, from + 10), base + L.FPR + ((top + i) & 7) * L.FPR_STRIDE);
    }
    for (const field of [L.FPU_IP, L.FPU_IP + 4, L.FPU_DP, L.FPU_DP + 4, L.FPU_OPCODE, L.FPU_CS, L.FPU_DS]) {
      view.setInt32(field, 0, true);
    }
    view.setInt32(L.MXCSR, input.getInt32(FX_MXCSR, true), true);
    for (let i = 0; i < 16; i++) {
      const from = FX_XMM + i * 16;
      arena.set(record.subarray(from, from + 16), base + L.XMM + i * L.XMM_STRIDE);
      const high = RECORD_YMM_HIGH + i * 16;
      arena.set(record.subarray(high, high + 16), base + L.XMM + i * L.XMM_STRIDE + 16);
    }
    state.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    state.setI32(L.SHADOW, 0);
    state.setI32(L.TRAP_PENDING, 0);
    this.#fault = undefined;
    let executed = 0;
    // PAUSE ends a slice early.
    for (let slices = 0; slices < 100 && this.#fault === undefined; slices++) {
      executed += cpu.runSlice(FUEL);
    }

    const output = new DataView(result.buffer, result.byteOffset, RECORD_SIZE);
    result.set(record);
    result.set(arena.subarray(base + L.GPR, base + L.GPR + 128), 0);
    const { rip } = state;
    output.setBigUint64(RECORD_FLAGS, BigInt(state.flags), true);
    const fault = this.#fault as GuestFault | undefined;
    const vector = fault?.vector ?? 0xffffffff;
    const error = fault?.errorCode ?? 0;
    this.executed = vector === VECTOR_END ? executed - 1 : executed;
    output.setBigUint64(RECORD_RIP, rip, true);
    output.setUint32(RECORD_VECTOR, vector, true);
    output.setUint32(RECORD_ERROR, error, true);
    output.setBigUint64(RECORD_ADDRESS, fault?.address ?? 0n, true);
    const topAfter = view.getInt32(L.FPU_TOP, true);
    output.setUint16(FX_CONTROL, view.getInt32(L.FPU_CONTROL, true), true);
    output.setUint16(FX_STATUS, view.getInt32(L.FPU_STATUS, true) | (topAfter << 11), true);
    result[FX_TAG] = view.getInt32(L.FPU_VALID, true);
    for (let i = 0; i < 8; i++) {
      const from = base + L.FPR + ((topAfter + i) & 7) * L.FPR_STRIDE;
      result.set(arena.subarray(from, from + 10), FX_ST + i * 16);
    }
    output.setInt32(FX_MXCSR, view.getInt32(L.MXCSR, true), true);
    for (let i = 0; i < 16; i++) {
      const from = base + L.XMM + i * L.XMM_STRIDE;
      result.set(arena.subarray(from, from + 16), FX_XMM + i * 16);
      result.set(arena.subarray(from + 16, from + 32), RECORD_YMM_HIGH + i * 16);
    }
  }
}
