; IDE disks by programmed I/O: IDENTIFY, then the image's signature sector.
        bits 64

SIGNATURE_LBA   equ 2000                ; build.ts writes it there
SIGNATURE_SEED  equ 0x4C6F6467

probe_disk:
        push rbx
        push r12
        push r13
        push r14
        push r15
        xor r12d, r12d                  ; disks
        xor r13d, r13d                  ; packet devices
        xor r14d, r14d                  ; a disk has the signature
        mov r15d, .positions
.position:
        movzx ebx, word [r15]           ; command block
        test ebx, ebx
        jz .finished
        call identify
        cmp eax, 1
        jb .next
        je .disk
        inc r13d
        jmp .next
.disk:
        inc r12d
        clc
        verdict 'disk-identify'
        movzx esi, word [r15 + 5]
        call print_string
        say ', '
        mov esi, SECTOR_BUFFER + 54     ; model, byte-swapped
        mov edi, text_buffer
        mov ecx, 20
.model:
        lodsw
        xchg al, ah
        stosw
        dec ecx
        jnz .model
        mov ecx, 40
.trim:
        cmp byte [text_buffer + rcx - 1], ' '
        ja .trimmed
        dec ecx
        jnz .trim
.trimmed:
        mov esi, text_buffer
        call print_counted
        say ', '
        mov eax, [SECTOR_BUFFER + 120]  ; sectors
        mov r8d, eax
        shr eax, 1
        call print_decimal
        say ' KiB'
        call end_line
        cmp r8d, SIGNATURE_LBA
        jbe .next
        call read_signature
        jc .next
        mov r14d, 1
.next:
        add r15d, 7
        jmp .position
.finished:
        test r12d, r12d
        jnz .any
        movzx eax, byte [edd_is_ata]    ; the BIOS booted from one, so there must be one
        neg eax
        verdict 'disk-identify'
        say 'no IDE disk'
        call end_line
.any:
        movzx eax, byte [edd_is_ata]
        sub eax, r14d
        jg .missing
        clc
        jmp .signature
.missing:
        stc
.signature:
        verdict 'disk-read'
        test r14d, r14d
        jz .not_read
        say 'sector 2000 by PIO, as written'
        jmp .read
.not_read:
        say 'no IDE disk with the signature'
.read:
        call end_line
        test r13d, r13d
        jz .no_packet
        clc
        verdict 'disk-packet'
        mov eax, r13d
        call print_decimal
        say ' ATAPI'
        call end_line
.no_packet:
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbx
        ret

.positions:                             ; command block, control block, drive/head, name
        dw 0x1F0, 0x3F6
        db 0xE0
        dw .name0, 0x1F0, 0x3F6
        db 0xF0
        dw .name1, 0x170, 0x376
        db 0xE0
        dw .name2, 0x170, 0x376
        db 0xF0
        dw .name3, 0
.name0: db 'primary master', 0
.name1: db 'primary slave', 0
.name2: db 'secondary master', 0
.name3: db 'secondary slave', 0

; Selects the position at R15 and identifies what is there: EAX 0 nothing, 1 a disk, 2 a packet device.
identify:
        movzx edx, word [r15 + 2]
        mov al, 2                       ; no interrupts
        out dx, al
        lea edx, [rbx + 6]
        mov al, [r15 + 4]
        out dx, al
        call ata_settle
        cmp al, 0xFF
        je .nothing
        test al, al
        jz .nothing
        call ata_idle
        jc .nothing
        lea edx, [rbx + 7]
        mov al, 0xEC
        out dx, al
        call ata_settle
        test al, al
        jz .nothing
        call ata_idle
        jc .nothing
        test al, 1
        jnz .refused
        test al, 8
        jz .nothing
        call ata_take
        mov eax, 1
        ret
.refused:
        lea edx, [rbx + 4]
        in al, dx
        cmp al, 0x14
        jne .nothing
        inc edx
        in al, dx
        cmp al, 0xEB
        jne .nothing
        mov eax, 2
        ret
.nothing:
        xor eax, eax
        ret

; Reads SIGNATURE_LBA of the selected disk and compares it; CF when it is not what build.ts wrote.
read_signature:
        lea edx, [rbx + 2]
        mov al, 1
        out dx, al
        inc edx
        mov al, SIGNATURE_LBA & 0xFF
        out dx, al
        inc edx
        mov al, (SIGNATURE_LBA >> 8) & 0xFF
        out dx, al
        inc edx
        mov al, SIGNATURE_LBA >> 16
        out dx, al
        inc edx
        mov al, [r15 + 4]
        out dx, al
        inc edx
        mov al, 0x20                    ; READ SECTORS
        out dx, al
        call ata_settle
        call ata_idle
        jc .wrong
        test al, 8
        jz .wrong
        call ata_take
        mov rax, 'LODGE SI'
        cmp [SECTOR_BUFFER], rax
        jne .wrong
        mov rax, 'GNATURE!'
        cmp [SECTOR_BUFFER + 8], rax
        jne .wrong
        mov edi, SECTOR_BUFFER + 16
        mov eax, SIGNATURE_SEED
.number:
        imul eax, eax, 1664525
        add eax, 1013904223
        cmp [rdi], eax
        jne .wrong
        add edi, 4
        cmp edi, SECTOR_BUFFER + 512
        jb .number
        clc
        ret
.wrong:
        stc
        ret

; 400 ns by reading the alternate status; AL is the last one.
ata_settle:
        movzx edx, word [r15 + 2]
        mov ecx, 5
.read:
        in al, dx
        dec ecx
        jnz .read
        ret

; Waits for BSY to clear; AL the status, CF after half a second.
ata_idle:
        mov edi, 500
        call set_deadline
        movzx edx, word [r15 + 2]
.wait:
        in al, dx
        test al, 0x80
        jz .idle
        call check_deadline
        jnc .wait
        ret
.idle:
        clc
        ret

; Takes the sector the disk offers.
ata_take:
        mov edx, ebx
        mov edi, SECTOR_BUFFER
        mov ecx, 256
        rep insw
        lea edx, [rbx + 7]
        in al, dx
        ret
