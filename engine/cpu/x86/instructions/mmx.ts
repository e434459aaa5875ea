import { i32 } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import { checkPending } from './x87-operands.ts';

export function defineMmxInstructions(table: InstructionTable): void {
  table.define('emms', 'NP 0F 77', { unit: 'mmx' }, (b) => {
    checkPending(b);
    b.setField32(L.FPU_VALID, i32(0));
    b.setField32(L.FPU_TOP, i32(0));
  });
}
