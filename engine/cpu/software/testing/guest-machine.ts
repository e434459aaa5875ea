import { silentLog } from '../../../base/log.ts';
import type { AccessSize } from '../../../bus/bus.ts';
import { createArena } from '../../../memory/arena.ts';
import { MachineMemory } from '../../../memory/machine-memory.ts';
import { Random } from '../../../testing/random.ts';
import type { CpuBus } from '../../cpu-backend.ts';
import type { CpuState } from '../../x86/cpu-state.ts';
import * as L from '../../x86/layout.ts';
import { ordinaryExtended, specialExtended, specialInteger, specialVector } from '../../x86/testing/special-values.ts';
import type { CompilerThread } from '../jit/compile-request.ts';
import type { Processor } from '../processor.ts';
import { SoftwareCpus, type SoftwareCpusOptions } from '../software-cpus.ts';
import {
  ENTRY_STRIDE,
  guestKernel,
  KERNEL_DONE,
  KERNEL_ESCAPES,
  KERNEL_LOG_POSITION,
  KERNEL_OTHER_CODE,
  KERNEL_OTHER_DATA,
} from './guest-kernel.ts';
import * as G from './guest-layout.ts';
import {
  type Assembled,
  counterAddress,
  type PageEntry,
  type Program,
  type ProgramMode,
  type SliceEvent,
  tableAddress,
} from './program.ts';

const FLAT = L.ATTR_PRESENT | L.ATTR_S | L.ATTR_ACCESSED | L.ATTR_WRITABLE | L.ATTR_GRANULARITY;
const DPL3 = 3 << L.ATTR_DPL_SHIFT;

/** What a write to a device address does beside being recorded, by bits 4–7 of the address. */
export const DEVICE_INTERRUPT = 0x10;
export const DEVICE_WRITES_CODE = 0x20;
export const DEVICE_FLUSHES_TLB = 0x30;
export const DEVICE_SWITCHES_PAGE = 0x40;
export const DEVICE_STOPS = 0x50;
export const DEVICE_NMI = 0x60;
/** Reading here gives the number of executed instructions. */
export const DEVICE_CLOCK = 0x70;

/** How a tier runs programs: what the processors are made with, and what is done to them afterwards. */
export interface Tier {
  readonly name: string;
  /** Passed to the processors beside what every machine has. */
  readonly options?: Partial<SoftwareCpusOptions>;
  /** Makes the compiler that the processors are given; each machine has its own. */
  readonly compiler?: () => CompilerThread;
  /** Every slice is run in pieces of so many instructions at most. */
  readonly piece?: number;
  /** Changes the machine once it is made. */
  readonly prepare?: (machine: GuestMachine) => void;
}

function gate(bits: 32 | 64, target: number, dpl: number, ist: number): number[] {
  const selector = bits === 64 ? G.KERNEL_CODE64 : G.KERNEL_CODE32;
  const low = ((selector << 16) | (target & 0xffff)) >>> 0;
  const high = ((target & 0xffff0000) | 0x8e00 | (dpl << 13) | ist) >>> 0;
  return bits === 64 ? [low, high, 0, 0] : [low, high];
}

/** A code or data descriptor; `access` is its byte 5, `flags` bits 52–55. */
function descriptor(base: number, access: number, flags: number): number[] {
  return [(0xffff | (base << 16)) >>> 0, ((base >>> 16) & 0xff) | (access << 8) | (0xf << 16) | (flags << 20)];
}

let kernelImage: { readonly memory: Uint8Array; readonly syscall: bigint } | undefined;

/** Memory with kernel and tables in it, the same for all programs. */
function kernelMemory(): { readonly memory: Uint8Array; readonly syscall: bigint } {
  if (kernelImage !== undefined) {
    return kernelImage;
  }
  const memory = new Uint8Array(G.COMPARED_BYTES);
  const view = new DataView(memory.buffer);
  const put = (at: number, words: readonly number[]) => {
    for (const [i, word] of words.entries()) {
      view.setUint32(at + i * 4, word, true);
    }
  };
  const table = G.PRESENT | G.WRITABLE | G.USER;
  put(G.PML4, [G.PDPT | table]);
  put(G.PML4 + 511 * 8, [G.PDPT_HIGH | table]);
  put(G.PDPT, [G.PAGE_DIRECTORY | table]);
  put(G.PDPT_HIGH + 510 * 8, [G.PAGE_DIRECTORY | table]);
  put(G.PAE_TABLE, [G.PAGE_DIRECTORY | G.PRESENT]);
  put(G.PAGE_DIRECTORY, [G.KERNEL_TABLE | table]);
  put(G.PAGE_DIRECTORY + (G.DATA >>> 21) * 8, [G.DATA_TABLE | table]);
  put(G.PAGE_DIRECTORY + (G.CODE >>> 21) * 8, [G.CODE_TABLE | table]);
  for (let at = G.PML4; at < G.CODE_PHYSICAL; at += G.PAGE) {
    const writable = at === G.KERNEL_DATA || (at >= G.LOG && at < G.LOG + G.LOG_BYTES) || at >= G.STACKS;
    put(G.KERNEL_TABLE + (at >>> 12) * 8, [at | G.PRESENT | (writable ? G.WRITABLE : 0)]);
  }
  put(G.KERNEL_TABLE + (G.DATA_TABLE_ALIAS >>> 12) * 8, [G.DATA_TABLE | G.PRESENT | G.WRITABLE]);
  put(G.KERNEL_TABLE + (G.CODE_TABLE_ALIAS >>> 12) * 8, [G.CODE_TABLE | G.PRESENT | G.WRITABLE]);
  const descriptors: [number, number[]][] = [
    [G.KERNEL_CODE64, descriptor(0, 0x9b, 0xa)],
    [G.KERNEL_DATA_SELECTOR, descriptor(0, 0x93, 0xc)],
    [G.USER_CODE32, descriptor(0, 0xfb, 0xc)],
    [G.USER_DATA, descriptor(0, 0xf3, 0xc)],
    [G.USER_CODE64, descriptor(0, 0xfb, 0xa)],
    [G.KERNEL_CODE32, descriptor(0, 0x9b, 0xc)],
    [G.BASED_DATA0, descriptor(G.SEGMENT_BASE, 0x93, 0xc)],
    [G.BASED_DATA3, descriptor(G.SEGMENT_BASE, 0xf3, 0xc)],
  ];
  for (const [selector, words] of descriptors) {
    put(G.GDT + (selector & ~7), words);
  }
  // Task state: stacks for the kernel, and for exceptions whatever the stack pointer was.
  const top = G.STACKS + G.STACKS_BYTES;
  put(G.TSS64 + 4, [top]);
  put(G.TSS64 + 0x24, [top - 0x1000, 0, top - 0x2000, 0]);
  put(G.TSS32 + 4, [top, G.KERNEL_DATA_SELECTOR]);
  const kernel64 = guestKernel(64);
  const kernel32 = guestKernel(32);
  memory.set(kernel64.bytes, kernel64.origin);
  memory.set(kernel32.bytes, kernel32.origin);
  const open = new Set([3, 4, G.SERVICE_NOTHING, G.SERVICE, G.SERVICE_END]);
  for (let vector = 0; vector < 256; vector++) {
    const dpl = open.has(vector) ? 3 : 0;
    put(G.IDT64 + vector * 16, gate(64, kernel64.origin + vector * ENTRY_STRIDE, dpl, vector === 2 ? 2 : 1));
    put(G.IDT32 + vector * 8, gate(32, kernel32.origin + vector * ENTRY_STRIDE, dpl, 0));
  }
  kernelImage = { memory, syscall: kernel64.syscall };
  return kernelImage;
}

const DATA_IMAGES = 16;
const dataImages: Uint8Array[] = [];

/** What the data pages hold at the start: one of a few images full of special values. */
function dataImage(seed: number): Uint8Array {
  const index = seed % DATA_IMAGES;
  let image = dataImages[index];
  if (image === undefined) {
    image = new Uint8Array(G.COMPARED_BYTES - G.DATA_PHYSICAL);
    const view = new DataView(image.buffer);
    const random = new Random(index);
    for (let at = 0; at < image.length; at += 16) {
      if (random.chance(1, 8)) {
        const { significand, exponent } = specialExtended(random);
        view.setBigUint64(at, significand, true);
        view.setUint16(at + 8, exponent, true);
      } else {
        specialVector(random, view, at);
      }
    }
    dataImages[index] = image;
  }
  return image;
}

/** A machine for random programs: one software processor, memory, and a device behind ports and memory alike. */
export class GuestMachine {
  readonly tier: Tier;
  readonly memory: MachineMemory;
  readonly cpus: SoftwareCpus;
  readonly cpu: Processor;
  readonly state: CpuState;
  /** Every access to the device and every stop, each as a line. */
  readonly log: string[] = [];
  #started = 0;
  #accesses = 0;
  #vector = 0x20;
  #program: Program | undefined;
  #assembled: Assembled | undefined;
  #switched = false;

  constructor(tier: Tier) {
    this.tier = tier;
    const memory = new MachineMemory(createArena(G.RAM_BYTES), G.RAM_BYTES);
    this.memory = memory;
    memory.mapRam(0, G.RAM_BYTES);
    const rom = memory.addRom(new Uint8Array(G.PAGE).map((_, i) => (i * 7) & 0xff));
    memory.mapRom(G.ROM_PHYSICAL, G.PAGE, rom);
    memory.placeVram(G.VIDEO_PHYSICAL);
    this.cpus = new SoftwareCpus({
      count: 1,
      memory,
      bus: this.#bus(),
      timing: {
        now: () => this.executed,
        nanosPerInstruction: 1,
        tscFrequencyHz: 1e9,
        timestamp: () => BigInt(this.executed),
      },
      log: silentLog,
      ...tier.options,
      compiler: tier.compiler?.(),
    });
    const [cpu] = this.cpus.processors;
    if (cpu === undefined) {
      throw new Error('no processor');
    }
    this.cpu = cpu;
    this.state = cpu.state;
    tier.prepare?.(this);
  }

  /** Instructions since the start of the program. */
  get executed(): number {
    return (this.cpus?.executed ?? 0) - this.#started;
  }

  get done(): boolean {
    return this.memory.readU32(G.KERNEL_DATA + KERNEL_DONE) !== 0;
  }

  /** Vectors of the interrupts and exceptions that the kernel has recorded, the last 256 at most. */
  recordedVectors(): number[] {
    const end = this.memory.readU32(G.KERNEL_DATA + KERNEL_LOG_POSITION);
    const vectors: number[] = [];
    for (let at = 0; at < end; at += 32) {
      vectors.push(this.memory.readU32(G.LOG + at));
    }
    return vectors;
  }

  #bus(): CpuBus {
    const read = (space: string, address: number, size: AccessSize) => {
      const count = this.#accesses++;
      const value =
        (address & 0xf0) === DEVICE_CLOCK
          ? this.executed
          : Math.imul((address & 0xff) + count * 0x101 + 1, 0x9e3779b1) ^ (count << 7);
      const cut = size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
      this.log.push(`${this.executed}: ${space} read ${address.toString(16)} ${size} = ${cut.toString(16)}`);
      return cut;
    };
    const write = (space: string, address: number, size: AccessSize, value: number) => {
      this.#accesses++;
      this.log.push(`${this.executed}: ${space} write ${address.toString(16)} ${size} ${value.toString(16)}`);
      this.#act(address & 0xf0, value);
    };
    return {
      readPort: (port, size) => read('port', port, size),
      writePort: (port, size, value) => write('port', port, size, value),
      readMmio: (address, size) => read('memory', address, size),
      writeMmio: (address, size, value) => write('memory', address, size, value),
      acknowledge: () => {
        this.cpus.signals.setInterruptRequest(0, false);
        this.log.push(`${this.executed}: acknowledged ${this.#vector}`);
        return this.#vector;
      },
      tpr: () => 0,
      setTpr: () => {},
      readApicMsr: () => undefined,
      writeApicMsr: () => false,
      tscChanged: () => {},
    };
  }

  #act(kind: number, value: number): void {
    switch (kind) {
      case DEVICE_INTERRUPT:
        this.#vector = 0x20 + (value & 0x1f);
        this.cpus.signals.setInterruptRequest(0, true);
        return;
      case DEVICE_WRITES_CODE:
        this.#writeCode(value, value >>> 8);
        return;
      case DEVICE_FLUSHES_TLB:
        this.cpu.translation.flush(true);
        return;
      case DEVICE_SWITCHES_PAGE:
        this.#switched = !this.#switched;
        if (this.#switched) {
          this.memory.unmap(G.SWITCHED_PHYSICAL, G.PAGE);
        } else {
          this.memory.mapRam(G.SWITCHED_PHYSICAL, G.PAGE);
        }
        return;
      case DEVICE_STOPS:
        this.cpus.stopSoon();
        return;
      case DEVICE_NMI:
        this.cpus.signals.nmi(0);
        return;
      default:
    }
  }

  /** As another bus master: changes the byte of a place that may be changed. */
  #writeCode(place: number, value: number): void {
    const places = this.#program?.mutablePlaces ?? [];
    const target = places[place % Math.max(1, places.length)];
    if (target === undefined || this.#assembled === undefined) {
      return;
    }
    const offset = this.#assembled.address(target) - G.CODE;
    const page = this.#program?.codePages[offset >> 12];
    if (page !== undefined) {
      this.memory.writeU8(page.physical + (offset & 0xfff), value & 0xff);
    }
  }

  apply(event: SliceEvent): void {
    switch (event.kind) {
      case 'interrupt':
        this.#vector = event.vector;
        this.cpus.signals.setInterruptRequest(0, true);
        return;
      case 'nmi':
        this.cpus.signals.nmi(0);
        return;
      case 'flush-tlb':
        this.cpu.translation.flush(true);
        return;
      case 'take-dirty':
        this.log.push(`dirty ${this.memory.takeDirtyVram()?.indexOf(1) ?? 'none'}`);
        return;
      case 'write-code':
        this.#writeCode(event.place, event.value);
    }
  }

  /** Runs until `target` instructions have been executed since the start. False: halted or shut down before. */
  runTo(target: number): boolean {
    const piece = this.tier.piece ?? Number.POSITIVE_INFINITY;
    while (this.executed < target) {
      const exit = this.cpus.run(Math.min(target, this.executed + piece));
      if (exit.reason === 'kicked') {
        this.log.push(`${this.executed}: stopped`);
      } else if (exit.reason !== 'deadline') {
        this.log.push(`${this.executed}: ${exit.reason}`);
        return false;
      }
    }
    return true;
  }

  /** Puts a program into the machine and the processor at its start. */
  load(program: Program, assembled: Assembled): void {
    this.#program = program;
    this.#assembled = assembled;
    this.#accesses = 0;
    this.log.length = 0;
    const { memory, cpus } = this;
    if (this.#switched) {
      this.#switched = false;
      memory.mapRam(G.SWITCHED_PHYSICAL, G.PAGE);
    }
    const { ram } = memory;
    const before = ram.slice(0, G.COMPARED_BYTES);
    ram.set(kernelMemory().memory);
    this.#fillMemory(program, assembled);
    // Where nothing changed, what was made of the code stays: the same program again finds it warm.
    for (let at = 0; at < before.length; at += G.PAGE) {
      if (Buffer.compare(before.subarray(at, at + G.PAGE), ram.subarray(at, at + G.PAGE)) !== 0) {
        cpus.code.dropRange(at, G.PAGE);
      }
    }
    memory.vram.fill(0, 0, G.PAGE);
    memory.takeDirtyVram();
    this.#enter(program, assembled);
    // As while a watchpoint is armed: no translation of data is remembered.
    this.cpu.translation.watching = program.withoutTlb;
  }

  #fillMemory(program: Program, assembled: Assembled): void {
    const { ram } = this.memory;
    const view = new DataView(ram.buffer, ram.byteOffset, ram.length);
    ram.set(dataImage(program.dataSeed), G.DATA_PHYSICAL);
    const random = new Random(program.dataSeed);
    const entry = (at: number, { physical, bits, high }: PageEntry) => {
      view.setUint32(at, (physical | bits) >>> 0, true);
      view.setInt32(at + 4, high ?? 0, true);
    };
    for (const [i, page] of program.codePages.entries()) {
      entry(G.CODE_TABLE + i * 8, page);
      entry(G.CODE_TABLE + (256 + i) * 8, page);
      entry(G.KERNEL_DATA + KERNEL_OTHER_CODE + i * 8, program.otherCode[i] ?? page);
      ram.set(assembled.code.subarray(i * G.PAGE, (i + 1) * G.PAGE), page.physical);
      const other = program.otherCode[i];
      if (other !== undefined) {
        ram.set(assembled.code.subarray(i * G.PAGE, (i + 1) * G.PAGE), other.physical);
      }
    }
    for (const { target, xor } of program.codePatches) {
      const offset = assembled.address(target) - G.CODE;
      const other = program.otherCode[offset >> 12];
      if (other !== undefined) {
        const at = other.physical + (offset & 0xfff);
        ram[at] = (ram[at] as number) ^ xor;
      }
    }
    for (const [i, page] of program.dataPages.entries()) {
      entry(G.DATA_TABLE + i * 8, page);
    }
    for (const [i, page] of program.otherData.entries()) {
      entry(G.KERNEL_DATA + KERNEL_OTHER_DATA + i * 8, page);
    }
    ram.set(new Uint8Array(assembled.recovery.buffer), G.RECOVERY);
    for (const [i, block] of program.escapes.entries()) {
      view.setUint32(G.KERNEL_DATA + KERNEL_ESCAPES + i * 4, assembled.address({ block }), true);
    }
    // Tables and counters lie in linear page 9 of the data.
    const page = (program.dataPages[9] as PageEntry).physical;
    for (const [i, table] of program.tables.entries()) {
      for (const [j, target] of table.entries()) {
        const at = page + ((tableAddress(i) + j * 8) & 0xfff);
        view.setBigUint64(at, BigInt(assembled.address(target)), true);
      }
    }
    for (let i = 0; i < 64; i++) {
      view.setUint32(page + (counterAddress(i) & 0xfff), 1 + random.below(random.chance(1, 8) ? 60 : 6), true);
    }
  }

  #enter(program: Program, assembled: Assembled): void {
    const { state, cpu, cpus } = this;
    cpus.reset();
    this.#started = 0;
    this.#started = this.executed;
    const { mode } = program;
    const long = mode !== 'user32' && mode !== 'kernel32';
    const dpl = mode.startsWith('kernel') ? 0 : DPL3;
    this.#enterSegments(mode, program.based, dpl);
    state.setU64(L.GDTR, BigInt(G.GDT));
    state.setU32(L.GDTR + 8, 0x7f);
    state.setU64(L.IDTR, BigInt(long ? G.IDT64 : G.IDT32));
    state.setU32(L.IDTR + 8, 0xfff);
    const tss = L.ATTR_PRESENT | 11;
    state.tr.assign(long ? G.TSS64_SELECTOR : G.TSS32_SELECTOR, BigInt(long ? G.TSS64 : G.TSS32), 0x67, tss);
    state.setU64(L.CR3, BigInt(long ? G.PML4 : G.PAE_TABLE));
    const more = (program.avx ? L.CR4_OSXSAVE : 0) | (program.smap ? L.CR4_SMAP : 0);
    state.setU64(L.CR4, BigInt(L.CR4_PAE | L.CR4_PGE | L.CR4_OSFXSR | L.CR4_OSXMMEXCPT | more));
    state.setU64(L.XCR0, program.avx ? 7n : 1n);
    state.setU64(L.EFER, BigInt(L.EFER_NXE | (long ? L.EFER_LME | L.EFER_LMA | L.EFER_SCE : 0)));
    state.setU64(L.CR0, BigInt((L.CR0_PE | L.CR0_PG | L.CR0_NE | L.CR0_MP | L.CR0_WP | L.CR0_ET) >>> 0));
    state.setU64(L.MSR_STAR, (0x1bn << 48n) | (BigInt(G.KERNEL_CODE64) << 32n));
    state.setU64(L.MSR_LSTAR, kernelMemory().syscall);
    state.setU64(L.MSR_SFMASK, BigInt(L.FLAG_IF | L.FLAG_TF | L.FLAG_DF));
    state.setU64(L.TSC_OFFSET, 0n);
    for (let i = 0; i < 16; i++) {
      state.setGpr(i, program.registers[i] ?? 0n);
    }
    state.rip = BigInt(assembled.address({ block: 0 }));
    state.flags = program.flags;
    state.setI32(L.MXCSR, program.mxcsr);
    state.setI32(L.FPU_CONTROL, program.fpuControl);
    const random = new Random(program.dataSeed ^ 0x5a5a5a5a);
    const ordinary = random.chance(1, 2);
    state.setI32(L.FPU_VALID, ordinary ? 0xff >> random.below(5) : random.chance(1, 2) ? 0 : random.below(256));
    const view = new DataView(this.memory.arena.buffer, cpu.record, L.CPU_STATE_SIZE);
    for (let i = 0; i < 16; i++) {
      specialVector(random, view, L.XMM + i * L.XMM_STRIDE);
      specialVector(random, view, L.XMM + i * L.XMM_STRIDE + 16);
    }
    for (let i = 0; i < 8; i++) {
      const { significand, exponent } = ordinary ? ordinaryExtended(random) : specialExtended(random);
      const integer = !ordinary && random.chance(1, 3);
      state.setU64(L.FPR + i * L.FPR_STRIDE, integer ? specialInteger(random) : significand);
      state.setU16(L.FPR + i * L.FPR_STRIDE + 8, exponent);
    }
    cpus.signals.setInterruptRequest(0, false);
    cpu.system.restoreMode();
    cpu.translation.flush(true);
    cpu.translation.select();
  }

  #enterSegments(mode: ProgramMode, based: boolean, dpl: number): void {
    const { state } = this;
    const wide = mode === 'user64' || mode === 'kernel64';
    const code = mode === 'user64' ? G.USER_CODE64 : mode === 'kernel64' ? G.KERNEL_CODE64 : G.USER_CODE32;
    state.cs.assign(
      mode === 'kernel32' ? G.KERNEL_CODE32 : code,
      0n,
      0xffffffff,
      FLAT | dpl | L.ATTR_CODE | (wide ? L.ATTR_LONG : L.ATTR_DB),
    );
    const data = dpl === 0 ? G.KERNEL_DATA_SELECTOR : G.USER_DATA;
    const other = dpl === 0 ? G.BASED_DATA0 : G.BASED_DATA3;
    const base = BigInt(G.SEGMENT_BASE);
    state.ss.assign(data, 0n, 0xffffffff, FLAT | dpl | L.ATTR_DB);
    for (const segment of [state.ds, state.es]) {
      if (based && !wide) {
        segment.assign(other, base, 0xffffffff, FLAT | dpl | L.ATTR_DB);
      } else {
        segment.assign(data, 0n, 0xffffffff, FLAT | dpl | L.ATTR_DB);
      }
    }
    state.fs.assign(based ? other : data, based ? base : 0n, 0xffffffff, FLAT | dpl | L.ATTR_DB);
    state.gs.assign(data, wide ? 0x18n : 0n, 0xffffffff, FLAT | dpl | L.ATTR_DB);
  }
}
