import { defineAdx } from './adx.ts';
import { defineAvxMemory } from './avx-memory.ts';
import { defineAvxPermutes } from './avx-permutes.ts';
import { defineBmi } from './bmi.ts';
import { defineControlRegisters } from './control-registers.ts';
import { InstructionTable } from './definition.ts';
import { defineF16c } from './f16c.ts';
import { defineFlagControl } from './flag-control.ts';
import { defineFma } from './fma.ts';
import { defineIntegerInstructions } from './integer.ts';
import { defineMmxInstructions } from './mmx.ts';
import { definePrivilegeLevels } from './privilege-levels.ts';
import { defineSseInstructions } from './sse.ts';
import { defineStringInstructions } from './strings.ts';
import { defineSystemInstructions } from './system.ts';
import { defineX87Instructions } from './x87.ts';
import { defineX87StateInstructions } from './x87-state.ts';

/** The one table of instructions: decoder, interpreter, JIT and generated tests all come from it. */
export function buildInstructionTable(): InstructionTable {
  const table = new InstructionTable();
  defineIntegerInstructions(table);
  defineStringInstructions(table);
  defineSystemInstructions(table);
  defineFlagControl(table);
  definePrivilegeLevels(table);
  defineControlRegisters(table);
  defineSseInstructions(table);
  defineX87Instructions(table);
  defineX87StateInstructions(table);
  defineMmxInstructions(table);
  defineBmi(table);
  defineAdx(table);
  defineAvxPermutes(table);
  defineAvxMemory(table);
  defineFma(table);
  defineF16c(table);
  return table;
}
