; The i8042, the keyboard and the mouse behind it, all by polling; and the video mode.
        bits 64

probe_keyboard:
        mov al, 0xAD                    ; both ports off
        call kbc_command
        mov al, 0xA7
        call kbc_command
        call kbc_flush
        mov al, 0xAA                    ; controller self test
        call kbc_command
        call kbc_read
        jc .controller
        cmp al, 0x55
        je .tested
        stc
        jmp .controller
.tested:
        mov al, 0x60                    ; command byte: both ports on, scan codes translated, no interrupts
        call kbc_command
        mov al, 0x44
        call kbc_write
        mov al, 0xAB                    ; keyboard port test
        call kbc_command
        call kbc_read
        jc .controller
        neg al
.controller:
        verdict 'keyboard-controller'
        say 'self test'
        call end_line

        mov al, 0xAE
        call kbc_command
        call kbc_flush
        mov al, 0xEE                    ; echo
        call kbc_write
        call kbc_read
        jc .keyboard
        cmp al, 0xEE
        jne .wrong
        mov al, 0xF4                    ; scan
        call kbc_write
        call kbc_read
        jc .keyboard
        cmp al, 0xFA
        je .answered
.wrong:
        stc
        jmp .keyboard
.answered:
        clc
.keyboard:
        verdict 'keyboard'
        say 'echo answered, scanning'
        call end_line
        ret

probe_mouse:
        mov al, 0xA8
        call kbc_command
        call kbc_flush
        mov al, 0xFF                    ; reset: FA, AA, 00
        call mouse_command
        jc .report
        call kbc_read
        jc .report
        cmp al, 0xAA
        jne .wrong
        call kbc_read
        jc .report
        mov dword [mouse_bytes], 3
        mov esi, .knock                 ; the sequence that wakes a wheel
.sequence:
        lodsb
        test al, al
        jz .identify
        call mouse_command
        jc .report
        jmp .sequence
.identify:
        mov al, 0xF2
        call mouse_command
        jc .report
        call kbc_read
        jc .report
        cmp al, 3
        jne .enable
        mov dword [mouse_bytes], 4
.enable:
        mov al, 0xF3                    ; 100 samples a second
        call mouse_command
        jc .report
        mov al, 100
        call mouse_command
        jc .report
        mov al, 0xF4
        call mouse_command
        jmp .report
.wrong:
        stc
.report:
        verdict 'mouse'
        mov esi, .plain
        cmp dword [mouse_bytes], 4
        jb .print
        mov esi, .wheel
.print:
        call print_string
        call end_line
        ret
.knock: db 0xF3, 200, 0xF3, 100, 0xF3, 80, 0
.plain: db 'PS/2', 0
.wheel: db 'PS/2 with a wheel', 0

; Sends the command AL to the controller.
kbc_command:
        call kbc_room
        out 0x64, al
        ret

; Sends the byte AL to port 60h.
kbc_write:
        call kbc_room
        out 0x60, al
        ret

kbc_room:
        push rax
        mov ecx, 1000000
.wait:
        in al, 0x64
        test al, 2
        jz .room
        dec ecx
        jnz .wait
.room:
        pop rax
        ret

; AL: the next byte from port 60h; CF after a second without one.
kbc_read:
        push rdi
        mov edi, 1000
        call set_deadline
.wait:
        in al, 0x64
        test al, 1
        jnz .there
        call check_deadline
        jnc .wait
        pop rdi
        ret
.there:
        in al, 0x60
        pop rdi
        clc
        ret

kbc_flush:
        mov ecx, 100
.next:
        in al, 0x64
        test al, 1
        jz .empty
        in al, 0x60
        dec ecx
        jnz .next
.empty:
        ret

; Sends AL to the mouse; CF unless it acknowledges.
mouse_command:
        push rax
        mov al, 0xD4
        call kbc_command
        pop rax
        call kbc_write
        call kbc_read
        jc .done
        cmp al, 0xFA
        je .done
        stc
.done:
        ret

; Back to real mode for the BIOS to switch the screen, then a look at the framebuffer.
probe_video:
        cmp byte [vbe_rank], 1          ; CF: no mode fits
        verdict 'vbe'
        say 'version '
        movzx eax, byte [vbe_version + 1]
        call print_decimal
        say '.'
        movzx eax, byte [vbe_version]
        call print_decimal
        say ', '
        movzx eax, word [vbe_modes]
        call print_decimal
        say ' modes'
        call end_line
        cmp byte [font_found], 1
        verdict 'bios-font'
        say '8x16 from the video BIOS'
        call end_line
        cmp byte [vbe_rank], 0
        je .nothing
        mov edi, set_video_mode
        call run_in_real
        clc
        verdict 'mode-switch'
        say 'long mode to real mode and back'
        call end_line

        cmp word [vbe_set_status], 0x004F
        jne .failed
        mov rdi, [screen_base]
        mov eax, [screen_height]        ; the last pixel keeps what is written to it
        mul dword [screen_pitch]
        lea rsi, [rdi + rax - 4]
        mov dword [rdi], 0x00C0FFEE
        mov dword [rsi], 0x005AA55A
        cmp dword [rdi], 0x00C0FFEE
        jne .failed
        cmp dword [rsi], 0x005AA55A
        jne .failed
        clc
        jmp .report
.failed:
        mov byte [vbe_rank], 0
        stc
.report:
        verdict 'framebuffer'
        mov eax, [screen_width]
        call print_decimal
        say 'x'
        mov eax, [screen_height]
        call print_decimal
        say 'x32 at '
        mov rax, [screen_base]
        mov cl, 8
        call print_hex
        call end_line
.nothing:
        ret
