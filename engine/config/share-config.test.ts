import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../base/host-error.ts';
import type { FileFacts, FileProbe } from './file-probe.ts';
import type { MachineConfigInput } from './machine-config.ts';
import { validateMachineConfig } from './validate-machine-config.ts';

const FOLDER: FileFacts = { kind: 'directory', sizeBytes: 0, readable: true, writable: true, identity: '' };

/** A host with these files and folders; whatever holds a file is a folder that may be written. */
function host(files: Record<string, Partial<FileFacts>>): FileProbe {
  return {
    inspect: (path) => ({ ...FOLDER, kind: 'missing', readable: false, writable: false, ...files[path] }),
    inspectFolderOf: (path) => ({ ...FOLDER, ...files[path.slice(0, path.lastIndexOf('/'))] }),
    resolve: (path) => path,
  };
}

function refusal(input: MachineConfigInput, files: Record<string, Partial<FileFacts>> = {}): string {
  try {
    validateMachineConfig(input, { files: host(files) });
  } catch (error) {
    assert.ok(error instanceof HostError && error.code === 'usage');
    assert.ok(error.remedy !== undefined && error.remedy !== '', 'there is a remedy');
    return error.message;
  }
  assert.fail('it was accepted');
}

test('shares and sockets, with what comes with virtio devices', () => {
  const files = { '/a': FOLDER, '/b': { ...FOLDER, writable: false } };
  const shares = [
    { name: 'docs', path: '/a' },
    { name: 'music.2', path: '/b', readOnly: true },
  ];
  const config = validateMachineConfig({ shares, vsock: { socket: '/run/vm' } }, { files: host(files) });
  assert.deepEqual(config.shares, [
    { name: 'docs', path: '/a', readOnly: false },
    { name: 'music.2', path: '/b', readOnly: true },
  ]);
  assert.deepEqual(config.vsock, { cid: 3, socket: '/run/vm' });
  assert.equal(config.entropy, true);
  assert.equal(validateMachineConfig({ vsock: { cid: 0xfffffffe, socket: '/x' } }).vsock?.cid, 0xfffffffe);
});

test('wrong shares are refused', () => {
  const share = (name: string, path = '/a', readOnly = false) => ({ shares: [{ name, path, readOnly }] });
  for (const name of ['', 'a b', 'a/b', 'x'.repeat(32), 'é']) {
    assert.match(refusal(share(name)), /^--share .*is not a name for a share/);
  }
  assert.match(refusal(share('a', '/missing')), /^--share a=\/missing: there is no such folder/);
  assert.match(refusal(share('a', '')), /the path is empty/);
  assert.match(refusal(share('a'), { '/a': { kind: 'file' } }), /is no folder/);
  assert.match(refusal(share('a'), { '/a': { ...FOLDER, readable: false } }), /no permission to read it/);
  assert.match(refusal(share('a'), { '/a': { ...FOLDER, writable: false } }), /no permission to write into it/);
  assert.match(refusal({ shares: [...share('a').shares, ...share('a', '/b').shares] }), /--share a: is given twice/);
  const nine = Array.from({ length: 9 }, (_, i) => ({ name: `s${i}`, path: '/a' }));
  assert.match(refusal({ shares: nine }), /--share s8: there is room for 8 shares/);
});

test('wrong sockets are refused', () => {
  const at = (socket: string, cid?: number) => ({ vsock: { socket, cid } });
  for (const cid of [0, 1, 2, -5, 0xffffffff, 1.5]) {
    assert.match(refusal(at('/run/vm', cid)), /--vsock cid=.*is no address of a guest/);
  }
  assert.match(refusal(at(`/${'x'.repeat(92)}`)), /93 bytes are too long for the path of a socket/);
  assert.match(refusal(at('/a/b'), { '/a/b': { kind: 'file' } }), /is no socket, and would be overwritten/);
  assert.match(refusal(at('/a/b'), { '/a': { kind: 'missing' } }), /its folder does not exist/);
  assert.match(refusal(at('/a/b'), { '/a': { writable: false } }), /no permission to write into its folder/);
  assert.match(refusal({ ...at('/a/b'), virtualTime: true }), /the outside world does not follow virtual time/);
  validateMachineConfig(at('/a/b'), { files: host({ '/a/b': { kind: 'other' } }) });
});
