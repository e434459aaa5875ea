; Off and restart, as ACPI says, with what older machines understand behind.
        bits 64

; Makes sure that the ACPI registers are ours: SCI_EN in PM1a_CNT.
enable_acpi:
        mov edx, [pm1a_control]
        test edx, edx
        jz .done
        in ax, dx
        test al, 1
        jnz .done
        cmp dword [smi_command], 0
        je .done
        mov eax, [acpi_enable]
        test eax, eax
        jz .done
        mov edx, [smi_command]
        out dx, al
        mov edi, 300
        call set_deadline
        mov edx, [pm1a_control]
.wait:
        in ax, dx
        test al, 1
        jnz .done
        call check_deadline
        jnc .wait
.done:
        ret

; The power button raises an SCI, and the tour ends as on `q`.
enable_power_button:
        cmp dword [sci_interrupt], 9
        jne .done
        mov edx, [pm1a_event]
        test edx, edx
        jz .done
        call enable_acpi
        mov edx, [pm1a_event]
        mov ax, 0x100                   ; PWRBTN_STS: clear what was before
        out dx, ax
        add edx, [pm1_event_half]
        mov ax, 0x100                   ; PWRBTN_EN
        out dx, ax
        mov edi, 9
        call unmask_irq
.done:
        ret

power_off:
        cli
        say `TOUR BYE\r\n`
        call drain_serial
        cmp dword [s5_found], 0
        je .emulators
        call enable_acpi
        mov edx, [pm1a_control]
        test edx, edx
        jz .emulators
        in ax, dx
        and eax, 0xE3FF
        mov ecx, [sleep_type_a]
        and ecx, 7
        shl ecx, 10
        or eax, ecx
        out dx, ax                      ; SLP_TYP first
        or eax, 0x2000
        out dx, ax                      ; then SLP_EN
        mov edx, [pm1b_control]
        test edx, edx
        jz .wait
        in ax, dx
        and eax, 0xE3FF
        mov ecx, [sleep_type_b]
        and ecx, 7
        shl ecx, 10
        or eax, ecx
        or eax, 0x2000
        out dx, ax
.wait:
        mov edi, 500
        call wait_ms
.emulators:
        mov edx, 0x604                  ; where emulators without tables have their PM1a_CNT
        mov ax, 0x2000
        out dx, ax
        mov edi, 500
        call wait_ms
        stc
        verdict 'power-off'
        say 'still running'
        call end_line
.stop:
        cli
        hlt
        jmp .stop

restart:
        cli
        say `TOUR RESTART\r\n`
        call drain_serial
        cmp dword [reset_flags], 0
        je .port_cf9
        mov edx, [reset_port]
        mov eax, [reset_value]
        out dx, al
        mov edi, 100
        call wait_ms
.port_cf9:
        mov edx, 0xCF9
        mov al, 0x02
        out dx, al
        mov al, 0x06
        out dx, al
        mov edi, 100
        call wait_ms
        call kbc_room                   ; the keyboard controller's reset pin
        mov al, 0xFE
        out 0x64, al
        mov edi, 100
        call wait_ms
        push 0                          ; an empty IDT and an exception: triple fault
        push 0
        lidt [rsp]
        ud2
