import { get, i32, i64, load, op } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

/** What POPF restores at any privilege level, besides the arithmetic flags; the second only from 32 bits on. */
const ALWAYS = L.FLAG_TF | L.FLAG_DF | L.FLAG_NT;
const UPPER = L.FLAG_AC | L.FLAG_ID;

/** Whether an interrupt waits that IF alone holds off. */
function interruptWaits(b: InstructionBuilder) {
  return op('i32.or', load('i32.load', get(b.cpu), L.INTR), load('i32.load', get(b.cpu), L.NMI_PENDING));
}

/**
 * PUSHF, POPF, CLI, STI, STAC, CLAC (SDM 2). What kernels do all the time is done here; single steps, virtual-8086 mode
 * and interrupts that get their chance are left to x86/system, which finds everything as it was.
 */
export function defineFlagControl(table: InstructionTable): void {
  table.define('pushf', '9C d64 : Xv', { stack: true, hot: true, system: true }, (b) => {
    const store = () => {
      const kept = op('i32.and', b.field32(L.FLAGS_REST), i32(~(L.FLAG_RF | L.FLAG_VM)));
      const image = b.keep(op('i32.or', kept, b.arithmeticFlags()));
      b.push(b.size === 8 ? op('i64.extend_i32_u', image) : image);
    };
    if (b.stackForm === 'segmented') {
      b.f.if(op('i32.and', b.field32(L.MODE), i32(L.MODE_VM86)), () => b.system('pushf'), store);
    } else {
      store();
    }
  });

  table.define('popf', '9D d64 : Xv', { stack: true, system: true }, (b) => {
    const image = b.keep(b.wrap(b.peek()));
    const mode = b.field32(L.MODE);
    const rest = b.field32(L.FLAGS_REST);
    const when = (bits: number, flag: number) =>
      op('i32.and', op('i32.sub', i32(0), op('i32.ne', op('i32.and', mode, i32(bits)), i32(0))), i32(flag));
    const supervisor = op('i32.eqz', op('i32.and', mode, i32(L.MODE_CPL_MASK)));
    const mask = b.keep(
      op(
        'i32.or',
        op('i32.or', i32(b.size === 2 ? ALWAYS : ALWAYS | UPPER), when(L.MODE_IOPL_OK, L.FLAG_IF)),
        op('i32.and', op('i32.sub', i32(0), supervisor), i32(L.FLAG_IOPL)),
      ),
    );
    const next = b.keep(
      op(
        'i32.or',
        op('i32.and', rest, op('i32.xor', op('i32.or', mask, i32(L.FLAG_RF)), i32(-1))),
        op('i32.and', image, mask),
      ),
    );
    const changed = op('i32.and', op('i32.xor', next, rest), i32(L.FLAG_AC | L.FLAG_IOPL));
    const special = op('i32.and', mode, i32(L.MODE_SINGLE | L.MODE_VM86));
    const opened = op('i32.mul', op('i32.and', next, i32(L.FLAG_IF)), op('i32.ne', interruptWaits(b), i32(0)));
    const trapped = op('i32.and', next, i32(L.FLAG_TF));
    b.f.if(
      op('i32.or', op('i32.or', changed, special), op('i32.or', opened, trapped)),
      () => b.system('popf'),
      () => {
        b.dropStack(i64(b.size));
        b.setField32(L.FLAGS_REST, next);
        b.setArithmeticFlags(image);
      },
    );
  });

  table.define('cli', 'FA', { system: true }, (b) => {
    b.f.if(
      op('i32.and', b.field32(L.MODE), i32(L.MODE_IOPL_OK)),
      () => b.setField32(L.FLAGS_REST, op('i32.and', load('i32.load', get(b.cpu), L.FLAGS_REST), i32(~L.FLAG_IF))),
      () => b.system('cli'),
    );
  });

  // Where no interrupt waits, the one instruction that STI shields is carried out before anybody can look for one;
  // SHADOW_RIP is for a slice that happens to end in between.
  table.define('sti', 'FB', { system: true }, (b) => {
    const mode = op('i32.and', b.field32(L.MODE), i32(L.MODE_IOPL_OK | L.MODE_SINGLE));
    b.f.if(
      op('i32.and', op('i32.eq', mode, i32(L.MODE_IOPL_OK)), op('i32.eqz', interruptWaits(b))),
      () => {
        const rest = b.field32(L.FLAGS_REST);
        b.f.if(op('i32.eqz', op('i32.and', rest, i32(L.FLAG_IF))), () => {
          b.setField64(L.SHADOW_RIP, b.nextRip());
          b.setField32(L.FLAGS_REST, op('i32.or', rest, i32(L.FLAG_IF)));
        });
      },
      () => b.system('sti'),
    );
  });

  // RFLAGS.AC decides which translations are in force.
  for (const [name, encoding] of [
    ['clac', 'NP 0F 01 =CA'],
    ['stac', 'NP 0F 01 =CB'],
  ] as const) {
    table.define(name, encoding, { privileged: true, system: true }, (b) => {
      b.f.if(
        op('i32.and', b.field32(L.MODE), i32(L.MODE_SINGLE)),
        () => b.system(name),
        () => {
          const rest = load('i32.load', get(b.cpu), L.FLAGS_REST);
          b.setField32(
            L.FLAGS_REST,
            name === 'stac' ? op('i32.or', rest, i32(L.FLAG_AC)) : op('i32.and', rest, i32(~L.FLAG_AC)),
          );
          b.f.callVoid(b.helper('select-tlbs'), get(b.cpu));
        },
      );
    });
  }
}
