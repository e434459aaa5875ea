/**
 * Where the guests of lock-step tests keep what: a small kernel, its tables, and the code and data of a random program.
 * Physical addresses below are also linear ones for the kernel (it is mapped to itself).
 */
export const PAGE = 0x1000;
export const RAM_BYTES = 4 << 20;

// Tables.
export const PML4 = 0x1000;
export const PDPT = 0x2000;
/** The table for the top half of the 64-bit address space. */
export const PDPT_HIGH = 0x3000;
export const PAGE_DIRECTORY = 0x4000;
export const KERNEL_TABLE = 0x5000;
export const DATA_TABLE = 0x6000;
export const CODE_TABLE = 0x7000;
export const GDT = 0x8000;
export const TSS64 = 0x8400;
export const TSS32 = 0x8500;
/** 32 bytes: the four entries of PAE paging. */
export const PAE_TABLE = 0x8800;
export const IDT64 = 0x9000;
export const IDT32 = 0xa000;

// The kernel.
export const KERNEL64 = 0x10000;
export const KERNEL32 = 0x12000;
/** Variables of the kernel; see guest-kernel.ts. */
export const KERNEL_DATA = 0x14000;
/** Ring of 32-byte records, one for every interrupt and exception. */
export const LOG = 0x15000;
export const LOG_BYTES = 0x2000;
/** For each byte of code a u16: offset of the instruction behind the one that starts there, or 0. */
export const RECOVERY = 0x18000;
export const STACKS = 0x28000;
export const STACKS_BYTES = 0x4000;
/** Page tables once more, writable: elsewhere the kernel's own memory is read-only. */
export const TABLES_ALIAS = 0x100000;
export const DATA_TABLE_ALIAS = TABLES_ALIAS;
export const CODE_TABLE_ALIAS = TABLES_ALIAS + PAGE;

// Physical memory of the program.
export const CODE_PHYSICAL = 0x30000;
export const CODE_PHYSICAL_PAGES = 16;
export const DATA_PHYSICAL = 0x40000;
export const DATA_PHYSICAL_PAGES = 23;
/** A page that a device turns from memory into a device and back. */
export const SWITCHED_PHYSICAL = 0x57000;
/** End of the memory that is set up for a program, and compared. */
export const COMPARED_BYTES = 0x58000;
export const ROM_PHYSICAL = 0x60000;
/** Video memory, whose writes are recorded. */
export const VIDEO_PHYSICAL = 0xe0000000;
export const DEVICE_PHYSICAL = 0xfe000000;

// Linear addresses of the program.
export const DATA = 0x10000000;
export const DATA_PAGES = 20;
export const CODE = 0x20000000;
export const CODE_PAGES = 8;
export const CODE_BYTES = CODE_PAGES * PAGE;
/** The code a second time, through page-table entries of its own. */
export const CODE_ALIAS = CODE + 0x100000;
/** Everything below 1 GiB once more, at the top of the 64-bit address space. */
export const HIGH = 0xffffffff80000000n;
/** The page of the data area that serves as the program's stack, and the address the stack starts from. */
export const STACK_PAGE = 10;
export const STACK_TOP = DATA + STACK_PAGE * PAGE + 0xc00;

// Segment selectors.
export const KERNEL_CODE64 = 0x08;
export const KERNEL_DATA_SELECTOR = 0x10;
export const USER_CODE32 = 0x1b;
export const USER_DATA = 0x23;
export const USER_CODE64 = 0x2b;
export const KERNEL_CODE32 = 0x30;
export const TSS64_SELECTOR = 0x38;
export const TSS32_SELECTOR = 0x48;
/** Data segments with a base of SEGMENT_BASE, for privilege level 0 and 3. */
export const BASED_DATA0 = 0x50;
export const BASED_DATA3 = 0x5b;
export const SEGMENT_BASE = 0x30;

// Page-table entry bits.
export const PRESENT = 1 << 0;
export const WRITABLE = 1 << 1;
export const USER = 1 << 2;
export const ACCESSED = 1 << 5;
export const DIRTY = 1 << 6;
export const GLOBAL = 1 << 8;
/** Free for software: the kernel makes the page present at its first use. */
export const ON_DEMAND = 1 << 9;
/** Free for software: the kernel makes the page writable at the first write. */
export const ON_WRITE = 1 << 10;
/** Bit 63, in the high word. */
export const NO_EXECUTE = 0x80000000 | 0;

// Software interrupts that the kernel serves.
export const SERVICE_NOTHING = 0x80;
export const SERVICE = 0x81;
export const SERVICE_END = 0x82;

/** Functions of SERVICE, in EAX; ECX is the argument. */
export const SWAP_CODE_PAGE = 0;
export const SWAP_DATA_PAGE = 1;
export const SET_TASK_SWITCHED = 2;
export const TOGGLE_WATCHPOINT = 3;
export const TOGGLE_GLOBAL_PAGES = 4;
export const CLEAR_ACCESSED = 5;
export const TOGGLE_CODE_BREAKPOINT = 6;
export const SERVICE_FUNCTIONS = 7;
