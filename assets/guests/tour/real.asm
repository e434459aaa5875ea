; Real mode: what only the BIOS can tell.

%macro say16 1
        call print_inline16
        db %1, 0
%endmacro

real_entry:
        mov sp, REAL_STACK
        call serial_start
        say16 `TOUR begin: Lodge's demonstration guest\r\n`
        call check_a20
        call read_memory_map
        call read_disk_type
        call read_font
        call find_video_mode

        cli
        call leave_real                 ; arrives in 32-bit code, below
        bits 32
        jmp protected_entry
        bits 16

; 115200 baud, 8N1, FIFOs on, no interrupts yet.
serial_start:
        mov si, .settings
.next:
        lodsw
        test ax, ax
        jz .done
        mov dx, COM1
        add dl, ah
        out dx, al
        jmp .next
.done:
        ret
.settings:
        db 0x00, 1, 0x80, 3, 0x01, 0    ; value, register: interrupts off, divisor 1
        db 0x00, 1, 0x03, 3, 0xC7, 2, 0x0B, 4
        dw 0

; The wrap of addresses at 1 MiB must be off.
check_a20:
        call .is_on
        jnz .on
        in al, 0x92
        or al, 2
        and al, 0xFE
        out 0x92, al
        call .is_on
        jnz .on
        say16 'FAIL'
        inc dword [failed]
        jmp .name
.on:
        say16 'PASS'
        inc dword [passed]
.name:
        say16 ' real-mode A20 open, boot drive '
        mov al, [boot_drive]
        call print_byte16
        say16 `h\r\n`
        ret
.is_on:
        push es
        mov ax, 0xFFFF
        mov es, ax
        mov word [VBE_INFO], 0x1234
        mov word [es:VBE_INFO + 0x10], 0x4321
        cmp word [VBE_INFO], 0x1234
        pop es
        je .different
        xor ax, ax                      ; ZF
        ret
.different:
        or al, 1
        ret

; INT 15h, E820: the memory map, 24 bytes an entry.
read_memory_map:
        xor ebx, ebx
        mov di, E820_MAP
.next:
        mov eax, 0xE820
        mov edx, 0x534D4150             ; 'SMAP'
        mov ecx, 24
        mov dword [di + 20], 1
        int 0x15
        jc .done
        cmp eax, 0x534D4150
        jne .done
        inc dword [e820_count]
        add di, 24
        cmp dword [e820_count], E820_MAX
        jae .done
        test ebx, ebx
        jnz .next
.done:
        ret

; INT 13h, 48h: does the boot disk hang on an ATA interface?
read_disk_type:
        mov dl, [boot_drive]
        test dl, dl
        jns .done
        mov si, EDD_INFO
        mov word [si], 0x42
        mov ah, 0x48
        int 0x13
        jc .done
        cmp word [EDD_INFO], 0x30
        jb .done
        cmp dword [EDD_INFO + 0x28], 'ATA '
        jne .done
        inc byte [edd_is_ata]
.done:
        ret

; INT 10h, 1130h: the 8x16 font in the video BIOS.
read_font:
        push es
        mov ax, 0x1130
        mov bh, 6
        int 0x10
        mov si, bp
        mov ax, es
        mov ds, ax
        mov ax, FONT >> 4
        mov es, ax
        xor di, di
        mov cx, 4096 / 4
        rep movsd
        mov eax, [es:'A' * 16 + 4]      ; a letter has some ink
        xor cx, cx
        mov ds, cx
        pop es
        test eax, eax
        setnz [font_found]
        ret

; VBE: the best mode of 1024x768, 800x600 and 640x480 with 32 bits a pixel and a linear framebuffer.
find_video_mode:
        mov di, VBE_INFO
        mov dword [di], 'VBE2'
        mov ax, 0x4F00
        int 0x10
        cmp ax, 0x004F
        jne .report
        cmp dword [VBE_INFO], 'VESA'
        jne .report
        mov ax, [VBE_INFO + 4]
        mov [vbe_version], ax
        lfs si, [VBE_INFO + 14]
.next:
        mov cx, [fs:si]
        add si, 2
        cmp cx, 0xFFFF
        je .report
        inc word [vbe_modes]
        cmp byte [vbe_rank], 3
        je .next
        push cx
        mov di, VBE_MODE
        mov ax, 0x4F01
        int 0x10
        pop cx
        cmp ax, 0x004F
        jne .next
        mov ax, [VBE_MODE]
        and al, 0x91                    ; supported, graphics, linear framebuffer
        cmp al, 0x91
        jne .next
        cmp byte [VBE_MODE + 0x19], 32  ; bits a pixel
        jne .next
        cmp byte [VBE_MODE + 0x1B], 6   ; direct colour
        jne .next
        cmp byte [VBE_MODE + 0x20], 16  ; red in bits 16-23
        jne .next
        mov bx, .wanted
.compare:
        mov al, [bx]
        test al, al
        jz .next
        cmp al, [vbe_rank]
        jbe .next
        mov dx, [bx + 1]
        cmp dx, [VBE_MODE + 0x12]
        jne .another
        mov dx, [bx + 3]
        cmp dx, [VBE_MODE + 0x14]
        je .take
.another:
        add bx, 5
        jmp .compare
.take:
        mov [vbe_rank], al
        mov [vbe_mode_number], cx
        movzx eax, word [VBE_MODE + 0x12]
        mov [screen_width], eax
        movzx eax, word [VBE_MODE + 0x14]
        mov [screen_height], eax
        movzx eax, word [VBE_MODE + 0x10]
        cmp word [vbe_version], 0x0300
        jb .pitch
        movzx ecx, word [VBE_MODE + 0x32]
        jcxz .pitch
        mov eax, ecx
.pitch:
        mov [screen_pitch], eax
        mov eax, [VBE_MODE + 0x28]
        mov [screen_base], eax
        jmp .next
.report:
        xor ax, ax
        mov fs, ax
        ret
.wanted:
        db 3
        dw 1024, 768
        db 2
        dw 800, 600
        db 1
        dw 640, 480
        db 0

; Called through run_in_real: switches to the chosen mode.
set_video_mode:
        mov ax, 0x4F02
        mov bx, [vbe_mode_number]
        or bx, 0x4000
        int 0x10
        mov [vbe_set_status], ax
        ret

; Prints the string behind the call.
print_inline16:
        pop si
.next:
        lodsb
        test al, al
        jz .done
        call put16
        jmp .next
.done:
        push si
        ret

; AL as two hexadecimal digits.
print_byte16:
        push ax
        shr al, 4
        call .digit
        pop ax
        and al, 15
.digit:
        cmp al, 10
        sbb al, 0x69
        das
        jmp put16

; One character to the serial port and the log.
put16:
        push es
        push dx
        push di
        push ax
        mov dx, COM1 + 5
.wait:
        in al, dx
        test al, 0x20
        jz .wait
        pop ax
        mov dx, COM1
        out dx, al
        push LOG >> 4
        pop es
        mov di, [log_length]
        mov [es:di], al
        inc dword [log_length]
        pop di
        pop dx
        pop es
        ret
