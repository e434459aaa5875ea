import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../base/host-error.ts';
import type { FileFacts, FileProbe } from './file-probe.ts';
import type { MachineConfigInput } from './machine-config.ts';
import { validateMachineConfig } from './validate-machine-config.ts';

/** A host with a writable folder /run, a file /run/file, a socket /run/old, and a kernel. */
function inspect(path: string): FileFacts {
  const facts = { sizeBytes: 1 << 20, readable: true, writable: true, identity: path };
  switch (path) {
    case '/run':
      return { ...facts, kind: 'directory' };
    case '/run/file':
    case '/kernel':
      return { ...facts, kind: 'file' };
    case '/run/old':
      return { ...facts, kind: 'other' };
    case '/locked':
      return { ...facts, kind: 'directory', writable: false };
    default:
      return { kind: 'missing', sizeBytes: 0, readable: false, writable: false, identity: '' };
  }
}

const files: FileProbe = {
  inspect,
  inspectFolderOf: (path) => inspect(path.slice(0, path.lastIndexOf('/')) || '/'),
  resolve: (path) => path,
};

function refusal(input: MachineConfigInput): string {
  try {
    validateMachineConfig(input, { files });
  } catch (error) {
    assert.ok(error instanceof HostError);
    assert.equal(error.code, 'usage');
    assert.ok(error.remedy, 'there is a remedy');
    return `${error.message}; ${error.remedy}`;
  }
  assert.fail('it was accepted');
}

const kernel = { kernel: '/kernel' };

test('a console, channels and sound bring the devices along that cost nothing', () => {
  const config = validateMachineConfig(
    {
      console: { kind: 'socket', path: '/run/old' },
      channels: [{ name: 'org.qemu.guest_agent.0', socket: '/run/agent' }],
      sound: { output: { kind: 'wav', path: '/run/out.wav' }, input: '/run/file' },
    },
    { files },
  );
  assert.deepEqual(config.console, { kind: 'socket', path: '/run/old' });
  assert.deepEqual(config.channels, [{ name: 'org.qemu.guest_agent.0', socket: '/run/agent' }]);
  assert.deepEqual(config.sound, { output: { kind: 'wav', path: '/run/out.wav' }, input: '/run/file' });
  assert.equal(config.entropy, true);
});

test('consoles and channels that cannot be are refused in one line', () => {
  const channel = (name: string, socket: string) => ({ channels: [{ name, socket }] });
  for (const [input, line] of [
    [
      { console: { kind: 'stdio' }, serial: { kind: 'stdio' } },
      /^--console stdio: .* belong to --serial already; give/,
    ],
    [{ console: { kind: 'socket', path: '' } }, /^--console/],
    [
      { console: { kind: 'socket', path: '/run/file' } },
      /^--console \/run\/file: is no socket, and would be overwritten/,
    ],
    [{ console: { kind: 'socket', path: '/none/x' } }, /^--console \/none\/x: its folder does not exist/],
    [
      { console: { kind: 'socket', path: `/run/${'x'.repeat(120)}` } },
      /125 bytes are too long for the path of a socket/,
    ],
    [{ console: { kind: 'file', path: '/run' } }, /^--console \/run: is a directory/],
    [channel('', '/run/a'), /^--channel name=: is not a name for a channel/],
    [channel('../x', '/run/a'), /is not a name for a channel/],
    [channel('..', '/run/a'), /is not a name for a channel/],
    [channel('a', '/locked/a'), /^--channel name=a,socket \/locked\/a: no permission to write into its folder/],
    [
      { channels: ['a', 'b'].map((name) => ({ name, socket: '/run/same' })) },
      /^--channel name=b,socket \/run\/same: --channel name=a,socket has the same socket/,
    ],
    [{ channels: ['/run/a', '/run/b'].map((socket) => ({ name: 'a', socket })) }, /^--channel name=a: is given twice/],
    [
      { channels: Array.from({ length: 16 }, (_, i) => ({ name: `c${i}`, socket: `/run/${i}` })) },
      /^--channel name=c15: there is room for 15 channels/,
    ],
    [{ sound: { output: { kind: 'wav', path: '' } } }, /^--sound wav/],
    [
      { sound: { output: { kind: 'wav', path: '/none/x.wav' } } },
      /^--sound wav \/none\/x.wav: its folder does not exist/,
    ],
    [{ sound: { output: { kind: 'null' }, input: '/run/none' } }, /^--sound input \/run\/none: there is no such file/],
    [
      { sound: { output: { kind: 'wav', path: '/run/file' }, input: '/run/file' } },
      /^--sound wav \/run\/file: would overwrite/,
    ],
    [
      { serial: { kind: 'file', path: '/run/x' }, sound: { output: { kind: 'wav', path: '/run/x' } } },
      /^--sound wav \/run\/x: is also written by --serial/,
    ],
  ] as const satisfies readonly (readonly [MachineConfigInput, RegExp])[]) {
    assert.match(refusal(input), line);
  }
});

test('a microVM has virtio devices and starts a kernel', () => {
  const { disks, network, cdrom, balloon } = validateMachineConfig({
    board: 'microvm',
    boot: kernel,
    disks: [{ path: '/disk' }],
    cdrom: {},
    network: {},
  });
  assert.deepEqual(
    disks.map(({ bus }) => bus),
    ['virtio'],
  );
  assert.equal(network?.model, 'virtio');
  assert.equal(cdrom?.bus, 'scsi');
  assert.equal(balloon, true);
});

test('what a microVM cannot have is refused in one line', () => {
  for (const [input, line] of [
    [{ board: 'mainframe' }, /^--machine mainframe: there is no such kind of machine; give pc or microvm/],
    [{ board: 'microvm' }, /^--machine microvm: has no firmware .*; add --kernel FILE/],
    [{ board: 'microvm', boot: kernel, disks: [{ path: '/d', bus: 'ide' }] }, /^--disk \/d,bus=ide: a microVM has no/],
    [{ board: 'microvm', boot: kernel, cdrom: { bus: 'ide' } }, /^--cdrom ,bus=ide: a microVM has no such thing/],
    [{ board: 'microvm', boot: kernel, network: { model: 'e1000' } }, /^--net model=e1000: a microVM/],
    [{ board: 'microvm', boot: kernel, floppy: {} }, /^--floppy: a microVM has no such thing/],
    [{ board: 'microvm', boot: { ...kernel, order: ['disk'] } }, /^--boot: a microVM/],
    [{ board: 'microvm', boot: kernel, firmware: { bios: '/b' } }, /^--bios: a microVM/],
    [{ board: 'microvm', boot: kernel, screenshots: [{ path: '/p', atSeconds: 1 }] }, /^--screenshot: a microVM/],
    [{ board: 'microvm', boot: kernel, typed: [{ text: 'x', atSeconds: 1 }] }, /^--type: a microVM/],
  ] as const satisfies readonly (readonly [MachineConfigInput, RegExp])[]) {
    assert.match(refusal(input), line);
  }
});

test('a balloon with its size from the start on comes by itself, and is within the memory', () => {
  const config = validateMachineConfig({ memoryMegabytes: 512, balloonMegabytes: 256 });
  assert.deepEqual([config.balloon, config.balloonMegabytes], [true, 256]);
  assert.equal(validateMachineConfig({ memoryMegabytes: 512 }).balloon, false);
  assert.equal(
    refusal({ memoryMegabytes: 512, balloonMegabytes: 513 }),
    '--balloon 513: is out of range; give 16 to 512 megabytes',
  );
  assert.match(refusal({ balloonMegabytes: 1.5 }), /^--balloon 1\.5: is out of range/);
});
