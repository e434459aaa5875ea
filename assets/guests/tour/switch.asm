; The ways between the modes.

; From real mode, by a near call: goes on behind the call in 32-bit protected mode with flat segments.
        bits 16
leave_real:
        pop ax
        movzx eax, ax
        lgdt [gdt_pointer]
        mov ecx, cr0
        or cl, 1
        mov cr0, ecx
        jmp SEL_CODE32:.flat
        bits 32
.flat:
        mov cx, SEL_DATA
        mov ds, cx
        mov es, cx
        mov ss, cx
        mov fs, cx
        mov gs, cx
        movzx esp, sp
        jmp eax

; From 32-bit protected mode without paging: goes on at [long_continue] in 64-bit mode, 4 GiB mapped identically.
enter_long:
        mov edi, PML4
        xor eax, eax
        mov ecx, 6 * 4096 / 4
        rep stosd
        mov dword [PML4], (PML4 + 0x1000) | 3
        mov edi, PML4 + 0x1000
        mov eax, (PML4 + 0x2000) | 3
        mov ecx, 4
.directories:
        mov [edi], eax
        add edi, 8
        add eax, 4096
        loop .directories
        mov edi, PML4 + 0x2000
        mov eax, 0x83                   ; 2 MiB page, present, writable
        mov ecx, 4 * 512
.pages:
        mov [edi], eax
        add edi, 8
        add eax, 0x200000
        loop .pages

        mov eax, cr4
        or eax, 0x620                   ; PAE, and SSE state for FXSAVE and exceptions
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, 0xC0000080             ; EFER
        rdmsr
        or eax, 0x100                   ; LME
        wrmsr
        mov eax, cr0
        and eax, 0x9FFFFFF3             ; caches on, no x87 emulation
        or eax, 0x80000022              ; paging, monitor coprocessor, native x87 errors
        mov cr0, eax
        jmp SEL_CODE64:.long
        bits 64
.long:
        mov ax, SEL_DATA
        mov ds, ax
        mov es, ax
        mov ss, ax
        jmp [long_continue]

; From long mode: runs the 16-bit routine at RDI in real mode, interrupts off, and comes back.
run_in_real:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        pushfq
        cli
        mov [real_routine], edi
        mov [saved_stack], rsp
        mov qword [long_continue], .back
        push SEL_CODE32
        push .compatibility
        retfq
        bits 32
.compatibility:
        mov ax, SEL_DATA
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov eax, cr0
        and eax, 0x7FFFFFFF
        mov cr0, eax
        mov ecx, 0xC0000080
        rdmsr
        and eax, ~0x100
        wrmsr
        xor eax, eax
        mov cr3, eax
        mov eax, cr4
        and al, 0xDF
        mov cr4, eax
        jmp SEL_CODE16:.narrow
        bits 16
.narrow:
        mov ax, SEL_DATA16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov fs, ax
        mov gs, ax
        lidt [real_idt]
        mov eax, cr0
        and al, 0xFE
        mov cr0, eax
        jmp 0:.real
.real:
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov fs, ax
        mov gs, ax
        mov sp, REAL_STACK
        call [real_routine]
        cli
        cld
        xor ax, ax
        mov ds, ax
        call leave_real
        bits 32
        jmp enter_long
        bits 64
.back:
        mov rsp, [saved_stack]
        lidt [idt_pointer]
        popfq
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

        align 8, db 0
gdt:
        dq 0
        dq 0x00CF9B000000FFFF           ; 32-bit code
        dq 0x00CF93000000FFFF           ; data, all of memory
        dq 0x00AF9B000000FFFF           ; 64-bit code
        dq 0x00009B000000FFFF           ; 16-bit code
        dq 0x000093000000FFFF           ; 16-bit data
        dq 0x00409300000000FF           ; 256 bytes of data
        dq 0x00CFF3000000FFFF           ; the user's data
        dq 0x00AFFB000000FFFF           ; the user's 64-bit code
        dw 103, tss                     ; 64-bit task state
        db 0, 0x89, 0, 0
        dq 0
gdt_end:
gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt
real_idt:
        dw 0x3FF
        dd 0
idt_pointer:
        dw 256 * 16 - 1
        dq IDT_LONG
        bits 64
