/**
 * VEX forms of legacy encodings (SDM 2A, 2.3). `length` is what VEX.L means to them: 'VEX' the vector's size, 'VEX128'
 * that only 128 bits exist, 'VEXLIG' nothing.
 */
export type VexToken = 'VEX' | 'VEX128' | 'VEX256' | 'VEXLIG';

/** The encodings and their VEX forms with the same operands. */
export function withVex(encodings: string | readonly string[], length: VexToken = 'VEX'): string[] {
  const list = typeof encodings === 'string' ? [encodings] : encodings;
  return [...list, ...list.map((encoding) => `${length} ${encoding}`)];
}

/** The encodings and their VEX forms, whose first source is an operand of its own behind the destination. */
export function withVex3(encodings: string | readonly string[], length: VexToken = 'VEX'): string[] {
  const list = typeof encodings === 'string' ? [encodings] : encodings;
  return [...list, ...list.map((encoding) => `${length} ${encoding.replace(/: ([VU])(\w) /, addSource)}`)];
}

/** The same with a VEX form of each length: those of 256 bits are a feature of their own. */
export function withBothVex3(encoding: string): string[] {
  return [...withVex3(encoding, 'VEX128'), ...withVex3(encoding, 'VEX256').slice(1)];
}

function addSource(_: string, code: string, size: string): string {
  // Where ModRM.rm is both source and destination, VEX.vvvv names the destination.
  return code === 'V' ? `: V${size} H${size} ` : `: H${size} U${size} `;
}
