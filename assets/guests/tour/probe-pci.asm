; PCI configuration space by ports CF8h and CFCh: every function of bus 0.
        bits 64

probe_pci:
        push rbx
        push r12
        push r13
        xor r12d, r12d                  ; functions
        xor ebx, ebx                    ; device and function, as in the address
        xor r13d, r13d                  ; a host bridge was seen
.count:
        call .present
        jc .skip
        inc r12d
        mov eax, ebx
        mov al, 0x08
        call read_pci
        shr eax, 16
        cmp ax, 0x0600
        jne .skip
        inc r13d
.skip:
        call .advance
        jnc .count

        cmp r13d, 1
        verdict 'pci'
        mov eax, r12d
        call print_decimal
        say ' functions:'
        xor ebx, ebx
.list:
        call .present
        jc .absent
        say ' '
        mov edx, eax
        mov cl, 4
        call print_hex
        say ':'
        shr eax, 16
        call print_hex
.absent:
        call .advance
        jnc .list
        call end_line
        pop r13
        pop r12
        pop rbx
        ret

; EAX: vendor and device at EBX; CF when nobody answers.
.present:
        mov eax, ebx
        call read_pci
        cmp ax, 0xFFFF
        je .nobody
        clc
        ret
.nobody:
        stc
        ret

; EBX: the next function; only a multi-function device has more than function 0. CF at the end.
.advance:
        test ebx, 0x700
        jnz .next
        mov eax, ebx
        mov al, 0x0C
        call read_pci
        cmp eax, -1
        je .whole
        test eax, 0x800000
        jnz .next
.whole:
        or ebx, 0x700
.next:
        add ebx, 0x100
        cmp ebx, 0x10000
        cmc
        ret

; Reads the dword at EAX (bus, device, function, register).
read_pci:
        push rdx
        or eax, 0x80000000
        mov edx, 0xCF8
        out dx, eax
        mov edx, 0xCFC
        in eax, dx
        pop rdx
        ret
