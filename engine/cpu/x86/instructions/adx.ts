import { type I32, op } from '../../software/wasm/function-builder.ts';
import type { InstructionTable } from './definition.ts';

/** ADCX and ADOX (SDM 2A): additions with two carries side by side, each of which changes one flag alone. */
export function defineAdx(table: InstructionTable): void {
  for (const [name, prefix] of [
    ['adcx', '66'],
    ['adox', 'F3'],
  ] as const) {
    table.define(name, `${prefix} 0F 38 F6 /r : Gy Ey`, { feature: 'adx' }, (b) => {
      const source = b.read(1);
      const carryIn = name === 'adcx' ? b.carry() : b.overflow();
      const sum = b.keep(b.bin('add', b.read(0), source));
      const result = b.keep(b.bin('add', sum, b.size === 8 ? b.zeroExtend64(carryIn, 4) : carryIn));
      // At most one of the two additions carries.
      const carryOut = b.keep(op('i32.or', b.cmp('lt_u', sum, source), b.cmp('lt_u', result, sum))) as I32;
      b.write(0, result);
      if (name === 'adcx') {
        b.setCarry(carryOut);
      } else {
        b.setOverflow(carryOut);
      }
    });
  }
}
