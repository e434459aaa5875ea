/**
 * A predecoded micro-operation: 32 bytes in the arena, little endian. An instruction is one of them, or an address
 * computation followed by the operation proper; memory is accessed only in an instruction's last one.
 */
export const UOP_SIZE = 32;
/** u16: number of the handler. */
export const UOP_HANDLER = 0;
/** u8: bytes of the instruction. */
export const UOP_LENGTH = 2;
/** u8: instructions from this one to the end of the block, inclusive. */
export const UOP_REMAINING = 3;
/** u16 each: operands in registers, as byte offsets into the processor's record. */
export const UOP_A = 4;
export const UOP_B = 6;
export const UOP_C = 8;
export const UOP_D = 12;
/** The slots of an instruction's operands. */
export const OPERAND_SLOTS = [UOP_A, UOP_B, UOP_C, UOP_D] as const;
/** Address computations: u16 offsets of base and index register (or ZERO), u8 scale shift. */
export const UOP_BASE = 4;
export const UOP_INDEX = 6;
export const UOP_SCALE = 10;
/** u8: number of the segment register. */
export const UOP_SEGMENT = 11;
/** u16: bytes accessed, with SEGMENT_CHECK_WRITE, for the limit check; 0 without one. */
export const UOP_CHECK = 12;
/** u16: offset of the instruction in its page. */
export const UOP_IP = 14;
/** i64: immediate; or for branches two i32 links (taken, not taken). */
export const UOP_IMMEDIATE = 16;
export const UOP_LINK_TAKEN = 16;
export const UOP_LINK_NEXT = 20;
/** i32: displacement of an address or branch. */
export const UOP_DISPLACEMENT = 24;
/** i32: second immediate (ENTER, far pointers' selector), or a mask for address computations. */
export const UOP_EXTRA = 28;
/** u32, in branches: the block it led to last, in whatever page; in UOP_LINK_NEXT of calls the one they returned to. */
export const UOP_GUESS = 28;

export const CHECK_WRITE = 0x8000;

/** What a handler in a function of its own reports. */
export const NEXT = 0;
/** FAULT is set; nothing was committed. */
export const FAULTED = 1;
/** RIP is set; continue there. */
export const JUMPED = 2;
/** RIP is set; stop, so that events are looked at. */
export const STOPPED = 3;
/** RIP is set to the target of the branch whose link slot is UOP_LINK_TAKEN, or UOP_LINK_NEXT. */
export const LINK_TAKEN = 4;
export const LINK_NEXT = 5;
/** RIP is set to the instruction itself, which has done a part of its work. */
export const REPEATED = 6;

/** Why generated code came back. */
export const EXIT_FUEL = 0;
export const EXIT_BREAK = 1;
export const EXIT_FAULT = 2;
/** SCRATCH[0]: the linear address whose code page is unknown. */
export const EXIT_FETCH = 3;
/** SCRATCH[0] low: the physical address at which no block is known. */
export const EXIT_DECODE = 4;

/** Data TLB: 1024 entries of 32 bytes. i64 read tag, i64 write tag, i32 arena address minus linear address (mod 2^32), u32 physical page. */
export const DTLB_ENTRIES = 1024;
export const DTLB_ENTRY_SIZE = 32;
export const DTLB_READ_TAG = 0;
export const DTLB_WRITE_TAG = 8;
export const DTLB_ADDEND = 16;
export const DTLB_PHYSICAL = 20;
/** Instruction TLB: 512 entries of 16 bytes. i64 tag, u32 physical page. */
export const ITLB_ENTRIES = 512;
export const ITLB_ENTRY_SIZE = 16;
export const ITLB_TAG = 0;
export const ITLB_PHYSICAL = 8;

/** Block table: 2^18 entries of 16 bytes. u32 physical address, u32 mode, u32 first micro-operation. */
export const BLOCK_TABLE_BITS = 18;
export const BLOCK_ENTRY_SIZE = 16;

/**
 * In front of each block stands a header as large as a micro-operation: u16 0xffff (no address computation), u16 the
 * handler of its first micro-operation, i32 slot of its compiled code in the function table, i32 look-ups until it is
 * worth compiling, i32 physical address, i32 mode (-1 once it is dropped), i32 times it was found running, i32 number in
 * the code cache, i32 block to which its compiled code led last.
 */
export const BLOCK_HEADER_SIZE = UOP_SIZE;
export const BLOCK_ORIGINAL_HANDLER = 2;
export const BLOCK_FUNCTION = 4;
export const BLOCK_LOOKUPS = 8;
export const BLOCK_PHYSICAL = 12;
export const BLOCK_MODE = 16;
export const BLOCK_SAMPLES = 20;
export const BLOCK_NUMBER = 24;
export const BLOCK_GUESS = 28;
/** CURRENT_UOP: a block that has been looked up another LOOKUPS_A_LOOK times; JUMP_SOURCE: by which computed branch. */
export const EXIT_HOT = 5;
export const LOOKUPS_A_LOOK = 1024;

/** What compiled code returns. RESUME and FAULT: CURRENT_UOP and RIP_BASE are set, the block has been paid for. */
export const COMPILED_RESUME = 0;
/** RIP is set; the block there has not been paid for. */
export const COMPILED_LOOKUP = 1;
/** RIP is set; fuel does not suffice for the block there. */
export const COMPILED_FUEL = 2;
export const COMPILED_FAULT = 3;
/** Or-ed to the outcome of a handler that ended the region: CURRENT_UOP and RIP_BASE are set. */
export const FROM_HANDLER = 16;

/**
 * Jump cache, one for each processor: where compiled code went by addresses known only at run time. i64 RIP, i64 MODE and
 * JUMP_GENERATION, i32 slot in the function table.
 */
export const JUMP_ENTRIES = 4096;
export const JUMP_ENTRY_SHIFT = 5;
export const JUMP_RIP = 0;
export const JUMP_MODE = 8;
export const JUMP_FUNCTION = 16;
/** A processor's table is this many times (as a power of two) larger than its record. */
export const JUMP_TABLE_SHIFT = 4;
