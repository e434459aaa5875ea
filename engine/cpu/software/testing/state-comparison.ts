import * as L from '../../x86/layout.ts';
import { hexBytes } from './bytes.ts';
import * as G from './guest-layout.ts';
import type { GuestMachine } from './guest-machine.ts';

const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];

interface Field {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

function fields(): Field[] {
  const list: Field[] = [];
  const add = (name: string, offset: number, bytes: number) => list.push({ name, offset, bytes });
  for (let i = 0; i < 16; i++) {
    add(REGISTERS[i] ?? `r${i}`, L.GPR + i * 8, 8);
  }
  add('rip', L.RIP, 8);
  add('mode', L.MODE, 4);
  for (const [i, name] of ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'].entries()) {
    const at = L.SEGMENTS + i * L.SEGMENT_SIZE;
    add(`${name}.base`, at + L.SEGMENT_BASE, 8);
    add(`${name}.limit`, at + L.SEGMENT_LIMIT, 4);
    add(`${name}.attributes`, at + L.SEGMENT_ATTRIBUTES, 4);
    add(`${name}.selector`, at + L.SEGMENT_SELECTOR, 4);
  }
  for (const [name, offset] of Object.entries({
    cr0: L.CR0,
    cr2: L.CR2,
    cr3: L.CR3,
    cr4: L.CR4,
    efer: L.EFER,
    xcr0: L.XCR0,
    dr6: L.DR6,
    dr7: L.DR7,
    'kernel gs base': L.MSR_KERNEL_GS_BASE,
  })) {
    add(name, offset, 8);
  }
  for (const [name, offset] of Object.entries({
    activity: L.ACTIVITY,
    intr: L.INTR,
    'nmi pending': L.NMI_PENDING,
    'nmi blocked': L.NMI_BLOCKED,
    shadow: L.SHADOW,
    'trap pending': L.TRAP_PENDING,
  })) {
    add(name, offset, 4);
  }
  for (let i = 0; i < 16; i++) {
    add(`xmm${i}`, L.XMM + i * L.XMM_STRIDE, 32);
  }
  for (let i = 0; i < 8; i++) {
    add(`fpr${i}`, L.FPR + i * L.FPR_STRIDE, 10);
  }
  for (const [name, offset] of Object.entries({
    'fpu control': L.FPU_CONTROL,
    'fpu status': L.FPU_STATUS,
    'fpu top': L.FPU_TOP,
    'fpu valid': L.FPU_VALID,
    'fpu opcode': L.FPU_OPCODE,
    'fpu cs': L.FPU_CS,
    'fpu ds': L.FPU_DS,
    mxcsr: L.MXCSR,
  })) {
    add(name, offset, 4);
  }
  add('fpu ip', L.FPU_IP, 8);
  add('fpu dp', L.FPU_DP, 8);
  return list;
}

const FIELDS = fields();

/** The bytes of the record that matter, as few runs as possible: what lies between fields is masked out. */
function maskedWords(): readonly [number, number][] {
  const mask = new Uint8Array(L.CPU_STATE_SIZE);
  for (const { offset, bytes } of FIELDS) {
    mask.fill(0xff, offset, offset + bytes);
  }
  const words = new Int32Array(mask.buffer);
  return [...words.entries()].filter(([, word]) => word !== 0) as [number, number][];
}

const WORDS = maskedWords();

const hexField = (machine: GuestMachine, { offset, bytes }: Field): string => {
  const from = machine.state.base + offset;
  const slice = new Uint8Array(machine.memory.arena.buffer).slice(from, from + bytes);
  return bytes <= 10
    ? [...slice]
        .reverse()
        .map((b) => b.toString(16).padStart(2, '0'))
        .join('')
    : hexBytes(slice);
};

/** Compares the whole architectural state of two machines, their memory and their devices' records, with words cached. */
export class StateComparison {
  readonly #a: GuestMachine;
  readonly #b: GuestMachine;
  readonly #wordsA: Int32Array;
  readonly #wordsB: Int32Array;
  #logged = 0;

  constructor(a: GuestMachine, b: GuestMachine) {
    this.#a = a;
    this.#b = b;
    this.#wordsA = new Int32Array(a.memory.arena.buffer, a.state.base, L.CPU_STATE_SIZE / 4);
    this.#wordsB = new Int32Array(b.memory.arena.buffer, b.state.base, L.CPU_STATE_SIZE / 4);
  }

  /** A new program starts: the records are empty. */
  start(): void {
    this.#logged = 0;
  }

  /** Whether both are in the same state. */
  get same(): boolean {
    const a = this.#wordsA;
    const b = this.#wordsB;
    for (let i = 0; i < WORDS.length; i++) {
      const [word, mask] = WORDS[i] as [number, number];
      if ((((a[word] as number) ^ (b[word] as number)) & mask) !== 0) {
        return false;
      }
    }
    if (this.#a.executed !== this.#b.executed || this.#a.state.flags !== this.#b.state.flags) {
      return false;
    }
    const { log } = this.#a;
    const other = this.#b.log;
    if (log.length !== other.length) {
      return false;
    }
    for (; this.#logged < log.length; this.#logged++) {
      if (log[this.#logged] !== other[this.#logged]) {
        return false;
      }
    }
    return (
      Buffer.compare(this.#ram(this.#a), this.#ram(this.#b)) === 0 &&
      Buffer.compare(this.#a.memory.vram.subarray(0, G.PAGE), this.#b.memory.vram.subarray(0, G.PAGE)) === 0
    );
  }

  #ram(machine: GuestMachine): Uint8Array {
    return machine.memory.ram.subarray(0, G.COMPARED_BYTES);
  }

  /** What differs, a line each. */
  differences(): string[] {
    const a = this.#a;
    const b = this.#b;
    const lines: string[] = [];
    const names = `${a.tier.name} / ${b.tier.name}`;
    if (a.executed !== b.executed) {
      lines.push(`executed instructions (${names}): ${a.executed} / ${b.executed}`);
    }
    for (const field of FIELDS) {
      const left = hexField(a, field);
      const right = hexField(b, field);
      if (left !== right) {
        lines.push(`${field.name}: ${left} / ${right}`);
      }
    }
    if (a.state.flags !== b.state.flags) {
      lines.push(`flags: ${a.state.flags.toString(16)} / ${b.state.flags.toString(16)}`);
    }
    this.#memoryDifferences('', 0, this.#ram(a), this.#ram(b), lines);
    this.#memoryDifferences('video ', G.VIDEO_PHYSICAL, a.memory.vram, b.memory.vram, lines);
    for (let i = 0; i < Math.max(a.log.length, b.log.length); i++) {
      if (a.log[i] !== b.log[i]) {
        lines.push(`device record ${i}: ${a.log[i] ?? 'nothing'} / ${b.log[i] ?? 'nothing'}`);
        break;
      }
    }
    return lines;
  }

  #memoryDifferences(name: string, base: number, a: Uint8Array, b: Uint8Array, lines: string[]): void {
    let shown = 0;
    for (let at = 0; at < Math.min(a.length, G.COMPARED_BYTES) && shown < 8; at += 8) {
      const left = a.subarray(at, at + 8);
      const right = b.subarray(at, at + 8);
      if (Buffer.compare(left, right) !== 0) {
        shown++;
        lines.push(`${name}memory ${(base + at).toString(16)}: ${hexBytes(left)} / ${hexBytes(right)}`);
      }
    }
  }
}
