; A Multiboot kernel (specification 0.6.96) that writes one line to the first serial port and stops. How long it takes
; to be heard is what a machine needs before any guest runs: the time to take off from the boot of a real kernel.
bits 32
org 0x100000
MAGIC equ 0x1badb002
; The addresses are in this header, not in an ELF file's.
FLAGS equ 0x10000
header:
    dd MAGIC
    dd FLAGS
    dd 0 - MAGIC - FLAGS
    dd header
    dd header
    dd 0
    dd 0
    dd entry
entry:
    mov esi, line
next:
    mov dx, 0x3fd
wait:
    in al, dx
    test al, 0x20
    jz wait
    mov al, [esi]
    mov dx, 0x3f8
    out dx, al
    inc esi
    cmp al, 10
    jne next
stop:
    cli
    hlt
    jmp stop
line:
    db "LODGE-BENCH start", 13, 10
