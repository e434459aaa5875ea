import { hexBytes } from './bytes.ts';
import * as G from './guest-layout.ts';
import { registerName } from './item-builder.ts';
import type { Outcome } from './lockstep.ts';
import { assembleProgram, type PageEntry, type Program } from './program.ts';

function pageText({ physical, bits, high }: PageEntry): string {
  const names: [number, string][] = [
    [G.PRESENT, 'present'],
    [G.WRITABLE, 'writable'],
    [G.USER, 'user'],
    [G.GLOBAL, 'global'],
    [G.ON_DEMAND, 'on demand'],
    [G.ON_WRITE, 'on write'],
  ];
  const text = names.filter(([bit]) => (bits & bit) !== 0).map(([, name]) => name);
  return `${physical.toString(16)} ${text.join(' ')}${high === undefined ? '' : ' no-execute'}`;
}

/** A program in words: its state at the start, its slices, and every instruction with address and bytes. */
export function describeProgram(program: Program): string {
  const assembled = assembleProgram(program);
  if (assembled === undefined) {
    return `${program.name} does not fit`;
  }
  const wide = program.mode === 'user64' || program.mode === 'kernel64';
  const lines = [
    `${program.name}: ${program.mode}${program.based ? ', segments with a base' : ''}${program.avx ? ', AVX' : ''}${program.smap ? ', SMAP' : ''}${program.withoutTlb ? ', without data TLB' : ''}`,
  ];
  const registers = program.registers.slice(0, wide ? 16 : 8);
  lines.push(`  ${registers.map((value, i) => `${registerName(i, wide ? 64 : 32)}=${value.toString(16)}`).join(' ')}`);
  lines.push(
    `  flags=${program.flags.toString(16)} mxcsr=${program.mxcsr.toString(16)} fcw=${program.fpuControl.toString(16)} data seed ${program.dataSeed}`,
  );
  const slices = program.slices.map(
    ({ instructions, events }) => `${events.map((event) => `${JSON.stringify(event)} `).join('')}${instructions}`,
  );
  lines.push(`  slices: ${slices.join(', ')}`);
  const usedCode = new Set<number>();
  for (const [index, block] of program.blocks.entries()) {
    if (block.items.length === 0) {
      continue;
    }
    lines.push(`  block ${index}:`);
    for (const item of block.items) {
      const address = assembled.itemAddresses.get(item.id) ?? 0;
      const from = address - G.CODE;
      usedCode.add(from >> 12);
      usedCode.add((from + item.bytes.length - 1) >> 12);
      const bytes = assembled.code.subarray(from, from + item.bytes.length);
      lines.push(`    ${address.toString(16)} #${item.id} ${hexBytes(bytes)}   ${item.text}`);
    }
  }
  for (const page of [...usedCode].sort((x, y) => x - y)) {
    const other = program.otherCode[page];
    lines.push(
      `  code page ${page}: ${pageText(program.codePages[page] as PageEntry)}${other === undefined ? '' : `, other ${pageText(other)}`}`,
    );
  }
  for (const [page, entry] of program.dataPages.entries()) {
    const other = program.otherData[page];
    lines.push(
      `  data ${(G.DATA + page * G.PAGE).toString(16)}: ${pageText(entry)}${other === undefined || other === entry ? '' : `, other ${pageText(other)}`}`,
    );
  }
  return lines.join('\n');
}

/** What went wrong in a program. */
export function describeOutcome(outcome: Outcome): string {
  return [
    `  first difference after slice ${outcome.slice}${outcome.round > 0 ? ` of run ${outcome.round + 1}` : ''}:`,
    ...outcome.differences.map((line) => `    ${line}`),
  ].join('\n');
}
