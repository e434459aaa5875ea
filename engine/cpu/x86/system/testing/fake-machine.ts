import { type Log, silentLog } from '../../../../base/log.ts';
import { CpuState } from '../../cpu-state.ts';
import * as L from '../../layout.ts';
import { GuestFault, type LinearMemory, type Privilege } from '../../linear-memory.ts';
import { System } from '../system.ts';
import type { SystemEnvironment } from '../system-environment.ts';

/** Linear memory that is physical memory, but for pages a test has marked as not present. */
export class FakeLinearMemory implements LinearMemory {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #cpl: () => number;
  /** Linear addresses of pages whose use faults. */
  readonly missing = new Set<number>();
  /** Pages that only the supervisor may use. */
  readonly supervisorOnly = new Set<number>();

  constructor(sizeBytes: number, cpl: () => number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
    this.#cpl = cpl;
  }

  #check(address: bigint, length: number, write: boolean, privilege: Privilege): number {
    const user = privilege === 'current' && this.#cpl() === 3;
    // The upper half of the canonical space is a mirror: long-mode tests use both halves.
    const at = Number(address & 0xffffffffn);
    for (let page = at & ~0xfff; page < at + length; page += 0x1000) {
      if (this.missing.has(page) || (user && this.supervisorOnly.has(page))) {
        const code = (this.missing.has(page) ? 0 : 1) | (write ? 2 : 0) | (user ? 4 : 0);
        throw new GuestFault(L.VECTOR_PF, code, page > at ? address - BigInt(at) + BigInt(page) : address);
      }
    }
    if (at + length > this.bytes.length) {
      throw new RangeError(`test access beyond memory: ${address.toString(16)}`);
    }
    return at;
  }

  read8(address: bigint, privilege: Privilege): number {
    return this.#view.getUint8(this.#check(address, 1, false, privilege));
  }
  read16(address: bigint, privilege: Privilege): number {
    return this.#view.getUint16(this.#check(address, 2, false, privilege), true);
  }
  read32(address: bigint, privilege: Privilege): number {
    return this.#view.getUint32(this.#check(address, 4, false, privilege), true);
  }
  read64(address: bigint, privilege: Privilege): bigint {
    return this.#view.getBigUint64(this.#check(address, 8, false, privilege), true);
  }
  write8(address: bigint, value: number, privilege: Privilege): void {
    this.#view.setUint8(this.#check(address, 1, true, privilege), value);
  }
  write16(address: bigint, value: number, privilege: Privilege): void {
    this.#view.setUint16(this.#check(address, 2, true, privilege), value, true);
  }
  write32(address: bigint, value: number, privilege: Privilege): void {
    this.#view.setUint32(this.#check(address, 4, true, privilege), value, true);
  }
  write64(address: bigint, value: bigint, privilege: Privilege): void {
    this.#view.setBigUint64(this.#check(address, 8, true, privilege), value, true);
  }
  checkWrite(address: bigint, length: number, privilege: Privilege): void {
    this.#check(address, length, true, privilege);
  }
}

/** The machine around a processor under test: it records what the processor asks for. */
export class FakeEnvironment implements SystemEnvironment {
  cpuCount = 1;
  maxPhysicalAddressBits = 40;
  tscFrequencyHz = 2_000_000_000;
  log: Log = silentLog;
  readonly flushes: boolean[] = [];
  readonly invalidated: bigint[] = [];
  tsc = 1000n;
  taskPriority = 0;
  readonly apicMsrs = new Map<number, bigint>([[0x1b, 0xfee00900n]]);
  readonly physical32 = new Map<number, number>();

  flushTlb(includingGlobal: boolean): void {
    this.flushes.push(includingGlobal);
  }
  invalidatePage(address: bigint): void {
    this.invalidated.push(address);
  }
  timestamp(): bigint {
    return this.tsc;
  }
  tpr(): number {
    return this.taskPriority;
  }
  setTpr(value: number): void {
    this.taskPriority = value;
  }
  readApicMsr(msr: number): bigint | undefined {
    return this.apicMsrs.get(msr);
  }
  writeApicMsr(msr: number, value: bigint): boolean {
    if (!this.apicMsrs.has(msr)) {
      return false;
    }
    this.apicMsrs.set(msr, value);
    return true;
  }
  readPhysical32(address: number): number {
    return this.physical32.get(address) ?? 0;
  }
  modeChanged(): void {}
  debugChanged(): void {}
}

export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x3000;
export const LDT = 0x4000;
export const TSS2 = 0x5000;
/** Tops of the stacks of levels 0–3. */
export const STACKS = [0x10000, 0x11000, 0x12000, 0x13000] as const;

/** Selectors of the usual segments. */
export const KERNEL_CODE = 0x08;
export const KERNEL_DATA = 0x10;
export const USER_CODE = 0x1b;
export const USER_DATA = 0x23;
export const TSS_SELECTOR = 0x28;
/** Two entries in long mode. */
export const SECOND_TSS = 0x38;
export const CONFORMING_CODE = 0x40;
export const LEVEL1_CODE = 0x49;
export const LEVEL1_DATA = 0x51;
export const CODE16 = 0x58;
export const DATA16 = 0x60;
export const USER_CODE64 = 0x6b;
export const GATE = 0x70;
/** Free for each test; GATE takes two entries in long mode. */
export const SPARE = 0x80;
export const LDT_SELECTOR = 0x90;

export const ACCESS_CODE = 0x9a;
export const ACCESS_DATA = 0x92;

/** A processor in memory with GDT, IDT, TSS and stacks, in a mode of choice. */
export class TestCpu {
  /** The processor's whole record. */
  readonly record = new Uint8Array(L.CPU_STATE_SIZE);
  readonly state: CpuState;
  readonly memory: FakeLinearMemory;
  readonly environment = new FakeEnvironment();
  readonly system: System;

  constructor(index = 0) {
    this.state = new CpuState(this.record.buffer, 0, index);
    this.memory = new FakeLinearMemory(0x200000, () => this.state.cpl);
    this.system = new System(this.state, this.memory, this.environment);
    this.system.reset('power-on');
  }

  read16(address: number): number {
    return this.memory.read16(BigInt(address), 'supervisor');
  }
  read32(address: number): number {
    return this.memory.read32(BigInt(address), 'supervisor');
  }
  read64(address: number): bigint {
    return this.memory.read64(BigInt(address), 'supervisor');
  }
  write16(address: number, value: number): void {
    this.memory.write16(BigInt(address), value, 'supervisor');
  }
  write32(address: number, value: number): void {
    this.memory.write32(BigInt(address), value, 'supervisor');
  }
  write64(address: number, value: bigint): void {
    this.memory.write64(BigInt(address), value, 'supervisor');
  }

  /** `access`: the descriptor's sixth byte. `flags`: G, D/B, L, AVL as the upper half of its seventh. */
  descriptor(selector: number, base: number, limit: number, access: number, flags: number, table = GDT): void {
    const at = table + (selector & 0xfff8);
    this.write32(at, ((limit & 0xffff) | (base << 16)) >>> 0);
    const high = (base & 0xff000000) | (flags << 20) | (limit & 0xf0000) | (access << 8) | ((base >>> 16) & 0xff);
    this.write32(at + 4, high >>> 0);
  }

  callGate(selector: number, target: number, offset: bigint, access: number, parameters = 0, table = GDT): void {
    this.#gate(table + (selector & 0xfff8), target, offset, (access << 8) | parameters);
  }

  idtGate(vector: number, target: number, offset: number, access: number): void {
    this.#gate(IDT + vector * 8, target, BigInt(offset), access << 8);
  }

  idtGate64(vector: number, target: number, offset: bigint, access: number, ist = 0): void {
    this.#gate(IDT + vector * 16, target, offset, (access << 8) | ist);
    this.write64(IDT + vector * 16 + 8, offset >> 32n);
  }

  #gate(at: number, target: number, offset: bigint, middle: number): void {
    const low = Number(offset & 0xffffffffn);
    this.write32(at, ((low & 0xffff) | (target << 16)) >>> 0);
    this.write32(at + 4, ((low & 0xffff0000) | middle) >>> 0);
  }

  #tables(): void {
    this.descriptor(KERNEL_CODE, 0, 0xfffff, ACCESS_CODE, 0xc);
    this.descriptor(KERNEL_DATA, 0, 0xfffff, ACCESS_DATA, 0xc);
    this.descriptor(USER_CODE, 0, 0xfffff, ACCESS_CODE | 0x60, 0xc);
    this.descriptor(USER_DATA, 0, 0xfffff, ACCESS_DATA | 0x60, 0xc);
    this.descriptor(TSS_SELECTOR, TSS, 0x2fff, 0x89, 0);
    this.descriptor(CONFORMING_CODE, 0, 0xfffff, ACCESS_CODE | 4, 0xc);
    this.descriptor(LEVEL1_CODE, 0, 0xfffff, ACCESS_CODE | 0x20, 0xc);
    this.descriptor(LEVEL1_DATA, 0, 0xfffff, ACCESS_DATA | 0x20, 0xc);
    this.descriptor(CODE16, 0, 0xffff, ACCESS_CODE, 0);
    this.descriptor(DATA16, 0, 0xffff, ACCESS_DATA, 0);
    this.descriptor(USER_CODE64, 0, 0xfffff, ACCESS_CODE | 0x60, 0xa);
    this.descriptor(LDT_SELECTOR, LDT, 0xff, 0x82, 0);
    const { state } = this;
    state.setU64(L.GDTR, BigInt(GDT));
    state.setU32(L.GDTR + 8, 0xff);
    state.setU64(L.IDTR, BigInt(IDT));
    state.setU32(L.IDTR + 8, 0xfff);
  }

  /** 32-bit protected mode at level 0, flat, with interrupts off and a TSS. */
  protect(): this {
    const { state, system } = this;
    this.#tables();
    for (let level = 0; level < 3; level++) {
      this.write32(TSS + 4 + level * 8, STACKS[level] ?? 0);
    }
    this.write16(TSS + 8, KERNEL_DATA);
    this.write16(TSS + 16, LEVEL1_DATA);
    system.writeControl(0, 0x11n);
    state.rip = 0x8000n;
    system.farJump(KERNEL_CODE, 0x8000n, 4);
    for (const index of [L.SEG_ES, L.SEG_SS, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
      system.loadSegment(index, KERNEL_DATA);
    }
    system.ltr(TSS_SELECTOR);
    state.setGpr(4, BigInt(STACKS[0]));
    return this;
  }

  /** 32-bit protected mode at level 3. */
  user(flags = 0x202): this {
    const { state, system } = this;
    const frame = STACKS[0] - 0x100;
    this.write32(frame, 0x9000);
    this.write32(frame + 4, USER_CODE);
    this.write32(frame + 8, flags);
    this.write32(frame + 12, STACKS[3]);
    this.write32(frame + 16, USER_DATA);
    state.setGpr(4, BigInt(frame));
    for (const index of [L.SEG_ES, L.SEG_DS, L.SEG_FS, L.SEG_GS]) {
      system.loadSegment(index, USER_DATA);
    }
    system.iret(4);
    return this;
  }

  /** Virtual-8086 mode at 2000:0100, stack 3000:1000. */
  vm86(flags = 0x202): this {
    const { state, system } = this;
    const frame = STACKS[0] - 0x100;
    [0x100, 0x2000, flags | L.FLAG_VM, 0x1000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000].forEach((value, i) => {
      this.write32(frame + i * 4, value);
    });
    state.setGpr(4, BigInt(frame));
    system.iret(4);
    return this;
  }

  /** 64-bit mode at level 0. */
  long(): this {
    const { state, system } = this;
    this.protect();
    system.writeControl(4, BigInt(L.CR4_PAE | L.CR4_OSFXSR));
    system.writeControl(3, 0x100000n);
    system.writeMsr(0xc0000080, 0x901n);
    system.writeControl(0, 0x80000011n);
    this.descriptor(KERNEL_CODE, 0, 0xfffff, ACCESS_CODE, 0xa);
    system.farJump(KERNEL_CODE, 0x8000n, 4);
    this.descriptor(TSS_SELECTOR, TSS, 0x2fff, 0x89, 0);
    this.write64(GDT + TSS_SELECTOR + 8, 0n);
    system.ltr(TSS_SELECTOR);
    for (let level = 0; level < 3; level++) {
      this.write64(TSS + 4 + level * 8, BigInt(STACKS[level] ?? 0));
    }
    for (let ist = 1; ist < 8; ist++) {
      this.write64(TSS + 28 + ist * 8, BigInt(0x14000 + ist * 0x1000));
    }
    state.setGpr(4, BigInt(STACKS[0]));
    return this;
  }

  /** 64-bit mode at level 3. */
  longUser(flags = 0x202): this {
    const { state, system } = this;
    const frame = STACKS[0] - 0x100;
    this.write64(frame, 0x9000n);
    this.write64(frame + 8, BigInt(USER_CODE64));
    this.write64(frame + 16, BigInt(flags));
    this.write64(frame + 24, BigInt(STACKS[3]));
    this.write64(frame + 32, BigInt(USER_DATA));
    state.setGpr(4, BigInt(frame));
    system.iret(8);
    return this;
  }
}

/** Runs `action`, which must raise a guest fault, and returns it as `[vector, error code]`. */
export function faultOf(action: () => void): [number, number | undefined] {
  try {
    action();
  } catch (fault) {
    if (fault instanceof GuestFault) {
      return [fault.vector, fault.errorCode];
    }
    throw fault;
  }
  throw new Error('no fault was raised');
}
