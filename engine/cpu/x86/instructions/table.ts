import { InstructionTable } from './definition.ts';
import { defineIntegerInstructions } from './integer.ts';
import { defineStringInstructions } from './strings.ts';
import { defineSystemInstructions } from './system.ts';

/** The one table of instructions: decoder, interpreter, JIT and generated tests all come from it. */
export function buildInstructionTable(): InstructionTable {
  const table = new InstructionTable();
  defineIntegerInstructions(table);
  defineStringInstructions(table);
  defineSystemInstructions(table);
  return table;
}
