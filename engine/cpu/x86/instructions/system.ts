import { get, i32, i64, load, op } from '../../software/wasm/function-builder.ts';
import * as L from '../layout.ts';
import type { InstructionOptions, InstructionTable } from './definition.ts';
import type { InstructionBuilder } from './instruction-builder.ts';
import { loadDataSegment } from './privilege-levels.ts';

/**
 * Instructions whose meaning lies in the TypeScript part of the processor (see x86/system): the table says how they are
 * encoded and when they end a block. Operands reach the operation through the micro-operation.
 */
export function defineSystemInstructions(table: InstructionTable): void {
  /** Runs in TypeScript and goes on with the next instruction unless the operation says otherwise. */
  const system = (name: string, encodings: string | readonly string[], options: InstructionOptions = {}) =>
    table.define(name, encodings, { system: true, ...options }, (b) => b.system(name));
  const ends = { ends: true } as const;

  // Ports. `ins` and `outs` do one element, or a bounded number under REP.
  system('in', ['E4 : AL Ib', 'E5 : rAX Ib', 'EC : AL DX', 'ED : rAX DX'], ends);
  system('out', ['E6 : Ib AL', 'E7 : Ib rAX', 'EE : DX AL', 'EF : DX rAX'], ends);
  system('ins', ['6C : Xb', '6D : Xv'], { ...ends, implicitMemory: true, repeat: true });
  system('outs', ['6E : Xb', '6F : Xv'], { ...ends, implicitMemory: true, repeat: true });

  // Interrupts and far control transfer.
  system('int3', 'CC', ends);
  system('int', 'CD : Ib', ends);
  system('into', 'CE i64', ends);
  system('int1', 'F1', ends);
  system('far-call', ['9A i64 : Iz Iw'], ends);
  system('far-jump', ['EA i64 : Iz Iw'], ends);
  system('far-call-indirect', 'FF /3 mem : Mv', ends);
  system('far-jump-indirect', 'FF /5 mem : Mv', ends);
  system('far-return', ['CB : Xv', 'CA : Iw Xv'], ends);
  system('bound', '62 /r i64 mem : Gv Mv', ends);
  system('hlt', 'F4', { ...ends, privileged: true });

  // Segment registers and descriptor tables.
  table.define('mov-from-segment', '8C /r : Ev Sw', { writes: true }, (b) => {
    const selector = b.segmentSelector(1);
    if (b.isMemory(0)) {
      b.storeMemory(b.effectiveAddress(), selector, 2);
    } else {
      b.write(0, b.size === 8 ? op('i64.extend_i32_u', selector) : selector);
    }
  });
  table.define('mov-to-segment', '8E /r : Sw Ew', { ends: true, system: true }, (b) => {
    const selector = b.keep(op('i32.and', b.read(1, 2), i32(0xffff)));
    b.f.block((rare) => {
      loadDataSegment(b, b.keep(b.slotValue(0)), selector, rare);
      b.jumpNext();
    });
    b.setField64(L.SCRATCH, op('i64.extend_i32_u', selector));
    b.system('mov-to-segment');
  });
  for (const [name, opcode] of [
    ['les', 'C4'],
    ['lds', 'C5'],
    ['lss', '0F B2'],
    ['lfs', '0F B4'],
    ['lgs', '0F B5'],
  ] as const) {
    system(name, `${opcode} /r mem${name === 'les' || name === 'lds' ? ' i64' : ''} : Gv Mv`, ends);
  }
  system('sldt', '0F 00 /0 : Ev', { writes: true });
  system('str', '0F 00 /1 : Ev', { writes: true });
  for (const [name, digit] of [
    ['lldt', 2],
    ['ltr', 3],
    ['verr', 4],
    ['verw', 5],
  ] as const) {
    table.define(name, `0F 00 /${digit} : Ew`, { ends: true, system: true }, (b) => {
      b.setField64(L.SCRATCH, op('i64.extend_i32_u', b.read(0, 2)));
      b.system(name);
    });
  }
  for (const [name, opcode] of [
    ['lar', '02'],
    ['lsl', '03'],
  ] as const) {
    table.define(name, `0F ${opcode} /r : Gv Ew`, { ends: true, system: true }, (b) => {
      b.setField64(L.SCRATCH, op('i64.extend_i32_u', b.read(1, 2)));
      b.system(name);
    });
  }
  system('sgdt', '0F 01 /0 mem : Ma', { writes: true });
  system('sidt', '0F 01 /1 mem : Ma', { writes: true });
  system('lgdt', '0F 01 /2 mem : Mv', { ...ends, privileged: true });
  system('lidt', '0F 01 /3 mem : Mv', { ...ends, privileged: true });
  system('smsw', '0F 01 /4 : Ev', { writes: true });
  table.define('lmsw', '0F 01 /6 : Ew', { ends: true, privileged: true, system: true }, (b) => {
    b.setField64(L.SCRATCH, op('i64.extend_i32_u', b.read(0, 2)));
    b.system('lmsw');
  });
  table.define('rdtscp', '0F 01 =F9', { system: true }, (b) => readTimestamp(b, 'rdtscp'));
  system('xgetbv', 'NP 0F 01 =D0', {});
  system('xsetbv', 'NP 0F 01 =D1', { ...ends, privileged: true });
  system('vmcall', ['NP 0F 01 =C1', 'NP 0F 01 =D9'], ends);
  system('clts', '0F 06', { ...ends, privileged: true });
  system('invd', '0F 08', { ...ends, privileged: true });
  system('wbinvd', '0F 09', { ...ends, privileged: true });
  system('mov-from-debug', '0F 21 /r f64 : Ev Dv', { privileged: true, ends: true });
  system('mov-to-debug', '0F 23 /r f64 : Dv Ev', { ...ends, privileged: true });
  system('invpcid', '66 0F 38 82 /r mem : Gy Ma', { ...ends, privileged: true });
  table.define('arpl', '63 /r i64 : Ew Gw', { writes: true, system: true }, (b) => {
    const source = b.keep(op('i32.and', b.read(1), i32(3)));
    const value = b.readForWrite(0);
    const lower = b.keep(op('i32.lt_u', op('i32.and', value, i32(3)), source));
    b.f.if(lower, () => b.write(0, op('i32.or', op('i32.and', value, i32(0xfffc)), source)));
    b.setZero(lower);
  });

  // Old system calls, identification, time.
  table.define('rdtsc', '0F 31', { system: true }, (b) => readTimestamp(b, 'rdtsc'));
  system('rdpmc', '0F 33', ends);
  system('cpuid', '0F A2', ends);
  system('rsm', '0F AA', ends);
  // What the host draws for RDRAND is good enough to be a seed.
  for (const [name, digit] of [
    ['rdrand', 6],
    ['rdseed', 7],
  ] as const) {
    system(name, [`NP 0F C7 /${digit} reg : Rv`, `66 0F C7 /${digit} reg : Rv`], {});
  }
  // REX.W and 66 mean nothing to RDPID.
  for (const encoding of ['F3 0F C7 /7 reg o64 : Rq', 'F3 0F C7 /7 reg i64 : Rd']) {
    table.define('rdpid', encoding, { feature: 'rdpid', system: true }, (b) => {
      const value = load('i64.load32_u', get(b.cpu), L.MSR_TSC_AUX);
      b.write(0, b.operand(0).size === 8 ? value : op('i32.wrap_i64', value));
    });
  }

  // Hints and fences: memory is strongly ordered here.
  // PAUSE is F3 90: the decoder finds it by its prefix.
  table.define('pause', 'F3 90', { ends: true }, (b) => b.system('pause'));
  table.define('fence', ['NP 0F AE /5 reg', 'NP 0F AE /6 reg', 'NP 0F AE /7 reg'], {}, () => {});
  for (const [name, encoding] of [
    ['clflush', 'NP 0F AE /7 mem : Mb'],
    ['clflushopt', '66 0F AE /7 mem : Mb'],
    ['clwb', '66 0F AE /6 mem : Mb'],
  ] as const) {
    table.define(name, encoding, name === 'clflush' ? {} : { feature: name }, (b) => {
      b.read(0);
    });
  }
  // Everything is in order here.
  table.define('serialize', 'NP 0F 01 =E8', { system: true }, () => {});
  table.define('ud', ['0F 0B', '0F B9 /r : Gv Ev', '0F FF /r : Gv Ev'], ends, (b) => b.fault(L.VECTOR_UD));
  table.define('wait', '9B', {}, (b) => {
    const monitored = L.CR0_MP | L.CR0_TS;
    b.f.if(op('i32.eq', op('i32.and', load('i32.load', get(b.cpu), L.CR0), i32(monitored)), i32(monitored)), () =>
      b.fault(L.VECTOR_NM),
    );
    // An unmasked x87 exception is reported at the next waiting instruction.
    b.f.if(op('i32.and', load('i32.load', get(b.cpu), L.FPU_STATUS), i32(0x80)), () => b.fault(L.VECTOR_MF));
  });
}

/** RDTSC and RDTSCP: by TSC_NEXT where that is known. */
function readTimestamp(b: InstructionBuilder, name: 'rdtsc' | 'rdtscp'): void {
  const next = b.field64(L.TSC_NEXT);
  const unknown = op('i64.eqz', next);
  const restricted = op('i32.and', load('i32.load', get(b.cpu), L.CR4), i32(L.CR4_TSD));
  b.f.if(
    op('i32.or', unknown, restricted),
    () => b.system(name),
    () => {
      b.setField64(L.TSC_NEXT, op('i64.add', next, i64(L.TSC_STEP)));
      b.setGpr(0, op('i64.and', next, i64(0xffffffff)), 8);
      b.setGpr(2, op('i64.shr_u', next, i64(32)), 8);
      if (name === 'rdtscp') {
        b.setGpr(1, load('i64.load32_u', get(b.cpu), L.MSR_TSC_AUX), 8);
      }
    },
  );
}
