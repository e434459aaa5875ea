import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkName, hostBytes, hostPath } from './host-names.ts';
import { ERRNO, errnoName, isFileError, ShareError } from './linux-errno.ts';

const refused = (name: string, platform: NodeJS.Platform) =>
  assert.throws(() => checkName(name, platform), ShareError, `${name} on ${platform}`);

test('names are one step downwards on every host', () => {
  for (const platform of ['linux', 'darwin', 'win32'] as const) {
    for (const name of ['', '.', '..', 'a/b', '/', 'a\0', 'x'.repeat(256)]) {
      refused(name, platform);
    }
    for (const name of ['a', '...', '.hidden', 'with space in it', 'x'.repeat(255)]) {
      assert.equal(platform === 'win32' && name === '...', isRefused(name, platform), `${name} on ${platform}`);
    }
  }
});

function isRefused(name: string, platform: NodeJS.Platform): boolean {
  try {
    checkName(name, platform);
    return false;
  } catch {
    return true;
  }
}

test('what Windows takes for a path, a stream or a device is no name there', () => {
  for (const name of [
    'a\\b',
    '..\\x',
    'C:',
    'a:stream',
    'CON',
    'nul',
    'com1.txt',
    'LPT9',
    'end.',
    'end ',
    'a?',
    'CONIN$',
  ]) {
    refused(name, 'win32');
    checkName(name, 'linux');
  }
  for (const name of ['console', 'com', 'nullable', 'lpt', 'a.b']) {
    checkName(name, 'win32');
  }
});

test('bytes are names on Linux, UTF-8 elsewhere', () => {
  const cafe = Buffer.from('café').toString('latin1');
  assert.deepEqual(hostPath('/f', cafe, 'linux'), Buffer.from('/f/café'));
  assert.equal(hostPath('/f', cafe, 'darwin'), '/f/café');
  assert.equal(hostPath('/f', 'plain', 'linux'), '/f/plain');
  assert.deepEqual(hostPath('/f', '\xff', 'linux'), Buffer.from([0x2f, 0x66, 0x2f, 0xff]));
  assert.throws(() => hostPath('/f', '\xff', 'darwin'), { code: 'EILSEQ' });
  assert.throws(() => hostBytes('\xff', 'win32'), { code: 'EILSEQ' });
  assert.equal(hostBytes('../up', 'win32'), '../up');
});

test('errors of every host have Linux names', () => {
  const failure = (code: string, errno: number) => Object.assign(new Error(code), { code, errno });
  // The numbers are those of macOS and of libuv on Windows; only the names count.
  assert.equal(ERRNO[errnoName(failure('ENOTEMPTY', -66))], 39);
  assert.equal(ERRNO[errnoName(failure('ENOTEMPTY', -4051))], 39);
  assert.equal(ERRNO[errnoName(failure('ELOOP', -62))], 40);
  assert.equal(ERRNO[errnoName(failure('ENAMETOOLONG', -63))], 36);
  assert.equal(ERRNO[errnoName(failure('EDQUOT', -69))], 122);
  assert.equal(ERRNO[errnoName(failure('ENOTSUP', -45))], 95);
  assert.equal(ERRNO[errnoName(failure('EBUSY', -4082))], 16);
  assert.equal(errnoName(failure('EWHATEVER', -1)), 'EIO');
  assert.equal(errnoName(failure('toString', -1)), 'EIO');
  assert.equal(errnoName(new ShareError('ESTALE')), 'ESTALE');
  assert.equal(isFileError(failure('EIO', -5)), true);
  assert.equal(isFileError(new TypeError('a mistake of ours')), false);
});
