; Where everything lies in memory, and the machine's fixed ports.

REAL_STACK      equ 0x6C00              ; grows down to 0x6000
LONG_STACK      equ 0x7C00              ; grows down to 0x6C00
E820_MAP        equ 0x1000              ; 24 bytes an entry
E820_MAX        equ 64
VBE_INFO        equ 0x2000
VBE_MODE        equ 0x2200
EDD_INFO        equ 0x2400
SECTOR_BUFFER   equ 0x3000              ; one page, also the target of the paging probe
FONT            equ 0x11000             ; 256 glyphs of 16 rows
LOG             equ 0x20000             ; every line that was printed, for the screen
LOG_SIZE        equ 0x8000
PML4            equ 0x70000             ; then the PDPT and four page directories: 4 GiB, identity
PAGE_DIRECTORY  equ 0x77000             ; 32-bit paging
PAGE_TABLE_LOW  equ 0x78000
IDT_LONG        equ 0x79000
IDT_PROTECTED   equ 0x7A000
PAGE_TABLE_HIGH equ 0x7B000
SMP_ENTRY       equ 0x7C000             ; where other processors start, in real mode
SMP_STACKS      equ 0x7D000
PATTERN_AREA    equ 0x100000            ; memory probe: 1 MiB
SHADOW          equ 0x200000            ; the screen as it is composed

COM1            equ 0x3F8
LAPIC           equ 0xFEE00000

SEL_CODE32      equ 0x08
SEL_DATA        equ 0x10
SEL_CODE64      equ 0x18
SEL_CODE16      equ 0x20
SEL_DATA16      equ 0x28
SEL_SMALL       equ 0x30                ; data of 256 bytes, for the limit probe
SEL_USER_DATA   equ 0x38                ; in the order SYSRET wants
SEL_USER_CODE   equ 0x40
SEL_TSS         equ 0x48

VECTOR_IRQ      equ 0x20                ; 16 lines of the two 8259s
VECTOR_LAPIC    equ 0x40
VECTOR_IOAPIC   equ 0x41
VECTOR_SPURIOUS equ 0xFF

CONFIG_AUTOQUIT equ 1

; Variables, below 64 KiB so that every mode reaches them.
        absolute 0x600
variables:
boot_drive:     resb 1
edd_is_ata:     resb 1
font_found:     resb 1
vbe_rank:       resb 1                  ; 3: 1024x768, 2: 800x600, 1: 640x480, 0: nothing usable
log_length:     resd 1
passed:         resd 1
failed:         resd 1
e820_count:     resd 1
vbe_mode_number: resw 1
vbe_set_status: resw 1
vbe_version:    resw 1
vbe_modes:      resw 1
screen_width:   resd 1
screen_height:  resd 1
screen_pitch:   resd 1
screen_base:    resq 1                  ; 0: no framebuffer
shadow_pitch:   resd 1
protected_vector: resd 1                ; what the 32-bit exception handler saw
protected_error: resd 1
protected_resume: resd 1
real_routine:   resd 1
long_continue:  resq 1
saved_stack:    resq 1
expect_resume:  resq 1                  ; 0: an exception is the end
seen_vector:    resq 1
seen_error:     resq 1
seen_address:   resq 1
ticks:          resq 1
rtc_ticks:      resq 1
lapic_ticks:    resq 1
irq9_events:    resd 1
tick_rate:      resd 1
tsc_khz:        resq 1
pm_timer_port:  resd 1
pm1a_event:     resd 1
pm1b_event:     resd 1
pm1a_control:   resd 1
pm1b_control:   resd 1
pm1_event_half: resd 1                  ; from status to enable register
smi_command:    resd 1
acpi_enable:    resd 1
sci_interrupt:  resd 1
sleep_type_a:   resd 1
sleep_type_b:   resd 1
reset_port:     resd 1
reset_value:    resd 1
reset_flags:    resd 1                  ; 1: the register exists and is an I/O port
rsdp_address:   resq 1
fadt_address:   resq 1
dsdt_address:   resq 1
madt_address:   resq 1
hpet_address:   resq 1
table_count:    resd 1
table_errors:   resd 1
s5_found:       resd 1
tss:            resb 104
ioapic_address: resd 1
ioapic_pin:     resd 1                  ; where the 8254 arrives
ioapic_ticks:   resq 1
processor_count: resd 1
processors_up:  resd 1
cpu_name:       resb 64
keys_head:      resd 1                  ; input ring: low byte the code, bit 8 set for serial input
keys_tail:      resd 1
keys:           resw 64
mouse_packet:   resb 4
mouse_index:    resd 1
mouse_bytes:    resd 1                  ; bytes of a packet: 3, with a wheel 4; 0: no mouse
mouse_dx:       resd 1
mouse_dy:       resd 1
mouse_buttons:  resd 1
mouse_changed:  resd 1
pointer_x:      resd 1
pointer_y:      resd 1
drawn_x:        resd 1
drawn_y:        resd 1
shift_down:     resd 1
extended_code:  resd 1
rtc_now:        resb 8                  ; second, minute, hour, day, month, year, century
rtc_shown:      resd 1
text_buffer:    resb 128
echo_length:    resd 1
echo_text:      resb 128
echo_columns:   resd 1
panel_x:        resd 1
panel_y:        resd 1
panel_width:    resd 1
panel_height:   resd 1
buttons_shown:  resd 1
uptime_shown:   resd 1
power_button:   resd 1
variables_end:
        section .text
