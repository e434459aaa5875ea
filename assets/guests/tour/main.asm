; 64-bit mode: the probes one after the other, then the screen.
        bits 64

long_main:
        mov rsp, LONG_STACK
        call setup_interrupts

        mov rax, 0x123456789ABCDEF0     ; full-width arithmetic
        mov r15, rax
        bswap r15
        mov rcx, 0xF0DEBC9A78563412
        xor r15, rcx
        mov ecx, 0xC0000080
        rdmsr
        and eax, 0x500                  ; LME and LMA
        xor eax, 0x500
        or rax, r15
        neg rax                         ; CF unless zero
        verdict 'long-mode'
        say 'four-level paging, 4 GiB mapped'
        call end_line

        call probe_processor
        call probe_exceptions
        call probe_user_mode
        call probe_fpu
        call probe_sse
        call probe_memory_map
        call probe_memory
        call probe_acpi
        call probe_timers
        call probe_apic
        call probe_pci
        call probe_disk
        call probe_keyboard
        call probe_mouse
        call probe_video

        call setup_desktop
        say 'TOUR RESULT passed='
        mov eax, [passed]
        call print_decimal
        say ' failed='
        mov eax, [failed]
        call print_decimal
        call end_line
        say `TOUR READY\r\n`
        test dword [config_flags], CONFIG_AUTOQUIT
        jnz power_off
        jmp desktop
