import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runOptions } from './testing/run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-options-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('consoles, channels, sound and the kind of machine as they are written', async () => {
  const agent = join(folder, 'agent');
  const wav = join(folder, 'out,put.wav');
  const { config } = await runOptions([
    ...['--console', 'stdio', '--channel', `name=org.qemu.guest_agent.0,socket=${agent}`],
    ...['--sound', `wav=${wav}`],
  ]);
  assert.deepEqual(config?.console, { kind: 'stdio' });
  assert.deepEqual(config?.serial, { kind: 'none' }, 'the terminal belongs to the console');
  assert.deepEqual(config?.channels, [{ name: 'org.qemu.guest_agent.0', socket: agent }]);
  assert.deepEqual(config?.sound, { output: { kind: 'wav', path: wav } });
  assert.equal(config?.board, 'pc');
  assert.deepEqual((await runOptions(['--sound', 'null', '--serial', 'none'])).config?.sound, {
    output: { kind: 'null' },
  });
  assert.equal((await runOptions(['--sound', 'none', '--serial', 'none'])).config?.sound, undefined);
});

test('what cannot be is told in one line with code 2, and nothing is changed', async (t) => {
  const file = join(folder, 'file');
  writeFileSync(file, 'no WAV file');
  const wav = join(folder, 'new.wav');
  const socket = join(folder, 'taken');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.after(() => server.close());
  for (const [args, line, real] of [
    [['--console', 'tty'], /^--console tty: is not known; give stdio, socket:PATH or file:PATH$/, false],
    [['--console', 'stdio', '--serial', 'stdio'], /^--console stdio: .*; give --serial none or file:PATH$/, false],
    [['--console', 'stdio', '--console', 'stdio'], /^--console stdio: is given twice/, false],
    [['--channel', 'agent'], /^--channel agent: is not a channel; write name=NAME,socket=PATH$/, false],
    [['--channel', `name=a/b,socket=${socket}`], /^--channel name=a\/b: is not a name for a channel/, false],
    [['--channel', `name=a,socket=${file}`], /: is no socket, and would be overwritten; give another path$/, false],
    [['--channel', `name=a,socket=${socket}`], /taken: another program has this socket; give another path$/, true],
    [['--console', `socket:${socket}`], /taken: another program has this socket; give another path$/, true],
    [['--sound', 'tape'], /^--sound tape: is not known; give wav=FILE, null or none$/, false],
    [['--sound', `wav=${wav},input=${join(folder, 'none')}`], /^--sound input .*: there is no such file; /, false],
    [['--sound', `wav=${wav},input=${file}`], /^--sound input .*: it is no WAV file; give a WAV file$/, true],
    [['--machine', 'z80'], /^--machine z80: there is no such kind of machine; give pc or microvm$/, false],
    [['--machine', 'microvm'], /^--machine microvm: has no firmware .*; add --kernel FILE$/, false],
  ] as const) {
    const serial = args.some((arg) => arg === '--serial') ? [] : ['--serial', 'none'];
    const { code, lines } = await runOptions([...args, ...serial], real);
    assert.equal(code, 2, args.join(' '));
    assert.equal(lines.length, 1, lines.join(' | '));
    assert.match(lines[0] ?? '', line);
  }
  assert.equal(existsSync(wav), false);
});
