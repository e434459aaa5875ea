; The long-mode IDT, exceptions, the two 8259s and the handlers of the lines the tour uses.
        bits 64

setup_interrupts:
        mov edi, IDT_LONG
        xor eax, eax
        mov ecx, 256 * 16 / 8
        rep stosq
        xor edi, edi
        mov eax, exception_stubs
.exception:
        call set_gate
        add eax, 16
        inc edi
        cmp edi, 32
        jb .exception
        mov esi, .handlers
.handler:
        movzx edi, byte [rsi]
        movzx eax, word [rsi + 1]
        call set_gate
        add esi, 3
        cmp edi, VECTOR_SPURIOUS
        jne .handler
        lidt [idt_pointer]

        ; Both 8259s: edge triggered, cascade on line 2, vectors from VECTOR_IRQ, everything masked.
        mov al, 0x11
        out 0x20, al
        out 0xA0, al
        mov al, VECTOR_IRQ
        out 0x21, al
        mov al, VECTOR_IRQ + 8
        out 0xA1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xA1, al
        mov al, 1
        out 0x21, al
        out 0xA1, al
        mov al, 0xFB                    ; the cascade stays open
        out 0x21, al
        mov al, 0xFF
        out 0xA1, al
        ret

.handlers:
        db VECTOR_IRQ
        dw irq_timer
        db VECTOR_IRQ + 1
        dw irq_keyboard
        db VECTOR_IRQ + 2
        dw irq_master
        db VECTOR_IRQ + 3
        dw irq_master
        db VECTOR_IRQ + 4
        dw irq_serial
        db VECTOR_IRQ + 5
        dw irq_master
        db VECTOR_IRQ + 6
        dw irq_master
        db VECTOR_IRQ + 7
        dw irq_nothing
        db VECTOR_IRQ + 8
        dw irq_rtc
        db VECTOR_IRQ + 9
        dw irq_acpi
        db VECTOR_IRQ + 10
        dw irq_slave
        db VECTOR_IRQ + 11
        dw irq_slave
        db VECTOR_IRQ + 12
        dw irq_mouse
        db VECTOR_IRQ + 13
        dw irq_slave
        db VECTOR_IRQ + 14
        dw irq_slave
        db VECTOR_IRQ + 15
        dw irq_nothing
        db VECTOR_LAPIC
        dw irq_lapic
        db VECTOR_IOAPIC
        dw irq_ioapic
        db VECTOR_SPURIOUS
        dw irq_nothing

; Gate of vector EDI leads to EAX.
set_gate:
        push rdi
        shl edi, 4
        mov [IDT_LONG + rdi], ax
        mov word [IDT_LONG + rdi + 2], SEL_CODE64
        mov word [IDT_LONG + rdi + 4], 0x8E00
        mov word [IDT_LONG + rdi + 6], 0
        pop rdi
        ret

; Opens line EDI of the 8259s.
unmask_irq:
        mov ecx, edi
        and ecx, 7
        mov edx, 0x21
        test edi, 8
        jz .port
        mov edx, 0xA1
.port:
        in al, dx
        movzx eax, al
        btr eax, ecx
        out dx, al
        ret

mask_irq:
        mov ecx, edi
        and ecx, 7
        mov edx, 0x21
        test edi, 8
        jz .port
        mov edx, 0xA1
.port:
        in al, dx
        movzx eax, al
        bts eax, ecx
        out dx, al
        ret

%macro exception_stub 1
        align 16
        %if %1 = 8 || (%1 >= 10 && %1 <= 14) || %1 = 17 || %1 = 21
        %else
        push 0
        %endif
        push %1
        jmp exception
%endmacro

        align 16
exception_stubs:
%assign number 0
%rep 32
        exception_stub number
%assign number number + 1
%endrep
        align 16

; On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
exception:
        push rax
        cmp qword [expect_resume], 0
        je .unexpected
        mov rax, [rsp + 8]
        mov [seen_vector], rax
        mov rax, [rsp + 16]
        mov [seen_error], rax
        mov rax, cr2
        mov [seen_address], rax
        mov rax, [expect_resume]
        mov [rsp + 24], rax
        mov qword [expect_resume], 0
        and qword [rsp + 40], ~0x100    ; no further single steps
        pop rax
        add rsp, 16
        iretq
.unexpected:
        stc
        verdict 'exception'
        say 'vector '
        mov rax, [rsp + 8]
        call print_decimal
        say ' error '
        mov rax, [rsp + 16]
        mov cl, 8
        call print_hex
        say ' at '
        mov rax, [rsp + 24]
        mov cl, 16
        call print_hex
        say ' address '
        mov rax, cr2
        call print_hex
        call end_line
.stop:
        cli
        hlt
        jmp .stop

irq_timer:
        inc qword [ticks]
irq_master:
        push rax
        mov al, 0x20
        out 0x20, al
        pop rax
irq_nothing:
        iretq

irq_rtc:
        push rax
        mov al, 0x0C                    ; reading register C allows the next interrupt
        out 0x70, al
        in al, 0x71
        inc qword [rtc_ticks]
        jmp end_slave

irq_slave:
        push rax
end_slave:
        mov al, 0x20
        out 0xA0, al
        out 0x20, al
        pop rax
        iretq

irq_ioapic:
        push rax
        inc qword [ioapic_ticks]
        jmp end_lapic

irq_lapic:
        push rax
        inc qword [lapic_ticks]
end_lapic:
        mov eax, LAPIC
        mov dword [rax + 0xB0], 0
        pop rax
        iretq

; ACPI events: only the power button is enabled.
irq_acpi:
        push rax
        push rdx
        mov edx, [pm1a_event]
        test edx, edx
        jz .done
        in ax, dx
        test ax, 0x100                  ; PWRBTN_STS
        jz .clear
        mov dword [power_button], 1
.clear:
        out dx, ax                      ; ones clear
.done:
        pop rdx
        jmp end_slave

irq_keyboard:
        push rax
        push rdx
        in al, 0x64
        test al, 1
        jz .done
        in al, 0x60
        movzx eax, al
        call queue_key
.done:
        mov al, 0x20
        out 0x20, al
        pop rdx
        pop rax
        iretq

irq_serial:
        push rax
        push rdx
        mov edx, COM1 + 2
        in al, dx
.next:
        mov edx, COM1 + 5
        in al, dx
        test al, 1
        jz .done
        mov edx, COM1
        in al, dx
        movzx eax, al
        or eax, 0x100
        call queue_key
        jmp .next
.done:
        mov al, 0x20
        out 0x20, al
        pop rdx
        pop rax
        iretq

; Appends AX to the ring of keys; a full ring loses it.
queue_key:
        push rcx
        mov edx, [keys_head]
        lea ecx, [rdx + 1]
        and ecx, 63
        cmp ecx, [keys_tail]
        je .full
        mov [keys + rdx * 2], ax
        mov [keys_head], ecx
.full:
        pop rcx
        ret

; Collects PS/2 mouse packets: flags, dx, dy, and on a wheel mouse dz.
irq_mouse:
        push rax
        push rcx
        push rdx
        in al, 0x64
        and al, 0x21
        cmp al, 0x21
        jne .done
        in al, 0x60
        mov edx, [mouse_index]
        test edx, edx
        jnz .store
        test al, 8                      ; the first byte always has bit 3
        jz .done
.store:
        mov [mouse_packet + rdx], al
        inc edx
        mov [mouse_index], edx
        cmp edx, [mouse_bytes]
        jb .done
        mov dword [mouse_index], 0
        movzx ecx, byte [mouse_packet]
        test cl, 0xC0                   ; overflow: the movement is worthless
        jnz .done
        movzx eax, byte [mouse_packet + 1]
        movzx edx, cl
        and edx, 0x10
        shl edx, 4
        sub eax, edx
        add [mouse_dx], eax
        movzx eax, byte [mouse_packet + 2]
        movzx edx, cl
        and edx, 0x20
        shl edx, 3
        sub eax, edx
        sub [mouse_dy], eax
        and ecx, 7
        mov [mouse_buttons], ecx
        mov dword [mouse_changed], 1
.done:
        pop rdx
        pop rcx
        jmp end_slave
