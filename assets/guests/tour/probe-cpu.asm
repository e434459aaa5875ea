; The processor: identity, features, exceptions, x87 and SSE.
        bits 64

REQUIRED_FEATURES equ 0x07008371        ; FPU TSC MSR PAE CX8 APIC CMOV FXSR SSE SSE2

probe_processor:
        xor eax, eax
        cpuid
        mov [text_buffer], ebx
        mov [text_buffer + 4], edx
        mov [text_buffer + 8], ecx
        cmp eax, 1                      ; CF when there is no leaf 1
        verdict 'cpu-vendor'
        mov esi, text_buffer
        mov cl, 12
        call print_counted
        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000004
        jb .no_name
        mov edi, cpu_name
        mov r8d, 0x80000002
.name:
        mov eax, r8d
        cpuid
        mov [rdi], eax
        mov [rdi + 4], ebx
        mov [rdi + 8], ecx
        mov [rdi + 12], edx
        add edi, 16
        inc r8d
        cmp r8d, 0x80000005
        jb .name
        mov byte [rdi], 0
        mov esi, cpu_name
.trim:
        cmp byte [rsi], ' '
        jne .trimmed
        inc esi
        jmp .trim
.trimmed:
        say ', '
        call print_string
.no_name:
        call end_line

        mov eax, 1
        cpuid
        mov r8d, edx
        mov r9d, ecx
        mov eax, 0x80000001
        cpuid
        mov r10d, edx
        mov eax, r8d
        not eax
        test eax, REQUIRED_FEATURES
        setnz al
        neg al
        verdict 'cpu-features'
        mov esi, .names
        mov ebx, 0
.feature:
        movzx ecx, byte [rsi]           ; 0-31 leaf 1 EDX, 32-63 ECX, 64-95 extended EDX
        cmp cl, 0xFF
        je .done
        inc esi
        mov eax, r8d
        test cl, 0x60
        jz .leaf
        mov eax, r9d
        test cl, 0x40
        jz .leaf
        mov eax, r10d
.leaf:
        and ecx, 31
        bt eax, ecx
        jnc .absent
        test ebx, ebx
        jz .first
        say ' '
.first:
        mov ebx, 1
        call print_string
.absent:
        lodsb
        test al, al
        jnz .absent
        jmp .feature
.done:
        call end_line
        ret
.names:
        db 0, 'fpu', 0, 4, 'tsc', 0, 6, 'pae', 0, 9, 'apic', 0, 16, 'pat', 0, 23, 'mmx', 0, 25, 'sse', 0
        db 26, 'sse2', 0, 32, 'sse3', 0, 41, 'ssse3', 0, 51, 'sse4.1', 0, 52, 'sse4.2', 0, 55, 'popcnt', 0
        db 57, 'aes', 0, 58, 'xsave', 0, 60, 'avx', 0, 62, 'rdrand', 0, 63, 'hypervisor', 0
        db 84, 'nx', 0, 90, '1gb-pages', 0, 91, 'rdtscp', 0, 93, 'lm', 0, 0xFF

; Runs faulting instructions and looks at what the handler saw.
probe_exceptions:
        mov qword [seen_vector], -1
        mov qword [expect_resume], .after_divide
        xor ecx, ecx
        mov eax, 1
        cdq
        div ecx
.after_divide:
        mov edi, 0
        call check_vector
        verdict 'exception-de'
        say 'division by zero'
        call end_line

        mov qword [expect_resume], .after_undefined
        ud2
.after_undefined:
        mov edi, 6
        call check_vector
        verdict 'exception-ud'
        say 'UD2'
        call end_line

        mov qword [expect_resume], .after_breakpoint
        int3
.after_breakpoint:
        mov edi, 3
        call check_vector
        verdict 'exception-bp'
        say 'INT3'
        call end_line

        mov qword [expect_resume], .after_page_fault
        mov rax, 0x0000123456789ABC     ; beyond the mapped 4 GiB
        mov dword [rax], 1
.after_page_fault:
        mov edi, 14
        call check_vector
        jc .wrong_page_fault
        cmp qword [seen_error], 2
        stc
        jne .wrong_page_fault
        mov rax, 0x0000123456789ABC
        xor rax, [seen_address]
        neg rax
.wrong_page_fault:
        verdict 'exception-pf'
        say 'write to '
        mov rax, [seen_address]
        mov cl, 12
        call print_hex
        call end_line

        mov qword [expect_resume], .after_protection
        mov rax, 0x8000000000000000     ; not canonical
        mov al, [rax]
.after_protection:
        mov edi, 13
        call check_vector
        verdict 'exception-gp'
        say 'non-canonical address'
        call end_line

        mov qword [expect_resume], .after_step
        pushfq
        or dword [rsp], 0x100           ; TF: one instruction, then #DB
        popfq
        nop
        nop
.after_step:
        mov edi, 1
        call check_vector
        verdict 'exception-db'
        say 'single step'
        call end_line
        ret

; CF unless the handler saw vector EDI.
check_vector:
        mov rax, [seen_vector]
        mov qword [seen_vector], -1
        mov qword [expect_resume], 0
        xor rax, rdi
        neg rax
        ret

; 22/7 against pi, and an 80-bit square root.
probe_fpu:
        fninit
        fldpi
        push 1000000
        fild qword [rsp]
        fmulp
        fistp qword [rsp]               ; 3141593
        pop rax
        cmp rax, 3141593
        jne .wrong
        fld1
        fadd st0, st0
        fsqrt
        fmul st0, st0
        fld1
        fadd st0, st0
        fsubp                           ; sqrt(2) squared, minus 2: -2^-63 in 80 bits
        fabs
        push 0
        fstp qword [rsp]
        pop rax
        cmp rax, [.largest]
        jae .wrong
        fnstsw ax
        test ax, 0x3800                 ; the stack is empty again
        jnz .wrong
        clc
        jmp .report
.wrong:
        stc
.report:
        verdict 'fpu'
        say 'pi and square roots in 80 bits'
        call end_line
        ret
.largest: dq 1.0e-15

probe_sse:
        movups xmm0, [.ones]
        movaps xmm1, xmm0
        addps xmm0, xmm1
        mulps xmm0, xmm0                ; 4, 16, 36, 64
        cvtps2dq xmm0, xmm0
        movdqu xmm2, [.expected]
        pcmpeqd xmm2, xmm0
        pmovmskb eax, xmm2
        cmp eax, 0xFFFF
        jne .wrong
        mov eax, 2
        cvtsi2sd xmm3, eax
        sqrtsd xmm3, xmm3
        mulsd xmm3, xmm3
        cvtsd2si eax, xmm3
        cmp eax, 2
        jne .wrong
        movdqu xmm4, [.expected]
        paddd xmm4, xmm4
        psrldq xmm4, 12
        movd eax, xmm4
        cmp eax, 128
        jne .wrong
        clc
        jmp .report
.wrong:
        stc
.report:
        verdict 'sse'
        say 'packed and scalar arithmetic'
        call end_line
        ret
.ones: dd 1.0, 2.0, 3.0, 4.0
.expected: dd 4, 16, 36, 64
