; The tour: Lodge's demonstration guest. See README.md for what it does.
; One flat image, loaded by its own boot sector to 0x7C00 and running there in all modes.

        org 0x7C00
        bits 16

%include "layout.asm"
%include "boot.asm"
%include "real.asm"
%include "protected.asm"
%include "switch.asm"
%include "console.asm"
%include "interrupts.asm"
%include "main.asm"
%include "probe-cpu.asm"
%include "probe-user.asm"
%include "probe-memory.asm"
%include "probe-acpi.asm"
%include "probe-timers.asm"
%include "probe-pci.asm"
%include "probe-disk.asm"
%include "probe-input.asm"
%include "drawing.asm"
%include "desktop.asm"
%include "power.asm"

        align 512, db 0
image_end:
