import { assemble } from '../../../testing/assembler/assembler.ts';
import * as G from './guest-layout.ts';

/** Offsets in KERNEL_DATA. */
export const KERNEL_LOG_POSITION = 0x00;
/** Which of the eight escapes is next. */
export const KERNEL_ESCAPE = 0x04;
/** u32: 1 once the program has asked for its end. */
export const KERNEL_DONE = 0x08;
export const KERNEL_DEBUG_COUNT = 0x0c;
export const KERNEL_SYSCALLS = 0x10;
export const KERNEL_VECTOR = 0x14;
/** Eight u32: where the program goes on when nothing tells where else. */
export const KERNEL_ESCAPES = 0x20;
/** Page-table entries to exchange those of code and data pages with, u64 each. */
export const KERNEL_OTHER_CODE = 0x100;
export const KERNEL_OTHER_DATA = 0x180;

const VECTORS_WITH_ERROR = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
/** Bytes from one vector's entry to the next. */
export const ENTRY_STRIDE = 16;

/**
 * The kernel that the random programs run on: it records every interrupt and exception, maps pages in on demand, skips
 * instructions that fault, and serves requests to change page tables. One source for 64-bit and 32-bit code.
 */
function source(bits: 32 | 64): string {
  const wide = bits === 64;
  const [A, B, C, D] = wide ? ['rax', 'rbx', 'rcx', 'rdx'] : ['eax', 'ebx', 'ecx', 'edx'];
  const W = wide ? 8 : 4;
  // In 32-bit code the interrupted data segment is saved below the registers.
  const first = wide ? 0 : W;
  const saved = (index: number) => `${first + index * W}`;
  const [vector, error, ip, cs, flags, sp] = [4, 5, 6, 7, 8, 9].map(saved);
  const savedA = saved(3);
  const savedC = saved(2);
  const word = wide ? 'qword' : 'dword';
  const invalidate = wide
    ? `mov eax, eax
    and eax, 0x3fffffff
    invlpg [rax]
    mov rcx, -0x80000000
    or rax, rcx
    invlpg [rax]`
    : 'invlpg [eax]';
  return `
bits ${bits}
org ${wide ? G.KERNEL64 : G.KERNEL32}
%assign number 0
%rep 256
  align ${ENTRY_STRIDE}
  %if ${VECTORS_WITH_ERROR.map((v) => `(number == ${v})`).join(' || ')}
    nop
  %else
    push 0
  %endif
  push strict dword number
  jmp near common
%assign number number + 1
%endrep
align 16
common:
  push ${A}
  push ${C}
  push ${D}
  push ${B}
${
  wide
    ? ''
    : `  push ds
  mov eax, ${G.KERNEL_DATA_SELECTOR}
  mov ds, eax`
}
  mov ebx, ${G.KERNEL_DATA}
  mov eax, [${B}+${KERNEL_LOG_POSITION}]
  lea ecx, [${A}+32]
  and ecx, ${G.LOG_BYTES - 1}
  mov [${B}+${KERNEL_LOG_POSITION}], ecx
  mov edx, [${wide ? 'rsp' : 'esp'}+${error}]
  mov [${A}+${G.LOG + 4}], edx
  mov ${D}, cr2
  mov [${A}+${G.LOG + 8}], ${D}
  mov ${D}, [${wide ? 'rsp' : 'esp'}+${ip}]
  mov [${A}+${G.LOG + 16}], ${D}
  mov edx, [${wide ? 'rsp' : 'esp'}+${flags}]
  mov [${A}+${G.LOG + 24}], edx
  mov ecx, [${wide ? 'rsp' : 'esp'}+${vector}]
  mov [${A}+${G.LOG}], ecx
  cmp ecx, 14
  je page_fault
  cmp ecx, ${G.SERVICE}
  je service
  cmp ecx, ${G.SERVICE_END}
  je end_of_program
  cmp ecx, 0x20
  jae leave_kernel
  cmp ecx, 7
  je no_unit
  cmp ecx, 1
  je debug
  cmp ecx, 2
  je leave_kernel
  mov [${B}+${KERNEL_VECTOR}], ecx
  cmp ecx, 4
  je leave_kernel
  cmp ecx, 8
  je escape
  cmp ecx, 16
  jne skip
  clts
  fnclex
  jmp skip

no_unit:
  clts
  jmp leave_kernel

debug:
  mov eax, [${B}+${KERNEL_DEBUG_COUNT}]
  inc eax
  mov [${B}+${KERNEL_DEBUG_COUNT}], eax
  or dword [${wide ? 'rsp' : 'esp'}+${flags}], 0x10000
  test al, 7
  jnz leave_kernel
  and dword [${wide ? 'rsp' : 'esp'}+${flags}], ~0x100 & 0xffffffff
  xor eax, eax
  mov dr7, ${A}
  mov dr6, ${A}
  jmp leave_kernel

page_fault:
  mov ${A}, cr2
  mov ecx, eax
  and ecx, 0x3fffffff
  mov edx, ecx
  shr edx, 21
  shr ecx, 12
  and ecx, 511
  cmp edx, ${G.DATA >>> 21}
  jne .not_data
  mov edx, ${G.DATA_TABLE_ALIAS}
  jmp .entry
.not_data:
  cmp edx, ${G.CODE >>> 21}
  jne skip
  mov edx, ${G.CODE_TABLE_ALIAS}
.entry:
  lea edx, [${D}+${C}*8]
  mov ecx, [${D}]
  test byte [${wide ? 'rsp' : 'esp'}+${error}], 1
  jnz .protection
  test ecx, ${G.ON_DEMAND}
  jz skip
  xor ecx, ${G.ON_DEMAND | G.PRESENT}
  mov [${D}], ecx
  jmp leave_kernel
.protection:
  test byte [${wide ? 'rsp' : 'esp'}+${error}], 2
  jz skip
  test ecx, ${G.ON_WRITE}
  jz skip
  xor ecx, ${G.ON_WRITE | G.WRITABLE}
  mov [${D}], ecx
  ${invalidate}
  jmp leave_kernel

service:
  mov eax, [${wide ? 'rsp' : 'esp'}+${savedA}]
  mov ecx, [${wide ? 'rsp' : 'esp'}+${savedC}]
  test eax, eax
  je swap_code
  cmp eax, ${G.SWAP_DATA_PAGE}
  je swap_data
  cmp eax, ${G.SET_TASK_SWITCHED}
  je set_switched
  cmp eax, ${G.TOGGLE_WATCHPOINT}
  je watch
  cmp eax, ${G.TOGGLE_GLOBAL_PAGES}
  je global_pages
  cmp eax, ${G.CLEAR_ACCESSED}
  je clear_accessed
  cmp eax, ${G.TOGGLE_CODE_BREAKPOINT}
  jne leave_kernel
  mov ${A}, dr7
  test eax, 0xc
  jnz leave_kernel
  and ecx, 0x7fff
  add ecx, ${G.CODE}
  mov dr1, ${C}
  or eax, 4
  mov dr7, ${A}
  jmp leave_kernel
swap_code:
  mov edx, ecx
  and ecx, ${G.CODE_PAGES - 1}
  push ${C}
  lea eax, [${B}+${C}*8+${KERNEL_OTHER_CODE}]
  lea ecx, [${C}*8+${G.CODE_TABLE_ALIAS}]
  call exchange
  pop ${C}
  shl ecx, 12
  lea eax, [${C}+${G.CODE}]
  jmp invalidate
swap_data:
  mov edx, ecx
  and ecx, 15
  push ${C}
  lea eax, [${B}+${C}*8+${KERNEL_OTHER_DATA}]
  lea ecx, [${C}*8+${G.DATA_TABLE_ALIAS}]
  call exchange
  pop ${C}
  shl ecx, 12
  lea eax, [${C}+${G.DATA}]
invalidate:
  test edx, 64
  jz reload
  ${invalidate}
  jmp leave_kernel
reload:
  ; Global pages stay, so these are forgotten one by one too.
  ${invalidate}
  mov ${A}, cr3
  mov cr3, ${A}
  jmp leave_kernel
exchange:
  push ${D}
  mov edx, [${A}]
  xchg edx, [${C}]
  mov [${A}], edx
  mov edx, [${A}+4]
  xchg edx, [${C}+4]
  mov [${A}+4], edx
  pop ${D}
  ret
set_switched:
  mov ${A}, cr0
  or eax, 8
  mov cr0, ${A}
  jmp leave_kernel
watch:
  and ecx, 0xffc
  add ecx, ${G.DATA}
  mov dr0, ${C}
  mov ${A}, dr7
  xor eax, 0xd0001
  mov dr7, ${A}
  jmp leave_kernel
global_pages:
  mov ${A}, cr4
  xor eax, 0x80
  mov cr4, ${A}
  jmp leave_kernel
clear_accessed:
  mov ecx, ${G.DATA_PAGES - 1}
.next:
  and dword [${C}*8+${G.DATA_TABLE_ALIAS}], ~${G.ACCESSED | G.DIRTY} & 0xffffffff
  dec ecx
  jns .next
  mov ${A}, cr4
  xor eax, 0x80
  mov cr4, ${A}
  xor eax, 0x80
  mov cr4, ${A}
  jmp leave_kernel

end_of_program:
  mov dword [${B}+${KERNEL_DONE}], 1
  cli
.stop:
  hlt
  jmp .stop

skip:
  mov ${A}, [${wide ? 'rsp' : 'esp'}+${ip}]
${
  wide
    ? `  mov rdx, rax
  sar rdx, 32
  inc edx
  cmp edx, 1
  ja escape`
    : ''
}
  mov ecx, eax
  and ecx, 0x3fef8000
  cmp ecx, ${G.CODE}
  jne escape
  and eax, 0x7fff
  movzx ecx, word [${A}*2+${G.RECOVERY}]
  test ecx, ecx
  jz escape
  ; A breakpoint stands in front of the instruction that is to be next.
  cmp dword [${B}+${KERNEL_VECTOR}], 3
  je leave_kernel
  and ${word} [${wide ? 'rsp' : 'esp'}+${ip}], -0x8000
  or [${wide ? 'rsp' : 'esp'}+${ip}], ${C}
leave_kernel:
${wide ? '' : '  pop ds'}
  pop ${B}
  pop ${D}
  pop ${C}
  pop ${A}
  add ${wide ? 'rsp' : 'esp'}, ${2 * W}
  ${wide ? 'iretq' : 'iretd'}

escape:
  mov eax, [${B}+${KERNEL_ESCAPE}]
  lea ecx, [${A}+1]
  and ecx, 7
  mov [${B}+${KERNEL_ESCAPE}], ecx
  mov eax, [${B}+${A}*4+${KERNEL_ESCAPES}]
  mov [${wide ? 'rsp' : 'esp'}+${ip}], ${A}
${
  wide
    ? ''
    : `  test byte [esp+${cs}], 3
  jnz .from_user
  ; No stack was switched: a new frame on a good stack.
  mov edx, [esp+${flags}]
  mov ecx, [esp+${cs}]
  mov esp, ${G.STACK_TOP - 12}
  mov [esp], eax
  mov [esp+4], ecx
  mov [esp+8], edx
  mov ecx, ${G.KERNEL_DATA_SELECTOR}
  mov ds, ecx
  iretd
.from_user:`
}
  mov ${word} [${wide ? 'rsp' : 'esp'}+${sp}], ${G.STACK_TOP}
  jmp leave_kernel
${
  wide
    ? `
syscall_entry:
  inc dword [${G.KERNEL_DATA + KERNEL_SYSCALLS}]
  o64 sysret`
    : ''
}
`;
}

/** Machine code of the kernel. */
export interface GuestKernel {
  readonly origin: number;
  readonly bytes: Uint8Array;
  /** Target of SYSCALL (64-bit only). */
  readonly syscall: bigint;
}

export function guestKernel(bits: 32 | 64): GuestKernel {
  const { bytes, origin, symbols } = assemble(source(bits));
  return { origin, bytes, syscall: symbols.get('syscall_entry') ?? 0n };
}
