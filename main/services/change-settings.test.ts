import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { MachineCommand, MachineStatus } from '../../engine/process/machine-messages.ts';
import type { ApiClient } from '../contract/client.ts';
import type { NewMachine } from '../contract/machines.ts';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { directClient } from './direct-client.ts';
import { type LodgeServices, openServices } from './lodge-services.ts';

let folder: string;
let host: FakeProcessHost;
let services: LodgeServices;
let client: ApiClient;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lodge-changes-'));
  host = new FakeProcessHost();
  const dataFolder = join(folder, 'data');
  services = openServices({ dataFolder, what: 'a test', processHost: host, log: () => {} });
  client = directClient(services.handlers);
});
afterEach(async () => {
  await services.close();
  rmSync(folder, { recursive: true, force: true });
});

const plain: NewMachine = {
  name: 'A machine',
  guestSystem: 'debian',
  memoryMegabytes: 512,
  processors: 1,
  hardDisk: { kind: 'new', sizeGigabytes: 1 },
};
const ssh = { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestAddress: null, guestPort: 22 } as const;
const web = { ...ssh, hostPort: 8080, guestPort: 80 };

async function settingsOf(id: string) {
  const { settings } = await client.call('machines.get', { id });
  assert.ok(settings !== null);
  return settings;
}

/** Lets the machine answer; commands for which `answer` gives an error are refused. */
function answerWith(answer: (command: MachineCommand) => unknown): void {
  host.answers = (message, process) => {
    if (message.kind === 'start') {
      process.say({ kind: 'started', accelerator: { name: 'software', label: 'Software', reason: 'a test' } });
      return;
    }
    if (message.kind !== 'command') {
      return;
    }
    const { request, command } = message;
    if (command.kind === 'stop') {
      process.end({ code: 0, signal: null });
    } else if (request !== undefined) {
      const value = answer(command) ?? usualAnswer(command);
      process.say(
        value instanceof Error
          ? { kind: 'refusal', request, error: { code: 'port-in-use', message: value.message } }
          : { kind: 'answer', request, value },
      );
    }
  };
}

function usualAnswer(command: MachineCommand): unknown {
  switch (command.kind) {
    case 'add-forward':
      return { forward: command.forward };
    case 'remove-forward':
      return { removed: true };
    default:
      return null;
  }
}

function commands(): MachineCommand[] {
  return host.last.heard.flatMap((message) => (message.kind === 'command' ? [message.command] : []));
}

test('guest systems with virtio drivers get virtio, others what they know; an address is nobody else’s', async () => {
  const debian = await client.call('machines.create', plain);
  const again = await client.call('machines.create', { ...plain, name: 'Again' });
  const windows = await client.call('machines.create', { ...plain, name: 'Windows', guestSystem: 'windows-10' });
  const dos = await client.call('machines.create', { ...plain, name: 'DOS', guestSystem: 'dos' });
  const kinds = [debian, windows, dos].map(({ settings }) => [
    settings?.disks[0]?.bus,
    settings?.network?.model,
    settings?.balloon,
    settings?.entropy,
  ]);
  assert.deepEqual(kinds, [
    ['virtio', 'virtio', true, true],
    ['ide', 'e1000', false, false],
    ['ide', undefined, false, false],
  ]);
  assert.deepEqual([debian.settings?.vga, windows.settings?.vga], ['virtio', 'std']);
  assert.match(debian.settings?.network?.mac ?? '', /^52:54:00(:[0-9a-f]{2}){3}$/);
  assert.notEqual(debian.settings?.network?.mac, again.settings?.network?.mac);
});

test('a new machine takes wishes about its disk and network', async () => {
  const image = join(folder, 'old.img');
  writeFileSync(image, new Uint8Array(1024));
  const { settings } = await client.call('machines.create', {
    ...plain,
    hardDisk: { kind: 'existing', path: image, bus: 'scsi', serial: 'ABC' },
    network: { model: 'e1000', forwards: [ssh], hostLoopback: true },
  });
  assert.deepEqual(settings?.disks, [{ path: image, bus: 'scsi', port: 0, readOnly: false, serial: 'ABC' }]);
  const { mac: _, ...network } = settings?.network ?? { mac: '' };
  assert.deepEqual(network, {
    model: 'e1000',
    connected: true,
    forwards: [ssh],
    hostLoopback: true,
    isolated: false,
    capture: null,
    bootFolder: null,
    bootFile: null,
  });
  const none = await client.call('machines.create', { ...plain, name: 'Alone', network: null });
  assert.equal(none.settings?.network, null);
});

test('what the machine starts with is what the settings say', async () => {
  const { id } = await client.call('machines.create', { ...plain, network: { forwards: [ssh] } });
  await client.call('machines.setLink', { id, up: false });
  await client.call('machines.update', { id, changes: { hyperv: true } });
  await client.call('machines.start', { id });
  const [start] = host.last.heard;
  assert.equal(start?.kind, 'start');
  const { network, disks, entropy, balloon, hyperv } = start.config;
  assert.deepEqual([network?.model, network?.linkUp, entropy, balloon, hyperv], ['virtio', false, true, true, true]);
  assert.deepEqual(network?.forwards, [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 }]);
  assert.deepEqual(
    disks.map(({ bus, serial }) => [bus, serial]),
    [['virtio', undefined]],
  );
});

test('a description of version 1 is read with the hardware it had, and written anew with the next change', async () => {
  const machine = join(folder, 'data', 'machines', 'Old');
  mkdirSync(machine, { recursive: true });
  writeFileSync(join(machine, 'disk.img'), new Uint8Array(512));
  const old = {
    schemaVersion: 1,
    name: 'Old',
    guestSystem: 'debian',
    memoryMegabytes: 256,
    processors: 1,
    firmware: 'bios',
    accelerator: 'auto',
    bootOrder: ['disk'],
    disks: [{ path: 'disk.img', bus: 'ide', port: 0, readOnly: false }],
    cdrom: { path: null, port: 2 },
    floppy: null,
    notes: 'mine',
    createdAt: '2025-01-01T00:00:00.000Z',
  };
  const path = join(machine, 'machine.json');
  writeFileSync(path, JSON.stringify(old));
  const [found] = await client.call('machines.list');
  assert.deepEqual(found?.settings, {
    name: 'Old',
    guestSystem: 'debian',
    memoryMegabytes: 256,
    processors: 1,
    firmware: 'bios',
    accelerator: 'auto',
    hyperv: false,
    bootOrder: ['disk'],
    disks: [{ path: join(machine, 'disk.img'), bus: 'ide', port: 0, readOnly: false, serial: null }],
    cdrom: { path: null, bus: 'ide', port: 2 },
    floppy: null,
    network: null,
    vga: 'std',
    shares: [],
    sound: null,
    entropy: false,
    balloon: false,
  });
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), old, 'looking changes nothing');
  await client.call('machines.update', { id: 'Old', changes: { memoryMegabytes: 512 } });
  const written = JSON.parse(readFileSync(path, 'utf8'));
  assert.deepEqual([written.schemaVersion, written['x-notes'], written.createdAt], [3, 'mine', old.createdAt]);
  assert.equal(written.disks[0].path, 'disk.img');

  const { hyperv, ...version2 } = { ...written, schemaVersion: 2 };
  assert.equal(hyperv, false);
  writeFileSync(path, JSON.stringify(version2));
  const [again] = await client.call('machines.list');
  assert.deepEqual([again?.settings?.hyperv, again?.settings?.memoryMegabytes], [false, 512]);
});

test('new disks, folders and ports are checked, and the failure names the setting; nothing is changed', async () => {
  const { id } = await client.call('machines.create', plain);
  const before = await settingsOf(id);
  const [disk] = before.disks;
  const { network } = before;
  assert.ok(disk !== undefined && network !== null);
  const empty = join(folder, 'empty.img');
  writeFileSync(empty, '');
  const cut = join(folder, 'cut.img');
  writeFileSync(cut, new Uint8Array(700));
  const second = (path: string) => ({ disks: [disk, { ...disk, path, port: 1 }] });
  for (const [changes, field, message] of [
    [second(join(folder, 'none.img')), 'disks.1.path', /there is no such file/],
    [second(empty), 'disks.1.path', /the file is empty/],
    [second(cut), 'disks.1.path', /not a multiple of 512/],
    [second('relative.img'), 'disks.1.path', /whole path/],
    [{ cdrom: { path: folder, bus: 'ide', port: 2 } }, 'cdrom.path', /is a directory/],
    [{ network: { ...network, bootFolder: join(folder, 'none') } }, 'network.bootFolder', /is no folder/],
    [{ network: { ...network, capture: join(folder, 'none', 'a.pcap') } }, 'network.capture', /folder does not exist/],
    [{ network: { ...network, forwards: [ssh, ssh] } }, undefined, /forwarded twice/],
    [{ network: { ...network, forwards: [{ ...ssh, hostAddress: 'x' }] } }, undefined, /'x' is no address/],
    [{ disks: [disk, disk] }, undefined, /port 0 \(virtio\) is taken/],
    [{ shares: [{ name: 'docs', path: join(folder, 'none'), readOnly: true }] }, 'shares.0.path', /no such folder/],
    [{ sound: { output: join(folder, 'none', 'a.wav'), input: null } }, 'sound.output', /folder does not exist/],
    [{ memoryMegabytes: 7 }, 'changes.memoryMegabytes', /16/],
  ] as const) {
    const update = client.call('machines.update', { id, changes: changes as never });
    await assert.rejects(update, (error: { field?: string; message: string }) => {
      assert.equal(error.field, field);
      assert.match(error.message, message);
      return true;
    });
  }
  assert.deepEqual(await settingsOf(id), before);
});

test('a running machine takes forwards, the cable and media; other changes are refused by name', async () => {
  const { id } = await client.call('machines.create', plain);
  const iso = join(folder, 'cd.iso');
  writeFileSync(iso, new Uint8Array(4096));
  answerWith(() => undefined);
  await client.call('machines.start', { id });
  await client.call('machines.addForward', { id, forward: { protocol: 'tcp', hostPort: 2222, guestPort: 22 } });
  const settings = await settingsOf(id);
  const { network, cdrom } = settings;
  assert.ok(network !== null && cdrom !== null);
  assert.deepEqual(network.forwards, [ssh]);
  await assert.rejects(client.call('machines.addForward', { id, forward: ssh }), {
    code: 'port-forwarded',
    field: 'forward.hostPort',
  });
  await client.call('machines.update', {
    id,
    // Everything at once, as a dialog gives it: what is the same is no change.
    changes: {
      ...settings,
      name: 'Renamed',
      cdrom: { ...cdrom, path: iso },
      network: { ...network, connected: false, forwards: [web] },
    },
  });
  const told = commands().map((command) => (command.kind === 'add-forward' ? command.forward.hostPort : command.kind));
  assert.deepEqual(told, [2222, 'insert', 'remove-forward', 8080, 'link']);
  const changed = await settingsOf(id);
  assert.deepEqual(
    [changed.name, changed.cdrom?.path, changed.network?.connected, changed.network?.forwards],
    ['Renamed', iso, false, [web]],
  );
  await assert.rejects(
    client.call('machines.update', { id, changes: { memoryMegabytes: 256, processors: 2, name: 'Other' } }),
    { code: 'wrong-state', field: 'memoryMegabytes', message: /memoryMegabytes, processors cannot be changed/ },
  );
  await assert.rejects(client.call('machines.update', { id, changes: { network: null } }), { field: 'network' });
  assert.equal((await settingsOf(id)).name, 'Renamed');
  await client.call('machines.removeForward', { id, forward: { protocol: 'tcp', hostPort: 8080 } });
  await assert.rejects(client.call('machines.removeForward', { id, forward: { protocol: 'tcp', hostPort: 8080 } }), {
    code: 'no-such-forward',
  });
});

test('a port that is occupied leaves everything as it was', async () => {
  const { id } = await client.call('machines.create', { ...plain, network: { forwards: [ssh] } });
  answerWith((command) =>
    command.kind === 'add-forward' && command.forward.hostPort === 99 ? new Error('somebody listens there') : undefined,
  );
  await client.call('machines.start', { id });
  const { network } = await settingsOf(id);
  assert.ok(network !== null);
  const occupied = { ...ssh, hostPort: 99 };
  const forwards = [web, occupied];
  await assert.rejects(client.call('machines.update', { id, changes: { network: { ...network, forwards } } }), {
    code: 'port-in-use',
    field: 'network.forwards.1.hostPort',
  });
  const told = commands().map((command) =>
    command.kind === 'add-forward' || command.kind === 'remove-forward'
      ? `${command.kind} ${command.forward.hostPort}`
      : command.kind,
  );
  assert.deepEqual(told, [
    'remove-forward 2222',
    'add-forward 8080',
    'add-forward 99',
    'remove-forward 8080',
    'add-forward 2222',
  ]);
  assert.deepEqual((await settingsOf(id)).network, network);
});

test('any free port is one of the running machine only', async () => {
  const { id } = await client.call('machines.create', plain);
  const forward = { protocol: 'udp', hostPort: 0, guestPort: 53 } as const;
  await assert.rejects(client.call('machines.addForward', { id, forward }), { code: 'any-port' });
  answerWith((command) =>
    command.kind === 'add-forward' ? { forward: { ...command.forward, hostPort: 40_000 } } : undefined,
  );
  await client.call('machines.start', { id });
  const { forward: added } = await client.call('machines.addForward', { id, forward });
  assert.equal(added.hostPort, 40_000);
  assert.equal((await settingsOf(id)).network?.forwards[0]?.hostPort, 40_000);
});

test('a drive that the guest has locked keeps its medium', async () => {
  const iso = join(folder, 'cd.iso');
  writeFileSync(iso, new Uint8Array(4096));
  const { id } = await client.call('machines.create', { ...plain, installMedia: { path: iso, kind: 'cdrom' } });
  answerWith(() => ({ ejected: false }));
  await client.call('machines.start', { id });
  const { cdrom } = await settingsOf(id);
  assert.ok(cdrom !== null);
  await assert.rejects(client.call('machines.update', { id, changes: { cdrom: { ...cdrom, path: null } } }), {
    code: 'medium-locked',
    field: 'cdrom.path',
  });
  assert.equal((await settingsOf(id)).cdrom?.path, iso);
});

test('SCSI disks are attached to running machines only', async () => {
  const { id } = await client.call('machines.create', plain);
  const wish = { id, path: join(folder, 'more.img'), serial: 'MORE' };
  await assert.rejects(client.call('machines.attachDisk', wish), { code: 'wrong-state' });
  answerWith((command) => (command.kind === 'attach-disk' ? { target: 3 } : null));
  await client.call('machines.start', { id });
  assert.deepEqual(await client.call('machines.attachDisk', wish), { target: 3 });
  await assert.rejects(client.call('machines.attachDisk', { ...wish, path: 'more.img' }), { field: 'path' });
  assert.equal(await client.call('machines.detachDisk', { id, target: 3 }), null);
});

test('the balloon is for running machines that have one', async () => {
  const { id } = await client.call('machines.create', plain);
  await assert.rejects(client.call('machines.setBalloon', { id, megabytes: 256 }), { code: 'wrong-state' });
  answerWith(() => ({ active: true, presentMegabytes: 512 }));
  await client.call('machines.start', { id });
  assert.deepEqual(await client.call('machines.setBalloon', { id, megabytes: 256 }), {
    targetMegabytes: 256,
    active: true,
    presentMegabytes: 512,
  });
  await assert.rejects(client.call('machines.setBalloon', { id, megabytes: 513 }), { code: 'balloon-size' });
  const status: MachineStatus = { ...idle, balloon: { active: true, presentMegabytes: 300 } };
  host.last.say({ kind: 'status', status });
  const seen: unknown[] = [];
  client.subscribe('console.status', { machine: id }, { item: ({ balloon }) => seen.push(balloon) });
  assert.deepEqual(seen, [{ targetMegabytes: 256, active: true, presentMegabytes: 300 }]);

  const dos = await client.call('machines.create', { ...plain, name: 'DOS', guestSystem: 'dos' });
  await client.call('machines.start', { id: dos.id });
  await assert.rejects(client.call('machines.setBalloon', { id: dos.id, megabytes: 256 }), { code: 'no-balloon' });
  await assert.rejects(client.call('machines.setLink', { id: dos.id, up: false }), { code: 'no-network' });
});

const idle: MachineStatus = {
  activity: { disk: 'idle', cdrom: 'none', floppy: 'none', network: 'none' },
  leds: { capsLock: false, numLock: false, scrollLock: false },
  mouse: 'relative',
  heads: 1,
  resizable: false,
  screen: { width: 640, height: 480 },
};

test('a machine that waits for its disk is paused, says why, and can be resumed', async () => {
  const { id } = await client.call('machines.create', plain);
  answerWith(() => undefined);
  await client.call('machines.start', { id });
  const changes: unknown[] = [];
  client.subscribe(
    'machines.changes',
    {},
    {
      item: (change) => change.kind === 'changed' && changes.push([change.machine.state, change.machine.trouble?.code]),
    },
  );
  host.last.say({ kind: 'status', status: idle });
  const trouble = { path: '/disks/a.img', reason: 'no-space', problem: 'no space (ENOSPC)' } as const;
  host.last.say({ kind: 'status', status: { ...idle, trouble } });
  const machine = await client.call('machines.get', { id });
  assert.equal(machine.state, 'paused');
  assert.match(
    machine.trouble?.message ?? '',
    /^\/disks\/a\.img: cannot be written because the host has no space left$/,
  );
  await assert.rejects(client.call('machines.shutdown', { id }), { code: 'wrong-state' });
  await client.call('machines.resume', { id });
  host.last.say({ kind: 'status', status: idle });
  assert.deepEqual(changes.at(0), ['paused', 'disk-trouble']);
  assert.deepEqual(changes.at(-1), ['running', undefined]);
  host.last.say({ kind: 'status', status: { ...idle, trouble: { ...trouble, reason: 'io', problem: 'EIO' } } });
  assert.match((await client.call('machines.get', { id })).trouble?.message ?? '', /cannot be written \(EIO\)$/);
});
