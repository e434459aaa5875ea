import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssemblyError, assemble } from './assembler.ts';

const hex = (source: string): string => Buffer.from(assemble(source).bytes).toString('hex');

function refuses(source: string, message: RegExp): void {
  assert.throws(
    () => assemble(source, { file: 'guest.asm' }),
    (error) => error instanceof AssemblyError && message.test(error.message),
  );
}

test('one source mixes 16-, 32- and 64-bit code', () => {
  assert.equal(hex('bits 16\nmov eax, [bx]\nbits 32\nmov eax, [ebx]\nbits 64\nmov rax, [rbx]'), '668b078b03488b03');
});

test('jumps are short where they reach and near where they do not', () => {
  assert.equal(hex('start: jmp start\njmp next\nnext:'), 'ebfeeb00');
  const far = assemble('jmp next\ntimes 200 nop\nnext:').bytes;
  assert.deepEqual([...far.slice(0, 3)], [0xe9, 200, 0]);
});

test('symbols carry addresses and local names', () => {
  const { symbols, origin } = assemble(
    'org 0x7c00\nmain: nop\n.loop: nop\nother: nop\n.loop: nop\nsize equ other - main',
  );
  assert.equal(origin, 0x7c00);
  assert.equal(symbols.get('main.loop'), 0x7c01n);
  assert.equal(symbols.get('other.loop'), 0x7c03n);
  assert.equal(symbols.get('size'), 2n);
});

test('arithmetic on addresses is possible, for gates and page tables', () => {
  assert.equal(hex('org 0x12340\nhandler: dw handler & 0xFFFF, handler >> 16'), '40230100');
});

test('files are included by the given reader and named in errors', () => {
  const files: Record<string, string> = { 'part.asm': 'nop\nhlt', 'bad.asm': '\n\n frobnicate' };
  const include = (name: string): string | undefined => files[name];
  assert.deepEqual([...assemble('%include "part.asm"\ncli', { include }).bytes], [0x90, 0xf4, 0xfa]);
  assert.throws(() => assemble('%include "bad.asm"', { include }), /^AssemblyError: bad\.asm:3: /);
  assert.throws(() => assemble('%include "none.asm"', { include, file: 'x' }), /x:1: cannot include/);
});

test('defines from outside choose variants', () => {
  const source = '%if QUIET\nnop\n%else\nhlt\n%endif';
  assert.deepEqual([...assemble(source, { defines: { QUIET: 1 } }).bytes], [0x90]);
  assert.deepEqual([...assemble(source, { defines: { QUIET: 0 } }).bytes], [0xf4]);
});

test('mistakes are errors with their line', () => {
  refuses('nop\nfoo ax', /^guest\.asm:2: .*'foo'/);
  refuses('mov ax, [nowhere]', /:1: 'nowhere' is not defined/);
  refuses('mov ax, ebx', /:1: these operands do not fit 'mov'/);
  refuses('bits 32\nmov rax, rbx', /:2: /);
  refuses('mov [bx], 1', /size of the memory operand/);
  refuses('movzx eax, [bx]', /size of the memory operand/);
  refuses('add al, 300', /does not fit in 8 bits/);
  refuses('mov ax, 70000', /does not fit in 16 bits/);
  refuses('shl ax, 256', /does not fit/);
  refuses('dw 65536', /does not fit in 16 bits/);
  refuses('a: nop\na: nop', /:2: 'a' is defined twice/);
  refuses('jmp short next\ntimes 200 nop\nnext:', /:1: .*too far/);
  refuses('times 200 nop\nloop $ - 200', /too far/);
  refuses('mov al, [bx+cx]', /no 16-bit address/);
  refuses('bits 64\nmov ah, r8b', /cannot be used/);
  refuses('db "open', /closing quote/);
  refuses('mov ax, 5 5', /unexpected '5'/);
  refuses('int', /does not take 0 operands/);
  refuses('%if 1\nnop', /without %endif/);
  refuses('%macro two 2\nnop\n%endmacro\ntwo 1', /:4: macro 'two' does not take 1 parameters/);
  refuses('times -1 nop', /:1: times -1/);
  refuses('bits 64\nadd rax, 0x80000000', /does not fit in 32 bits/);
  refuses('mov ax, #', /unexpected character/);
});
