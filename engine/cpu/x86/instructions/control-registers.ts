import { d, q } from '../../software/wasm/arithmetic.ts';
import { get, i32, load, op } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import { IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE } from '../system/msr.ts';
import type { InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
/** Bits that CR3 may have: MAXPHYADDR 40. */
const CR3_BITS = 40;
const NO_FLUSH = 1n << 63n;
const BASES = [
  [IA32_FS_BASE, L.SEGMENTS + L.SEG_FS * L.SEGMENT_SIZE],
  [IA32_GS_BASE, L.SEGMENTS + L.SEG_GS * L.SEGMENT_SIZE],
  [IA32_KERNEL_GS_BASE, L.MSR_KERNEL_GS_BASE],
] as const;

/** Branches for the base registers that context switches read and write, by MSR number. */
function forBase(b: InstructionBuilder, body: (place: number) => void, otherwise: () => void): void {
  const number = b.gpr(RCX, 4);
  b.f.block((done) => {
    for (const [msr, place] of BASES) {
      b.f.if(op('i32.eq', number, i32(msr)), () => {
        body(place);
        b.f.br(done);
      });
    }
    otherwise();
  });
}

/**
 * Control registers, INVLPG and model-specific registers: reads, page-table switches and the bases of FS and GS are done
 * here, everything else in x86/system.
 */
export function defineControlRegisters(table: InstructionTable): void {
  table.define('mov-from-control', '0F 20 /r f64 : Ev Cv', { privileged: true, system: true }, (b) => {
    if (b.size < 4 || b.isMemory(0)) {
      b.system('mov-from-control');
      return;
    }
    const number = b.keep(b.slotValue(1));
    b.f.if(
      // CR0, CR2, CR3 and CR4 lie one behind the other.
      d.or(d.gtU(number, 4), d.eq(number, 1)),
      () => b.system('mov-from-control'),
      () => {
        const index = d.sub(number, d.ne(number, 0));
        b.write(0, b.keep(b.fit(load('i64.load', d.add(get(b.cpu), d.shl(index, 3)), L.CR0))));
      },
    );
  });

  table.define('mov-to-control', '0F 22 /r f64 : Cv Ev', { ends: true, privileged: true, system: true }, (b) => {
    if (b.size < 4 || b.isMemory(1)) {
      b.system('mov-to-control');
      return;
    }
    b.f.block((rare) => {
      b.f.brIf(rare, d.ne(b.slotValue(0), 3));
      const value = b.f.local('i64');
      b.f.set(value, b.zeroExtend64(b.read(1)));
      if (b.size === 4) {
        // The four entries of PAE are read when CR3 is written.
        b.f.brIf(rare, d.and(load('i32.load', get(b.cpu), L.CR4), L.CR4_PAE));
      }
      b.f.if(d.and(load('i32.load', get(b.cpu), L.CR4), L.CR4_PCIDE), () =>
        b.f.set(value, q.and(get(value), BigInt.asIntN(64, ~NO_FLUSH))),
      );
      b.f.brIf(rare, q.nonzero(q.shr(get(value), CR3_BITS)));
      b.setField64(L.CR3, get(value));
      b.f.callVoid(b.helper('flush-tlb'), get(b.cpu), i32(0));
      // Not by a link: the next instruction may lie elsewhere now.
      b.jumpTo(b.nextRip());
    });
    b.system('mov-to-control');
  });

  table.define('invlpg', '0F 01 /7 mem : Ma', { ends: true, privileged: true, system: true }, (b) => {
    b.f.callVoid(b.helper('invalidate-page'), get(b.cpu), b.effectiveAddress());
    b.jumpTo(b.nextRip());
  });

  table.define('rdmsr', '0F 32', { privileged: true, system: true }, (b) => {
    forBase(
      b,
      (place) => {
        const value = b.field64(place);
        b.setGpr(RAX, q.and(value, 0xffffffff), 8);
        b.setGpr(RDX, q.shr(value, 32), 8);
      },
      () => b.system('rdmsr'),
    );
  });

  table.define('wrmsr', '0F 30', { privileged: true, system: true }, (b) => {
    const value = b.keep(
      q.or(
        q.fromU32(b.gpr(RAX, 4) as ReturnType<typeof i32>),
        q.shl(q.fromU32(b.gpr(RDX, 4) as ReturnType<typeof i32>), 32),
      ),
    );
    forBase(
      b,
      (place) => {
        b.faultIf(q.gtU(q.add(q.sar(value, 47), 1), 1), L.VECTOR_GP, 0);
        b.setField64(place, value);
      },
      () => b.system('wrmsr'),
    );
  });
}
