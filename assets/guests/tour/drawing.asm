; Drawing on the shadow screen in RAM, 32 bits a pixel, and copying parts of it to the framebuffer.
        bits 64

; RDI: address of the pixel EDI, ESI on the shadow.
shadow_address:
        mov eax, esi
        imul eax, [shadow_pitch]
        lea edi, [rax + rdi * 4 + SHADOW]
        ret

; Fills the rectangle at EDI, ESI of EDX by ECX pixels with EAX.
fill_rectangle:
        push rax
        call shadow_address
        pop rax
        mov r8d, ecx
.row:
        push rdi
        mov ecx, edx
        rep stosd
        pop rdi
        add edi, [shadow_pitch]
        dec r8d
        jnz .row
        ret

; Darkens the rectangle at EDI, ESI of EDX by ECX pixels to a quarter plus the tint EAX; corners are rounded.
glass_rectangle:
        push rbx
        push rbp
        mov r9d, eax
        call shadow_address
        mov r8d, ecx                    ; rows left
        mov ebp, ecx                    ; rows in all
.row:
        mov eax, ebp
        sub eax, r8d                    ; distance from the top
        lea ebx, [r8 - 1]               ; from the bottom
        cmp eax, ebx
        jb .nearer
        mov eax, ebx
.nearer:
        xor ebx, ebx
        cmp eax, 12
        jae .inset
        movzx ebx, byte [.corner + rax]
.inset:
        lea r10d, [rdi + rbx * 4]
        mov ecx, edx
        sub ecx, ebx
        sub ecx, ebx
.pixel:
        mov eax, [r10]
        shr eax, 2
        and eax, 0x3F3F3F
        add eax, r9d
        mov [r10], eax
        add r10d, 4
        dec ecx
        jnz .pixel
        add edi, [shadow_pitch]
        dec r8d
        jnz .row
        pop rbp
        pop rbx
        ret
.corner: db 12, 9, 7, 6, 5, 4, 3, 2, 2, 1, 1, 0

; Draws the zero-terminated string at RSI at R8D, R9D in colour R10D, pixels R11D wide. R8D moves on.
draw_string:
        push rax
.next:
        movzx eax, byte [rsi]
        test al, al
        jz .done
        inc rsi
        call draw_character
        jmp .next
.done:
        pop rax
        ret

; Draws ECX characters at RSI, but none beyond EDX; a cut text ends in two dots.
draw_clipped:
        push rbx
        mov ebx, edx
        sub ebx, r8d
        jle .done
        shr ebx, 3
        cmp ecx, ebx
        jbe .fits
        sub ebx, 2
        jle .done
        mov ecx, ebx
        call .characters
        mov al, '.'
        call draw_character
        mov al, '.'
        call draw_character
        jmp .done
.fits:
        call .characters
.done:
        pop rbx
        ret
.characters:
        test ecx, ecx
        jz .end
        lodsb
        call draw_character
        dec ecx
        jmp .characters
.end:
        ret

; Draws the character AL at R8D, R9D in colour R10D, pixels R11D wide, and moves R8D on.
draw_character:
        push rax
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push rbp
        movzx ebx, al
        shl ebx, 4
        add ebx, FONT
        mov edi, r8d
        mov esi, r9d
        call shadow_address
        mov esi, edi                    ; the row's first pixel
        mov ebp, 16
.row:
        mov dl, [rbx]
        inc ebx
        mov eax, r11d                   ; each row as often as pixels are wide
        mov dh, al
.again:
        mov edi, esi
        mov al, dl
.bit:
        test al, al
        jz .row_done
        mov ecx, r11d
        shl al, 1
        jnc .gap
.ink:
        mov [rdi], r10d
        add edi, 4
        dec ecx
        jnz .ink
        jmp .bit
.gap:
        lea edi, [rdi + rcx * 4]
        jmp .bit
.row_done:
        add esi, [shadow_pitch]
        dec dh
        jnz .again
        dec ebp
        jnz .row
        lea r8d, [r8 + r11 * 8]
        pop rbp
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        pop rax
        ret

; Shows the rectangle at EDI, ESI of EDX by ECX pixels on the screen, with the pointer above it.
show_rectangle:
        call copy_rectangle
        jmp draw_pointer

copy_rectangle:
        cmp byte [vbe_rank], 0
        je .done
        mov eax, [screen_width]         ; cut at the right and lower edge
        sub eax, edi
        jle .done
        cmp edx, eax
        jbe .wide
        mov edx, eax
.wide:
        mov eax, [screen_height]
        sub eax, esi
        jle .done
        cmp ecx, eax
        jbe .high
        mov ecx, eax
.high:
        mov r8d, ecx
        mov r9d, esi
        imul r9d, [screen_pitch]
        lea r9d, [r9 + rdi * 4]
        add r9, [screen_base]
        call shadow_address
        mov r10d, edi
.row:
        mov rsi, r10
        mov rdi, r9
        mov ecx, edx
        rep movsd
        mov eax, [shadow_pitch]
        add r10, rax
        mov eax, [screen_pitch]
        add r9, rax
        dec r8d
        jnz .row
.done:
        ret

POINTER_WIDTH   equ 12
POINTER_HEIGHT  equ 19

; Moves the pointer to where the mouse is.
move_pointer:
        mov edi, [drawn_x]
        mov esi, [drawn_y]
        mov edx, POINTER_WIDTH
        mov ecx, POINTER_HEIGHT
        call copy_rectangle

; Draws the pointer over the screen, white with a dark edge; with a button down it glows.
draw_pointer:
        cmp byte [vbe_rank], 0
        je .done
        push rbx
        push rbp
        mov r8d, [pointer_x]
        mov r9d, [pointer_y]
        mov [drawn_x], r8d
        mov [drawn_y], r9d
        mov r11d, 0xFFFFFF
        cmp dword [mouse_buttons], 0
        je .white
        mov r11d, 0xFFB347
.white:
        mov ebx, .shape
        xor ebp, ebp
.row:
        lea eax, [r9 + rbp]
        cmp eax, [screen_height]
        jae .end
        imul eax, [screen_pitch]
        mov rdi, [screen_base]
        add rdi, rax
        lea rdi, [rdi + r8 * 4]
        movzx edx, word [rbx]           ; ink
        movzx esi, word [rbx + 2]       ; of it the edge
        add ebx, 4
        mov ecx, r8d
.pixel:
        cmp ecx, [screen_width]
        jae .row_done
        shl si, 1
        sbb eax, eax                    ; all ones on the edge
        not eax
        and eax, r11d
        shl dx, 1
        jnc .clear
        mov [rdi], eax
.clear:
        add rdi, 4
        inc ecx
        mov eax, ecx
        sub eax, r8d
        cmp eax, POINTER_WIDTH
        jb .pixel
.row_done:
        inc ebp
        cmp ebp, POINTER_HEIGHT
        jb .row
.end:
        pop rbp
        pop rbx
.done:
        ret
.shape:
        dw 1000000000000000b, 1000000000000000b
        dw 1100000000000000b, 1100000000000000b
        dw 1110000000000000b, 1010000000000000b
        dw 1111000000000000b, 1001000000000000b
        dw 1111100000000000b, 1000100000000000b
        dw 1111110000000000b, 1000010000000000b
        dw 1111111000000000b, 1000001000000000b
        dw 1111111100000000b, 1000000100000000b
        dw 1111111110000000b, 1000000010000000b
        dw 1111111111000000b, 1000000001000000b
        dw 1111111111100000b, 1000000000100000b
        dw 1111111111110000b, 1000001111110000b
        dw 1111111000000000b, 1000001000000000b
        dw 1111111000000000b, 1001001000000000b
        dw 1110111100000000b, 1010100100000000b
        dw 1100111100000000b, 1100100100000000b
        dw 1000011110000000b, 1000010010000000b
        dw 0000011110000000b, 0000010010000000b
        dw 0000001100000000b, 0000001100000000b
