; The BIOS's memory map, and a megabyte of RAM.
        bits 64

; The usable ranges of the E820 map must not overlap and hold at least 8 MiB.
probe_memory_map:
        xor r8, r8                      ; usable bytes
        xor r9, r9                      ; ranges
        mov r10d, E820_MAP
        mov r11d, [e820_count]
        xor ebx, ebx                    ; mistakes
.range:
        cmp r9d, r11d
        jae .counted
        cmp dword [r10 + 16], 1
        jne .other
        mov rax, [r10]
        mov rdx, [r10 + 8]
        add r8, rdx
        add rdx, rax                    ; [rax, rdx)
        mov esi, E820_MAP
        xor ecx, ecx
.compare:
        cmp rsi, r10
        je .same
        mov rdi, [rsi]
        cmp rdi, rdx
        jae .same
        add rdi, [rsi + 8]
        cmp rdi, rax
        jbe .same
        inc ebx
.same:
        add esi, 24
        inc ecx
        cmp ecx, r11d
        jb .compare
.other:
        inc r9d
        add r10, 24
        jmp .range
.counted:
        cmp r8, 8 * 1024 * 1024
        adc ebx, 0
        neg ebx
        verdict 'memory-map'
        mov rax, r9
        call print_decimal
        say ' ranges, '
        mov rax, r8
        shr rax, 20
        call print_decimal
        say ' MiB usable'
        call end_line
        ret

; Writes and reads back two patterns.
probe_memory:
        mov rdx, 0x9E3779B97F4A7C15
        xor ebx, ebx
        mov r8d, 2
.pattern:
        mov edi, PATTERN_AREA
        mov ecx, 0x100000 / 8
        mov rax, rdx
.write:
        mov [rdi], rax
        add rax, rdx
        add rdi, 8
        dec ecx
        jnz .write
        mov edi, PATTERN_AREA
        mov ecx, 0x100000 / 8
        mov rax, rdx
.read:
        cmp [rdi], rax
        jne .wrong
        add rax, rdx
        add rdi, 8
        dec ecx
        jnz .read
        not rdx
        dec r8d
        jnz .pattern
        clc
        jmp .report
.wrong:
        stc
.report:
        verdict 'memory'
        say '1 MiB written and read twice'
        call end_line
        ret
