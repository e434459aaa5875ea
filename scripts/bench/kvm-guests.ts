import { assemble } from '../../engine/testing/assembler/assembler.ts';

/** Guests of the KVM benchmark: 64 KiB of firmware each, which go to 64-bit mode at once. */

/** Enters 64-bit mode with the first 2 MiB, and the 2 MiB of the HPET and the local APIC, mapped as they are. */
const PROLOGUE = `
  bits 16
  org 0
  cli
  mov ax, 0x1000
  mov es, ax
  xor di, di
  xor eax, eax
  mov cx, 0x1800
  rep stosd
  ; page tables at 10000h: level 4, level 3, the first and the last GiB's level 2
  mov dword [es:0x0000], 0x11003
  mov dword [es:0x1000], 0x12003
  mov dword [es:0x1018], 0x13003
  mov dword [es:0x2000], 0x00000083
  mov dword [es:0x3fb0], 0xfec00093
  mov dword [es:0x3fb8], 0xfee00093
  lgdt [cs:gdtr]
  mov eax, 0x20
  mov cr4, eax
  mov eax, 0x10000
  mov cr3, eax
  mov ecx, 0xc0000080
  rdmsr
  or ax, 0x100
  wrmsr
  mov eax, 0x80000011
  mov cr0, eax
  jmp dword 8:0xf0000 + long
  align 8
gdt: dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
      dd 0xf0000 + gdt
  bits 64
long:
  mov ax, 16
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov esp, 0x7000
`;

/** A line on the first serial port. */
const say = (text: string) =>
  [...`${text}\n`].map((character) => `mov dx, 0x3f8\nmov al, ${character.charCodeAt(0)}\nout dx, al\n`).join('');

/** A line before and after the rounds of a loop, which is measured between the two. */
const measured = (setup: string, loop: string, rounds: number) => `
  ${setup}
  mov ecx, 1000
  warm: ${loop}
  dec ecx
  jnz warm
  ${say('LODGE-BENCH begin')}
  mov ecx, ${rounds}
  again: ${loop}
  dec ecx
  jnz again
  ${say('LODGE-BENCH end')}
  forever: hlt
  jmp forever
`;

function firmware(body: string): Uint8Array {
  const bios = new Uint8Array(0x10000).fill(0xf4);
  // Code and data below 1 MiB, where the firmware's last 64 KiB appear too.
  bios.set(assemble(PROLOGUE + body).bytes, 0);
  bios.set(assemble('bits 16\norg 0\njmp 0xf000:0').bytes, 0xfff0);
  return bios;
}

/** Writes a byte to a port that only remembers it (of the DMA controllers' page registers one without a channel), so many times. */
export function portGuest(rounds: number): Uint8Array {
  return firmware(measured('', 'out 0x84, al', rounds));
}

/** Reads the HPET's counter, so many times. */
export function mmioGuest(rounds: number): Uint8Array {
  return firmware(measured('mov edi, 0xfed000f0', 'mov eax, [rdi]', rounds));
}

/** Says that it is there and waits for ever, for nothing. */
export function idleGuest(): Uint8Array {
  return firmware(`${say('LODGE-BENCH idle')}\nwait: hlt\njmp wait\n`);
}
