; The screen: a dusk over mountains, a panel with the results, a clock, a line that echoes keys, and the pointer.
        bits 64

DESKTOP_RATE    equ 20                  ; timer interrupts a second
COLOUR_TEXT     equ 0xF4F1EA
COLOUR_DETAIL   equ 0x9FB3C8
COLOUR_PASS     equ 0x7BD88F
COLOUR_FAIL     equ 0xFF6B6B
COLOUR_ACCENT   equ 0xFFB347
COLOUR_BOX      equ 0x0D1524

setup_desktop:
        mov al, 0x34
        out 0x43, al
        mov eax, PIT_HZ / DESKTOP_RATE
        out 0x40, al
        mov al, ah
        out 0x40, al
        mov dword [tick_rate], DESKTOP_RATE
        mov qword [ticks], 0
        mov dword [rtc_shown], -1
        cmp byte [vbe_rank], 0
        je .no_screen
        mov eax, [screen_width]
        shl eax, 2
        mov [shadow_pitch], eax
        shr eax, 3
        mov [pointer_x], eax
        mov [drawn_x], eax
        mov eax, [screen_height]
        shr eax, 1
        mov [pointer_y], eax
        mov [drawn_y], eax
        call draw_sky
        call draw_ridges
        call draw_panel
        call draw_results
        call read_rtc
        call draw_clock
        call draw_echo
        xor edi, edi
        xor esi, esi
        mov edx, [screen_width]
        mov ecx, [screen_height]
        call show_rectangle
.no_screen:
        ; Interrupts of the UART on, of the keyboard controller too.
        mov edx, COM1 + 1
        mov al, 1
        out dx, al
        mov al, 0x60
        call kbc_command
        mov al, 0x47
        call kbc_write
        mov edi, 0
        call unmask_irq
        mov edi, 1
        call unmask_irq
        mov edi, 4
        call unmask_irq
        mov edi, 12
        call unmask_irq
        call enable_power_button
        ret

; Waits for something to happen and reacts to it, for ever.
desktop:
        cli
        mov eax, [keys_head]
        cmp eax, [keys_tail]
        jne .busy
        cmp dword [mouse_changed], 0
        jne .busy
        sti
        hlt
.busy:
        sti
        cmp dword [power_button], 0
        jne power_off
        call handle_keys
        call handle_mouse
        call handle_clock
        jmp desktop

handle_clock:
        mov al, 0x0A
        call read_cmos
        test al, 0x80
        jnz .done
        xor al, al
        call read_cmos
        movzx eax, al
        cmp eax, [rtc_shown]
        je .done
        mov [rtc_shown], eax
        call read_rtc
        cmp byte [vbe_rank], 0
        je .done
        call draw_clock
        call clock_place
        jmp show_rectangle
.done:
        ret

handle_mouse:
        cmp dword [mouse_changed], 0
        je .done
        cli
        mov dword [mouse_changed], 0
        mov eax, [mouse_dx]
        mov edx, [mouse_dy]
        mov dword [mouse_dx], 0
        mov dword [mouse_dy], 0
        sti
        cmp byte [vbe_rank], 0
        je .done
        add eax, [pointer_x]
        mov ecx, [screen_width]
        call .clamp
        mov [pointer_x], eax
        mov eax, edx
        add eax, [pointer_y]
        mov ecx, [screen_height]
        call .clamp
        mov [pointer_y], eax
        jmp move_pointer
.done:
        ret
.clamp:                                 ; EAX to 0 .. ECX - 1
        test eax, eax
        jns .positive
        xor eax, eax
.positive:
        dec ecx
        cmp eax, ecx
        jle .inside
        mov eax, ecx
.inside:
        ret

; Takes every key out of the ring.
handle_keys:
        mov eax, [keys_tail]
        cmp eax, [keys_head]
        je .done
        movzx ecx, word [keys + rax * 2]
        inc eax
        and eax, 63
        mov [keys_tail], eax
        mov eax, ecx
        test ah, 1
        jnz .serial
        call handle_scan_code
        jmp handle_keys
.serial:
        movzx eax, al
        cmp al, 27                      ; Escape begins the arrow keys of a terminal: only q powers off from there
        je .escape
        call handle_character
        jmp handle_keys
.escape:
        mov esi, key_names.escape
        call report_name
        jmp handle_keys
.done:
        ret

; A byte from the keyboard, scan code set 1.
handle_scan_code:
        cmp al, 0xE0
        je .prefix
        cmp al, 0xE1
        je .prefix
        mov edx, [extended_code]
        mov dword [extended_code], 0
        mov ecx, eax
        and ecx, 0x7F
        cmp cl, 0x2A
        je .shift
        cmp cl, 0x36
        je .shift
        test al, 0x80
        jnz .done
        test edx, edx
        jnz .named
        cmp cl, 0x3A
        jae .named
        mov esi, scan_plain
        cmp dword [shift_down], 0
        je .table
        mov esi, scan_shifted
.table:
        movzx eax, byte [rsi + rcx]
        test al, al
        jz .named
        cmp al, 27
        jne handle_character
        mov esi, key_names.escape
        call report_name
        jmp power_off
.named:
        mov esi, key_names
.search:
        movzx eax, byte [rsi]
        inc esi
        test al, al
        jz .unknown
        cmp al, cl
        je report_name
.skip:
        lodsb
        test al, al
        jnz .skip
        jmp .search
.unknown:
        say 'KEY 0x'
        mov eax, ecx
        mov cl, 2
        call print_hex
        jmp end_line
.shift:
        test edx, edx                   ; the fake shifts around E0 keys do not count
        jnz .done
        shr al, 7
        xor al, 1
        movzx eax, al
        mov [shift_down], eax
        ret
.prefix:
        mov dword [extended_code], 1
.done:
        ret

; Reports the key named at RSI.
report_name:
        say 'KEY '
        call print_string
        jmp end_line

; The character AL was typed, here or on the serial line.
handle_character:
        cmp al, 13
        je .enter
        cmp al, 10
        je .enter
        cmp al, 8
        je .backspace
        cmp al, 127
        je .backspace
        cmp al, 9
        je .tab
        cmp al, ' '
        je .space
        jb .control
        ja .visible
.control:
        say 'KEY 0x'
        mov cl, 2
        call print_hex
        jmp end_line
.tab:
        mov esi, key_names.tab
        jmp report_name
.space:
        mov esi, key_names.space
        call report_name
        jmp .append
.visible:
        say 'KEY '
        call put
        call end_line
        call .append
        cmp al, 'q'
        je power_off
        cmp al, 'r'
        je restart
        ret
.append:
        push rax
        mov edx, [echo_length]
        cmp edx, [echo_columns]
        jb .room
        test edx, edx
        jz .appended
        mov esi, echo_text + 1          ; the oldest character makes room
        mov edi, echo_text
        lea ecx, [rdx - 1]
        rep movsb
        dec edx
.room:
        mov [echo_text + rdx], al
        inc edx
        mov [echo_length], edx
        call show_echo
.appended:
        pop rax
        ret
.enter:
        mov esi, key_names.enter
        call report_name
        mov dword [echo_length], 0
        jmp show_echo
.backspace:
        mov esi, key_names.backspace
        call report_name
        cmp dword [echo_length], 0
        je .empty
        dec dword [echo_length]
        jmp show_echo
.empty:
        ret

; The sky's three colours, from the top down.
draw_sky:
        push rbx
        push rbp
        push r12
        mov edi, SHADOW
        xor ebp, ebp                    ; row
.row:
        mov ecx, [screen_height]
        mov eax, ebp
        shl eax, 9
        xor edx, edx
        div ecx                         ; 0 .. 511: two spans of 256
        mov esi, .colours
        cmp eax, 256
        jb .upper
        sub eax, 256
        add esi, 4
.upper:
        mov r12d, eax
        xor r8d, r8d                    ; the colour
        mov ebx, 2
.channel:
        movzx eax, byte [rsi + rbx]
        movzx ecx, byte [rsi + rbx + 4]
        sub ecx, eax
        imul ecx, r12d
        sar ecx, 8
        add eax, ecx
        shl r8d, 8
        or r8d, eax
        dec ebx
        jns .channel
        mov eax, r8d
        mov ecx, [screen_width]
        rep stosd
        inc ebp
        cmp ebp, [screen_height]
        jb .row

        mov ebp, 90                     ; stars in the upper half
        mov eax, 12345
.star:
        imul eax, eax, 1664525
        add eax, 1013904223
        mov ebx, eax
        shr eax, 8
        xor edx, edx
        div dword [screen_width]
        mov edi, edx
        mov eax, ebx
        shr eax, 16
        xor edx, edx
        mov ecx, [screen_height]
        shr ecx, 1
        div ecx
        mov esi, edx
        call shadow_address
        mov dword [rdi], 0xB8C4E0
        mov eax, ebx
        dec ebp
        jnz .star
        pop r12
        pop rbp
        pop rbx
        ret
.colours: dd 0x141B3A, 0x5D4777, 0xE79A73

; Two ridges of mountains along the lower edge.
draw_ridges:
        push rbx
        push rbp
        mov ebx, .ridges
.ridge:
        xor ebp, ebp                    ; column
.column:
        mov eax, ebp                    ; a wide and a narrow triangle wave
        imul eax, [rbx + 4]
        add eax, [rbx + 8]
        and eax, 1023
        sub eax, 512
        mov edx, eax
        neg edx
        cmovns eax, edx
        imul eax, [rbx + 12]
        shr eax, 9
        mov ecx, eax
        mov eax, ebp
        imul eax, eax, 7
        and eax, 255
        sub eax, 128
        mov edx, eax
        neg edx
        cmovns eax, edx
        shr eax, 3
        add ecx, eax
        add ecx, [rbx + 16]             ; height
        mov edi, ebp
        mov esi, [screen_height]
        sub esi, ecx
        call shadow_address
        mov eax, [rbx]
.pixel:
        mov [rdi], eax
        add edi, [shadow_pitch]
        dec ecx
        jnz .pixel
        inc ebp
        cmp ebp, [screen_width]
        jb .column
        add ebx, 20
        cmp ebx, .ridges_end
        jb .ridge
        pop rbp
        pop rbx
        ret
.ridges:                                ; colour, steepness, shift, height of the waves, height of the foot
        dd 0x7A5A7C, 3, 100, 150, 90
        dd 0x4A3F66, 4, 700, 120, 50
        dd 0x221F3D, 5, 300, 70, 16
.ridges_end:

; The panel with the title, an icon of a house and the summary.
draw_panel:
        mov eax, [screen_width]
        mov ecx, eax
        shr ecx, 5                      ; the margin
        mov [panel_x], ecx
        mov [panel_y], ecx
        sub eax, ecx
        sub eax, ecx
        mov [panel_width], eax
        mov edx, [screen_height]
        sub edx, ecx
        sub edx, ecx
        mov [panel_height], edx
        mov edi, ecx
        mov esi, ecx
        mov ecx, edx
        mov edx, eax
        mov eax, 0x0B1120
        call glass_rectangle

        ; The house: chimney, roof, walls, door, window.
        push rbp
        mov r13d, .house
.part:
        mov edx, [r13 + 4]
        movzx edi, byte [r13]
        movzx esi, byte [r13 + 1]
        movzx edx, byte [r13 + 2]
        movzx ecx, byte [r13 + 3]
        mov eax, [r13 + 4]
        add edi, [panel_x]
        add esi, [panel_y]
        call fill_rectangle
        add r13d, 8
        cmp r13d, .house_end
        jb .part
        mov ebp, 1
.roof:
        mov edi, [panel_x]
        add edi, 28 + 30
        sub edi, ebp
        mov esi, [panel_y]
        add esi, 19
        add esi, ebp
        lea edx, [rbp + rbp]
        mov ecx, 1
        mov eax, 0xE0704F
        call fill_rectangle
        inc ebp
        cmp ebp, 30
        jbe .roof
        pop rbp

        mov r8d, [panel_x]
        add r8d, 104
        mov r9d, [panel_y]
        add r9d, 18
        mov r10d, COLOUR_TEXT
        mov r11d, 3
        mov esi, .title
        call draw_string
        mov r8d, [panel_x]
        add r8d, 105
        add r9d, 46
        mov r10d, COLOUR_DETAIL
        mov r11d, 1
        mov esi, .subtitle
        call draw_string
        mov r8d, [panel_x]              ; the summary, beside the title
        add r8d, 104 + 5 * 24 + 20
        sub r9d, 22
        mov edi, text_buffer
        mov eax, [passed]
        call format_decimal
        mov rax, ' passed'
        mov [rdi], rax
        mov r10d, COLOUR_PASS
        mov esi, text_buffer
        call draw_string
        cmp dword [failed], 0
        je .all_passed
        add r8d, 8
        mov edi, text_buffer
        mov eax, [failed]
        call format_decimal
        mov rax, ' failed'
        mov [rdi], rax
        mov r10d, COLOUR_FAIL
        mov esi, text_buffer
        call draw_string
.all_passed:
        mov r10d, COLOUR_DETAIL

        mov r8d, [panel_x]              ; the hint at the lower edge
        add r8d, 28
        mov r9d, [panel_y]
        add r9d, [panel_height]
        sub r9d, 26
        mov esi, .hint
        call draw_string

        ; A thin line under the title.
        mov edi, [panel_x]
        add edi, 28
        mov esi, [panel_y]
        add esi, 96
        mov edx, [panel_width]
        sub edx, 56
        mov ecx, 1
        mov eax, 0x3A4A66
        jmp fill_rectangle
.house:
        db 72, 24, 7, 20
        dd 0x8C5A3C
        db 36, 49, 44, 32
        dd 0xF3E3C3
        db 53, 60, 11, 21
        dd 0x8C5A3C
        db 41, 55, 8, 9
        dd COLOUR_ACCENT
        db 68, 55, 8, 9
        dd COLOUR_ACCENT
.house_end:
.title: db 'Lodge', 0
.subtitle: db 'a tour of this machine', 0
.hint: db 'q or Esc: power off   r: restart   keys are echoed on serial too', 0

; Writes EAX below 100 without a leading zero to RDI and moves it on.
format_decimal:
        cmp eax, 10
        jae format_two
        add al, '0'
        mov [rdi], al
        inc edi
        ret

; The log's PASS and FAIL lines in two columns.
draw_results:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov ebx, LOG
        mov ebp, [log_length]
        add ebp, LOG
        xor r12d, r12d                  ; line
        mov r13d, [passed]
        add r13d, [failed]
        inc r13d
        shr r13d, 1                     ; lines of a column
        mov eax, [panel_height]         ; row height, at most 24
        sub eax, 104 + 74
        xor edx, edx
        div r13d
        cmp eax, 24
        jbe .height
        mov eax, 24
.height:
        cmp eax, 16
        jae .readable
        mov eax, 16
.readable:
        mov r14d, eax
.line:
        cmp ebx, ebp
        jae .done
        mov esi, ebx
.length:
        cmp ebx, ebp
        jae .ended
        inc ebx
        cmp byte [rbx - 1], 10
        jne .length
.ended:
        mov r15d, ebx
        sub r15d, esi
        sub r15d, 2                     ; without the line end
        mov r10d, COLOUR_PASS
        mov al, 0xFB                    ; a tick
        cmp dword [rsi], 'PASS'
        je .result
        mov r10d, COLOUR_FAIL
        mov al, 'x'
        cmp dword [rsi], 'FAIL'
        jne .line
.result:
        push rsi
        push rax
        mov eax, r12d
        xor edx, edx
        div r13d                        ; column, row
        mov ecx, [panel_width]
        sub ecx, 28 + 28 - 24
        shr ecx, 1
        imul ecx, eax
        mov r8d, [panel_x]
        lea r8d, [r8 + rcx + 28]
        mov r9d, edx
        imul r9d, r14d
        add r9d, [panel_y]
        add r9d, 106
        inc r12d
        mov edi, [panel_width]
        sub edi, 28 + 28 + 24
        shr edi, 1
        add edi, r8d                    ; right end of the column
        pop rax
        pop rsi
        mov edx, r9d
        add edx, 16
        mov ecx, [panel_y]
        add ecx, [panel_height]
        sub ecx, 66
        cmp edx, ecx
        ja .line                        ; no room on a small screen
        mov r11d, 1
        call draw_character
        add r8d, 8
        add esi, 5                      ; the name
        sub r15d, 5
        xor ecx, ecx
.name:
        cmp ecx, r15d
        jae .named
        cmp byte [rsi + rcx], ' '
        je .named
        inc ecx
        jmp .name
.named:
        mov r10d, COLOUR_TEXT
        mov edx, edi
        sub r15d, ecx
        push r8
        call draw_clipped
        pop r8
        add r8d, 21 * 8
        mov ecx, r15d
        test ecx, ecx
        jz .line
        inc esi
        dec ecx
        mov r10d, COLOUR_DETAIL
        mov edx, edi
        call draw_clipped
        jmp .line
.done:
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

; Where the clock is: EDI, ESI, EDX, ECX.
clock_place:
        mov edi, [panel_x]
        add edi, [panel_width]
        sub edi, 28 + 176
        mov esi, [panel_y]
        add esi, 16
        mov edx, 176
        mov ecx, 72
        ret

; Time, date and uptime.
draw_clock:
        call clock_place
        mov eax, COLOUR_BOX
        call fill_rectangle
        mov edi, text_buffer
        call format_time
        mov byte [rdi], 0
        call clock_place
        lea r8d, [rdi + 24]
        lea r9d, [rsi + 2]
        mov r10d, COLOUR_ACCENT
        mov r11d, 2
        mov esi, text_buffer
        call draw_string
        mov edi, text_buffer
        call format_date
        mov byte [rdi], 0
        call clock_place
        lea r8d, [rdi + 48]
        lea r9d, [rsi + 34]
        mov r10d, COLOUR_TEXT
        mov r11d, 1
        mov esi, text_buffer
        call draw_string
        mov edi, text_buffer
        mov rax, 'running '
        mov [rdi], rax
        add edi, 8
        mov rax, [ticks]
        xor edx, edx
        mov ecx, DESKTOP_RATE
        div rcx
        xor edx, edx
        mov ecx, 3600
        div rcx
        push rdx
        xor edx, edx
        mov ecx, 100
        div rcx
        mov eax, edx
        call format_two
        mov byte [rdi], ':'
        inc edi
        pop rax
        mov cl, 60
        div cl
        push rax
        call format_two
        mov byte [rdi], ':'
        inc edi
        pop rax
        mov al, ah
        call format_two
        mov byte [rdi], 0
        call clock_place
        lea r8d, [rdi + 24]
        lea r9d, [rsi + 52]
        mov r10d, COLOUR_DETAIL
        mov r11d, 1
        mov esi, text_buffer
        jmp draw_string

; Where the echo line is: EDI, ESI, EDX, ECX.
echo_place:
        mov edi, [panel_x]
        add edi, 28
        mov esi, [panel_y]
        add esi, [panel_height]
        sub esi, 60
        mov edx, [panel_width]
        sub edx, 56
        mov ecx, 26
        ret

show_echo:
        cmp byte [vbe_rank], 0
        je .done
        call draw_echo
        call echo_place
        jmp show_rectangle
.done:
        ret

draw_echo:
        call echo_place
        lea eax, [rdx - 32]             ; how much fits, with the cursor
        shr eax, 3
        cmp eax, 120
        jbe .fits
        mov eax, 120
.fits:
        mov [echo_columns], eax
        mov eax, COLOUR_BOX
        call fill_rectangle
        call echo_place
        lea r8d, [rdi + 10]
        lea r9d, [rsi + 5]
        mov r10d, COLOUR_ACCENT
        mov r11d, 1
        mov al, '>'
        call draw_character
        mov r10d, COLOUR_TEXT
        mov esi, echo_text
        mov ecx, [echo_length]
        lea edx, [rdi + rdx]
        add r8d, 4
        call draw_clipped
        mov r10d, COLOUR_ACCENT
        mov al, '_'
        jmp draw_character

; Scan code set 1, codes 00 to 39: characters without and with Shift; 0 has none.
scan_plain:
        db 0, 27, '1234567890-=', 8, 9, 'qwertyuiop[]', 13, 0, 'asdfghjkl', 59, 39, 96, 0, 92
        db 'zxcvbnm,./', 0, '*', 0, ' '
scan_shifted:
        db 0, 27, '!@#$%^&*()_+', 8, 9, 'QWERTYUIOP{}', 13, 0, 'ASDFGHJKL:', 34, '~', 0, '|'
        db 'ZXCVBNM<>?', 0, '*', 0, ' '
; Keys with names, by scan code.
key_names:
        db 0x1D, 'ctrl', 0, 0x38, 'alt', 0, 0x3A, 'capslock', 0
        db 0x3B, 'f1', 0, 0x3C, 'f2', 0, 0x3D, 'f3', 0, 0x3E, 'f4', 0, 0x3F, 'f5', 0, 0x40, 'f6', 0
        db 0x41, 'f7', 0, 0x42, 'f8', 0, 0x43, 'f9', 0, 0x44, 'f10', 0, 0x57, 'f11', 0, 0x58, 'f12', 0
        db 0x45, 'numlock', 0, 0x46, 'scrolllock', 0, 0x47, 'home', 0, 0x48, 'up', 0, 0x49, 'pageup', 0
        db 0x4B, 'left', 0, 0x4D, 'right', 0, 0x4F, 'end', 0, 0x50, 'down', 0, 0x51, 'pagedown', 0
        db 0x52, 'insert', 0, 0x53, 'delete', 0, 0x5B, 'super', 0, 0x5C, 'super', 0, 0x5D, 'menu', 0
        db 0x1C, 'enter', 0, 0
.escape: db 'escape', 0
.enter: db 'enter', 0
.backspace: db 'backspace', 0
.tab:   db 'tab', 0
.space: db 'space', 0
