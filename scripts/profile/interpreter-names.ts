import { buildInterpreter } from '../../engine/cpu/software/interpreter.ts';
import { buildInstructionTable } from '../../engine/cpu/x86/instructions/table.ts';

/** Names of the interpreter's functions by their index, which is all that a profile shows of them. */
export function interpreterNames(): ReadonlyMap<number, string> {
  return buildInterpreter(buildInstructionTable(), 0x10000).names;
}
