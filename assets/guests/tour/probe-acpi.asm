; ACPI: the RSDP, every table's checksum, what the FADT, MADT and HPET say, and the S5 package of the DSDT.
        bits 64

probe_acpi:
        movzx esi, word [0x40E]         ; the EBDA's first KiB, then the BIOS
        shl esi, 4
        lea edx, [rsi + 1024]
        test esi, esi
        jz .bios
        call find_rsdp
        jnc .found
.bios:
        mov esi, 0xE0000
        mov edx, 0x100000
        call find_rsdp
        jnc .found
        stc
        verdict 'acpi'
        say 'no RSDP'
        call end_line
        ret
.found:
        mov [rsdp_address], rsi
        cmp byte [rsi + 15], 2
        jb .rsdt
        mov rbx, [rsi + 24]
        test rbx, rbx
        jz .rsdt
        mov ebp, 8                      ; bytes of an entry
        jmp .root
.rsdt:
        mov ebx, [rsi + 16]
        mov ebp, 4
.root:
        mov rsi, rbx
        call check_table
        mov r12d, [rbx + 4]
        add r12, rbx                    ; the end of the list
        add rbx, 36
.entry:
        cmp rbx, r12
        jae .listed
        mov esi, [rbx]
        cmp ebp, 4
        je .address
        mov rsi, [rbx]
.address:
        add rbx, rbp
        test rsi, rsi
        jz .entry
        call check_table
        mov eax, [rsi]
        cmp eax, 'FACP'
        je .fadt
        cmp eax, 'APIC'
        je .madt
        cmp eax, 'HPET'
        je .hpet
        cmp eax, 'SSDT'
        jne .entry
        call find_s5
        jmp .entry
.fadt:
        mov [fadt_address], rsi
        call read_fadt
        jmp .entry
.madt:
        mov [madt_address], rsi
        call read_madt
        jmp .entry
.hpet:
        mov [hpet_address], rsi
        jmp .entry
.listed:
        mov eax, [table_errors]
        neg eax
        verdict 'acpi'
        say 'RSDP at '
        mov rax, [rsdp_address]
        mov cl, 5
        call print_hex
        say ', '
        mov eax, [table_count]
        call print_decimal
        say ' tables, '
        mov eax, [table_errors]
        call print_decimal
        say ' bad'
        call end_line

        cmp qword [fadt_address], 1     ; CF when there is none
        jc .fadt_report
        cmp dword [pm1a_control], 1
.fadt_report:
        verdict 'acpi-fadt'
        say 'PM1a_CNT '
        mov eax, [pm1a_control]
        mov cl, 4
        call print_hex
        say 'h, PM timer '
        mov eax, [pm_timer_port]
        call print_hex
        say 'h, SCI '
        mov eax, [sci_interrupt]
        call print_decimal
        call end_line

        cmp dword [s5_found], 1
        verdict 'acpi-s5'
        say 'SLP_TYPa '
        mov eax, [sleep_type_a]
        call print_decimal
        say ', SLP_TYPb '
        mov eax, [sleep_type_b]
        call print_decimal
        call end_line
        ret

; Looks for the RSDP in [RSI, RDX) in steps of 16 bytes; CF when it is not there, else RSI.
find_rsdp:
        mov rax, 'RSD PTR '
.next:
        cmp rsi, rdx
        jae .none
        cmp [rsi], rax
        je .candidate
.wrong:
        add rsi, 16
        jmp .next
.candidate:
        mov ecx, 20
        call sum_bytes
        jnz .wrong
        clc
        ret
.none:
        stc
        ret

; ZF when the ECX bytes at RSI add up to zero.
sum_bytes:
        push rsi
        push rax
        xor eax, eax
.next:
        add al, [rsi]
        inc rsi
        dec ecx
        jnz .next
        test al, al
        pop rax
        pop rsi
        ret

; Counts the table at RSI and whether its checksum is wrong.
check_table:
        inc dword [table_count]
        mov ecx, [rsi + 4]
        cmp ecx, 36
        jb .bad
        cmp ecx, 0x100000
        ja .bad
        call sum_bytes
        jz .good
.bad:
        inc dword [table_errors]
.good:
        ret

read_fadt:
        movzx eax, word [rsi + 46]
        mov [sci_interrupt], eax
        mov eax, [rsi + 48]
        mov [smi_command], eax
        movzx eax, byte [rsi + 52]
        mov [acpi_enable], eax
        mov eax, [rsi + 56]
        mov [pm1a_event], eax
        mov eax, [rsi + 60]
        mov [pm1b_event], eax
        mov eax, [rsi + 64]
        mov [pm1a_control], eax
        mov eax, [rsi + 68]
        mov [pm1b_control], eax
        mov eax, [rsi + 76]
        mov [pm_timer_port], eax
        movzx eax, byte [rsi + 88]
        shr eax, 1
        mov [pm1_event_half], eax
        cmp dword [rsi + 4], 129        ; long enough for the reset register
        jb .no_reset
        test dword [rsi + 112], 1 << 10 ; RESET_REG_SUP
        jz .no_reset
        cmp byte [rsi + 116], 1         ; in I/O space
        jne .no_reset
        movzx eax, word [rsi + 120]
        mov [reset_port], eax
        movzx eax, byte [rsi + 128]
        mov [reset_value], eax
        mov dword [reset_flags], 1
.no_reset:
        mov eax, [rsi + 40]
        mov [dsdt_address], rax
        test eax, eax
        jz .done
        push rsi
        mov rsi, rax
        call check_table
        call find_s5
        pop rsi
.done:
        ret

; Finds Name(_S5, Package(){a, b, ...}) in the table at RSI: 08 [5C] '_S5_' 12 PkgLength count a b.
find_s5:
        push rsi
        push rbx
        mov ebx, [rsi + 4]
        add rbx, rsi
        sub rbx, 8                      ; the shortest name and package still fit
        add rsi, 36
.next:
        cmp rsi, rbx
        jae .done
        inc rsi
        cmp dword [rsi], '_S5_'
        jne .next
        cmp byte [rsi - 1], 0x08        ; NameOp
        je .named
        cmp byte [rsi - 1], 0x5C        ; the root prefix between
        jne .next
        cmp byte [rsi - 2], 0x08
        jne .next
.named:
        cmp byte [rsi + 4], 0x12        ; PackageOp
        jne .next
        lea rdi, [rsi + 5]
        movzx ecx, byte [rdi]           ; PkgLength: bits 7-6 tell how many bytes follow
        shr ecx, 6
        lea rdi, [rdi + rcx + 1]
        cmp byte [rdi], 1               ; elements
        jb .next
        mov cl, [rdi]
        inc rdi
        call .element
        mov [sleep_type_a], eax
        dec cl
        jz .complete
        call .element
        mov [sleep_type_b], eax
.complete:
        mov dword [s5_found], 1
.done:
        pop rbx
        pop rsi
        ret
; An integer at RDI: ZeroOp, OneOp, BytePrefix, WordPrefix or DWordPrefix.
.element:
        movzx eax, byte [rdi]
        inc rdi
        cmp al, 1
        jbe .small
        cmp al, 0x0A
        je .byte
        cmp al, 0x0B
        je .word
        cmp al, 0x0C
        je .dword
        xor eax, eax
        ret
.byte:
        movzx eax, byte [rdi]
        inc rdi
        ret
.word:
        movzx eax, word [rdi]
        add rdi, 2
        ret
.dword:
        mov eax, [rdi]
        add rdi, 4
.small:
        ret

; Counts the enabled processors and remembers the first I/O APIC.
read_madt:
        push rbx
        push rsi
        mov ebx, [rsi + 4]
        add rbx, rsi
        add rsi, 44
.next:
        lea rax, [rsi + 2]
        cmp rax, rbx
        ja .done
        movzx ecx, byte [rsi + 1]
        cmp ecx, 2
        jb .done
        cmp byte [rsi], 0               ; a local APIC
        jne .not_processor
        test byte [rsi + 4], 1
        jz .skip
        inc dword [processor_count]
        jmp .skip
.not_processor:
        cmp byte [rsi], 2               ; an override of an ISA line: is it the timer's?
        jne .not_override
        cmp byte [rsi + 3], 0
        jne .skip
        mov eax, [rsi + 4]
        mov [ioapic_pin], eax
        jmp .skip
.not_override:
        cmp byte [rsi], 1               ; an I/O APIC
        jne .skip
        cmp dword [ioapic_address], 0
        jne .skip
        mov eax, [rsi + 4]
        mov [ioapic_address], eax
.skip:
        add rsi, rcx
        jmp .next
.done:
        pop rsi
        pop rbx
        ret
