/** Names of the sixteen conditions, by code. */
const CONDITIONS = [
  'o',
  'no',
  'b c nae',
  'ae nb nc',
  'e z',
  'ne nz',
  'be na',
  'a nbe',
  's',
  'ns',
  'p pe',
  'np po',
  'l nge',
  'ge nl',
  'le ng',
  'g nle',
];

/**
 * The instructions the assembler knows, in the notation of Intel's manual: `mnemonics | operands | encoding`.
 *
 * Operands: `rN` register, `rmN` register or memory, `mN` memory, `rxmN`/`rmmN` SSE/MMX register or memory, `immN`,
 * `sxN` byte sign-extended to N bits, `immzN` (for 64: sign-extended 32 bits), `relN`, `farN` selector:offset,
 * `offsetN` absolute memory operand, `aN` accumulator, or a fixed register. A leading `*` puts a plain register in
 * ModRM.rm; a leading `?` says that its size tells nothing about a memory operand beside it. `v` stands for 16, 32, 64.
 *
 * Encoding: hex bytes, `/r` or `/digit`, `+r`, `ib iw id iq`, `iz` (by operand size, at most 32 bits), `if` far pointer,
 * `p66 pf2 pf3` mandatory prefix, `o16 o32 o64` operand size (`ov`: one form each), `a16 a32 a64` address size,
 * `d64` operand size 64 is the default in long mode, `mode` the mode's size unless told otherwise, `not64`, `only64`.
 */
export const INSTRUCTION_TABLE: readonly string[] = [
  ...lines(`
    mov | m16,sreg | 8C /r
    mov | *r16,sreg | 8C /r o16
    mov | *r32,sreg | 8C /r o32
    mov | *r64,sreg | 8C /r only64
    mov | sreg,rm16 | 8E /r
    mov | sreg,*r32 | 8E /r
    mov | sreg,*r64 | 8E /r only64
    mov | *r32,creg | 0F 20 /r not64
    mov | *r64,creg | 0F 20 /r only64
    mov | creg,*r32 | 0F 22 /r not64
    mov | creg,*r64 | 0F 22 /r only64
    mov | *r32,dreg | 0F 21 /r not64
    mov | *r64,dreg | 0F 21 /r only64
    mov | dreg,*r32 | 0F 23 /r not64
    mov | dreg,*r64 | 0F 23 /r only64
    mov | al,offset8 | A0
    mov | av,offsetv | A1
    mov | offset8,al | A2
    mov | offsetv,av | A3
    mov | rm8,r8 | 88 /r
    mov | rmv,rv | 89 /r
    mov | r8,rm8 | 8A /r
    mov | rv,rmv | 8B /r
    mov | r8,imm8 | B0 +r ib
    mov | r16,imm16 | B8 +r iw o16
    mov | r32,imm32 | B8 +r id o32
    mov | r64,zx32to64 | B8 +r id o32 only64
    mov | r64,sx32to64 | C7 /0 id o64
    mov | r64,imm64 | B8 +r iq o64
    mov | rm8,imm8 | C6 /0 ib
    mov | rmv,immzv | C7 /0 iz

    movzx | ?r16,rm8 | 0F B6 /r o16
    movzx | ?r32,rm8 | 0F B6 /r o32
    movzx | ?r64,rm8 | 0F B6 /r o64
    movzx | ?r32,rm16 | 0F B7 /r o32
    movzx | ?r64,rm16 | 0F B7 /r o64
    movsx | ?r16,rm8 | 0F BE /r o16
    movsx | ?r32,rm8 | 0F BE /r o32
    movsx | ?r64,rm8 | 0F BE /r o64
    movsx | ?r32,rm16 | 0F BF /r o32
    movsx | ?r64,rm16 | 0F BF /r o64
    movsxd movsx | ?r64,rm32 | 63 /r o64
    movbe | r16,m16 | 0F 38 F0 /r o16
    movbe | r32,m32 | 0F 38 F0 /r o32
    movbe | r64,m64 | 0F 38 F0 /r o64
    movbe | m16,r16 | 0F 38 F1 /r o16
    movbe | m32,r32 | 0F 38 F1 /r o32
    movbe | m64,r64 | 0F 38 F1 /r o64
    movnti | m32,r32 | 0F C3 /r
    movnti | m64,r64 | 0F C3 /r o64
    lea | rv,m | 8D /r

    test | rm8,r8 | 84 /r
    test | rmv,rv | 85 /r
    test | r8,m8 | 84 /r
    test | rv,mv | 85 /r
    test | al,imm8 | A8 ib
    test | av,immzv | A9 iz
    test | rm8,imm8 | F6 /0 ib
    test | rmv,immzv | F7 /0 iz

    inc | r16 | 40 +r o16 not64
    inc | r32 | 40 +r o32 not64
    inc | rm8 | FE /0
    inc | rmv | FF /0
    dec | r16 | 48 +r o16 not64
    dec | r32 | 48 +r o32 not64
    dec | rm8 | FE /1
    dec | rmv | FF /1
    not | rm8 | F6 /2
    not | rmv | F7 /2
    neg | rm8 | F6 /3
    neg | rmv | F7 /3
    mul | rm8 | F6 /4
    mul | rmv | F7 /4
    imul | rm8 | F6 /5
    imul | rmv | F7 /5
    div | rm8 | F6 /6
    div | rmv | F7 /6
    idiv | rm8 | F6 /7
    idiv | rmv | F7 /7
    imul | rv,rmv | 0F AF /r
    imul | rv,rmv,sxv | 6B /r ib
    imul | rv,rmv,immzv | 69 /r iz

    shld | rmv,rv,imm8 | 0F A4 /r ib
    shld | rmv,rv,cl | 0F A5 /r
    shrd | rmv,rv,imm8 | 0F AC /r ib
    shrd | rmv,rv,cl | 0F AD /r
    bsf | rv,rmv | 0F BC /r
    bsr | rv,rmv | 0F BD /r
    tzcnt | rv,rmv | pf3 0F BC /r
    lzcnt | rv,rmv | pf3 0F BD /r
    popcnt | rv,rmv | pf3 0F B8 /r
    crc32 | ?r32,rm8 | pf2 0F 38 F0 /r
    crc32 | ?r32,rm16 | pf2 0F 38 F1 /r o16
    crc32 | ?r32,rm32 | pf2 0F 38 F1 /r o32
    crc32 | ?r64,rm8 | pf2 0F 38 F0 /r o64
    crc32 | ?r64,rm64 | pf2 0F 38 F1 /r o64

    push | rv | 50 +r d64
    push | rmv | FF /6 d64
    push | es | 06 not64
    push | cs | 0E not64
    push | ss | 16 not64
    push | ds | 1E not64
    push | fs | 0F A0
    push | gs | 0F A8
    push | sxv | 6A ib d64 mode
    push | immzv | 68 iz d64 mode
    pop | rv | 58 +r d64
    pop | rmv | 8F /0 d64
    pop | es | 07 not64
    pop | ss | 17 not64
    pop | ds | 1F not64
    pop | fs | 0F A1
    pop | gs | 0F A9
    pushf | | 9C
    pushfw | | 9C o16
    pushfd | | 9C o32 not64
    pushfq | | 9C only64
    popf | | 9D
    popfw | | 9D o16
    popfd | | 9D o32 not64
    popfq | | 9D only64
    pusha | | 60 not64
    pushaw | | 60 o16 not64
    pushad | | 60 o32 not64
    popa | | 61 not64
    popaw | | 61 o16 not64
    popad | | 61 o32 not64
    enter | imm16,imm8 | C8 iw ib
    leave | | C9

    call | relv | E8 iz d64 mode
    call | rmv | FF /2 d64 mode
    jmp | rel8 | EB ib
    jmp | relv | E9 iz d64 mode
    jmp | rmv | FF /4 d64 mode
    call | mfar16 | FF /3 o16 mode
    call | mfar32 | FF /3 o32 mode
    call | mfar64 | FF /3 o64 mode
    call | far16 | 9A if o16 mode not64
    call | far32 | 9A if o32 mode not64
    jmp | mfar16 | FF /5 o16 mode
    jmp | mfar32 | FF /5 o32 mode
    jmp | mfar64 | FF /5 o64 mode
    jmp | far16 | EA if o16 mode not64
    jmp | far32 | EA if o32 mode not64
    ret retn | | C3
    ret retn | imm16 | C2 iw
    retw | | C3 o16
    retd | | C3 o32 not64
    retq | | C3 only64
    retf | | CB
    retf | imm16 | CA iw
    retfw | | CB o16
    retfd | | CB o32
    retfq | | CB o64
    jcxz | rel8 | E3 ib a16
    jecxz | rel8 | E3 ib a32
    jrcxz | rel8 | E3 ib a64
    loop | rel8 | E2 ib
    loope loopz | rel8 | E1 ib
    loopne loopnz | rel8 | E0 ib
    loop | rel8,cx | E2 ib a16
    loop | rel8,ecx | E2 ib a32
    loop | rel8,rcx | E2 ib a64
    loope loopz | rel8,cx | E1 ib a16
    loope loopz | rel8,ecx | E1 ib a32
    loope loopz | rel8,rcx | E1 ib a64
    loopne loopnz | rel8,cx | E0 ib a16
    loopne loopnz | rel8,ecx | E0 ib a32
    loopne loopnz | rel8,rcx | E0 ib a64

    int | imm8 | CD ib
    int3 | | CC
    int1 icebp | | F1
    into | | CE not64
    iret | | CF
    iretw | | CF o16
    iretd | | CF o32
    iretq | | CF o64
    bound | r16,m | 62 /r o16 not64
    bound | r32,m | 62 /r o32 not64
    ud2 | | 0F 0B
    hlt | | F4
    cli | | FA
    sti | | FB
    cld | | FC
    std | | FD
    clc | | F8
    stc | | F9
    cmc | | F5
    nop | | 90
    nop | rmv | 0F 1F /0
    pause | | F3 90
    wait fwait | | 9B
    sahf | | 9E
    lahf | | 9F
    clts | | 0F 06
    invd | | 0F 08
    wbinvd | | 0F 09
    rsm | | 0F AA
    syscall | | 0F 05
    sysret | | 0F 07
    sysretq | | 0F 07 o64
    sysenter | | 0F 34
    sysexit | | 0F 35
    sysexitq | | 0F 35 o64
    swapgs | | 0F 01 F8
    rdtscp | | 0F 01 F9
    monitor | | 0F 01 C8
    mwait | | 0F 01 C9
    clac | | 0F 01 CA
    stac | | 0F 01 CB
    xgetbv | | 0F 01 D0
    xsetbv | | 0F 01 D1
    vmcall | | 0F 01 C1
    vmmcall | | 0F 01 D9
    endbr64 | | F3 0F 1E FA
    endbr32 | | F3 0F 1E FB
    cpuid | | 0F A2
    rdmsr | | 0F 32
    wrmsr | | 0F 30
    rdtsc | | 0F 31
    rdpmc | | 0F 33
    mfence | | 0F AE F0
    lfence | | 0F AE E8
    sfence | | 0F AE F8
    emms | | 0F 77
    xlat xlatb | | D7
    salc | | D6 not64
    aaa | | 37 not64
    aas | | 3F not64
    daa | | 27 not64
    das | | 2F not64
    aam | | D4 0A not64
    aam | imm8 | D4 ib not64
    aad | | D5 0A not64
    aad | imm8 | D5 ib not64
    cbw | | 98 o16
    cwde | | 98 o32
    cdqe | | 98 o64
    cwd | | 99 o16
    cdq | | 99 o32
    cqo | | 99 o64

    lgdt | m | 0F 01 /2
    lidt | m | 0F 01 /3
    sgdt | m | 0F 01 /0
    sidt | m | 0F 01 /1
    invlpg | m | 0F 01 /7
    lldt | rm16 | 0F 00 /2
    ltr | rm16 | 0F 00 /3
    verr | rm16 | 0F 00 /4
    verw | rm16 | 0F 00 /5
    lmsw | rm16 | 0F 01 /6
    sldt | m16 | 0F 00 /0
    sldt | *r16 | 0F 00 /0 o16
    sldt | *r32 | 0F 00 /0 o32
    sldt | *r64 | 0F 00 /0 only64
    str | m16 | 0F 00 /1
    str | *rv | 0F 00 /1
    smsw | m16 | 0F 01 /4
    smsw | *rv | 0F 01 /4
    lar | rv,rm16 | 0F 02 /r
    lar | r32,*r32 | 0F 02 /r o32
    lsl | rv,rm16 | 0F 03 /r
    lsl | r32,*r32 | 0F 03 /r o32
    arpl | rm16,r16 | 63 /r not64
    lds | r16,m | C5 /r o16 not64
    lds | r32,m | C5 /r o32 not64
    les | r16,m | C4 /r o16 not64
    les | r32,m | C4 /r o32 not64
    lss | rv,m | 0F B2 /r
    lfs | rv,m | 0F B4 /r
    lgs | rv,m | 0F B5 /r
    invpcid | r32,m128 | p66 0F 38 82 /r not64
    invpcid | r64,m128 | p66 0F 38 82 /r only64
    rdfsbase | *r32 | pf3 0F AE /0 only64
    rdfsbase | *r64 | pf3 0F AE /0 o64
    rdgsbase | *r32 | pf3 0F AE /1 only64
    rdgsbase | *r64 | pf3 0F AE /1 o64
    wrfsbase | *r32 | pf3 0F AE /2 only64
    wrfsbase | *r64 | pf3 0F AE /2 o64
    wrgsbase | *r32 | pf3 0F AE /3 only64
    wrgsbase | *r64 | pf3 0F AE /3 o64

    xchg | a16,r16 | 90 +r o16
    xchg | a32,r32 | 90 +r o32
    xchg | a64,r64 | 90 +r o64
    xchg | r16,a16 | 90 +r o16
    xchg | r32,a32 | 90 +r o32
    xchg | r64,a64 | 90 +r o64
    xchg | r8,rm8 | 86 /r
    xchg | rv,rmv | 87 /r
    xchg | rm8,r8 | 86 /r
    xchg | rmv,rv | 87 /r
    xadd | rm8,r8 | 0F C0 /r
    xadd | rmv,rv | 0F C1 /r
    cmpxchg | rm8,r8 | 0F B0 /r
    cmpxchg | rmv,rv | 0F B1 /r
    cmpxchg8b | m64 | 0F C7 /1
    cmpxchg16b | m128 | 0F C7 /1 o64
    bswap | r32 | 0F C8 +r o32
    bswap | r64 | 0F C8 +r o64
    rdrand | *rv | 0F C7 /6
    rdseed | *rv | 0F C7 /7

    in | al,imm8 | E4 ib
    in | ax,imm8 | E5 ib o16
    in | eax,imm8 | E5 ib o32
    in | al,dx | EC
    in | ax,dx | ED o16
    in | eax,dx | ED o32
    out | imm8,al | E6 ib
    out | imm8,ax | E7 ib o16
    out | imm8,eax | E7 ib o32
    out | dx,al | EE
    out | dx,ax | EF o16
    out | dx,eax | EF o32

    fninit | | DB E3
    finit | | 9B DB E3
    fnclex | | DB E2
    fclex | | 9B DB E2
    fld1 | | D9 E8
    fldl2t | | D9 E9
    fldl2e | | D9 EA
    fldpi | | D9 EB
    fldlg2 | | D9 EC
    fldln2 | | D9 ED
    fldz | | D9 EE
    fchs | | D9 E0
    fabs | | D9 E1
    ftst | | D9 E4
    fxam | | D9 E5
    f2xm1 | | D9 F0
    fyl2x | | D9 F1
    fptan | | D9 F2
    fpatan | | D9 F3
    fxtract | | D9 F4
    fprem1 | | D9 F5
    fdecstp | | D9 F6
    fincstp | | D9 F7
    fprem | | D9 F8
    fyl2xp1 | | D9 F9
    fsqrt | | D9 FA
    fsincos | | D9 FB
    frndint | | D9 FC
    fscale | | D9 FD
    fsin | | D9 FE
    fcos | | D9 FF
    fnop | | D9 D0
    fcompp | | DE D9
    fucompp | | DA E9
    fld | m32 | D9 /0
    fld | m64 | DD /0
    fld | m80 | DB /5
    fld | sti | D9 C0 +r
    fst | m32 | D9 /2
    fst | m64 | DD /2
    fst | sti | DD D0 +r
    fstp | m32 | D9 /3
    fstp | m64 | DD /3
    fstp | m80 | DB /7
    fstp | sti | DD D8 +r
    fild | m16 | DF /0
    fild | m32 | DB /0
    fild | m64 | DF /5
    fist | m16 | DF /2
    fist | m32 | DB /2
    fistp | m16 | DF /3
    fistp | m32 | DB /3
    fistp | m64 | DF /7
    fisttp | m16 | DF /1
    fisttp | m32 | DB /1
    fisttp | m64 | DD /1
    fbld | m80 | DF /4
    fbstp | m80 | DF /6
    fxch | | D9 C9
    fxch | sti | D9 C8 +r
    ffree | sti | DD C0 +r
    fucom | | DD E1
    fucom | sti | DD E0 +r
    fucomp | | DD E9
    fucomp | sti | DD E8 +r
    fcomi | sti | DB F0 +r
    fcomip | sti | DF F0 +r
    fucomi | sti | DB E8 +r
    fucomip | sti | DF E8 +r
    fcmovb | sti | DA C0 +r
    fcmove | sti | DA C8 +r
    fcmovbe | sti | DA D0 +r
    fcmovu | sti | DA D8 +r
    fcmovnb | sti | DB C0 +r
    fcmovne | sti | DB C8 +r
    fcmovnbe | sti | DB D0 +r
    fcmovnu | sti | DB D8 +r
    fldcw | m16 | D9 /5
    fnstcw | m16 | D9 /7
    fstcw | m16 | 9B D9 /7
    fnstsw | ax | DF E0
    fnstsw | m16 | DD /7
    fstsw | ax | 9B DF E0
    fstsw | m16 | 9B DD /7
    fldenv | m | D9 /4
    fnstenv | m | D9 /6
    fstenv | m | 9B D9 /6
    frstor | m | DD /4
    fnsave | m | DD /6
    fsave | m | 9B DD /6
    fxsave | m | 0F AE /0
    fxrstor | m | 0F AE /1
    fxsave64 | m | 0F AE /0 o64
    fxrstor64 | m | 0F AE /1 o64
    xsave | m | 0F AE /4
    xsave64 | m | 0F AE /4 o64
    xrstor | m | 0F AE /5
    xrstor64 | m | 0F AE /5 o64
    xsaveopt | m | 0F AE /6
    ldmxcsr | m32 | 0F AE /2
    stmxcsr | m32 | 0F AE /3
    clflush | m | 0F AE /7
    prefetchnta | m | 0F 18 /0
    prefetcht0 | m | 0F 18 /1
    prefetcht1 | m | 0F 18 /2
    prefetcht2 | m | 0F 18 /3

    movups | xmm,rxm128 | 0F 10 /r
    movups | rxm128,xmm | 0F 11 /r
    movupd | xmm,rxm128 | p66 0F 10 /r
    movupd | rxm128,xmm | p66 0F 11 /r
    movaps | xmm,rxm128 | 0F 28 /r
    movaps | rxm128,xmm | 0F 29 /r
    movapd | xmm,rxm128 | p66 0F 28 /r
    movapd | rxm128,xmm | p66 0F 29 /r
    movdqa | xmm,rxm128 | p66 0F 6F /r
    movdqa | rxm128,xmm | p66 0F 7F /r
    movdqu | xmm,rxm128 | pf3 0F 6F /r
    movdqu | rxm128,xmm | pf3 0F 7F /r
    movss | xmm,rxm32 | pf3 0F 10 /r
    movss | rxm32,xmm | pf3 0F 11 /r
    movsd | xmm,rxm64 | pf2 0F 10 /r
    movsd | rxm64,xmm | pf2 0F 11 /r
    movlps | xmm,m64 | 0F 12 /r
    movlps | m64,xmm | 0F 13 /r
    movhps | xmm,m64 | 0F 16 /r
    movhps | m64,xmm | 0F 17 /r
    movlpd | xmm,m64 | p66 0F 12 /r
    movlpd | m64,xmm | p66 0F 13 /r
    movhpd | xmm,m64 | p66 0F 16 /r
    movhpd | m64,xmm | p66 0F 17 /r
    movhlps | xmm,*xmm | 0F 12 /r
    movlhps | xmm,*xmm | 0F 16 /r
    movntps | m128,xmm | 0F 2B /r
    movntdq | m128,xmm | p66 0F E7 /r
    movd | mm,rm32 | 0F 6E /r
    movd | rm32,mm | 0F 7E /r
    movd | xmm,rm32 | p66 0F 6E /r
    movd | rm32,xmm | p66 0F 7E /r
    movq | mm,rmm64 | 0F 6F /r
    movq | rmm64,mm | 0F 7F /r
    movq | xmm,rxm64 | pf3 0F 7E /r
    movq | rxm64,xmm | p66 0F D6 /r
    movq | mm,*r64 | 0F 6E /r o64
    movq | *r64,mm | 0F 7E /r o64
    movq | xmm,*r64 | p66 0F 6E /r o64
    movq | *r64,xmm | p66 0F 7E /r o64
    movmskps | r32,*xmm | 0F 50 /r
    movmskpd | r32,*xmm | p66 0F 50 /r
    pmovmskb | r32,*xmm | p66 0F D7 /r
    maskmovdqu | xmm,*xmm | p66 0F F7 /r
    cvtsi2ss | xmm,rm32 | pf3 0F 2A /r
    cvtsi2ss | xmm,rm64 | pf3 0F 2A /r o64
    cvtsi2sd | xmm,rm32 | pf2 0F 2A /r
    cvtsi2sd | xmm,rm64 | pf2 0F 2A /r o64
    cvttss2si | r32,rxm32 | pf3 0F 2C /r
    cvttss2si | r64,rxm32 | pf3 0F 2C /r o64
    cvtss2si | r32,rxm32 | pf3 0F 2D /r
    cvtss2si | r64,rxm32 | pf3 0F 2D /r o64
    cvttsd2si | r32,rxm64 | pf2 0F 2C /r
    cvttsd2si | r64,rxm64 | pf2 0F 2C /r o64
    cvtsd2si | r32,rxm64 | pf2 0F 2D /r
    cvtsd2si | r64,rxm64 | pf2 0F 2D /r o64
    cvtss2sd | xmm,rxm32 | pf3 0F 5A /r
    cvtsd2ss | xmm,rxm64 | pf2 0F 5A /r
    cvtps2pd | xmm,rxm64 | 0F 5A /r
    cvtpd2ps | xmm,rxm128 | p66 0F 5A /r
    cvtdq2ps | xmm,rxm128 | 0F 5B /r
    cvtps2dq | xmm,rxm128 | p66 0F 5B /r
    cvttps2dq | xmm,rxm128 | pf3 0F 5B /r
    cvtdq2pd | xmm,rxm64 | pf3 0F E6 /r
    cvtpd2dq | xmm,rxm128 | pf2 0F E6 /r
    cvttpd2dq | xmm,rxm128 | p66 0F E6 /r
    ucomiss | xmm,rxm32 | 0F 2E /r
    ucomisd | xmm,rxm64 | p66 0F 2E /r
    comiss | xmm,rxm32 | 0F 2F /r
    comisd | xmm,rxm64 | p66 0F 2F /r
    shufps | xmm,rxm128,imm8 | 0F C6 /r ib
    shufpd | xmm,rxm128,imm8 | p66 0F C6 /r ib
    cmpps | xmm,rxm128,imm8 | 0F C2 /r ib
    cmppd | xmm,rxm128,imm8 | p66 0F C2 /r ib
    cmpss | xmm,rxm32,imm8 | pf3 0F C2 /r ib
    cmpsd | xmm,rxm64,imm8 | pf2 0F C2 /r ib
    pshufd | xmm,rxm128,imm8 | p66 0F 70 /r ib
    pshufhw | xmm,rxm128,imm8 | pf3 0F 70 /r ib
    pshuflw | xmm,rxm128,imm8 | pf2 0F 70 /r ib
    pshufw | mm,rmm64,imm8 | 0F 70 /r ib
    pinsrw | xmm,*r32,imm8 | p66 0F C4 /r ib
    pextrw | r32,*xmm,imm8 | p66 0F C5 /r ib
    pinsrb | xmm,*r32,imm8 | p66 0F 3A 20 /r ib
    pinsrb | xmm,m8,imm8 | p66 0F 3A 20 /r ib
    pinsrd | xmm,rm32,imm8 | p66 0F 3A 22 /r ib
    pinsrq | xmm,rm64,imm8 | p66 0F 3A 22 /r ib o64
    pextrd | rm32,xmm,imm8 | p66 0F 3A 16 /r ib
    pextrq | rm64,xmm,imm8 | p66 0F 3A 16 /r ib o64
    palignr | xmm,rxm128,imm8 | p66 0F 3A 0F /r ib
    roundps | xmm,rxm128,imm8 | p66 0F 3A 08 /r ib
    roundpd | xmm,rxm128,imm8 | p66 0F 3A 09 /r ib
    roundss | xmm,rxm32,imm8 | p66 0F 3A 0A /r ib
    roundsd | xmm,rxm64,imm8 | p66 0F 3A 0B /r ib
    pclmulqdq | xmm,rxm128,imm8 | p66 0F 3A 44 /r ib
    aeskeygenassist | xmm,rxm128,imm8 | p66 0F 3A DF /r ib
    pcmpestri | xmm,rxm128,imm8 | p66 0F 3A 61 /r ib
    pcmpistri | xmm,rxm128,imm8 | p66 0F 3A 63 /r ib
    pcmpestrm | xmm,rxm128,imm8 | p66 0F 3A 60 /r ib
    pcmpistrm | xmm,rxm128,imm8 | p66 0F 3A 62 /r ib
    blendvps | xmm,rxm128,xmm0 | p66 0F 38 14 /r
    pblendvb | xmm,rxm128,xmm0 | p66 0F 38 10 /r
  `),
  ...arithmetic(),
  ...shifts(),
  ...bitTests(),
  ...conditions(),
  ...strings(),
  ...floatingPoint(),
  ...vectors(),
];

function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(2, '0');
}

/** The eight operations of the original opcode square. */
function arithmetic(): string[] {
  return ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].flatMap((name, index) => [
    `${name} | rm8,r8 | ${hex(index * 8)} /r`,
    `${name} | rmv,rv | ${hex(index * 8 + 1)} /r`,
    `${name} | r8,rm8 | ${hex(index * 8 + 2)} /r`,
    `${name} | rv,rmv | ${hex(index * 8 + 3)} /r`,
    `${name} | rmv,sxv | 83 /${index} ib`,
    `${name} | al,imm8 | ${hex(index * 8 + 4)} ib`,
    `${name} | av,immzv | ${hex(index * 8 + 5)} iz`,
    `${name} | rm8,imm8 | 80 /${index} ib`,
    `${name} | rmv,immzv | 81 /${index} iz`,
  ]);
}

function shifts(): string[] {
  return Object.entries({ rol: 0, ror: 1, rcl: 2, rcr: 3, shl: 4, sal: 4, shr: 5, sar: 7 }).flatMap(([name, digit]) => [
    `${name} | rm8,1 | D0 /${digit}`,
    `${name} | rm8,cl | D2 /${digit}`,
    `${name} | rm8,imm8 | C0 /${digit} ib`,
    `${name} | rmv,1 | D1 /${digit}`,
    `${name} | rmv,cl | D3 /${digit}`,
    `${name} | rmv,imm8 | C1 /${digit} ib`,
  ]);
}

function bitTests(): string[] {
  return ['bt', 'bts', 'btr', 'btc'].flatMap((name, index) => [
    `${name} | rmv,rv | 0F ${hex(0xa3 + index * 8)} /r`,
    `${name} | rmv,imm8 | 0F BA /${index + 4} ib`,
  ]);
}

function conditions(): string[] {
  return CONDITIONS.flatMap((names, code) => {
    const all = (prefix: string): string =>
      names
        .split(' ')
        .map((name) => prefix + name)
        .join(' ');
    return [
      `${all('j')} | rel8 | ${hex(0x70 + code)} ib`,
      `${all('j')} | relv | 0F ${hex(0x80 + code)} iz d64 mode`,
      `${all('set')} | rm8 | 0F ${hex(0x90 + code)} /0`,
      `${all('cmov')} | rv,rmv | 0F ${hex(0x40 + code)} /r`,
    ];
  });
}

function strings(): string[] {
  const operations = { movs: 0xa4, cmps: 0xa6, stos: 0xaa, lods: 0xac, scas: 0xae };
  const all = Object.entries(operations).flatMap(([name, opcode]) => [
    `${name}b | | ${hex(opcode)}`,
    `${name}w | | ${hex(opcode + 1)} o16`,
    `${name}d | | ${hex(opcode + 1)} o32`,
    `${name}q | | ${hex(opcode + 1)} o64`,
  ]);
  const ports = Object.entries({ ins: 0x6c, outs: 0x6e }).flatMap(([name, opcode]) => [
    `${name}b | | ${hex(opcode)}`,
    `${name}w | | ${hex(opcode + 1)} o16`,
    `${name}d | | ${hex(opcode + 1)} o32`,
  ]);
  return [...all, ...ports];
}

/** The arithmetic of the x87, in its memory, register and popping forms. */
function floatingPoint(): string[] {
  const names = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'];
  return names.flatMap((name, digit) => {
    const memory = [
      `f${name} | m32 | D8 /${digit}`,
      `f${name} | m64 | DC /${digit}`,
      `fi${name} | m16 | DE /${digit}`,
      `fi${name} | m32 | DA /${digit}`,
      `f${name} | sti | D8 ${hex(0xc0 + digit * 8)} +r`,
    ];
    const toTop = `f${name} | st0,sti | D8 ${hex(0xc0 + digit * 8)} +r`;
    if (digit === 2 || digit === 3) return [...memory, toTop, `f${name} | | D8 ${hex(0xc1 + digit * 8)}`];
    // With the stack register as destination, sub and subr, div and divr change places.
    const base = digit < 4 ? 0xc0 + digit * 8 : 0xc0 + (digit ^ 1) * 8;
    return [
      ...memory,
      `f${name} | sti,st0 | DC ${hex(base)} +r`,
      toTop,
      `f${name}p | sti,st0 | DE ${hex(base)} +r`,
      `f${name}p | sti | DE ${hex(base)} +r`,
      `f${name}p | | DE ${hex(base + 1)}`,
    ];
  });
}

/** SSE and MMX operations that all have the shape `register, register/memory`. */
function vectors(): string[] {
  const result: string[] = [];
  const floats = {
    sqrt: 0x51,
    add: 0x58,
    mul: 0x59,
    sub: 0x5c,
    min: 0x5d,
    div: 0x5e,
    max: 0x5f,
  };
  for (const [name, opcode] of Object.entries(floats)) {
    result.push(
      `${name}ps | xmm,rxm128 | 0F ${hex(opcode)} /r`,
      `${name}pd | xmm,rxm128 | p66 0F ${hex(opcode)} /r`,
      `${name}ss | xmm,rxm32 | pf3 0F ${hex(opcode)} /r`,
      `${name}sd | xmm,rxm64 | pf2 0F ${hex(opcode)} /r`,
    );
  }
  const packed = { and: 0x54, andn: 0x55, or: 0x56, xor: 0x57, unpckl: 0x14, unpckh: 0x15 };
  for (const [name, opcode] of Object.entries(packed)) {
    result.push(`${name}ps | xmm,rxm128 | 0F ${hex(opcode)} /r`, `${name}pd | xmm,rxm128 | p66 0F ${hex(opcode)} /r`);
  }
  result.push(
    'rsqrtps | xmm,rxm128 | 0F 52 /r',
    'rsqrtss | xmm,rxm32 | pf3 0F 52 /r',
    'rcpps | xmm,rxm128 | 0F 53 /r',
    'rcpss | xmm,rxm32 | pf3 0F 53 /r',
  );
  // Opcode 0F xx, MMX without and SSE with the 66 prefix.
  const integers =
    'punpcklbw 60 punpcklwd 61 punpckldq 62 packsswb 63 pcmpgtb 64 pcmpgtw 65 pcmpgtd 66 packuswb 67 punpckhbw 68 ' +
    'punpckhwd 69 punpckhdq 6A packssdw 6B pcmpeqb 74 pcmpeqw 75 pcmpeqd 76 psrlw D1 psrld D2 psrlq D3 paddq D4 ' +
    'pmullw D5 psubusb D8 psubusw D9 pminub DA pand DB paddusb DC paddusw DD pmaxub DE pandn DF pavgb E0 psraw E1 ' +
    'psrad E2 pavgw E3 pmulhuw E4 pmulhw E5 psubsb E8 psubsw E9 pminsw EA por EB paddsb EC paddsw ED pmaxsw EE ' +
    'pxor EF psllw F1 pslld F2 psllq F3 pmuludq F4 pmaddwd F5 psadbw F6 psubb F8 psubw F9 psubd FA psubq FB ' +
    'paddb FC paddw FD paddd FE';
  for (const [name, opcode] of pairs(integers)) {
    result.push(`${name} | mm,rmm64 | 0F ${opcode} /r`, `${name} | xmm,rxm128 | p66 0F ${opcode} /r`);
  }
  for (const [name, opcode] of pairs('punpcklqdq 6C punpckhqdq 6D')) {
    result.push(`${name} | xmm,rxm128 | p66 0F ${opcode} /r`);
  }
  // SSSE3, SSE4 and AES: 66 0F 38 xx.
  const extended =
    'pshufb 00 phaddw 01 phaddd 02 pmaddubsw 04 pabsb 1C pabsw 1D pabsd 1E ptest 17 pmuldq 28 pcmpeqq 29 packusdw 2B ' +
    'pcmpgtq 37 pminsb 38 pminsd 39 pminuw 3A pminud 3B pmaxsb 3C pmaxsd 3D pmaxuw 3E pmaxud 3F pmulld 40 ' +
    'aesimc DB aesenc DC aesenclast DD aesdec DE aesdeclast DF';
  for (const [name, opcode] of pairs(extended)) result.push(`${name} | xmm,rxm128 | p66 0F 38 ${opcode} /r`);
  const byImmediate = 'psrlw 71 /2 psraw 71 /4 psllw 71 /6 psrld 72 /2 psrad 72 /4 pslld 72 /6 psrlq 73 /2 psllq 73 /6';
  const words = byImmediate.split(' ');
  for (let index = 0; index < words.length; index += 3) {
    const [name, opcode, digit] = words.slice(index, index + 3);
    result.push(`${name} | *mm,imm8 | 0F ${opcode} ${digit} ib`, `${name} | *xmm,imm8 | p66 0F ${opcode} ${digit} ib`);
  }
  result.push('psrldq | *xmm,imm8 | p66 0F 73 /3 ib', 'pslldq | *xmm,imm8 | p66 0F 73 /7 ib');
  return result;
}

function pairs(text: string): (readonly [string, string])[] {
  const words = text.split(' ');
  return Array.from({ length: words.length / 2 }, (_, index) => [words[index * 2] ?? '', words[index * 2 + 1] ?? '']);
}
