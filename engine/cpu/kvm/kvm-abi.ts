/** Numbers and layouts of KVM's interface (Linux, Documentation/virt/kvm/api.rst; arch/x86/include/uapi/asm/kvm.h). */

export const KVM_API_VERSION = 12;

export const KVM_CAP_IRQCHIP = 0;
export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_SET_TSS_ADDR = 4;
export const KVM_CAP_EXT_CPUID = 7;
export const KVM_CAP_MP_STATE = 14;
export const KVM_CAP_COALESCED_MMIO = 15;
export const KVM_CAP_SET_GUEST_DEBUG = 23;
export const KVM_CAP_IRQ_ROUTING = 25;
export const KVM_CAP_IRQFD = 32;
export const KVM_CAP_PIT2 = 33;
export const KVM_CAP_PIT_STATE2 = 35;
export const KVM_CAP_IOEVENTFD = 36;
export const KVM_CAP_VCPU_EVENTS = 41;
export const KVM_CAP_DEBUGREGS = 50;
export const KVM_CAP_XSAVE = 55;
export const KVM_CAP_XCRS = 56;
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;
export const KVM_CAP_SIGNAL_MSI = 77;
export const KVM_CAP_READONLY_MEM = 81;
export const KVM_CAP_SPLIT_IRQCHIP = 121;
export const KVM_CAP_VCPU_ATTRIBUTES = 127;
export const KVM_CAP_X2APIC_API = 129;
export const KVM_CAP_IMMEDIATE_EXIT = 136;
export const KVM_CAP_COALESCED_PIO = 162;
export const KVM_CAP_X86_USER_SPACE_MSR = 188;
export const KVM_CAP_X86_MSR_FILTER = 189;
export const KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204;

export const KVM_EXIT_EXCEPTION = 1;
export const KVM_EXIT_IO = 2;
export const KVM_EXIT_DEBUG = 4;
export const KVM_EXIT_HLT = 5;
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7;
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_SET_TPR = 11;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;
export const KVM_EXIT_IOAPIC_EOI = 26;
export const KVM_EXIT_X86_RDMSR = 29;
export const KVM_EXIT_X86_WRMSR = 30;

/** Suberrors of KVM_EXIT_INTERNAL_ERROR. */
export const KVM_INTERNAL_ERROR_EMULATION = 1;

/** Which MSR accesses KVM_CAP_X86_USER_SPACE_MSR brings back: values refused, unknown registers, filtered ones. */
export const KVM_MSR_EXIT_REASONS = 7;

/** Flags of memory slots. */
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;

/** Argument of KVM_CAP_X2APIC_API. */
export const KVM_X2APIC_API_USE_32BIT_IDS = 1;

/** struct kvm_mp_state, a word. */
export const MP_STATE_BYTES = 4;
export const KVM_MP_STATE_RUNNABLE = 0;
export const KVM_MP_STATE_UNINITIALIZED = 1;
export const KVM_MP_STATE_INIT_RECEIVED = 2;
export const KVM_MP_STATE_HALTED = 3;
export const KVM_MP_STATE_SIPI_RECEIVED = 4;

/** Kinds of routes of interrupts: struct kvm_irq_routing_entry. */
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;

/** struct kvm_irqchip: which one, padding, and its state. */
export const IRQCHIP_BYTES = 520;
export const IRQCHIP_STATE = 8;
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;

/** struct kvm_pic_state, bytes. */
export const PIC_LAST_IRR = 0;
export const PIC_IRR = 1;
export const PIC_IMR = 2;
export const PIC_ISR = 3;
export const PIC_PRIORITY_ADD = 4;
export const PIC_IRQ_BASE = 5;
export const PIC_READ_REG_SELECT = 6;
export const PIC_POLL = 7;
export const PIC_SPECIAL_MASK = 8;
export const PIC_INIT_STATE = 9;
export const PIC_AUTO_EOI = 10;
export const PIC_ROTATE_ON_AUTO_EOI = 11;
export const PIC_SPECIAL_FULLY_NESTED = 12;
export const PIC_INIT4 = 13;
export const PIC_ELCR = 14;
export const PIC_ELCR_MASK = 15;

/** struct kvm_ioapic_state: base address (64 bits), then words, then 24 redirection entries of 64 bits. */
export const IOAPIC_BASE_ADDRESS = 0;
export const IOAPIC_IOREGSEL = 8;
export const IOAPIC_ID = 12;
export const IOAPIC_IRR = 16;
export const IOAPIC_REDIRECTION = 24;

/** struct kvm_pit_state2: three channels, and flags. */
export const PIT_STATE_BYTES = 112;
export const PIT_CHANNEL_BYTES = 24;
export const PIT_COUNT = 0;
export const PIT_LATCHED_COUNT = 4;
export const PIT_COUNT_LATCHED = 6;
export const PIT_STATUS_LATCHED = 7;
export const PIT_STATUS = 8;
export const PIT_READ_STATE = 9;
export const PIT_WRITE_STATE = 10;
export const PIT_WRITE_LATCH = 11;
export const PIT_RW_MODE = 12;
export const PIT_MODE = 13;
export const PIT_BCD = 14;
export const PIT_GATE = 15;
/** Nanoseconds of the host's monotonic clock. */
export const PIT_COUNT_LOAD_TIME = 16;
export const PIT_FLAGS = 72;
export const KVM_PIT_FLAGS_HPET_LEGACY = 1;
export const KVM_PIT_FLAGS_SPEAKER_DATA_ON = 2;
/** Flag of KVM_CREATE_PIT2: port 0x61 as well. */
export const KVM_PIT_SPEAKER_DUMMY = 1;

/** struct kvm_lapic_state: the page of registers, as far as there are any. */
export const LAPIC_BYTES = 0x400;

/** struct kvm_regs: RAX RBX RCX RDX RSI RDI RSP RBP R8–R15 RIP RFLAGS. */
export const REGS_BYTES = 18 * 8;
export const REGS_RIP = 16 * 8;
export const REGS_RFLAGS = 17 * 8;

/** struct kvm_sregs: CS DS ES FS GS SS TR LDTR, GDTR, IDTR, control registers. */
export const SREGS_BYTES = 312;
export const SREGS_GDT = 192;
export const SREGS_IDT = 208;
export const SREGS_CR0 = 224;
export const SREGS_CR2 = 232;
export const SREGS_CR3 = 240;
export const SREGS_CR4 = 248;
export const SREGS_CR8 = 256;
export const SREGS_EFER = 264;
export const SREGS_APIC_BASE = 272;
export const SREGS_INTERRUPT_BITMAP = 280;

/** struct kvm_segment. */
export const SEGMENT_BYTES = 24;
export const SEGMENT_LIMIT = 8;
export const SEGMENT_SELECTOR = 12;
export const SEGMENT_TYPE = 14;
export const SEGMENT_PRESENT = 15;
export const SEGMENT_DPL = 16;
export const SEGMENT_DB = 17;
export const SEGMENT_S = 18;
export const SEGMENT_L = 19;
export const SEGMENT_G = 20;
export const SEGMENT_AVL = 21;
export const SEGMENT_UNUSABLE = 22;

/** struct kvm_xsave: the standard format of XSAVE (SDM 1, 13.4), legacy region as FXSAVE. */
export const XSAVE_BYTES = 4096;
export const XSAVE_FCW = 0;
export const XSAVE_FSW = 2;
export const XSAVE_TAGS = 4;
export const XSAVE_FOP = 6;
export const XSAVE_FIP = 8;
export const XSAVE_FDP = 16;
export const XSAVE_MXCSR = 24;
export const XSAVE_ST = 32;
export const XSAVE_XMM = 160;
/** XSTATE_BV: which components hold something else than their initial values. */
export const XSAVE_STATE = 512;
/** The upper halves of YMM0–YMM15. */
export const XSAVE_YMM = 576;

/** struct kvm_vcpu_events. */
export const EVENTS_BYTES = 64;
export const EVENTS_EXCEPTION_INJECTED = 0;
export const EVENTS_EXCEPTION_VECTOR = 1;
export const EVENTS_EXCEPTION_HAS_ERROR = 2;
export const EVENTS_EXCEPTION_PENDING = 3;
export const EVENTS_EXCEPTION_ERROR = 4;
export const EVENTS_INTERRUPT_INJECTED = 8;
export const EVENTS_INTERRUPT_VECTOR = 9;
export const EVENTS_INTERRUPT_SOFT = 10;
export const EVENTS_INTERRUPT_SHADOW = 11;
export const EVENTS_NMI_INJECTED = 12;
export const EVENTS_NMI_PENDING = 13;
export const EVENTS_NMI_MASKED = 14;
export const EVENTS_FLAGS = 20;
export const EVENTS_VALID_NMI_PENDING = 1;
export const EVENTS_VALID_SHADOW = 4;

/** struct kvm_debugregs: DR0–DR3, DR6, DR7. */
export const DEBUGREGS_BYTES = 128;

/** struct kvm_guest_debug: control, padding, DR0–DR7. */
export const GUEST_DEBUG_BYTES = 72;
export const GUEST_DEBUG_DR0 = 8;
export const GUEST_DEBUG_DR7 = 64;
export const KVM_GUESTDBG_ENABLE = 1;
export const KVM_GUESTDBG_USE_HW_BP = 0x20000;

/** struct kvm_xcrs: count, flags, then entries of number, reserved, value. */
export const XCRS_BYTES = 392;
export const XCRS_FIRST_VALUE = 16;

export const MSR_ENTRY_BYTES = 16;
/** struct kvm_cpuid_entry2 in words: leaf, subleaf, flags, EAX, EBX, ECX, EDX, three of padding. */
export const CPUID_ENTRY_WORDS = 10;
export const KVM_CPUID_FLAG_SIGNIFICANT_INDEX = 1;
