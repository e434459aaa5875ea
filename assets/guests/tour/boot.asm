; Sector 0: loads the rest of the image behind itself, from a hard disk by LBA or from anything by CHS.

LOAD_SECTORS    equ (image_end - $$) / 512 - 1

start:
        jmp short boot
        nop
        times 0x3E - ($ - $$) db 0      ; where a FAT parameter block would be
boot:
        cli
        cld
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, REAL_STACK
        sti
        jmp 0:.canonical
.canonical:
        mov di, variables
        mov cx, variables_end - variables
        rep stosb
        mov [boot_drive], dl
        test dl, dl
        jns .by_chs
        mov ah, 0x41                    ; are the LBA calls there?
        mov bx, 0x55AA
        int 0x13
        jc .by_chs
        cmp bx, 0xAA55
        jne .by_chs
        test cl, 1
        jz .by_chs
        mov si, .packet
        mov ah, 0x42
        mov dl, [boot_drive]
        int 0x13
        jnc .loaded
.by_chs:
        mov ah, 0x08                    ; the drive's geometry
        mov dl, [boot_drive]
        xor di, di
        int 0x13
        jc .failed
        push ds
        pop es
        and cx, 63
        mov [.sectors], cx
        movzx dx, dh
        inc dx
        mov [.heads], dx
        mov si, 1
        mov bp, 0x07E0                  ; segment of the next sector
.next:
        mov ax, si
        xor dx, dx
        div word [.sectors]
        inc dx
        mov cl, dl
        xor dx, dx
        div word [.heads]
        mov ch, al
        shl ah, 6
        or cl, ah
        mov dh, dl
        mov dl, [boot_drive]
        mov es, bp
        xor bx, bx
        mov di, 4
.retry:
        mov ax, 0x0201
        int 0x13
        jnc .read
        xor ax, ax
        int 0x13
        dec di
        jnz .retry
        jmp .failed
.read:
        add bp, 512 / 16
        inc si
        cmp si, LOAD_SECTORS
        jbe .next
.loaded:
        xor ax, ax
        mov es, ax
        jmp real_entry
.failed:
        mov si, .message
.print:
        lodsb
        test al, al
        jz .stop
        mov ah, 0x0E
        mov bx, 7
        int 0x10
        jmp .print
.stop:
        cli
        hlt
        jmp .stop

.message: db 'The tour cannot be read from this disk.', 13, 10, 0
.sectors: dw 0
.heads: dw 0
        align 4, db 0
.packet:
        db 16, 0
        dw LOAD_SECTORS
        dw 0, 0x07E0
        dq 1

        times 446 - ($ - $$) db 0
        times 64 db 0                   ; no partitions
        dw 0xAA55

; Sector 1: how this copy of the image shall behave. build.ts fills it in.
config:
        db 'LODGE TOUR CFG 1'
config_flags:
        dd 0
        times 1024 - ($ - $$) db 0
