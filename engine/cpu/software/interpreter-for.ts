import { buildInstructionTable } from '../x86/instructions/table.ts';
import { buildInterpreter, type Interpreter } from './interpreter.ts';

/** The table and the interpreter are the same for every machine of this process: built once. */
let shared:
  | { readonly table: ReturnType<typeof buildInstructionTable>; readonly interpreters: Map<number, Interpreter> }
  | undefined;

/** The instruction table and the interpreter for an arena of so many pages of 64 KiB. */
export function interpreterFor(pages: number) {
  shared ??= { table: buildInstructionTable(), interpreters: new Map() };
  let interpreter = shared.interpreters.get(pages);
  if (interpreter === undefined) {
    interpreter = buildInterpreter(shared.table, pages);
    shared.interpreters.set(pages, interpreter);
  }
  return { table: shared.table, interpreter };
}
