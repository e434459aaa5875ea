import { type Log, silentLog } from '../../base/log.ts';
import type { KvmAccess } from '../../cpu/kvm/kvm-access.ts';
import { assemble } from '../../testing/assembler/assembler.ts';
import { Random } from '../../testing/random.ts';
import type { Machine } from '../machine.ts';
import { bareMachine } from './bare-machine.ts';

/** In which mode a guest does its nonsense, and whether its page tables make sense. */
const MODES = ['real', 'protected', 'paged', 'paged-nonsense', 'long', 'long-nonsense'] as const;
type Mode = (typeof MODES)[number];

const STACK = 0x7000;
const COUNTER = 0x500;
const IDT = 0x2000;
const HANDLER = 0x6000;
const SOUP = 0x8000;
const SOUP_BYTES = 0x4000;
const SNIPPETS = 260;
const TABLES = 0x100000;

/** Where devices, firmware and nothing are. */
const PLACES = [
  0xa0000, 0xb8000, 0xc0000, 0xf0000, 0xfec00000, 0xfec00010, 0xfed00000, 0xfed000f0, 0xfee00000, 0xfee00020,
  0xfee000b0, 0xfee00300, 0xfee00310, 0xfee00320, 0xfee00380, 0xe0000000, 0xfffffff0, 0xfeffc000, 0xfeffd000, 0xff_ffff,
  0x1000000,
];
const PORTS = [
  0x20, 0x21, 0xa0, 0xa1, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0x1f0, 0x1f6, 0x1f7, 0x3f6, 0x3f2,
  0x3f5, 0x3c0, 0x3c4, 0x3ce, 0x3d4, 0x1ce, 0x1cf, 0x3f8, 0x3fb, 0x402, 0x510, 0x511, 0x514, 0x518, 0xcf8, 0xcfc, 0xcf9,
  0xb000, 0xb004, 0x600, 0x604, 0xf4, 0xffff,
];
const REGISTERS = [
  0x10, 0x11, 0x12, 0x1b, 0x34, 0x3a, 0x3b, 0x48, 0x49, 0x79, 0x8b, 0xce, 0xfe, 0x10a, 0x10b, 0x140, 0x174, 0x175,
  0x176, 0x179, 0x17a, 0x17b, 0x186, 0x1a0, 0x1d9, 0x1fc, 0x200, 0x201, 0x250, 0x268, 0x277, 0x2ff, 0x345, 0x38f, 0x400,
  0x480, 0x6e0, 0x802, 0x80b, 0x80f, 0x830, 0x832, 0x838, 0x83f, 0xda0, 0x40000000, 0x40000001, 0x40000020, 0x40000021,
  0x40000070, 0x40000073, 0x40000080, 0x400000b0, 0x40000105, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03,
  0x4b564d04, 0x4b564d05, 0x4b564d06, 0x4b564d07, 0x4b564d08, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083,
  0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0010015, 0xc001011f, 0xc0010117,
];

/** A number that means something now and then. */
function number(random: Random): number {
  return (
    random.pick([
      () => random.u32(),
      () => random.below(0x100),
      () => random.pick(PLACES),
      () => (random.below(0x1000) << 12) | 1,
      () => 0xffffffff,
      () => 1 << random.below(31),
    ])() >>> 0
  );
}

const values = (random: Random) => `mov eax, ${number(random)}\nmov edx, ${random.chance(2, 3) ? 0 : number(random)}`;

/** What guests should not do, as source. */
const SNIPPET: readonly ((random: Random, bits: number) => string)[] = [
  (random) =>
    `mov dx, ${random.chance(3, 4) ? random.pick(PORTS) : random.below(0x10000)}\n${random.pick(['in al, dx', 'in ax, dx', 'in eax, dx'])}`,
  (random) =>
    `mov eax, ${number(random)}\nmov dx, ${random.chance(3, 4) ? random.pick(PORTS) : random.below(0x10000)}\n${random.pick(['out dx, al', 'out dx, ax', 'out dx, eax'])}`,
  (random) =>
    `mov dx, ${random.pick(PORTS)}\nmov ecx, ${random.below(5000)}\nmov edi, ${number(random)}\nmov esi, edi\n${random.pick(['rep insb', 'rep insd', 'rep outsb', 'rep outsw', 'insw', 'outsd'])}`,
  (random) => `mov ecx, ${random.chance(3, 4) ? random.pick(REGISTERS) : number(random)}\nrdmsr`,
  (random) => `mov ecx, ${random.chance(3, 4) ? random.pick(REGISTERS) : number(random)}\n${values(random)}\nwrmsr`,
  (random) => `mov edi, ${random.pick(PLACES)}\nmov eax, [edi + ${random.below(16) * 4}]`,
  (random) => `mov edi, ${random.pick(PLACES)}\nmov eax, ${number(random)}\nmov [edi + ${random.below(64) * 4}], eax`,
  (random) =>
    `mov edi, ${number(random)}\nmov esi, ${random.pick(PLACES)}\nmov ecx, ${random.below(3000)}\n${random.pick(['rep movsb', 'rep movsd', 'rep stosb', 'rep stosd', 'repe cmpsb', 'repne scasb'])}`,
  (random) =>
    `mov edi, ${random.pick(PLACES)}\nlock ${random.pick(['xadd [edi], eax', 'cmpxchg [edi], ecx', 'inc dword [edi]'])}`,
  (random, bits) => {
    const register = random.pick(['cr0', 'cr2', 'cr3', 'cr4']);
    const [a, flip] = [bits === 64 ? 'rax' : 'eax', random.chance(1, 2) ? `xor eax, ${1 << random.below(31)}` : ''];
    return `mov ${a}, ${register}\n${flip}\nmov ${register}, ${a}`;
  },
  (random, bits) =>
    `mov ${bits === 64 ? 'rax' : 'eax'}, dr${random.pick([0, 6, 7])}\nor eax, ${number(random)}\nmov dr${random.pick([0, 3, 7])}, ${bits === 64 ? 'rax' : 'eax'}`,
  (random) =>
    `mov edi, ${number(random)}\n${random.pick(['lgdt [edi]', 'lidt [edi]', 'sgdt [edi]', 'sidt [edi]', 'invlpg [edi]'])}`,
  (random) => `int ${random.below(256)}`,
  (random) =>
    random.pick([
      'hlt',
      'sti\nhlt',
      'cli\nhlt',
      'sti',
      'cli',
      'iret',
      'pushf',
      'popf',
      'clts',
      'wbinvd',
      'invd',
      'cpuid',
      'rdtsc',
      'rdpmc',
      'ud2',
      'int3',
    ]),
  (random) => `mov eax, ${number(random)}\nmov ecx, ${random.below(20)}\ncpuid`,
  (random) =>
    `mov ax, ${random.pick([0, 8, 16, 24, 3, 0x28, 0xfff8])}\n${random.pick(['mov ds, ax', 'mov es, ax', 'mov ss, ax', 'ltr ax', 'lldt ax', 'lar ecx, ax', 'verw ax'])}`,
  (random) => `mov eax, ${number(random)}\nmov ecx, ${number(random)}\nvmcall`,
  (random) => `mov ecx, ${random.below(3)}\n${values(random)}\nxsetbv`,
  (random) =>
    `mov edi, ${number(random)}\n${random.pick(['fxrstor [edi]', 'fxsave [edi]', 'fldenv [edi]', 'fnstenv [edi]', 'ldmxcsr [edi]', 'cmpxchg8b [edi]'])}`,
  (random) =>
    random.pick(['sysenter', 'fninit\nfldpi\nfsin', 'emms', 'pause', 'fwait', 'push eax\npop ecx'].slice(0, 5)),
  (random) => `mov ${random.pick(['esp', 'ebp', 'esi'])}, ${number(random)}`,
];

function soup(random: Random, bits: number): Uint8Array {
  const bytes = new Uint8Array(SOUP_BYTES);
  for (let i = 0; i < SOUP_BYTES; i++) {
    bytes[i] = random.u32() >>> 24;
  }
  let at = 0;
  for (let i = 0; i < SNIPPETS && at < SOUP_BYTES - 256; i++) {
    const source = random.pick(SNIPPET)(random, bits);
    const code = assemble(`bits ${bits}\norg 0\n${source}`).bytes;
    bytes.set(code, at);
    // Some bytes stay what they were: anything.
    at += code.length + (random.chance(1, 3) ? random.below(6) : 0);
  }
  return bytes;
}

/** The code that exceptions and interrupts lead to: goes on elsewhere in the soup, whatever happened. */
function handler(bits: number): string {
  const [stack, data] =
    bits === 16 ? ['xor ax, ax', 'mov ds, ax\nmov ss, ax'] : ['mov ax, 16', 'mov ds, ax\nmov ss, ax'];
  return `
    ${stack}
    ${data}
    mov ${bits === 64 ? 'rsp' : bits === 32 ? 'esp' : 'sp'}, ${STACK}
    add word [${COUNTER}], 0x135
    movzx eax, word [${COUNTER}]
    and eax, ${SOUP_BYTES - 1}
    add eax, ${SOUP}
    jmp ${bits === 64 ? 'rax' : bits === 32 ? 'eax' : 'ax'}
  `;
}

function firmware(mode: Mode): Uint8Array {
  const long = mode.startsWith('long');
  const paged = long || mode.startsWith('paged');
  const bios = new Uint8Array(0x10000).fill(0xf4);
  const enter =
    mode === 'real'
      ? `jmp 0:${SOUP}`
      : `
    lidt [cs:idtr]
    mov eax, ${long ? 0x6a0 : 0x610}
    mov cr4, eax
    mov eax, ${TABLES}
    mov cr3, eax
    ${long ? 'mov ecx, 0xc0000080\nrdmsr\nor eax, 0x901\nwrmsr' : ''}
    mov eax, cr0
    or eax, ${paged ? 0x80010001 : 1}
    mov cr0, eax
    jmp dword ${long ? 0x18 : 8}:${SOUP}`;
  const { bytes } = assemble(`
    bits 16
    org 0
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, ${STACK}
    lgdt [cs:gdtr]
    ${enter}
    align 8
    gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
    gdtr: dw 31
          dd 0xf0000 + gdt
    idtr: dw 0xfff
          dd ${IDT}
  `);
  bios.set(bytes, 0);
  bios.set(assemble('bits 16\norg 0\njmp 0xf000:0').bytes, 0xfff0);
  return bios;
}

/** Puts tables, handlers and the soup into memory. */
function fill({ memory }: Machine, mode: Mode, random: Random): void {
  const long = mode.startsWith('long');
  const bits = mode === 'real' ? 16 : long ? 64 : 32;
  for (let at = 0x1000; at < memory.sizeBytes; at += 0x1000 * (1 + random.below(64))) {
    memory.writeU32(at + random.below(0x3fe) * 4, random.u32());
  }
  memory.write(SOUP, soup(random, bits));
  memory.write(HANDLER, assemble(`bits ${bits}\norg ${HANDLER}\n${handler(bits)}`).bytes);
  for (let vector = 0; vector < 256; vector++) {
    if (bits === 16) {
      memory.writeU32(vector * 4, HANDLER);
    } else {
      const at = IDT + vector * (long ? 16 : 8);
      memory.writeU32(at, ((long ? 0x18 : 8) << 16) | HANDLER);
      memory.writeU32(at + 4, 0x8e00);
      if (long) {
        memory.writeU32(at + 8, 0);
        memory.writeU32(at + 12, 0);
      }
    }
  }
  const nonsense = mode.endsWith('nonsense');
  const entry = (at: number, value: number, high = 0) => {
    const spoil = nonsense && random.chance(1, 8);
    memory.writeU32(at, spoil ? (random.u32() | random.below(2)) >>> 0 : value >>> 0);
    if (long) {
      memory.writeU32(at + 4, spoil && random.chance(1, 2) ? random.u32() : high);
    }
  };
  if (long) {
    memory.writeU32(TABLES, (TABLES + 0x1000) | 7);
    memory.writeU32(TABLES + 4, 0);
    for (let i = 1; i < 512; i++) {
      entry(TABLES + i * 8, nonsense ? random.u32() : 0);
    }
    for (let i = 0; i < 4; i++) {
      memory.writeU32(TABLES + 0x1000 + i * 8, (TABLES + 0x2000 + i * 0x1000) | 7);
      memory.writeU32(TABLES + 0x1004 + i * 8, 0);
      for (let j = i === 0 ? 1 : 0; j < 512; j++) {
        entry(TABLES + 0x2000 + i * 0x1000 + j * 8, (i << 30) | (j << 21) | 0x87);
      }
    }
    memory.writeU32(TABLES + 0x2000, 0x87);
    memory.writeU32(TABLES + 0x2004, 0);
  } else {
    memory.writeU32(TABLES, 0x87);
    for (let i = 1; i < 1024; i++) {
      entry(TABLES + i * 4, (i << 22) | 0x87);
    }
  }
}

export interface HostileOptions {
  readonly seed: number;
  readonly kvm: (() => KvmAccess) | undefined;
  readonly turns: number;
  readonly log?: Log;
}

/** What became of a hostile guest: how often each of these happened. */
export type HostileRun = Readonly<Record<string, number>>;

/**
 * Runs one guest that does what no guest should, as the seed has it: ports, device memory, registers, page tables,
 * faults without end, and code that is none; meanwhile its machine is moved, paused, saved and watched. Whatever the
 * guest does comes back as an event of the machine; anything thrown is a fault of the engine.
 */
export function runHostileGuest({ seed, kvm, turns, log }: HostileOptions): HostileRun {
  const random = new Random(seed);
  const mode = MODES[seed % MODES.length] ?? 'real';
  const machine = bareMachine({
    bios: firmware(mode),
    cpus: 1 + random.below(3),
    hyperv: random.chance(1, 2),
    virtualTime: false,
    kvm: kvm?.(),
    log: log ?? silentLog,
  });
  const seen: Record<string, number> = {};
  const note = (what: string) => {
    seen[what] = (seen[what] ?? 0) + 1;
  };
  try {
    fill(machine, mode, random);
    for (let turn = 0; turn < turns; turn++) {
      const { kind } = machine.turn();
      note(kind);
      if (kind === 'running' && random.chance(1, 8)) {
        disturb(machine, random);
      } else if (kind === 'idle') {
        // Nothing would ever happen again.
        machine.cpus.signals.nmi(0);
      } else if (kind !== 'running') {
        machine.reset();
        fill(machine, mode, random);
      }
    }
  } finally {
    machine.dispose();
  }
  return { ...seen, [mode]: 1 };
}

/** What the host does to a machine while it runs. */
function disturb(machine: Machine, random: Random): void {
  const { cpus } = machine;
  switch (random.below(7)) {
    case 0:
      if (machine.cpus.kickHandle !== undefined) {
        cpus.moveTo(random.chance(1, 2) ? 'kvm' : 'software');
      }
      break;
    case 1:
      cpus.save();
      break;
    case 2:
      cpus.load(cpus.save());
      break;
    case 3:
      machine.pause();
      machine.resume();
      break;
    case 4:
      if (cpus.dirtyRam.tracking) {
        cpus.dirtyRam.take();
        cpus.dirtyRam.stop();
      } else {
        cpus.dirtyRam.start();
      }
      break;
    case 5:
      for (const device of machine.board.devices) {
        device.save();
      }
      break;
    default:
      for (const screen of machine.board.display.screens) {
        screen.refresh();
      }
  }
}
