import { EXIT_BYTES, type KvmSystem, type KvmVcpu, type KvmVm } from '../../../../native/index.ts';
import { CpuState } from '../../x86/cpu-state.ts';
import * as L from '../../x86/layout.ts';
import {
  type Batch,
  CASE_BYTES,
  CODE,
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
  WINDOW,
  WINDOW_BYTES,
} from '../../x86/testing/case-records.ts';
import type { HostProcessor, NativeResults, WindowDifference } from '../../x86/testing/native-processor.ts';
import * as K from '../kvm-abi.ts';
import { VcpuRegisters } from '../vcpu-registers.ts';

/** The guest's own things lie in the upper half, where no case reaches them: its first 2 MiB of memory. */
const KERNEL = 0xffff_8000_0000_0000n;
const TABLES = 0x1000;
const IDT = 0x8000;
const GDT = 0x9000;
const TSS = 0xa000;
const STACK = 0xd000;
const HANDLERS = 0x10000;
const HANDLER_BYTES = 16;
/** IRETQ, by which cases begin. */
const ENTRY = 0xf000;
const IRETQ = [0x48, 0xcf];
const PHYSICAL_WINDOW = 0x100000;
const PHYSICAL_CODE = 0x200000;
const MEMORY = 0x400000;
const HLT = 0xf4;

/** Of the general registers in a case's record. With one that is no address, emulating KVMs emulate programs too. */
const RSP = 4 * 8;
const KERNEL_CODE = 0x08;
const KERNEL_DATA = 0x10;
const USER_CODE32 = 0x23;
const USER_DATA = 0x2b;
const USER_CODE64 = 0x33;
const TSS_SELECTOR = 0x40;
const SYSTEM = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_GRANULARITY | L.ATTR_ACCESSED | L.ATTR_WRITABLE;
const FLAT = SYSTEM | (3 << L.ATTR_DPL_SHIFT);
const BUSY_TSS64 = L.ATTR_PRESENT | 11;
/** Exceptions that push an error code (SDM 3A, table 6-1). */
const WITH_ERROR: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);
/** What programs may raise by INT3 and INTO; INT n to anything else is refused. */
const FOR_PROGRAMS: ReadonlySet<number> = new Set([L.VECTOR_BP, L.VECTOR_OF]);
const WINDOW_WORDS = WINDOW_BYTES / 8;

/** A case that does not end by itself is ended after so many nanoseconds. */
const LONGEST_CASE = 1_000_000_000;

/** One processor of the guest, and its record. */
interface CaseProcessor {
  readonly vcpu: KvmVcpu;
  readonly record: Uint8Array;
  readonly fields: DataView;
  readonly state: CpuState;
  readonly registers: VcpuRegisters;
}

/**
 * A guest of KVM that runs the cases of the instruction tests in user mode. A case ends with an exception, whose handler
 * is a HLT. What is compared is the processor, and that KVM and `VcpuRegisters` carry all of its state. A single processor
 * runs in this thread; several run cases by turns, each in a thread of its own.
 */
export class KvmInstructionProcessor implements HostProcessor {
  readonly #system: KvmSystem;
  readonly #vm: KvmVm;
  readonly #processors: readonly CaseProcessor[];
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #templates: readonly Uint8Array[];
  readonly #emulates: boolean;
  /** How often it gave up, by the reason of the exit. */
  readonly refusals = new Map<number, number>();

  /** `system` is closed with this; `emulates`: see KvmAccess. */
  constructor(system: KvmSystem, templates: readonly Uint8Array[], emulates: boolean, cpus = 1) {
    this.#system = system;
    this.#emulates = emulates;
    this.#templates = templates;
    const vm = system.createVm();
    this.#vm = vm;
    const memory = new Uint8Array(new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true }).buffer);
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    // Else it raises #UD for what it cannot emulate.
    vm.enableCapability(K.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    vm.borrow(memory);
    vm.setAddresses(0xfeffd000, 0xfeffc000);
    vm.setMemory(0, 0, 0, MEMORY, 0);
    this.#fillTables();
    this.#processors = Array.from({ length: cpus }, (_, index) => this.#create(index));
    if (cpus > 1) {
      for (const { vcpu } of this.#processors) {
        vcpu.start();
      }
    }
  }

  #create(index: number): CaseProcessor {
    const vcpu = this.#vm.createVcpu(index, new Uint8Array(EXIT_BYTES));
    const leaves = new Uint32Array(2560);
    vcpu.setCpuid(leaves.subarray(0, this.#system.supportedCpuid(leaves) * K.CPUID_ENTRY_WORDS));
    const record = new Uint8Array(new SharedArrayBuffer(L.CPU_STATE_SIZE));
    const state = new CpuState(record.buffer, 0, index);
    const clock = { timestamp: () => 0n, base: () => 0n };
    const registers = new VcpuRegisters(vcpu, state, { clock, hasXcrs: true, hasYmm: true });
    // What KVM begins with, and then the registers that no case changes.
    registers.fromKvm();
    state.setU64(L.CR0, 0x80010033n);
    state.setU64(L.CR3, BigInt(TABLES));
    state.setU64(L.CR4, BigInt(L.CR4_PAE | L.CR4_OSFXSR | L.CR4_OSXMMEXCPT | L.CR4_OSXSAVE));
    state.setU64(L.EFER, BigInt(L.EFER_LME | L.EFER_LMA | L.EFER_NXE | L.EFER_SCE));
    state.setU64(L.XCR0, BigInt(L.XCR0_X87 | L.XCR0_AVX_STATE));
    for (const [table, base, limit] of [
      [L.GDTR, GDT, 0x4f],
      [L.IDTR, IDT, 0xfff],
    ] as const) {
      state.setU64(table, KERNEL + BigInt(base));
      state.setU32(table + 8, limit);
    }
    state.segments[L.SEG_LDTR]?.assign(0, 0n, 0, L.ATTR_UNUSABLE);
    state.segments[L.SEG_TR]?.assign(TSS_SELECTOR, KERNEL + BigInt(TSS), 0x67, BUSY_TSS64);
    return { vcpu, record, fields: new DataView(record.buffer), state, registers };
  }

  #put(address: number, value: bigint): void {
    this.#view.setBigUint64(address, value, true);
  }

  #fillTables(): void {
    const present = 7n;
    const large = 0x80n;
    const noExecute = 1n << 63n;
    const [upper, lower, upperDirectory, lowerDirectory, windowTable] = [2, 3, 4, 5, 6].map((n) =>
      BigInt(n * 0x1000),
    ) as [bigint, bigint, bigint, bigint, bigint];
    this.#put(TABLES, lower | present);
    this.#put(TABLES + 0x100 * 8, upper | 3n);
    this.#put(Number(upper), upperDirectory | 3n);
    this.#put(Number(upperDirectory), 3n | large);
    this.#put(Number(lower), lowerDirectory | present);
    this.#put(Number(lowerDirectory) + (WINDOW >>> 21) * 8, windowTable | present);
    this.#put(Number(lowerDirectory) + (CODE >>> 21) * 8, BigInt(PHYSICAL_CODE) | 5n | large);
    for (let i = 0; i < WINDOW_BYTES / 4096; i++) {
      this.#put(Number(windowTable) + i * 8, BigInt(PHYSICAL_WINDOW + i * 4096) | present | noExecute);
    }
    for (const [selector, descriptor] of [
      [KERNEL_CODE, 0x00af9b000000ffffn],
      [KERNEL_DATA, 0x00cf93000000ffffn],
      [USER_CODE32 & ~7, 0x00cffb000000ffffn],
      [USER_DATA & ~7, 0x00cff3000000ffffn],
      [USER_CODE64 & ~7, 0x00affb000000ffffn],
      // Base 0–31 of the TSS's address, and behind it the rest.
      [TSS_SELECTOR, 0x00008b0000000067n | (BigInt(TSS) << 16n)],
      [TSS_SELECTOR + 8, KERNEL >> 32n],
    ] as const) {
      this.#put(GDT + selector, descriptor);
    }
    this.#put(TSS + 4, KERNEL + BigInt(STACK));
    this.#memory.set(IRETQ, ENTRY);
    for (let vector = 0; vector < 256; vector++) {
      const handler = HANDLERS + vector * HANDLER_BYTES;
      this.#memory[handler] = HLT;
      const type = FOR_PROGRAMS.has(vector) ? 0xee00n : 0x8e00n;
      const low =
        BigInt(handler & 0xffff) | (BigInt(KERNEL_CODE) << 16n) | (type << 32n) | (BigInt(handler >>> 16) << 48n);
      this.#put(IDT + vector * 16, low);
      this.#put(IDT + vector * 16 + 8, KERNEL >> 32n);
    }
  }

  async run(batch: Batch): Promise<NativeResults> {
    const { count } = batch;
    this.#memory.set(batch.code.subarray(0, count * CASE_BYTES), PHYSICAL_CODE);
    const records = batch.records.slice(0, count * RECORD_SIZE);
    const differences = new Map<number, WindowDifference[]>();
    const refused = new Set<number>();
    const window = this.#memory.subarray(PHYSICAL_WINDOW, PHYSICAL_WINDOW + WINDOW_BYTES);
    for (let index = 0; index < count; index++) {
      const processor = this.#processors[index % this.#processors.length] as CaseProcessor;
      const record = records.subarray(index * RECORD_SIZE, (index + 1) * RECORD_SIZE);
      const view = new DataView(record.buffer, record.byteOffset, RECORD_SIZE);
      const template = this.#templates[view.getUint32(RECORD_TEMPLATE, true)] as Uint8Array;
      window.set(template);
      const stack = view.getBigInt64(RSP, true);
      if ((this.#emulates && BigInt.asIntN(48, stack) !== stack) || !this.#enter(processor, record, view)) {
        refused.add(index);
        continue;
      }
      this.#leave(processor, record, view);
      if (this.#emulates && view.getUint32(RECORD_VECTOR, true) === L.VECTOR_UD) {
        // What faults is emulated by some KVMs, which know few instructions.
        refused.add(index);
        this.refusals.set(K.KVM_EXIT_EXCEPTION, (this.refusals.get(K.KVM_EXIT_EXCEPTION) ?? 0) + 1);
      }
      if (Buffer.compare(window, template) !== 0) {
        differences.set(index, differencesOf(window, template));
      }
    }
    return { records, differences, refused };
  }

  /** Makes the guest's state that of a case, and runs it to its end. False: KVM gives up on an instruction. */
  #enter(processor: CaseProcessor, record: Uint8Array, view: DataView): boolean {
    const { state, fields, registers, record: own } = processor;
    const is32 = view.getUint32(RECORD_BITS, true) === 32;
    own.set(record.subarray(0, 128), L.GPR);
    // Programs are entered by their system, with IRETQ: some KVMs run nothing else at full speed.
    const frame = STACK - 5 * 8;
    const words = [
      view.getBigUint64(RECORD_RIP, true),
      BigInt(is32 ? USER_CODE32 : USER_CODE64),
      BigInt(view.getUint32(RECORD_FLAGS, true)),
      state.gpr(4),
      BigInt(USER_DATA),
    ];
    for (const [i, word] of words.entries()) {
      this.#put(frame + i * 8, word);
    }
    state.setGpr(4, KERNEL + BigInt(frame));
    state.rip = KERNEL + BigInt(ENTRY);
    state.flags = 2;
    state.cs.assign(KERNEL_CODE, 0n, 0xffffffff, SYSTEM | L.ATTR_CODE | L.ATTR_LONG);
    state.ss.assign(KERNEL_DATA, 0n, 0xffffffff, SYSTEM | L.ATTR_DB);
    for (const segment of [state.ds, state.es]) {
      segment.assign(USER_DATA, 0n, 0xffffffff, FLAT | L.ATTR_DB);
    }
    state.fs.assign(0, 0n, 0, L.ATTR_UNUSABLE);
    state.gs.assign(0, is32 ? 0n : BigInt(GS_BASE), 0, L.ATTR_UNUSABLE);
    state.setU64(L.CR2, 0n);
    const status = view.getUint16(FX_STATUS, true);
    const top = (status >> 11) & 7;
    fields.setInt32(L.FPU_CONTROL, view.getUint16(FX_CONTROL, true), true);
    fields.setInt32(L.FPU_STATUS, status & ~0x3800, true);
    fields.setInt32(L.FPU_TOP, top, true);
    fields.setInt32(L.FPU_VALID, record[FX_TAG] as number, true);
    for (let i = 0; i < 8; i++) {
      own.set(record.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10), L.FPR + ((top + i) & 7) * L.FPR_STRIDE);
    }
    fields.setInt32(L.MXCSR, view.getInt32(FX_MXCSR, true), true);
    for (let i = 0; i < 16; i++) {
      const to = L.XMM + i * L.XMM_STRIDE;
      own.set(record.subarray(FX_XMM + i * 16, FX_XMM + i * 16 + 16), to);
      own.set(record.subarray(RECORD_YMM_HIGH + i * 16, RECORD_YMM_HIGH + i * 16 + 16), to + 16);
    }
    state.setI32(L.SHADOW, 0);
    state.setI32(L.NMI_BLOCKED, 0);
    registers.toKvm(0xfee00900n, 0);
    const reason = this.#run(processor);
    registers.fromKvm();
    if (reason !== K.KVM_EXIT_HLT) {
      this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
    }
    return reason === K.KVM_EXIT_HLT;
  }

  /** Runs a processor until it stops: the reason. An endless loop is the case's own fault. */
  #run({ vcpu }: CaseProcessor): number {
    if (this.#processors.length === 1) {
      vcpu.armTimer(LONGEST_CASE);
      const reason = vcpu.run();
      vcpu.armTimer(0);
      return reason;
    }
    vcpu.resume();
    if (this.#vm.wait(LONGEST_CASE) < 0) {
      vcpu.kick();
      while (this.#vm.wait(LONGEST_CASE) < 0) {}
    }
    return vcpu.takeExit();
  }

  /** Reads what became of the case: registers, and the frame that the exception pushed. */
  #leave({ state, fields, record: own }: CaseProcessor, record: Uint8Array, view: DataView): void {
    const vector = Math.floor((Number(BigInt.asUintN(32, state.rip)) - 1 - HANDLERS) / HANDLER_BYTES);
    const hasError = WITH_ERROR.has(vector);
    let at = Number(BigInt.asUintN(21, state.gpr(4)));
    const pop = () => {
      const value = this.#view.getBigUint64(at, true);
      at += 8;
      return value;
    };
    const error = hasError ? pop() : 0n;
    const rip = pop();
    pop();
    const flags = pop();
    state.setGpr(4, pop());
    record.set(own.subarray(L.GPR, L.GPR + 128), 0);
    view.setBigUint64(RECORD_RIP, rip, true);
    view.setBigUint64(RECORD_FLAGS, flags, true);
    view.setUint32(RECORD_VECTOR, vector, true);
    view.setUint32(RECORD_ERROR, Number(error & 0xffffffffn), true);
    view.setBigUint64(RECORD_ADDRESS, vector === L.VECTOR_PF ? state.u64(L.CR2) : 0n, true);
    const top = fields.getInt32(L.FPU_TOP, true);
    view.setUint16(FX_CONTROL, fields.getInt32(L.FPU_CONTROL, true), true);
    view.setUint16(FX_STATUS, fields.getInt32(L.FPU_STATUS, true) | (top << 11), true);
    record[FX_TAG] = fields.getInt32(L.FPU_VALID, true);
    for (let i = 0; i < 8; i++) {
      const from = L.FPR + ((top + i) & 7) * L.FPR_STRIDE;
      record.set(own.subarray(from, from + 10), FX_ST + i * 16);
    }
    view.setInt32(FX_MXCSR, fields.getInt32(L.MXCSR, true), true);
    for (let i = 0; i < 16; i++) {
      const from = L.XMM + i * L.XMM_STRIDE;
      record.set(own.subarray(from, from + 16), FX_XMM + i * 16);
      record.set(own.subarray(from + 16, from + 32), RECORD_YMM_HIGH + i * 16);
    }
  }

  close(): void {
    for (const { vcpu } of this.#processors) {
      vcpu.close();
    }
    this.#vm.close();
    this.#system.close();
  }
}

/** The 64-bit words of the window that are not the template's. */
function differencesOf(window: Uint8Array, template: Uint8Array): WindowDifference[] {
  const now = new DataView(window.buffer, window.byteOffset, window.length);
  const before = new DataView(template.buffer, template.byteOffset, template.length);
  const list: WindowDifference[] = [];
  for (let i = 0; i < WINDOW_WORDS; i++) {
    const value = now.getBigUint64(i * 8, true);
    if (value !== before.getBigUint64(i * 8, true)) {
      list.push({ offset: i * 8, value });
    }
  }
  return list;
}
