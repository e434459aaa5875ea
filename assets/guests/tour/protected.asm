; 32-bit protected mode: gates, segment limits, and the original two-level paging.
        bits 32

%macro say32 1
        call print_inline32
        db %1, 0
%endmacro

; Tells PASS or FAIL by ZF (set: pass), then the rest of the line.
%macro verdict32 1
        call verdict_line32
        db %1, 13, 10, 0
%endmacro

protected_entry:
        mov esp, LONG_STACK
        mov edi, IDT_PROTECTED
        mov esi, .gates
.gate:
        movzx ecx, byte [esi]
        cmp cl, 0xFF
        je .gates_done
        movzx eax, word [esi + 1]
        mov [edi + ecx * 8], ax
        mov word [edi + ecx * 8 + 2], SEL_CODE32
        mov word [edi + ecx * 8 + 4], 0x8E00
        mov word [edi + ecx * 8 + 6], 0
        add esi, 3
        jmp .gate
.gates_done:
        lidt [.idt]

        mov dword [protected_vector], 0
        int 0x30
        cmp dword [protected_vector], 0x30
        verdict32 'protected-mode 32-bit segments, interrupt gate'

        mov ax, SEL_SMALL
        mov es, ax
        mov al, [es:0xFF]               ; the last byte inside
        mov dword [protected_resume], .after_limit
        mov al, [es:0x100]
        mov dword [protected_vector], 0
.after_limit:
        mov ax, SEL_DATA
        mov es, ax
        cmp dword [protected_vector], 13
        verdict32 'segment-limit #GP behind the last byte'

        call probe_paging
        verdict32 'paging-32 alias page written, #PF on a missing page'

        mov eax, 0x80000000
        cpuid
        cmp eax, 0x80000001
        jb .no_long_mode
        mov eax, 0x80000001
        cpuid
        bt edx, 29
        jnc .no_long_mode
        mov dword [long_continue], long_main
        jmp enter_long
.no_long_mode:
        or al, 1
        verdict32 'long-mode the processor has none: the tour ends here'
.stop:
        cli
        hlt
        jmp .stop

.gates:
        db 13
        dw .general_protection
        db 14
        dw .page_fault
        db 0x30
        dw .software
        db 0xFF
.idt:
        dw 0x31 * 8 - 1
        dd IDT_PROTECTED

.software:
        mov dword [protected_vector], 0x30
        iretd
.general_protection:
        mov dword [protected_vector], 13
        jmp .resume
.page_fault:
        mov dword [protected_vector], 14
.resume:
        pop dword [protected_error]
        push eax
        mov eax, [protected_resume]
        mov [esp + 4], eax
        pop eax
        iretd

; Maps 4 MiB identically and SECTOR_BUFFER a second time at 4 MiB. Returns ZF set when all is well.
probe_paging:
        mov edi, PAGE_DIRECTORY
        xor eax, eax
        mov ecx, 1024
        rep stosd
        mov edi, PAGE_TABLE_HIGH
        mov ecx, 1024
        rep stosd
        mov edi, PAGE_TABLE_LOW
        mov eax, 3                      ; present, writable
.fill:
        stosd
        add eax, 4096
        cmp eax, 0x400003
        jb .fill
        mov dword [PAGE_DIRECTORY], PAGE_TABLE_LOW | 3
        mov dword [PAGE_DIRECTORY + 4], PAGE_TABLE_HIGH | 3
        mov dword [PAGE_TABLE_HIGH], SECTOR_BUFFER | 3
        mov eax, PAGE_DIRECTORY
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        jmp short .paged
.paged:
        xor ebx, ebx                    ; becomes non-zero on any mistake
        mov dword [SECTOR_BUFFER + 0x124], 0
        mov dword [0x400124], 0x4C6F6467
        cmp dword [SECTOR_BUFFER + 0x124], 0x4C6F6467
        setne bl
        test dword [PAGE_TABLE_HIGH], 0x40  ; dirty
        setz bh
        mov dword [protected_vector], 0
        mov dword [protected_resume], .after_fault
        mov dword [0x401ABC], 1
.after_fault:
        mov eax, cr2
        xor eax, 0x401ABC
        or ebx, eax
        mov eax, [protected_vector]
        xor eax, 14
        or ebx, eax
        mov eax, [protected_error]
        xor eax, 2                      ; a write, page not present, supervisor
        or ebx, eax
        mov eax, cr0
        and eax, 0x7FFFFFFF
        mov cr0, eax
        xor eax, eax
        mov cr3, eax
        test ebx, ebx
        ret

verdict_line32:
        jnz .fail
        say32 'PASS '
        inc dword [passed]
        jmp print_inline32
.fail:
        say32 'FAIL '
        inc dword [failed]
        jmp print_inline32

; Prints the string behind the call.
print_inline32:
        xchg esi, [esp]
        push eax
.next:
        lodsb
        test al, al
        jz .done
        call put32
        jmp .next
.done:
        pop eax
        xchg esi, [esp]
        ret

put32:
        push edx
        push edi
        push eax
        mov edx, COM1 + 5
.wait:
        in al, dx
        test al, 0x20
        jz .wait
        pop eax
        mov edx, COM1
        out dx, al
        mov edi, [log_length]
        mov [LOG + edi], al
        inc dword [log_length]
        pop edi
        pop edx
        ret
