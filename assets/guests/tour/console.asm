; 64-bit printing, to the serial port and the log. Every routine preserves all registers.
        bits 64

; Prints a literal string.
%macro say 1
        call print_inline
        db %1, 0
%endmacro

; Starts a result line: PASS with CF clear, FAIL with CF set, then the probe's name. `call end_line` ends it.
%macro verdict 1
        call begin_line
        db %1, ' ', 0
%endmacro

begin_line:
        jc .fail
        say 'PASS '
        inc dword [passed]
        jmp print_inline
.fail:
        say 'FAIL '
        inc dword [failed]
        jmp print_inline

end_line:
        say `\r\n`
        ret

; The string behind the call.
print_inline:
        xchg rsi, [rsp]
        push rax
.next:
        lodsb
        test al, al
        jz .done
        call put
        jmp .next
.done:
        pop rax
        xchg rsi, [rsp]
        ret

; The zero-terminated string at RSI.
print_string:
        push rsi
        push rax
.next:
        lodsb
        test al, al
        jz .done
        call put
        jmp .next
.done:
        pop rax
        pop rsi
        ret

; The CL characters at RSI; unprintable ones as spaces.
print_counted:
        push rsi
        push rcx
        push rax
.next:
        test cl, cl
        jz .done
        dec cl
        lodsb
        cmp al, ' '
        jb .blank
        cmp al, 0x7E
        jbe .print
.blank:
        mov al, ' '
.print:
        call put
        jmp .next
.done:
        pop rax
        pop rcx
        pop rsi
        ret

; RAX in decimal.
print_decimal:
        push rax
        push rdx
        push rcx
        push rdi
        sub rsp, 32
        lea rdi, [rsp + 31]
        mov byte [rdi], 0
        mov ecx, 10
.digit:
        xor edx, edx
        div rcx
        add dl, '0'
        dec rdi
        mov [rdi], dl
        test rax, rax
        jnz .digit
        xchg rsi, rdi
        call print_string
        xchg rsi, rdi
        add rsp, 32
        pop rdi
        pop rcx
        pop rdx
        pop rax
        ret

; AL as two decimal digits.
print_two:
        push rax
        push rcx
        movzx eax, al
        mov cl, 10
        div cl
        add ax, '00'
        call put
        mov al, ah
        call put
        pop rcx
        pop rax
        ret

; The lower CL hexadecimal digits of RAX.
print_hex:
        push rax
        push rcx
        push rdx
        mov rdx, rax
        movzx ecx, cl
.digit:
        dec ecx
        js .done
        push rcx
        shl ecx, 2
        mov rax, rdx
        shr rax, cl
        pop rcx
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .put
        add al, 7
.put:
        call put
        jmp .digit
.done:
        pop rdx
        pop rcx
        pop rax
        ret

; The character AL.
put:
        push rdx
        push rdi
        push rax
        mov edx, COM1 + 5
.wait:
        in al, dx
        test al, 0x20
        jz .wait
        pop rax
        mov edx, COM1
        out dx, al
        mov edi, [log_length]
        cmp edi, LOG_SIZE
        jae .full
        mov [LOG + rdi], al
        inc dword [log_length]
.full:
        pop rdi
        pop rdx
        ret

; Waits until everything printed has left the port.
drain_serial:
        push rax
        push rdx
        mov edx, COM1 + 5
.wait:
        in al, dx
        test al, 0x40
        jz .wait
        pop rdx
        pop rax
        ret
