import { assemble } from '../../testing/assembler/assembler.ts';
import type { Machine } from '../machine.ts';
import { bareMachine } from './bare-machine.ts';
import { firmware } from './firmware.ts';

/** From the reset vector, or the start-up message f0, into 64-bit mode. */
const START = `
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    lgdt [cs:gdtr]
    mov eax, 0xa0
    mov cr4, eax
    mov eax, 0x10000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    jmp dword 8:0x8000
    align 8
    gdt: dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff
    gdtr: dw 23
          dd 0xf0000 + gdt
`;

/**
 * A machine whose processors run `source`, 64-bit code at 0x8000 with data segments still to be loaded (selector 16). The
 * first 2 MiB are mapped where they are, by tables at 0x10000 … 0x12fff.
 */
export function longModeGuest(source: string, options: Omit<Parameters<typeof bareMachine>[0], 'bios'>): Machine {
  const machine = bareMachine({ bios: firmware(START), ...options });
  const { memory } = machine;
  memory.write(0x8000, assemble(source).bytes);
  memory.writeU32(0x10000, 0x11003);
  memory.writeU32(0x11000, 0x12003);
  memory.writeU32(0x12000, 0x83);
  return machine;
}
