import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { assemble } from './assembler.ts';

const nasmMissing = spawnSync('nasm', ['-v']).status === 0 ? false : 'nasm is not installed';

function nasm(source: string): { bytes: Uint8Array; errors: string } {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-nasm-'));
  try {
    writeFileSync(join(folder, 'source.asm'), source);
    const run = spawnSync('nasm', ['-f', 'bin', '-w-all', '-o', 'out.bin', 'source.asm'], {
      cwd: folder,
      encoding: 'utf8',
    });
    return run.status === 0
      ? { bytes: readFileSync(join(folder, 'out.bin')), errors: '' }
      : { bytes: new Uint8Array(), errors: run.stderr };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Assembles every line with both, 32 bytes of room each, and names the lines that differ. */
function compareLines(bits: number, lines: readonly string[]): void {
  const room = 32;
  const source = [
    'org 0x1000',
    `bits ${bits}`,
    'value equ 0x12',
    'start:',
    ...lines.flatMap((line, index) => [line, `times ${(index + 1) * room}-($-$$) nop`]),
    'there:',
  ].join('\n');
  const theirs = nasm(source);
  assert.equal(theirs.errors, '');
  const ours = assemble(source).bytes;
  const slice = (bytes: Uint8Array, index: number): string =>
    Buffer.from(bytes.slice(index * room, (index + 1) * room))
      .toString('hex')
      .replace(/(90)+$/, '');
  const differences = lines
    .map((line, index) => ({ line, ours: slice(ours, index), nasm: slice(theirs.bytes, index) }))
    .filter((each) => each.ours !== each.nasm);
  assert.deepEqual(differences, []);
  assert.equal(ours.length, theirs.bytes.length);
}

/** `{a b c}` in a pattern stands for each of its words; several groups make all combinations. */
function expand(...patterns: readonly string[]): string[] {
  return patterns.flatMap((pattern) => {
    const found = /\{([^}]*)\}/.exec(pattern);
    if (found === null) return [pattern];
    return (found[1] ?? '').split(' ').flatMap((word) => expand(pattern.replace(found[0], word)));
  });
}

const anywhere = expand(
  '{add or adc sbb and sub xor cmp} al,{0x12 -1 255}',
  '{add or adc sbb and sub xor cmp} bl,{0x12 -1}',
  '{add sub xor cmp} {ax bx},{0x12 -1 0x1234 0xFFFF 0x80 127 -128 value}',
  '{add sub xor cmp} {eax ebx},{0x12 -1 0x12345678 0xFFFFFFFF 0x80 value}',
  '{add xor cmp mov test xchg} {al bh},{cl dh}',
  '{add xor cmp mov test xchg} {ax bx},{cx si}',
  '{add xor cmp mov test xchg} {eax ebx},{ecx esi}',
  '{add cmp mov test} {byte word dword} [ebx],{5 -1 value}',
  '{add cmp mov test xchg} [ebx+4],{al cx edx}',
  '{add cmp mov xchg} {al cx edx},[ebx+4]',
  'mov {al bh},{0 255 -128}',
  'mov {ax bx},{0 0x1234}',
  'mov {eax ebx},{0 0x12345678 -1 there}',
  'mov {ds es ss fs gs},{ax bx ecx}',
  'mov {ax ebx},{ds es cs ss fs gs}',
  'mov [ebx],{ds cs}',
  'mov {ds gs},[ebx]',
  '{movzx movsx} {ax eax},{bl dh}',
  '{movzx movsx} {eax edx},{bx si}',
  '{movzx movsx} eax,{byte word} [ebx]',
  'lea {ax eax},[ebx+esi*4+8]',
  'test {al bl},5',
  'test {ax bx},5',
  'test {eax ebx},5',
  '{inc dec not neg mul imul div idiv} {al bh cx edx}',
  '{inc dec not neg mul imul div idiv} {byte word dword} [ebx]',
  'imul {ax ecx},{5 -1 0x1234}',
  'imul ax,bx',
  'imul eax,ebx',
  'imul eax,[ebx]',
  'imul eax,ebx,{5 0x1234}',
  'imul ax,[ebx],{5 0x1234}',
  '{rol ror rcl rcr shl sal shr sar} {al bx ecx},{1 4 cl}',
  '{shl sar} {byte word dword} [ebx],{1 4 cl}',
  '{shld shrd} {ax,bx ecx,edx},{4 cl}',
  '{bt bts btr btc} {ax,bx ecx,edx ax,4 ecx,4}',
  '{bt bts btr btc} {word dword} [ebx],4',
  '{bsf bsr popcnt tzcnt lzcnt} {ax,bx ecx,edx}',
  'push {5 -1 127 128 value}',
  '{push pop} {fs gs ax bx}',
  '{pushf popf leave ret retf iret iretw iretd int3 into-int1 hlt cli sti cld std clc stc cmc nop pause}'.replace(
    ' into-int1',
    '',
  ),
  '{wait sahf lahf clts invd wbinvd rsm sysenter sysexit rdtscp monitor mwait xgetbv xsetbv cpuid rdmsr wrmsr}',
  '{rdtsc rdpmc mfence lfence sfence emms xlatb cbw cwde cwd cdq ud2 fwait retn iretw rdtscp}',
  '{movsb movsw movsd cmpsb cmpsw cmpsd stosb stosw stosd lodsb lodsw lodsd scasb scasw scasd}',
  '{insb insw insd outsb outsw outsd}',
  'rep {movsb movsw movsd stosb stosd insw outsd}',
  '{repe repne} {cmpsb scasw}',
  'rep movsb',
  'es lodsb',
  'fs movsd',
  'ret 8',
  'retf 8',
  'int 0x80',
  'enter 16,0',
  'in {al ax eax},{0x60 dx}',
  'out {0x60 dx},{al ax eax}',
  '{lgdt lidt sgdt sidt invlpg} [ebx]',
  '{lldt ltr verr verw lmsw} ax',
  '{lldt ltr} [ebx]',
  '{sldt str smsw} {ax eax}',
  'smsw [ebx]',
  '{lar lsl} {ax,bx eax,ebx}',
  '{lss lfs lgs} {ax eax},[ebx]',
  '{xadd cmpxchg} {al,bl ax,bx ecx,edx [ebx],al [ebx],ecx}',
  'lock {xadd cmpxchg} [ebx],ecx',
  'lock {inc dec} dword [ebx]',
  'cmpxchg8b [ebx]',
  'lock cmpxchg8b [ebx]',
  'bswap ecx',
  '{rdrand rdseed} {ax ecx}',
  'movbe {ax ecx},[ebx]',
  'movbe [ebx],{ax ecx}',
  'movnti [ebx],ecx',
  'crc32 eax,{bl bx ebx}',
  'crc32 eax,byte [ebx]',
  '{jo jno jc jnc jz jnz jbe ja js jns jp jnp jl jge jle jg je jne jb jae jna jnb jnae jnl jng} start',
  'j{o no c nc z nz be a s ns p np l ge le g} near start',
  'jz short $',
  'jz near $+5',
  'jmp $',
  'jmp short $+5',
  'jmp near $+5',
  'jmp start',
  'jmp there',
  'call there',
  'call start',
  '{call jmp} {bx-}'.replace('{bx-}', '[ebx]'),
  '{jcxz jecxz} $',
  '{loop loope loopne loopz loopnz} $',
  'loop $,cx',
  'loop $,ecx',
  'set{o no c nc z nz be a s ns p np l ge le g} {al dh}',
  'setz [ebx]',
  'setz byte [ebx]',
  'cmov{o no c nc z nz be a s ns p np l ge le g} {ax,bx ecx,edx}',
  'cmovz ecx,[ebx]',
  '{jmp call} far [ebx]',
  '{jmp call} far dword [ebx]',
  '{jmp call} far word [ebx]',
  // addressing
  'mov cl,[ebx]',
  'mov cl,[{eax ecx edx ebx esp ebp esi edi}]',
  'mov cl,[{eax ebp esp}+{1 -1 127 128 -128 -129 0x12345678}]',
  'mov cl,[{eax ebp}+{ecx esi}*{1 2 4 8}+{0 1 0x1234}]',
  'mov cl,[esp+{eax ebp}]',
  'mov cl,[{eax ebp}+esp]',
  'mov cl,[{eax ebp}*{2 3 4 5 8 9}]',
  'mov cl,[ecx*1+ebx]',
  'mov cl,[ebx+ecx*1]',
  'mov cl,[esi*4+there]',
  'mov cl,[ebx+there]',
  'mov cl,[ebx+there-start]',
  'mov cl,[ebx+value]',
  'mov cl,[ebx-value]',
  'mov cl,[ebx+value*2+1]',
  'mov cl,[{cs ds es ss fs gs}:ebx+4]',
  'mov ecx,[{fs gs}:ebx]',
  'mov cl,[byte ebx+0]',
  'mov cl,[dword ebx+1]',
  'mov [{fs es}:ebx],ax',
  'add [es:ebx],eax',
  'lock add [es:ebx],eax',
  // x87
  '{fninit finit fnclex fclex fld1 fldl2t fldl2e fldpi fldlg2 fldln2 fldz fchs fabs ftst fxam f2xm1 fyl2x fptan}',
  '{fpatan fxtract fprem1 fdecstp fincstp fprem fyl2xp1 fsqrt fsincos frndint fscale fsin fcos fnop fcompp fucompp}',
  '{fld fst fstp fadd fmul fcom fcomp fsub fsubr fdiv fdivr} {dword qword} [ebx]',
  '{fld fstp} tword [ebx]',
  '{fild fist fistp fisttp fiadd fimul ficom ficomp fisub fisubr fidiv fidivr} {word dword} [ebx]',
  '{fild fistp fisttp} qword [ebx]',
  '{fld fst fstp fxch ffree fucom fucomp fcomi fcomip fucomi fucomip fcom fcomp} {st1 st7}',
  '{fadd fmul fsub fsubr fdiv fdivr} {st3 st0,st3 st3,st0 st0,st0}',
  '{faddp fmulp fsubp fsubrp fdivp fdivrp} {st3 st3,st0}',
  '{faddp fmulp fsubp fsubrp fdivp fdivrp fxch}',
  'fcmov{b e be u nb ne nbe nu} {st0,st2}'.replace('{st0,st2}', 'st2'),
  '{fldcw fnstcw fstcw fnstsw fstsw} [ebx]',
  '{fnstsw fstsw} ax',
  '{fldenv fnstenv fstenv frstor fnsave fsave fxsave fxrstor xsave xrstor xsaveopt clflush} [ebx]',
  '{ldmxcsr stmxcsr} [ebx]',
  '{prefetchnta prefetcht0 prefetcht1 prefetcht2} [ebx]',
  '{fbld fbstp} tword [ebx]',
  // SSE
  '{movups movupd movaps movapd movdqa movdqu movss movsd movq} {xmm1,xmm2 xmm1,[ebx] [ebx],xmm1}',
  '{movlps movhps movlpd movhpd} {xmm1,[ebx] [ebx],xmm1}',
  '{movhlps movlhps} xmm1,xmm2',
  '{movntps movntdq} [ebx],xmm1',
  'movd {xmm1,eax eax,xmm1 xmm1,[ebx] [ebx],xmm1 mm1,eax eax,mm1 mm1,[ebx] [ebx],mm1}',
  'movq {mm1,mm2 mm1,[ebx] [ebx],mm1}',
  '{movmskps movmskpd pmovmskb} eax,xmm3',
  '{cvtsi2ss cvtsi2sd} xmm1,{eax [ebx]}',
  '{cvttss2si cvtss2si cvttsd2si cvtsd2si} eax,{xmm1 [ebx]}',
  '{cvtss2sd cvtsd2ss cvtps2pd cvtpd2ps cvtdq2ps cvtps2dq cvttps2dq cvtdq2pd cvtpd2dq cvttpd2dq} xmm1,{xmm2 [ebx]}',
  '{ucomiss ucomisd comiss comisd} xmm1,{xmm2 [ebx]}',
  '{shufps shufpd cmpps cmppd cmpss cmpsd pshufd pshufhw pshuflw palignr} xmm1,{xmm2 [ebx]},3',
  '{roundps roundpd roundss roundsd pclmulqdq aeskeygenassist pcmpestri pcmpistri pcmpestrm} xmm1,{xmm2 [ebx]},3',
  'pcmpistrm xmm1,xmm2,3',
  'pshufw mm1,mm2,3',
  'pinsrw xmm1,eax,3',
  'pextrw eax,xmm1,3',
  '{pinsrb pinsrd} xmm1,{eax [ebx]},3',
  'pextrd {eax [ebx]},xmm1,3',
  '{sqrt add mul sub min div max}{ps pd ss sd} xmm1,{xmm2 [ebx]}',
  '{and andn or xor unpckl unpckh}{ps pd} xmm1,{xmm2 [ebx]}',
  '{rsqrtps rsqrtss rcpps rcpss} xmm1,xmm2',
  '{punpcklbw punpcklwd punpckldq packsswb pcmpgtb pcmpgtw pcmpgtd packuswb punpckhbw punpckhwd} xmm1,{xmm2 [ebx]}',
  '{punpckhdq packssdw pcmpeqb pcmpeqw pcmpeqd psrlw psrld psrlq paddq pmullw psubusb psubusw} xmm1,xmm2',
  '{pminub pand paddusb paddusw pmaxub pandn pavgb psraw psrad pavgw pmulhuw pmulhw psubsb psubsw} xmm1,xmm2',
  '{pminsw por paddsb paddsw pmaxsw pxor psllw pslld psllq pmuludq pmaddwd psadbw psubb psubw psubd} xmm1,xmm2',
  '{psubq paddb paddw paddd punpcklqdq punpckhqdq} xmm1,{xmm2 [ebx]}',
  '{paddb pxor pcmpeqd psllq psadbw} mm1,{mm2 [ebx]}',
  '{psrlw psraw psllw psrld psrad pslld psrlq psllq} {xmm1 mm1},3',
  '{psrldq pslldq} xmm1,3',
  '{pshufb phaddw phaddd pmaddubsw pabsb pabsw pabsd ptest pmuldq pcmpeqq packusdw pcmpgtq pminsb pminsd} xmm1,xmm2',
  '{pminuw pminud pmaxsb pmaxsd pmaxuw pmaxud pmulld aesimc aesenc aesenclast aesdec aesdeclast} xmm1,{xmm2 [ebx]}',
  '{blendvps pblendvb} xmm1,xmm2,xmm0',
);

const not64 = expand(
  '{inc dec} {ax ebx}',
  '{push pop} {eax ebx ds es ss}',
  'push cs',
  '{pushfd popfd pusha popa pushaw popaw pushad popad into aaa aas daa das aam aad salc}',
  'aam 5',
  'bound ax,[ebx]',
  'bound eax,[ebx]',
  '{lds les} {ax eax},[ebx]',
  'arpl ax,bx',
  'mov {al ax eax},[0x1234]',
  'mov [0x1234],{al ax eax}',
  'mov {al ax eax},[es:there]',
  'mov {bl bx ebx},[there]',
  'mov {eax ebx},cr{0 2 3 4}',
  'mov cr{0 2 3 4},{eax ebx}',
  'mov eax,dr{0 7}',
  'mov dr{0 7},eax',
  '{push pop} {word dword} [ebx]',
  'push {word dword} {5 1000}',
  'push there',
  '{jmp call} 0x10:0x1234',
  '{jmp call} dword 0x10:0x123456',
  '{jmp call} word 0x10:0x1234',
  '{jmp call} {ax ebx}',
  '{jmp call} {word dword} [ebx]',
  'mov cl,[{bx bp si di}]',
  'mov cl,[{bx bp}+{si di}]',
  'mov cl,[{bx bp}+{si di}+{1 -1 0x1234 0xFFFF}]',
  'mov cl,[{si di}+bx]',
  'mov cl,[{bp bx}+{5 value}]',
  'mov cl,[bx+there]',
  'mov al,[dword 0x12345678]',
  'mov bl,[dword 0x12345678]',
  'mov bl,[word 0x1234]',
  'mov al,[word 0x1234]',
  'mov ax,there',
  'add bx,there',
  'add ebx,there',
  'o32 iret',
  'a32 movsd',
  'a16 movsd',
  'o32 ret',
);

const only64 = expand(
  '{add sub cmp mov} {rax rbx r8 r15},{1 -1 127 128 0x7FFFFFFF -0x80000000}',
  'mov {rax r9},{0 0x12345678 0xFFFFFFFF 0x123456789ABCDEF -5 there}',
  'mov {r8d r8w r8b spl dil},5',
  'mov {rax r8},{rbx r9}',
  'mov {eax r8d},{ebx r9d}',
  'mov {al r8b sil},{bl r9b dil}',
  'mov rax,cr{0 2 3 4 8}',
  'mov cr{0 2 3 4 8},r10',
  'mov rax,dr{0 7}',
  'mov dr{0 7},r9',
  'mov rax,{ds fs}',
  'mov {ds fs},rax',
  '{push pop} {rax r8 fs gs ax r9w}',
  '{push pop} {qword word} [rbx]',
  'push {5 -1 1000 0x12345678 there}',
  'push word 5',
  '{pushfq popfq syscall sysret swapgs iretq retfq cdqe cqo movsq stosq lodsq scasq cmpsq endbr64}',
  'o64 sysret',
  'rep {stosq movsq}',
  '{jmp call} {rax r8}',
  '{jmp call} [rax]',
  '{jmp call} qword [r9+8]',
  '{jmp call} far [rax]',
  '{jmp call} far qword [rax]',
  'movsxd rax,ebx',
  'movsxd r8,dword [r9]',
  '{movzx movsx} {rax r8},{bl r9b si}',
  'mov cl,[{rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15}]',
  'mov r9,[{rax rsp rbp r12 r13}+{1 -1 0x1234}]',
  'mov r9,[{rax rbp r13}+{rcx r9 r12}*{1 2 4 8}+{0 1 0x1234}]',
  'mov cl,[{eax r8d}]',
  'mov cl,[eax+r9d*2]',
  'mov rax,[0x1234]',
  'mov eax,[there]',
  'mov eax,[rel there]',
  'mov dword [rel there],5',
  'cmp byte [rel there],5',
  'cmp word [rel there],0x1234',
  'add rax,[rel there]',
  'lea rax,[rel start]',
  'lea rsi,[rbx+there]',
  'lea eax,[rbx+4]',
  'mov rax,[qword 0x123456789ABC]',
  'mov al,[qword 0x123456789ABC]',
  'mov [qword 0x123456789ABC],eax',
  'mov rax,[gs:0]',
  'mov rax,[fs:rbx+8]',
  '{inc dec not neg mul imul div idiv} {rax r9 r9d r9w r9b sil}',
  '{shl sar} {rax r9},{1 5 cl}',
  '{shld shrd} r8,r9,{4 cl}',
  '{bt bts} {rax,r9 r9,40}',
  '{bsf bsr popcnt} {rax,r9}',
  'test {rax r9},{5 0x12345678}',
  'imul {rax r9},{5 1000}',
  'imul rax,r9,5',
  'imul rax,[rbx],5000',
  'xchg {rax r9},{rcx rax r10}',
  'xchg {eax,ecx ecx,eax r8d,eax eax,r8d ax,bx}',
  '{xadd cmpxchg} {r8,r9 [rbx],rax}',
  'lock cmpxchg16b [rdi]',
  'bswap {rax r12 r12d}',
  'cmovz r8,[r9]',
  'sete {sil r10b}',
  '{rdfsbase rdgsbase wrfsbase wrgsbase} {eax r9}',
  'movq {xmm1,rax rax,xmm9 xmm9,[rbx] mm1,rax}',
  'movd {xmm1,r9d r9d,xmm9}',
  '{movups movaps movdqu} {xmm8,xmm9 [r9],xmm10 xmm11,[rax+r9*8+16]}',
  '{paddd pxor addsd mulss pshufb} xmm9,{xmm1 xmm12 [r13]}',
  '{cvtsi2sd cvtsi2ss} xmm9,{rax r8d}',
  '{cvttsd2si cvtsd2si} r9,xmm8',
  'pextrq rax,xmm9,1',
  'pinsrq xmm9,r10,1',
  'crc32 rax,{bl r9}',
  '{fxsave64 fxrstor64} [rax]',
  'lar eax,r9d',
  '{str sldt smsw} {rax r9d ax}',
  '{in out-}'.replace('{in out-}', 'in al,dx'),
  'a32 rep movsb',
  'jrcxz $',
  'jecxz $',
  'loop $,rcx',
  'loop $,ecx',
  'invlpg [r9]',
  'lgdt [rel there]',
  'add qword [rbx],{5 0x12345678}',
  'mov qword [r8],{5 -1 there}',
  'push qword 5',
  'enter 8,1',
  'nop dword [rax]',
  'psrldq xmm12,5',
);

test('16-bit code equals nasm', { skip: nasmMissing }, () => {
  compareLines(16, [...anywhere, ...not64]);
});

test('32-bit code equals nasm', { skip: nasmMissing }, () => {
  compareLines(32, [...anywhere, ...not64]);
});

test('64-bit code equals nasm', { skip: nasmMissing }, () => {
  compareLines(64, [...anywhere.filter((line) => line !== 'jcxz $' && line !== 'loop $,cx'), ...only64]);
});

test('layout, macros and data equal nasm', { skip: nasmMissing }, () => {
  const source = `
    org 0x7c00
    bits 16
    %define SIZE 16
    %assign STEP SIZE * 2
    %macro put 1-2 'x'
      mov al, %1
      mov ah, %2
      jz %%skip
      nop
    %%skip:
    %endmacro
    %macro handler 1
    handler_%1:
      push byte %1
      jmp dispatch
    %endmacro
    count equ (last - first) / 2
    start:
      put 'a'
      put SIZE, 'b' ; comment
      jmp .far
    .near: jmp short .near
      times 130 nop
    .far: jz .near
      jmp start.near
    dispatch:
    %assign number 0
    %rep 3
      handler number
    %assign number number + 1
    %endrep
    %if STEP = 32
      db 'yes', 0
    %elif STEP = 33
      db 'no', 0
    %else
      db 'neither', 0
    %endif
    %ifdef UNDEFINED
      db 1
    %endif
    first: dw 1, 2, 'ab', 'abc', -1
    last:
      dd 0x12345678, 'abcd', 1.5, -2.25, start
      dq 0x123456789ABCDEF0, 3.14, start
      db "quoted ; text", 13, 10, \`escape\\n\\x41\`
      align 16
      align 32, db 0
      resb 5
      resd 2
      dw count, $ - $$, ~5 & 0xFF, 7 % 4, 1 << 3 | 1, 100b, 0x_ff, 0FFh, 12h
      add ax, [bx + last - first]
      mov ax, count
    absolute 0x500
    variable: resw 1
    other: resb 3
    section .text
      mov [variable], ax
      mov bx, other
      times 510-($-$$) db 0
      dw 0xAA55
  `;
  const theirs = nasm(source);
  assert.equal(theirs.errors, '');
  assert.equal(Buffer.from(assemble(source).bytes).toString('hex'), Buffer.from(theirs.bytes).toString('hex'));
});
