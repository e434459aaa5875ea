import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../base/host-error.ts';
import type { FileFacts, FileProbe } from './file-probe.ts';
import type { MachineConfigInput } from './machine-config.ts';
import { validateMachineConfig } from './validate-machine-config.ts';

const FILE: FileFacts = { kind: 'file', sizeBytes: 1 << 20, readable: true, writable: true, identity: '' };

/** A host with these files, each by default 1 MB that may be read and written. */
function host(files: Record<string, Partial<FileFacts>>): FileProbe {
  const inspect = (path: string): FileFacts => {
    const facts = files[path];
    return facts === undefined
      ? { ...FILE, kind: 'missing', sizeBytes: 0, readable: false, writable: false }
      : { ...FILE, identity: path, ...facts };
  };
  return {
    inspect,
    inspectFolderOf: (path) => inspect(path.slice(0, path.lastIndexOf('/')) || '/'),
    resolve: (path) => path,
  };
}

/** The line that a configuration is refused with. */
function refusal(input: MachineConfigInput, files?: Record<string, Partial<FileFacts>>): string {
  try {
    validateMachineConfig(input, files === undefined ? {} : { files: host(files) });
  } catch (error) {
    assert.ok(error instanceof HostError);
    assert.equal(error.code, 'usage');
    assert.ok(error.remedy !== undefined && error.remedy !== '', 'there is a remedy');
    const line = `${error.message}; ${error.remedy}`;
    assert.ok(!line.includes('\n'));
    return line;
  }
  assert.fail('it was accepted');
}

test('an empty configuration is a machine with defaults', () => {
  assert.deepEqual(validateMachineConfig({}), {
    name: 'lodge',
    board: 'pc',
    accel: 'auto',
    cpus: 1,
    memoryMegabytes: 512,
    firmware: {},
    boot: { order: ['floppy', 'cdrom', 'disk'], initrd: [], append: '' },
    disks: [],
    vga: 'std',
    heads: 1,
    virtioInput: false,
    serial: { kind: 'none' },
    shares: [],
    channels: [],
    entropy: false,
    balloon: false,
    hyperv: false,
    debugExit: false,
    headless: false,
    noReboot: false,
    virtualTime: false,
    compile: true,
    screenshots: [],
    typed: [],
  });
});

test('a virtio display adapter brings input, entropy and balloon along, and can have several monitors', () => {
  const { vga, heads, virtioInput, entropy, balloon } = validateMachineConfig({ vga: 'virtio', heads: 3 });
  assert.deepEqual(
    { vga, heads, virtioInput, entropy, balloon },
    {
      ...{ vga: 'virtio', heads: 3 },
      ...{ virtioInput: true, entropy: true, balloon: true },
    },
  );
  assert.match(refusal({ vga: 'cirrus' }), /^--vga cirrus: is not known; give std or virtio$/);
  assert.match(refusal({ heads: 2 }), /^--heads 2: --vga std has one monitor; give --vga virtio/);
  assert.match(refusal({ vga: 'virtio', heads: 17 }), /^--heads 17: is out of range; give 1 to 16 monitors$/);
  assert.match(refusal({ vga: 'virtio', heads: 0.5 }), /^--heads 0.5: /);
});

test('a full configuration is taken over', () => {
  const config = validateMachineConfig(
    {
      cpus: 8,
      memoryMegabytes: 3584,
      firmware: { bios: '/bios' },
      boot: { order: ['disk'], kernel: '/kernel', initrd: ['/a', '/b'], append: 'quiet' },
      disks: [{ path: '/disk', readOnly: true }],
      cdrom: { path: '/cd' },
      floppy: {},
      serial: { kind: 'file', path: '/out/serial' },
      timeoutSeconds: 0.5,
      screenshots: [{ path: '/out/a.png', atSeconds: 0 }],
    },
    {
      files: host({
        '/bios': {},
        '/kernel': {},
        '/a': {},
        '/b': {},
        '/disk': {},
        '/cd': {},
        '/out': { kind: 'directory' },
      }),
    },
  );
  assert.deepEqual(config.disks, [{ path: '/disk', bus: 'ide', readOnly: true, port: 0 }]);
  assert.deepEqual(config.cdrom, { path: '/cd', port: 2 });
  assert.deepEqual(config.floppy, { readOnly: false });
  assert.deepEqual(config.boot.initrd, ['/a', '/b']);
});

test('drives get the ports they ask for, and the others what is left', () => {
  const ports = (input: MachineConfigInput) => {
    const config = validateMachineConfig(input);
    return [...config.disks.map(({ port }) => port), config.cdrom?.port];
  };
  assert.deepEqual(ports({ disks: [{ path: 'a' }, { path: 'b' }, { path: 'c' }], cdrom: {} }), [0, 1, 3, 2]);
  assert.deepEqual(ports({ disks: [{ path: 'a', port: 2 }, { path: 'b' }], cdrom: {} }), [2, 0, 3]);
  assert.deepEqual(ports({ disks: [{ path: 'a' }, { path: 'b', port: 0 }] }), [1, 0, undefined]);
  assert.deepEqual(ports({ disks: [{ path: 'a', port: 2 }], cdrom: { port: 0 } }), [2, 0]);
});

test('values out of range name the option, the value and the range', () => {
  assert.match(refusal({ cpus: 0 }), /^--cpus 0: .*1 to 8/);
  assert.match(refusal({ cpus: 9 }), /^--cpus 9: .*1 to 8/);
  assert.match(refusal({ cpus: 1.5 }), /^--cpus 1.5: .*1 to 8/);
  assert.match(refusal({ memoryMegabytes: 15 }), /^--memory 15: .*16 to 3584/);
  assert.match(refusal({ memoryMegabytes: 4096 }), /^--memory 4096: .*16 to 3584/);
  assert.match(refusal({ memoryMegabytes: Number.NaN }), /^--memory NaN: /);
  assert.match(refusal({ timeoutSeconds: 0 }), /^--timeout 0: /);
  assert.match(refusal({ accel: 'fast' }), /^--accel fast: .*give auto or kvm or software/);
  assert.match(refusal({ boot: { order: ['net'] } }), /^--boot net: /);
  assert.match(refusal({ boot: { order: ['disk', 'disk'] } }), /^--boot disk,disk: .*twice/);
  assert.match(refusal({ boot: { initrd: 'x' } }), /^--initrd x: .*--kernel/);
  assert.match(refusal({ boot: { append: 'x' } }), /^--append x: .*--kernel/);
  assert.match(refusal({ boot: { kernel: 'k', append: 'ä'.repeat(1500) } }), /^--append ä/);
  assert.match(refusal({ boot: { kernel: '' } }), /^--kernel "": /);
  assert.match(refusal({ name: 'a\nb' }), /^--name "a\\nb": /);
  assert.match(refusal({ typed: [{ text: 'x', atSeconds: -1 }] }), /^--type x@-1: /);
  assert.match(refusal({ cdrom: { path: 'a\0b' } }), /^--cdrom "a\\u0000b": /);
});

test('two drives in one place, and too many drives', () => {
  const disk = (path: string, port?: number) => ({ path, port });
  assert.match(refusal({ disks: [disk('a', 1), disk('b', 1)] }), /^--disk b: port 1 .*primary slave.* --disk a/);
  assert.match(refusal({ disks: [disk('a', 2)], cdrom: { port: 2 } }), /^--cdrom \(empty\): port 2 .* --disk a/);
  assert.match(refusal({ disks: [disk('a', 4)] }), /^--disk a: port 4 does not exist; .*0 to 3/);
  assert.match(refusal({ disks: 'abcde'.split('').map((path) => disk(path)) }), /^--disk e: 5 drives/);
  assert.match(refusal({ disks: 'abcd'.split('').map((path) => disk(path)), cdrom: {} }), /: 5 drives/);
  assert.match(refusal({ disks: [{ path: 'a', bus: 'sata' }] }), /^--disk a: there is no bus 'sata'; .*ide/);
});

test('disks on several buses get places of their own, and serial numbers that can be told', () => {
  const { disks, entropy } = validateMachineConfig({
    disks: [
      { path: 'a', bus: 'virtio', serial: 'SN-1' },
      { path: 'b' },
      { path: 'c', bus: 'scsi' },
      { path: 'd', bus: 'virtio', port: 0 },
    ],
  });
  assert.deepEqual(
    disks.map(({ bus, port, serial }) => [bus, port, serial]),
    [
      ['virtio', 1, 'SN-1'],
      ['ide', 0, undefined],
      ['scsi', 0, undefined],
      ['virtio', 0, undefined],
    ],
  );
  assert.equal(entropy, true, 'comes with other virtio devices');
  const onScsi = validateMachineConfig({
    disks: ['a', 'b', 'c', 'd'].map((path) => ({ path })).concat([{ path: 'e', bus: 'scsi' } as { path: string }]),
    cdrom: { path: 'cd', bus: 'scsi' },
  });
  assert.deepEqual(onScsi.cdrom, { path: 'cd', bus: 'scsi', port: 1 });
  assert.match(
    refusal({ cdrom: { path: 'cd', bus: 'virtio' } }),
    /^--cdrom cd: there is no bus 'virtio'; give bus=ide/,
  );
  const many = Array.from({ length: 17 }, (_, i) => ({ path: `d${i}`, bus: 'virtio' }));
  assert.match(refusal({ disks: many }), /^--disk d16: virtio has room for 16 drives; /);
  for (const serial of ['', 'with space', 'x'.repeat(21)]) {
    assert.match(refusal({ disks: [{ path: 'a', bus: 'virtio', serial }] }), /is not a serial number; give 1 to 20/);
  }
});

test('input files that are missing, empty, no files, unreadable or of an impossible size', () => {
  const files: Record<string, Partial<FileFacts>> = {
    '/empty': { sizeBytes: 0 },
    '/dir': { kind: 'directory' },
    '/pipe': { kind: 'other' },
    '/locked': { readable: false },
    '/loop': { kind: 'error', reason: 'links go in circles' },
    '/fixed': { writable: false },
    '/odd': { sizeBytes: 513 },
    '/ragged': { sizeBytes: 5000 },
    '/big': { sizeBytes: 3_000_000 },
    '/ok': {},
  };
  const uses: Record<string, (path: string) => MachineConfigInput> = {
    '--bios': (path) => ({ firmware: { bios: path } }),
    '--kernel': (path) => ({ boot: { kernel: path } }),
    '--initrd': (path) => ({ boot: { kernel: '/ok', initrd: path } }),
    '--disk': (path) => ({ disks: [{ path }] }),
    '--cdrom': (path) => ({ cdrom: { path } }),
    '--floppy': (path) => ({ floppy: { path } }),
  };
  for (const [option, use] of Object.entries(uses)) {
    const expected: Record<string, RegExp> = {
      '/none': /there is no such file/,
      '/empty': /empty/,
      '/dir': /directory/,
      '/pipe': /neither a file nor a disk/,
      '/locked': /no permission to read/,
      '/loop': /links go in circles/,
    };
    for (const [path, why] of Object.entries(expected)) {
      const line = refusal(use(path), files);
      assert.ok(line.startsWith(`${option} ${path}: `), line);
      assert.match(line, why);
    }
  }
  assert.match(refusal({ disks: [{ path: '/fixed' }] }, files), /^--disk \/fixed: no permission to write.*readonly/);
  assert.match(refusal({ floppy: { path: '/fixed' } }, files), /^--floppy \/fixed: .*readonly/);
  validateMachineConfig({ disks: [{ path: '/fixed', readOnly: true }] }, { files: host(files) });
  validateMachineConfig({ cdrom: { path: '/fixed' } }, { files: host(files) });
  assert.match(refusal({ disks: [{ path: '/odd' }] }, files), /^--disk \/odd: .*513 bytes/);
  validateMachineConfig({ cdrom: { path: '/ragged' } }, { files: host(files) });
  assert.match(refusal({ cdrom: { path: '/odd' } }, files), /^--cdrom \/odd: 513 bytes are too few for a CD/);
  assert.match(refusal({ floppy: { path: '/big' } }, files), /^--floppy \/big: .*too large/);
});

test('a kernel or ramdisk that does not fit into memory', () => {
  const files = { '/k': { sizeBytes: 8 << 20 }, '/i': { sizeBytes: 60 << 20 } };
  const boot = { kernel: '/k', initrd: '/i' };
  assert.match(refusal({ memoryMegabytes: 64, boot }, files), /^--initrd \/i: 60 MB do not fit into 64 MB.*--memory/);
  assert.match(refusal({ memoryMegabytes: 16, boot: { kernel: '/i' } }, files), /^--kernel \/i: 60 MB/);
  validateMachineConfig({ memoryMegabytes: 128, boot }, { files: host(files) });
});

test('one image attached twice is refused unless nobody writes to it', () => {
  const files = { '/a': { identity: '1' }, '/link': { identity: '1' }, '/out': { kind: 'directory' as const } };
  const disk = (path: string, readOnly: boolean) => ({ path, readOnly });
  assert.match(refusal({ disks: [disk('/a', false), disk('/link', true)] }, files), /^--disk \/link: .*--disk \/a/);
  assert.match(refusal({ disks: [disk('/a', false)], cdrom: { path: '/link' } }, files), /^--cdrom \/link: /);
  validateMachineConfig({ disks: [disk('/a', true), disk('/link', true)] }, { files: host(files) });
});

test('outputs need a place and destroy nothing the machine uses', () => {
  const files: Record<string, Partial<FileFacts>> = {
    '/out': { kind: 'directory' },
    '/closed': { kind: 'directory', writable: false },
    '/disk': {},
    '/fixed': { writable: false },
  };
  const shot = (path: string): MachineConfigInput => ({
    disks: [{ path: '/disk' }],
    screenshots: [{ path, atSeconds: 1 }],
  });
  validateMachineConfig(shot('/out/a.png'), { files: host(files) });
  assert.match(refusal(shot('/none/a.png'), files), /^--screenshot \/none\/a.png: its folder does not exist/);
  assert.match(refusal(shot('/closed/a.png'), files), /no permission/);
  assert.match(refusal(shot('/out'), files), /is a directory/);
  assert.match(refusal(shot('/fixed'), files), /no permission/);
  assert.match(refusal(shot('/disk'), files), /would overwrite \/disk/);
  assert.match(
    refusal({ ...shot('/out/a'), serial: { kind: 'file', path: '/out/a' } }, files),
    /^--serial .*--screenshot/,
  );
});

test('a network: the user-mode one, with its card and its ports', () => {
  const network = (input: MachineConfigInput['network']) => validateMachineConfig({ network: input }).network;
  assert.equal(network(undefined), undefined);
  assert.deepEqual(network({}), {
    model: 'e1000',
    mac: '52:54:00:12:34:56',
    linkUp: true,
    forwards: [],
    hostLoopback: false,
    isolated: false,
  });
  const forward = { protocol: 'tcp', hostPort: 2222, guestPort: 22 };
  assert.deepEqual(network({ forwards: [forward] })?.forwards, [{ ...forward, hostAddress: '127.0.0.1' }]);
  const wrong = (input: NonNullable<MachineConfigInput['network']>) => refusal({ network: input });
  assert.match(wrong({ model: 'ne2000' }), /^--net model=ne2000: .*virtio or e1000/);
  assert.match(wrong({ mac: '01:00:00:00:00:00' }), /^--net mac=01:/);
  assert.match(wrong({ forwards: [{ ...forward, protocol: 'sctp' }] }), /^--net forward=sctp:2222:22: /);
  assert.match(wrong({ forwards: [{ ...forward, hostPort: 70_000 }] }), /^--net forward=tcp:70000:22: .*host port/);
  assert.match(wrong({ forwards: [{ ...forward, guestPort: 0 }] }), /guest port.*1 to 65535/);
  assert.match(wrong({ forwards: [{ ...forward, hostAddress: 'localhost' }] }), /'localhost' is no address/);
  assert.match(wrong({ forwards: [{ ...forward, guestAddress: '10.0.3.1' }] }), /'10.0.3.1' is no address of a guest/);
  assert.match(wrong({ forwards: [forward, { ...forward, guestPort: 23 }] }), /forward=tcp:2222:23: .*twice/);
  assert.match(wrong({ bootFile: 'kernel' }), /^--net bootfile=kernel: .*boot=FOLDER/);
  assert.match(refusal({ network: {}, virtualTime: true }), /^--net nat: .*--virtual-time/);
});

test('files of a network: the capture has a place, the boot folder is there', () => {
  const files: Record<string, Partial<FileFacts>> = {
    '/out': { kind: 'directory' },
    '/boot': { kind: 'directory' },
    '/file': {},
  };
  const check = (network: NonNullable<MachineConfigInput['network']>) => refusal({ network }, files);
  validateMachineConfig({ network: { capture: '/out/a.pcap', bootFolder: '/boot' } }, { files: host(files) });
  assert.match(check({ capture: '/none/a.pcap' }), /^--net capture \/none\/a.pcap: its folder does not exist/);
  assert.match(check({ bootFolder: '/file' }), /^--net boot=\/file: is no folder/);
  assert.match(check({ bootFolder: '/none' }), /^--net boot=\/none: is no folder/);
});
