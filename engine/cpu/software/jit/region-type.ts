/** A handler in a function of its own: (record, micro-operation, address) → NEXT and the like. */
export const HANDLER_TYPE = { params: ['i32', 'i32', 'i64'], results: ['i32'] } as const;
/** A region's function: (record, RIP, fuel) → COMPILED_*. */
export const REGION_TYPE = { params: ['i32', 'i64', 'i32'], results: ['i32'] } as const;
