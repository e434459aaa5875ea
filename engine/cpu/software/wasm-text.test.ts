import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildInstructionTable } from '../x86/instructions/table.ts';
import * as L from '../x86/layout.ts';
import { buildInterpreter } from './interpreter.ts';
import { wasmText } from './testing/wasm-text.ts';
import { get, i32, i64, load, op } from './wasm/function-builder.ts';
import { ModuleBuilder } from './wasm/module-builder.ts';

test('a function is printed with folded expressions and named fields', () => {
  const module = new ModuleBuilder(1);
  const told = module.import('tell', { params: ['i32'], results: [] });
  module.function('f', { params: ['i32'], results: ['i32'] }, (f) => {
    const cpu = f.parameter(0, 'i32');
    const sum = f.local('i64');
    f.set(sum, op('i64.add', load('i64.load', get(cpu), L.GPR + 8), i64(-5)));
    f.loop((again) => {
      f.store('i64.store', get(cpu), get(sum), L.RIP);
      f.if(op('i64.eqz', get(sum)), () => f.callVoid(told, i32(7)));
      f.brIf(again, load('i32.load', get(cpu), 0x1234));
    });
    f.return(i32(1));
  });
  const text = wasmText(module.build());
  assert.deepEqual(text[0]?.split('\n'), [
    '$1 (i32) -> (i32)',
    '  locals: 1 i64',
    '  $1 = i64.add(i64.load rcx, -5)',
    '  loop1',
    '    i64.store RIP = $1',
    '    if i64.eqz($1): if2',
    '      call tell(7)',
    '    end',
    '    br loop1 if i32.load [$0 + 0x1234]',
    '  end',
    '  return 1',
  ]);
});

test('every function of the interpreter can be printed', () => {
  const { module } = buildInterpreter(buildInstructionTable(), 100);
  const text = wasmText(module);
  assert.ok(text.length > 500);
  for (const one of text) {
    assert.doesNotMatch(one, /\bpop\b|push/, 'operands went missing');
  }
});
