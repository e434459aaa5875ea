/**
 * Where one virtual processor's architectural state lies, as byte offsets from the start of its record in the arena.
 * The interpreter's generated code, the JIT and the TypeScript parts all use these; everything is little endian.
 */

/** General registers in encoding order RAX RCX RDX RBX RSP RBP RSI RDI R8–R15, 8 bytes each. */
export const GPR = 0x000;
/** Eight bytes that are always zero: "no base" and "no index" in an address. */
export const ZERO = 0x080;
/** i64. Exact whenever generated code is not running. */
export const RIP = 0x088;
/** i64: last result, sign-extended from its operand size. ZF, SF and PF derive from it. See flags.ts. */
export const LF_RES = 0x090;
/** i32: carries of the last result and corrections. CF, OF, AF derive from it. See flags.ts. */
export const LF_AUX = 0x098;
/** i32: all of RFLAGS but OSZAPC (which are zero here); bit 1 is set. */
export const FLAGS_REST = 0x09c;
/** i64: RIP of offset 0 of the code page being executed. */
export const RIP_BASE = 0x0a0;
/** i32: instructions left in this slice; negative stops generated code at the next block. */
export const FUEL = 0x0a8;
/** i32: non-zero (BIAS_BREAK) stops generated code before the next instruction. */
export const BIAS = 0x0ac;
/** i32: 0, or FAULT_PENDING | vector: an exception to deliver for the current instruction. */
export const FAULT = 0x0b0;
/** i32: its error code. */
export const FAULT_ERROR = 0x0b4;
/** i64: the linear address of a page fault. */
export const FAULT_ADDRESS = 0x0b8;
/** i32: arena address of the current micro-operation while TypeScript is called from generated code. */
export const CURRENT_UOP = 0x0c0;
/** i32: the mode bits under which code is decoded; see MODE_*. */
export const MODE = 0x0c4;
/**
 * i32: changes whenever a linear address may lead to other code than before: TLB flushes, dropped code. Behind MODE, so
 * that compiled code compares both at once.
 */
export const JUMP_GENERATION = 0x0c8;
/** i32: arena address of the instruction TLB in force. */
export const ITLB = 0x0cc;
/** Four i64 for passing 64-bit values between generated code and TypeScript. */
export const SCRATCH = 0x0d0;
/** i32 (in SCRATCH[3]): bytes of the data access that is being translated, for watchpoints. */
export const ACCESS_SIZE = 0x0e8;
/**
 * i64: where the last STI that set IF left off. An interrupt that comes while RIP is still there waits for one more
 * instruction. (SHADOW is set only where one waits already.)
 */
export const SHADOW_RIP = 0x0f0;
/** i64: the address a memory operand was computed to be, kept for restarts. */
export const EA = 0x0f8;

/** Segment registers in encoding order ES CS SS DS FS GS, then LDTR and TR. */
export const SEGMENTS = 0x100;
export const SEGMENT_SIZE = 32;
export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;
export const SEG_LDTR = 6;
export const SEG_TR = 7;
/** Within a segment: i64 base, u32 limit in bytes (granularity applied), u32 attributes, u32 selector. */
export const SEGMENT_BASE = 0;
export const SEGMENT_LIMIT = 8;
export const SEGMENT_ATTRIBUTES = 12;
export const SEGMENT_SELECTOR = 16;
/** Attribute bits, as in the high dword of a descriptor shifted right by 8 (SDM 3A, 3.4.5), without the limit bits. */
export const ATTR_TYPE = 0x000f;
export const ATTR_ACCESSED = 0x0001;
export const ATTR_WRITABLE = 0x0002;
export const ATTR_EXPAND_DOWN = 0x0004;
export const ATTR_CONFORMING = 0x0004;
export const ATTR_CODE = 0x0008;
export const ATTR_S = 0x0010;
export const ATTR_DPL_SHIFT = 5;
export const ATTR_PRESENT = 0x0080;
export const ATTR_LONG = 0x2000;
export const ATTR_DB = 0x4000;
export const ATTR_GRANULARITY = 0x8000;
/** The register holds a null selector: any use faults (outside 64-bit mode). */
export const ATTR_UNUSABLE = 0x10000;

/** i64 base, u32 limit. */
export const GDTR = 0x200;
export const IDTR = 0x210;
/** i64 each. */
export const CR0 = 0x220;
export const CR2 = 0x228;
export const CR3 = 0x230;
export const CR4 = 0x238;
export const EFER = 0x240;
export const XCR0 = 0x248;
/** DR0–DR3, DR6, DR7, i64 each. */
export const DR0 = 0x250;
export const DR6 = 0x270;
export const DR7 = 0x278;
/** Model-specific registers, i64 each. FS.base and GS.base live in the segments. */
export const MSR_STAR = 0x280;
export const MSR_LSTAR = 0x288;
export const MSR_CSTAR = 0x290;
export const MSR_SFMASK = 0x298;
export const MSR_KERNEL_GS_BASE = 0x2a0;
export const MSR_SYSENTER_CS = 0x2a8;
export const MSR_SYSENTER_ESP = 0x2b0;
export const MSR_SYSENTER_EIP = 0x2b8;
export const MSR_TSC_AUX = 0x2c0;
export const MSR_PAT = 0x2c8;
/** Added to the clock's time-stamp counter: what the guest wrote into IA32_TIME_STAMP_COUNTER. */
export const TSC_OFFSET = 0x2d0;
export const MSR_TSC_ADJUST = 0x2d8;
export const MSR_MISC_ENABLE = 0x2e0;
export const MSR_MTRR_DEF_TYPE = 0x2e8;
/** 8 pairs of base and mask. */
export const MSR_MTRR_VARIABLE = 0x2f0;
/** 11 fixed-range MTRRs. */
export const MSR_MTRR_FIXED = 0x370;

/** i32: 0 running, 1 halted (HLT), 2 waiting for SIPI, 3 shut down (triple fault). */
export const ACTIVITY = 0x3d0;
export const ACTIVITY_RUNNING = 0;
export const ACTIVITY_HALTED = 1;
export const ACTIVITY_WAIT_SIPI = 2;
export const ACTIVITY_SHUTDOWN = 3;
/** i32: the level of INTR as the local APIC drives it. */
export const INTR = 0x3d4;
/** i32: 1 when an NMI waits. */
export const NMI_PENDING = 0x3d8;
/** i32: 1 while NMIs are blocked until IRET. */
export const NMI_BLOCKED = 0x3dc;
/** i32: 1 while the instruction after STI or MOV SS shields from interrupts. */
export const SHADOW = 0x3e0;
/** i32: 1 to take a #DB trap after the current instruction (TF was set before it, or a task switch's T bit). */
export const TRAP_PENDING = 0x3e4;
/** i32: mask applied to physical address bit 20: 0xffffffff or 0xffefffff. */
export const A20_MASK = 0x3e8;
/** i32: 1 while every data access has to be looked at (watchpoints): nothing enters the data TLBs. */
export const WATCHING = 0x3ec;
/** i64: instructions retired since power-on. */
export const RETIRED = 0x3f0;
/** i32: index of this processor. */
export const CPU_INDEX = 0x3f8;
/** i32: arena address of the data TLB in force (user, supervisor, supervisor with AC). */
export const DTLB = 0x3fc;

/** Vector registers: 32 bytes each (YMM0–YMM15); XMM is the low half. */
export const XMM = 0x400;
export const XMM_STRIDE = 32;
/** x87 registers in physical order R0–R7, 16 bytes each: u64 significand, u16 sign and exponent. MMX shares them. */
export const FPR = 0x600;
export const FPR_STRIDE = 16;
/** i32 each. */
export const FPU_CONTROL = 0x680;
/** Status word without TOP (bits 11–13 are zero here). */
export const FPU_STATUS = 0x684;
/** 0–7. */
export const FPU_TOP = 0x688;
/** Bit n set: physical register n is in use (not empty). */
export const FPU_VALID = 0x68c;
export const FPU_OPCODE = 0x690;
/** i64 each. */
export const FPU_IP = 0x698;
export const FPU_DP = 0x6a0;
export const FPU_CS = 0x6a8;
export const FPU_DS = 0x6ac;
/** i32. */
export const MXCSR = 0x6b0;

/** i32: micro-operation of the computed branch whose target is being looked up, or 0. RIP_BASE is still that of its page. */
export const JUMP_SOURCE = 0x6b4;
/**
 * u64: what RDTSC answers next, or 0 when it has to look at the clock. Looking costs far more than a system call of the
 * guest, so one look does for the rest of a stretch of generated code, in which the counter goes up by TSC_STEP each
 * time it is read: slower than time does. Every access to a device ends that too.
 */
export const TSC_NEXT = 0x6b8;
export const TSC_STEP = 4;

/** Registers that only some machines have, i64 each: speculation control, and those of hypervisors' interfaces. */
export const MSR_SPEC_CTRL = 0x700;
export const MSR_KVM_SYSTEM_TIME = 0x708;
export const MSR_KVM_WALL_CLOCK = 0x710;
export const MSR_KVM_STEAL_TIME = 0x718;
export const MSR_KVM_PV_EOI = 0x720;
/** Behind the last of them. */
export const MSR_EXTRA_END = 0x800;

export const CPU_STATE_SIZE = 0x2000;
/**
 * Where the interpreter's latest calls were made: i32 place of the last in the ring of i32 addresses of micro-operations
 * (0: none). Only a hint as to which block a return goes to.
 */
export const RETURN_TOP = 0x1f00;
export const RETURN_RING = 0x1f40;
export const RETURN_RING_SIZE = 64;
/** Free for generated code's own temporaries (per processor). */
export const TEMP = 0x800;

/** BIAS value that stops before the next instruction. */
export const BIAS_BREAK = 0x10000;
export const FAULT_PENDING = 0x100;
/** FAULT flag: an error code accompanies the exception. */
export const FAULT_HAS_ERROR = 0x200;

/** Mode bits: everything that decoding depends on. */
export const MODE_CODE16 = 0;
export const MODE_CODE32 = 1;
export const MODE_CODE64 = 2;
export const MODE_CODE_MASK = 3;
/** ES, CS, SS and DS have base 0 and limit 4 GiB and are readable and writable (CS readable). */
export const MODE_FLAT = 1 << 2;
export const MODE_STACK_SHIFT = 3;
export const MODE_STACK16 = 0 << 3;
export const MODE_STACK32 = 1 << 3;
export const MODE_STACK32_FLAT = 2 << 3;
export const MODE_STACK64 = 3 << 3;
export const MODE_STACK_MASK = 3 << 3;
export const MODE_CPL_SHIFT = 5;
export const MODE_CPL_MASK = 3 << 5;
/** x87 and MMX instructions raise #NM (or #UD for MMX with EM). CR0.EM or CR0.TS. */
export const MODE_FPU_TRAP = 1 << 7;
/** SSE instructions raise #UD or #NM: CR0.EM, CR0.TS or not CR4.OSFXSR. */
export const MODE_SSE_TRAP = 1 << 8;
/** CR0.PE is set and RFLAGS.VM is clear. */
export const MODE_PROTECTED = 1 << 9;
export const MODE_VM86 = 1 << 10;
/** Blocks of one instruction: single step, exact stops. */
export const MODE_SINGLE = 1 << 11;
/** CPL ≤ IOPL (always in real mode): I/O and IF are free to use. */
export const MODE_IOPL_OK = 1 << 12;
/** EFER.LMA is set. */
export const MODE_LONG = 1 << 13;

/** CR0.EM is set: MMX and SSE instructions are undefined. */
export const MODE_EMULATE = 1 << 14;
/** CR4.OSFXSR is clear: SSE instructions are undefined. */
export const MODE_NO_FXSR = 1 << 15;
/** VEX instructions on vectors are undefined: CR4.OSXSAVE or the AVX or SSE bit of XCR0 is clear. */
export const MODE_NO_AVX = 1 << 16;
/** CR0.TS is set. */
export const MODE_TASK_SWITCHED = 1 << 17;
/** Of these bits, flat 32-bit protected code that is not single-stepped has these, at any privilege level. */
export const MODE_FLAT32_BITS =
  MODE_CODE_MASK | MODE_FLAT | MODE_STACK_MASK | MODE_PROTECTED | MODE_VM86 | MODE_LONG | MODE_SINGLE;
export const MODE_FLAT32 = MODE_PROTECTED | MODE_CODE32 | MODE_STACK32_FLAT | MODE_FLAT;

/** RFLAGS bits. */
export const FLAG_CF = 1 << 0;
export const FLAG_PF = 1 << 2;
export const FLAG_AF = 1 << 4;
export const FLAG_ZF = 1 << 6;
export const FLAG_SF = 1 << 7;
export const FLAG_TF = 1 << 8;
export const FLAG_IF = 1 << 9;
export const FLAG_DF = 1 << 10;
export const FLAG_OF = 1 << 11;
export const FLAG_IOPL = 3 << 12;
export const FLAG_NT = 1 << 14;
export const FLAG_RF = 1 << 16;
export const FLAG_VM = 1 << 17;
export const FLAG_AC = 1 << 18;
export const FLAG_VIF = 1 << 19;
export const FLAG_VIP = 1 << 20;
export const FLAG_ID = 1 << 21;
export const FLAGS_ARITHMETIC = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;

export const CR0_PE = 1 << 0;
export const CR0_MP = 1 << 1;
export const CR0_EM = 1 << 2;
export const CR0_TS = 1 << 3;
export const CR0_ET = 1 << 4;
export const CR0_NE = 1 << 5;
export const CR0_WP = 1 << 16;
export const CR0_AM = 1 << 18;
export const CR0_NW = 1 << 29;
export const CR0_CD = 1 << 30;
export const CR0_PG = 0x80000000 | 0;
export const CR4_VME = 1 << 0;
export const CR4_PVI = 1 << 1;
export const CR4_TSD = 1 << 2;
export const CR4_DE = 1 << 3;
export const CR4_PSE = 1 << 4;
export const CR4_PAE = 1 << 5;
export const CR4_MCE = 1 << 6;
export const CR4_PGE = 1 << 7;
export const CR4_PCE = 1 << 8;
export const CR4_OSFXSR = 1 << 9;
export const CR4_OSXMMEXCPT = 1 << 10;
export const CR4_UMIP = 1 << 11;
export const CR4_FSGSBASE = 1 << 16;
export const CR4_PCIDE = 1 << 17;
export const CR4_OSXSAVE = 1 << 18;
export const CR4_SMEP = 1 << 20;
export const CR4_SMAP = 1 << 21;
/** State components in XCR0 and the XSAVE area (SDM 1, 13.1). */
export const XCR0_X87 = 1 << 0;
export const XCR0_SSE = 1 << 1;
export const XCR0_AVX = 1 << 2;
/** What VEX instructions on vectors need. */
export const XCR0_AVX_STATE = XCR0_SSE | XCR0_AVX;
export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;

/** Exception vectors (SDM 3A, table 6-1). */
export const VECTOR_DE = 0;
export const VECTOR_DB = 1;
export const VECTOR_NMI = 2;
export const VECTOR_BP = 3;
export const VECTOR_OF = 4;
export const VECTOR_BR = 5;
export const VECTOR_UD = 6;
export const VECTOR_NM = 7;
export const VECTOR_DF = 8;
export const VECTOR_TS = 10;
export const VECTOR_NP = 11;
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;
export const VECTOR_MF = 16;
export const VECTOR_AC = 17;
export const VECTOR_XM = 19;
