; Ring 3 and back: SYSRET, an exception through the TSS's stack, SYSCALL.
        bits 64

EXCEPTION_STACK equ 0x7000              ; inside the long-mode stack, far below what is in use

probe_user_mode:
        push rbx
        mov [saved_stack], rsp
        mov qword [tss + 4], EXCEPTION_STACK
        mov ax, SEL_TSS
        ltr ax
        or dword [PML4], 4              ; the first 2 MiB are the user's too
        or dword [PML4 + 0x1000], 4
        or dword [PML4 + 0x2000], 4
        mov rax, cr3
        mov cr3, rax
        mov ecx, 0xC0000080             ; EFER.SCE
        rdmsr
        or al, 1
        wrmsr
        mov ecx, 0xC0000081             ; STAR: user segments above, kernel segments below
        xor eax, eax
        mov edx, ((SEL_USER_DATA - 8 + 3) << 16) | SEL_CODE64
        wrmsr
        inc ecx                         ; LSTAR
        mov eax, .kernel
        xor edx, edx
        wrmsr
        mov ecx, 0xC0000084             ; FMASK
        mov eax, 0x300
        wrmsr

        mov qword [seen_vector], -1
        mov qword [expect_resume], .resumed
        mov ecx, .user
        mov r11d, 2
        mov esp, SECTOR_BUFFER + 0x800
        xor ebx, ebx
        o64 sysret
.user:
        cli                             ; not allowed here: #GP
.resumed:
        mov ebx, cs
        mov eax, 'tour'
        syscall
.behind:
        ud2

.kernel:
        mov dx, SEL_DATA
        mov ss, dx
        mov ds, dx
        mov es, dx
        mov rsp, [saved_stack]
        and dword [PML4], ~4
        and dword [PML4 + 0x1000], ~4
        and dword [PML4 + 0x2000], ~4
        mov rdx, cr3
        mov cr3, rdx
        sub rcx, .behind                ; SYSCALL keeps the return address
        xor eax, 'tour'
        or rax, rcx
        xor ebx, SEL_USER_CODE | 3
        or rax, rbx
        or rax, [seen_error]
        mov rbx, rax
        mov edi, 13
        call check_vector
        jc .report
        neg rbx
.report:
        verdict 'user-mode'
        say 'SYSRET, #GP and SYSCALL'
        call end_line
        pop rbx
        ret
