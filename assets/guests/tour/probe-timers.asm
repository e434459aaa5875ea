; Timers: the 8254, the TSC, the ACPI PM timer, the HPET, the RTC, and interrupts through the two 8259s.
        bits 64

PIT_HZ          equ 1193182
PM_HZ           equ 3579545
CALIBRATE_TICKS equ PIT_HZ / 200        ; 5 ms
TICK_RATE       equ 100

probe_timers:
        push rbx
        push r12
        push r13
        ; Three runs of 5 ms on channel 2; the shortest was disturbed least.
        mov ebx, 3
        mov r12, -1                     ; TSC
        mov r13d, -1                    ; PM timer
.run:
        call read_pm_timer
        mov r8d, eax
        call read_tsc
        mov r9, rax
        call pit_wait
        jc .pit_report
        call read_tsc
        sub rax, r9
        cmp rax, r12
        jae .tsc_kept
        mov r12, rax
.tsc_kept:
        call read_pm_timer
        sub eax, r8d
        and eax, 0xFFFFFF
        cmp eax, r13d
        jae .pm_kept
        mov r13d, eax
.pm_kept:
        dec ebx
        jnz .run
        clc
.pit_report:
        verdict 'pit'
        say '5 ms on channel 2'
        call end_line

        mov rax, r12
        xor edx, edx
        mov ecx, 5
        div rcx
        mov [tsc_khz], rax
        cmp rax, 1000                   ; slower than 1 MHz is no clock
        verdict 'tsc'
        xor edx, edx
        mov ecx, 1000
        div rcx
        call print_decimal
        say ' MHz'
        call end_line

        cmp dword [pm_timer_port], 1
        jc .pm_report
        cmp r13d, PM_HZ / 200 * 9 / 10
        jc .pm_report
        mov eax, PM_HZ / 200 * 3
        cmp eax, r13d
.pm_report:
        verdict 'pm-timer'
        mov eax, r13d
        call print_pm_time
        say ' for 5 ms of the PIT'
        call end_line

        call probe_hpet
        call probe_tick
        call probe_rtc
        pop r13
        pop r12
        pop rbx
        ret

read_tsc:
        push rdx
        rdtsc
        shl rdx, 32
        or rax, rdx
        pop rdx
        ret

; EAX: the PM timer's 24 bits, 0 without one.
read_pm_timer:
        push rdx
        mov edx, [pm_timer_port]
        xor eax, eax
        test edx, edx
        jz .none
        in eax, dx
        and eax, 0xFFFFFF
.none:
        pop rdx
        ret

; EAX PM timer ticks as microseconds.
print_pm_time:
        push rax
        push rdx
        push rcx
        mov edx, 1000000
        mul rdx
        mov ecx, PM_HZ
        div rcx
        call print_decimal
        say ' us'
        pop rcx
        pop rdx
        pop rax
        ret

; Waits CALIBRATE_TICKS by channel 2 of the 8254, one-shot, gated by port 61h. CF when it never ends.
pit_wait:
        in al, 0x61
        and al, 0xFC
        or al, 1
        out 0x61, al
        mov al, 0xB0
        out 0x43, al
        mov al, CALIBRATE_TICKS & 0xFF
        out 0x42, al
        mov al, CALIBRATE_TICKS >> 8
        out 0x42, al
        mov ecx, 10000000
.wait:
        in al, 0x61
        test al, 0x20
        jnz .over
        dec ecx
        jnz .wait
        stc
        ret
.over:
        clc
        ret

; R11: the TSC EDI milliseconds from now.
set_deadline:
        push rax
        mov eax, edi
        mul qword [tsc_khz]
        mov r11, rax
        call read_tsc
        add r11, rax
        pop rax
        ret

; CF when R11 is over.
check_deadline:
        push rax
        call read_tsc
        cmp r11, rax
        pop rax
        ret

; Waits EDI milliseconds.
wait_ms:
        call set_deadline
.wait:
        pause
        call check_deadline
        jnc .wait
        ret

; The HPET's main counter against the PIT; no line when the machine has none.
probe_hpet:
        mov rsi, [hpet_address]
        test rsi, rsi
        jz .none
        mov r8, [rsi + 44]
        mov r10, [r8]                   ; capabilities: period in femtoseconds above
        shr r10, 32
        mov r11, [r8 + 0x10]
        mov rax, r11
        or al, 1                        ; run, and leave the legacy routing alone
        mov [r8 + 0x10], rax
        mov r9, [r8 + 0xF0]
        call pit_wait
        mov rax, [r8 + 0xF0]
        sub rax, r9
        mov [r8 + 0x10], r11
        mul r10
        mov rcx, 1000000000             ; to microseconds
        div rcx
        mov r9, rax
        cmp r9, 4500
        jc .report
        mov eax, 50000
        cmp rax, r9
.report:
        verdict 'hpet'
        mov rax, r9
        call print_decimal
        say ' us for 5 ms of the PIT'
        call end_line
.none:
        ret

; Channel 0 interrupts through the master 8259; the last ones end a HLT.
probe_tick:
        mov al, 0x34                    ; channel 0, rate generator
        out 0x43, al
        mov eax, PIT_HZ / TICK_RATE
        out 0x40, al
        mov al, ah
        out 0x40, al
        mov dword [tick_rate], TICK_RATE
        mov qword [ticks], 0
        xor edi, edi
        call unmask_irq
        mov edi, 2000
        call set_deadline
        sti
.first:
        pause
        call check_deadline
        jc .missing
        cmp qword [ticks], 1
        jb .first
        call read_pm_timer
        mov r8d, eax
.more:
        hlt
        cmp qword [ticks], 6
        jb .more
        call read_pm_timer
        sub eax, r8d
        and eax, 0xFFFFFF
        mov r8d, eax
        cli
        cmp dword [pm_timer_port], 0
        je .untimed
        cmp r8d, PM_HZ / TICK_RATE * 2  ; five ticks, of which a busy host may have made the first late
        jc .report
        mov eax, PM_HZ / TICK_RATE * 60
        cmp eax, r8d
        jmp .report
.untimed:
        clc
        jmp .report
.missing:
        cli
        xor r8d, r8d
        stc
.report:
        verdict 'pic-timer'
        say '5 interrupts in '
        mov eax, r8d
        call print_pm_time
        call end_line
        ret

; The RTC: a plausible date, and its periodic interrupt through the slave 8259.
probe_rtc:
        call read_rtc
        mov al, 0x0D
        call read_cmos
        test al, 0x80                   ; VRT
        jz .implausible
        cmp byte [rtc_now], 60
        jae .implausible
        cmp byte [rtc_now + 1], 60
        jae .implausible
        cmp byte [rtc_now + 2], 24
        jae .implausible
        mov al, [rtc_now + 3]
        dec al
        cmp al, 31
        jae .implausible
        mov al, [rtc_now + 4]
        dec al
        cmp al, 12
        jae .implausible
        clc
        jmp .report
.implausible:
        stc
.report:
        verdict 'rtc'
        mov edi, text_buffer
        call format_date
        mov byte [rdi], ' '
        inc edi
        call format_time
        mov byte [rdi], 0
        mov esi, text_buffer
        call print_string
        call end_line

        mov qword [rtc_ticks], 0
        mov edi, 8
        call unmask_irq
        mov al, 0x0A
        call read_cmos
        and al, 0xF0
        or al, 6                        ; 1024 Hz
        mov ah, al
        mov al, 0x0A
        call write_cmos
        mov al, 0x0B
        call read_cmos
        mov r8d, eax
        or al, 0x40                     ; PIE
        mov ah, al
        mov al, 0x0B
        call write_cmos
        mov al, 0x0C
        call read_cmos
        mov edi, 2000
        call set_deadline
        sti
.wait:
        pause
        call check_deadline
        jc .over
        cmp qword [rtc_ticks], 8
        jb .wait
.over:
        cli
        mov eax, r8d
        and al, 0xBF
        mov ah, al
        mov al, 0x0B
        call write_cmos
        mov al, 0x0C
        call read_cmos
        mov edi, 8
        call mask_irq
        cmp qword [rtc_ticks], 8
        verdict 'rtc-interrupt'
        say '1024 Hz through both interrupt controllers'
        call end_line
        ret

read_cmos:
        out 0x70, al
        in al, 0x71
        ret

; Register AL becomes AH.
write_cmos:
        out 0x70, al
        mov al, ah
        out 0x71, al
        ret

; Fills rtc_now (second, minute, hour, day, month, year, century) with binary values that belong together.
read_rtc:
        push rbx
        push rdi
.again:
        mov ecx, 1000000
.updating:
        mov al, 0x0A
        call read_cmos
        test al, 0x80                   ; update in progress
        jz .stable
        dec ecx
        jnz .updating
.stable:
        xor ebx, ebx
.register:
        mov al, [.registers + rbx]
        call read_cmos
        mov [rtc_now + rbx], al
        inc ebx
        cmp ebx, 7
        jb .register
        mov al, 0
        call read_cmos
        cmp al, [rtc_now]
        jne .again

        mov al, 0x0B
        call read_cmos
        mov cl, al
        mov ch, [rtc_now + 2]
        and byte [rtc_now + 2], 0x7F
        test cl, 4
        jnz .binary
        xor ebx, ebx
.convert:
        mov al, [rtc_now + rbx]
        mov ah, al
        shr ah, 4
        and al, 15
        movzx edx, ah
        lea edx, [rdx + rdx * 4]
        add edx, edx
        add al, dl
        mov [rtc_now + rbx], al
        inc ebx
        cmp ebx, 7
        jb .convert
.binary:
        test cl, 2
        jnz .done                       ; 24 hours
        cmp byte [rtc_now + 2], 12
        jne .afternoon
        mov byte [rtc_now + 2], 0
.afternoon:
        test ch, 0x80
        jz .done
        add byte [rtc_now + 2], 12
.done:
        mov al, [rtc_now + 6]
        sub al, 19
        cmp al, 3
        jb .century
        mov byte [rtc_now + 6], 20      ; no century register here
.century:
        pop rdi
        pop rbx
        ret
.registers: db 0, 2, 4, 7, 8, 9, 0x32

; Writes `YYYY-MM-DD` to RDI and moves it on.
format_date:
        mov al, [rtc_now + 6]
        call format_two
        mov al, [rtc_now + 5]
        call format_two
        mov byte [rdi], '-'
        inc edi
        mov al, [rtc_now + 4]
        call format_two
        mov byte [rdi], '-'
        inc edi
        mov al, [rtc_now + 3]
        jmp format_two

; Writes `HH:MM:SS`.
format_time:
        mov al, [rtc_now + 2]
        call format_two
        mov byte [rdi], ':'
        inc edi
        mov al, [rtc_now + 1]
        call format_two
        mov byte [rdi], ':'
        inc edi
        mov al, [rtc_now]

format_two:
        movzx eax, al
        mov cl, 10
        div cl
        add ax, '00'
        mov [rdi], ax
        add edi, 2
        ret

; The local APIC and its timer, the I/O APIC, and the other processors.
probe_apic:
        mov ecx, 0x1B                   ; IA32_APIC_BASE
        rdmsr
        and eax, 0xFFFFF800
        cmp eax, LAPIC | 0x800          ; in its place and enabled
        jne .lapic_missing
        mov esi, LAPIC
        mov eax, [rsi + 0xF0]           ; spurious vector, software enable
        and eax, 0xFFFFFE00
        or eax, 0x100 | VECTOR_SPURIOUS
        mov [rsi + 0xF0], eax
        mov dword [rsi + 0x80], 0       ; every priority is welcome
        mov qword [lapic_ticks], 0
        mov dword [rsi + 0x3E0], 0x0B   ; divide by one
        mov dword [rsi + 0x320], VECTOR_LAPIC
        mov edi, 2000
        call set_deadline
        call read_pm_timer
        mov r8d, eax
        mov dword [rsi + 0x380], 2000000
        sti
.wait:
        pause
        call check_deadline
        jc .over
        cmp qword [lapic_ticks], 1
        jb .wait
.over:
        call read_pm_timer
        cli
        sub eax, r8d
        and eax, 0xFFFFFF
        mov r8d, eax
        mov dword [rsi + 0x320], 0x10000 | VECTOR_LAPIC
        cmp qword [lapic_ticks], 1
        jc .lapic_report
        mov eax, [rsi + 0x390]          ; a one-shot stays at zero
        neg eax
        jmp .lapic_report
.lapic_missing:
        xor r8d, r8d
        mov esi, LAPIC
        stc
.lapic_report:
        verdict 'lapic-timer'
        say 'version '
        mov eax, [rsi + 0x30]
        mov cl, 2
        call print_hex
        say 'h, 2000000 counts in '
        mov eax, r8d
        call print_pm_time
        call end_line

        mov esi, [ioapic_address]
        test esi, esi
        jz .no_ioapic
        mov dword [rsi], 1              ; version register
        mov eax, [rsi + 0x10]
        shr eax, 16
        movzx r8d, al
        inc r8d
        cmp r8d, 16
        verdict 'ioapic'
        mov eax, r8d
        call print_decimal
        say ' lines'
        call end_line

        ; The 8254, which the 8259s have masked again, comes by this way too.
        mov qword [ioapic_ticks], 0
        mov r8d, [ioapic_pin]
        lea r8d, [r8 + r8 + 0x10]       ; redirection entry
        mov ecx, LAPIC
        mov eax, [rcx + 0x20]           ; this processor's APIC ID, in bits 24-31
        lea ecx, [r8 + 1]
        mov [rsi], ecx
        mov [rsi + 0x10], eax
        mov [rsi], r8d
        mov dword [rsi + 0x10], VECTOR_IOAPIC
        mov edi, 1000
        call set_deadline
        sti
.ioapic_wait:
        pause
        call check_deadline
        jc .ioapic_over
        cmp qword [ioapic_ticks], 2
        jb .ioapic_wait
.ioapic_over:
        cli
        mov [rsi], r8d
        mov dword [rsi + 0x10], 0x10000
        cmp qword [ioapic_ticks], 2
        verdict 'ioapic-timer'
        say '8254 on line '
        mov eax, [ioapic_pin]
        call print_decimal
        call end_line
.no_ioapic:

        ; INIT and two start-up messages to everyone else; each that wakes counts itself.
        mov dword [processors_up], 1
        cmp dword [processor_count], 1
        adc dword [processor_count], 0  ; without a table there is this one
        cmp dword [processor_count], 2
        jb .all_up
        mov esi, smp_code
        mov edi, SMP_ENTRY
        mov ecx, smp_code_end - smp_code
        rep movsb
        mov esi, LAPIC
        mov dword [rsi + 0x300], 0xC4500
        mov edi, 10
        call wait_ms
        mov dword [rsi + 0x300], 0xC4600 | (SMP_ENTRY >> 12)
        mov edi, 1
        call wait_ms
        mov dword [rsi + 0x300], 0xC4600 | (SMP_ENTRY >> 12)
        mov edi, 500
        call set_deadline
.others:
        pause
        call check_deadline
        jc .all_up
        mov eax, [processors_up]
        cmp eax, [processor_count]
        jb .others
.all_up:
        mov eax, [processors_up]
        cmp eax, [processor_count]
        verdict 'processors'
        call print_decimal
        say ' of '
        mov eax, [processor_count]
        call print_decimal
        say ' answer'
        call end_line
        ret

        bits 16
smp_code:
        cli
        xor ax, ax
        mov ds, ax
        lock inc dword [processors_up]
.sleep:
        hlt
        jmp .sleep
smp_code_end:
        bits 64
