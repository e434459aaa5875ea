import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { ApiClient } from '../contract/client.ts';
import type { MachinesChange, NewMachine } from '../contract/machines.ts';
import { FakeProcessHost } from '../vms/testing/fake-process-host.ts';
import { directClient } from './direct-client.ts';
import { type LodgeServices, openServices } from './lodge-services.ts';

let folder: string;
let dataFolder: string;
let host: FakeProcessHost;
let services: LodgeServices;
let client: ApiClient;

function openThem(): void {
  host = new FakeProcessHost();
  services = openServices({
    dataFolder,
    what: 'a test',
    processHost: host,
    demoImage: async () => new Uint8Array(1024),
    log: () => {},
  });
  client = directClient(services.handlers);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lodge-machines-'));
  dataFolder = join(folder, 'data');
  openThem();
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

async function reopen(): Promise<void> {
  await services.close();
  openThem();
}

test('a machine has a folder with a readable description and a sparse disk', async () => {
  const iso = join(folder, 'cd.iso');
  writeFileSync(iso, new Uint8Array(4096));
  const machine = await client.call('machines.create', { ...plain, installMedia: { path: iso, kind: 'cdrom' } });
  assert.equal(machine.state, 'powered-off');
  assert.equal(machine.folder, join(dataFolder, 'machines', 'A machine'));
  const file = JSON.parse(readFileSync(join(machine.folder, 'machine.json'), 'utf8'));
  assert.equal(file.schemaVersion, 3);
  assert.equal(file.name, 'A machine');
  assert.deepEqual(file.disks, [{ path: 'disk.img', bus: 'virtio', port: 0, readOnly: false, serial: null }]);
  assert.equal(file.cdrom.path, iso);
  assert.equal(machine.settings?.disks[0]?.path, join(machine.folder, 'disk.img'));
  await reopen();
  assert.deepEqual(await client.call('machines.list'), [machine]);
});

test('what is wrong with a new machine names the field, and leaves nothing behind', async () => {
  const cases: [Partial<NewMachine>, string][] = [
    [{ guestSystem: 'nonsense' }, 'guestSystem'],
    [{ installMedia: { path: join(folder, 'nothing.iso'), kind: 'cdrom' } }, 'installMedia.path'],
    [{ installMedia: { path: 'relative.iso', kind: 'cdrom' } }, 'installMedia.path'],
    [{ hardDisk: { kind: 'existing', path: folder } }, 'hardDisk.path'],
    [{ folder: 'relative' }, 'folder'],
    [{ folder: join(folder, 'file', 'below') }, 'folder'],
  ];
  writeFileSync(join(folder, 'file'), 'x');
  for (const [change, field] of cases) {
    await assert.rejects(client.call('machines.create', { ...plain, ...change }), { field }, JSON.stringify(change));
  }
  await client.call('machines.create', plain);
  await assert.rejects(client.call('machines.create', plain), { code: 'name-taken', field: 'name' });
  assert.deepEqual(readdirSync(join(dataFolder, 'machines')), ['A machine']);
});

test('start, pause, resume, power off: states are told to everyone', async () => {
  const changes: MachinesChange[] = [];
  client.subscribe('machines.changes', {}, { item: (change) => changes.push(change) });
  const { id } = await client.call('machines.create', plain);
  await client.call('machines.start', { id });
  await client.call('machines.pause', { id });
  await assert.rejects(client.call('machines.pause', { id }), { code: 'wrong-state' });
  await assert.rejects(client.call('machines.start', { id }), { code: 'wrong-state' });
  await assert.rejects(client.call('machines.remove', { id, deleteFiles: true }), { code: 'wrong-state' });
  await assert.rejects(client.call('machines.update', { id, changes: { memoryMegabytes: 64 } }), {
    code: 'wrong-state',
  });
  await client.call('machines.resume', { id });
  await client.call('machines.powerOff', { id });
  const states = changes.flatMap((change) => (change.kind === 'changed' ? [change.machine.state] : [change.kind]));
  assert.deepEqual(states, [
    'all',
    'powered-off',
    'starting',
    'running',
    'paused',
    'running',
    'stopping',
    'powered-off',
  ]);
  assert.deepEqual(host.last.commands, ['start', 'pause', 'resume', 'stop']);
  assert.equal(existsSync(join(dataFolder, 'machines', 'A machine', 'run.json')), false);
});

test('a process that dies makes its machine aborted, also for those who come later; others go on', async () => {
  const one = await client.call('machines.create', plain);
  const two = await client.call('machines.create', { ...plain, name: 'Other' });
  await client.call('machines.start', { id: one.id });
  const [first] = host.processes;
  await client.call('machines.start', { id: two.id });
  const screenshot = client.call('console.screenshot', { machine: one.id });
  first?.end({ code: null, signal: 'SIGKILL' });
  await assert.rejects(screenshot, { code: 'not-running' });
  const dead = await client.call('machines.get', { id: one.id });
  assert.equal(dead.state, 'aborted');
  assert.equal(dead.reason?.code, 'process-died');
  assert.match(dead.reason?.message ?? '', /SIGKILL/);
  assert.ok(dead.logPath?.startsWith(dead.folder));
  assert.equal((await client.call('machines.get', { id: two.id })).state, 'running');
  await client.call('machines.powerOff', { id: two.id });
  await reopen();
  assert.equal((await client.call('machines.get', { id: one.id })).state, 'aborted');
  await client.call('machines.start', { id: one.id });
  await client.call('machines.powerOff', { id: one.id });
  assert.equal((await client.call('machines.get', { id: one.id })).state, 'powered-off');
});

test('a process that cannot start says why; one that talks nonsense is ended', async () => {
  const { id } = await client.call('machines.create', plain);
  host.answers = (message, process) => {
    if (message.kind === 'start') {
      process.say({ kind: 'failed', error: { code: 'no-firmware', message: 'no SeaBIOS', remedy: 'install it' } });
      process.end({ code: 1, signal: null });
    }
  };
  await assert.rejects(client.call('machines.start', { id }), { code: 'no-firmware', remedy: 'install it' });
  const refused = await client.call('machines.get', { id });
  assert.deepEqual([refused.state, refused.reason], ['powered-off', null], 'nothing has happened');
  host.answers = (message, process) => {
    if (message.kind === 'start') {
      process.sayAnything({ kind: 'started', accelerator: 7 });
    }
  };
  await assert.rejects(client.call('machines.start', { id }), { code: 'bad-message' });
  assert.equal(host.last.killed, true);
});

test('the owner died while a machine ran: the machine is aborted afterwards', async () => {
  const { id } = await client.call('machines.create', plain);
  await client.call('machines.start', { id });
  const record = readFileSync(join(dataFolder, 'machines', id, 'run.json'), 'utf8');
  await client.call('machines.powerOff', { id });
  await services.close();
  writeFileSync(join(dataFolder, 'machines', id, 'run.json'), record);
  openThem();
  const machine = await client.call('machines.get', { id });
  assert.deepEqual([machine.state, machine.reason?.code], ['aborted', 'lodge-ended']);
});

test('a damaged, newer or missing description shows as inaccessible with the reason and is never overwritten', async () => {
  const { id, folder: machineFolder } = await client.call('machines.create', plain);
  const path = join(machineFolder, 'machine.json');
  const good = readFileSync(path, 'utf8');
  const cases: [string, RegExp][] = [
    ['{ "schemaVersion": 1, "na', /not valid JSON/],
    ['[]', /not the description/],
    [good.replace('"schemaVersion": 3', '"schemaVersion": 99'), /newer Lodge \(schema version 99/],
    [good.replace('"processors"', '"procesors"'), /there is no setting 'procesors' in this version|processors/],
    [good.replace('"network": {', '"network": { "speed": 7,'), /there is no setting 'network\.speed'/],
    [good.replace('"serial": null', '"serial": null, "cache": "x"'), /there is no setting 'disks\.0\.cache'/],
    [good.replace('"memoryMegabytes": 512', '"memoryMegabytes": "much"'), /memoryMegabytes/],
    ['', /not valid JSON/],
  ];
  for (const [contents, message] of cases) {
    writeFileSync(path, contents);
    await reopen();
    const [machine] = await client.call('machines.list');
    assert.equal(machine?.state, 'inaccessible');
    assert.equal(machine?.name, id);
    assert.match(machine?.reason?.message ?? '', message);
    assert.ok(machine?.reason?.message.includes(path));
    await assert.rejects(client.call('machines.start', { id }));
    await assert.rejects(client.call('machines.update', { id, changes: { name: 'New' } }));
    await assert.rejects(client.call('console.insertMedium', { machine: id, drive: 'cdrom', path: '/dev/null' }));
    assert.equal(readFileSync(path, 'utf8'), contents);
  }
  rmSync(path);
  await reopen();
  assert.equal((await client.call('machines.list'))[0]?.state, 'inaccessible');
  writeFileSync(path, good);
  assert.equal((await client.call('machines.list'))[0]?.state, 'powered-off');
});

test('a description that is damaged while the machine runs is not overwritten either', async () => {
  const { id, folder: machineFolder } = await client.call('machines.create', plain);
  await client.call('machines.start', { id });
  writeFileSync(join(machineFolder, 'machine.json'), 'broken');
  await assert.rejects(client.call('machines.update', { id, changes: { name: 'New' } }), {
    code: 'machine-file-damaged',
  });
  assert.equal(readFileSync(join(machineFolder, 'machine.json'), 'utf8'), 'broken');
});

test("the user's own fields in the file survive a change", async () => {
  const { id, folder: machineFolder } = await client.call('machines.create', plain);
  const path = join(machineFolder, 'machine.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), 'x-notes': 'mine' }));
  const changed = await client.call('machines.update', { id, changes: { name: 'Renamed', memoryMegabytes: 256 } });
  assert.deepEqual([changed.name, changed.settings?.memoryMegabytes], ['Renamed', 256]);
  assert.equal(JSON.parse(readFileSync(path, 'utf8'))['x-notes'], 'mine');
  const cdrom = { path: null, bus: 'ide' as const, port: 4 };
  await assert.rejects(client.call('machines.update', { id, changes: { cdrom } }), { code: 'usage' });
});

test('removing keeps the files and does not come back; deleting names the files and leaves what is not ours', async () => {
  const one = await client.call('machines.create', plain);
  await client.call('machines.remove', { id: one.id, deleteFiles: false });
  await reopen();
  assert.deepEqual(await client.call('machines.list'), []);
  assert.equal((await client.call('machines.add', { folder: one.folder })).id, one.id);
  writeFileSync(join(one.folder, 'holiday.jpg'), 'x');
  const files = await client.call('machines.files', { id: one.id });
  assert.deepEqual(
    files.deleted.map(({ path }) => path),
    [join(one.folder, 'disk.img'), join(one.folder, 'machine.json')],
  );
  assert.deepEqual(files.kept, [{ path: join(one.folder, 'holiday.jpg'), reason: 'foreign' }]);
  const { deleted } = await client.call('machines.remove', { id: one.id, deleteFiles: true });
  assert.deepEqual(
    deleted,
    files.deleted.map(({ path }) => path),
  );
  assert.deepEqual(readdirSync(one.folder), ['holiday.jpg']);
  assert.deepEqual(await client.call('machines.list'), []);

  const shared = join(folder, 'shared.img');
  writeFileSync(shared, new Uint8Array(512));
  const two = await client.call('machines.create', { ...plain, hardDisk: { kind: 'existing', path: shared } });
  assert.deepEqual((await client.call('machines.files', { id: two.id })).kept, [{ path: shared, reason: 'outside' }]);
  await client.call('machines.remove', { id: two.id, deleteFiles: true });
  assert.ok(existsSync(shared));
  assert.equal(existsSync(two.folder), false);
});

test('machines that are put into the folder are found, and a damaged list loses none', async () => {
  const { folder: machineFolder } = await client.call('machines.create', plain);
  const description = readFileSync(join(machineFolder, 'machine.json'));
  const copy = join(dataFolder, 'machines', 'copy');
  mkdirSync(copy);
  writeFileSync(join(copy, 'machine.json'), description);
  assert.deepEqual(
    (await client.call('machines.list')).map(({ id }) => id),
    ['A machine', 'copy'],
  );
  await services.close();
  writeFileSync(join(dataFolder, 'machines.json'), 'broken');
  openThem();
  assert.deepEqual(
    (await client.call('machines.list')).map(({ id }) => id),
    ['A machine', 'copy'],
  );
  assert.ok(readdirSync(dataFolder).some((name) => name.startsWith('machines.json.damaged-')));
});

test('media are changed in the running machine and stay changed', async () => {
  const iso = join(folder, 'cd.iso');
  writeFileSync(iso, new Uint8Array(4096));
  const { id } = await client.call('machines.create', plain);
  await client.call('machines.start', { id });
  const seen: (string | null)[] = [];
  client.subscribe('console.status', { machine: id }, { item: ({ media }) => seen.push(media.cdrom) });
  await client.call('console.insertMedium', { machine: id, drive: 'cdrom', path: iso });
  assert.deepEqual(host.last.commands, ['start', 'insert']);
  assert.equal((await client.call('machines.get', { id })).settings?.cdrom?.path, iso);
  assert.deepEqual(await client.call('console.ejectMedium', { machine: id, drive: 'cdrom' }), { ejected: true });
  assert.deepEqual(
    seen.filter((path, index) => path !== seen[index - 1]),
    [null, iso, null],
  );
  host.answers = (message, process) => {
    if (message.kind === 'command' && message.request !== undefined) {
      process.say({ kind: 'answer', request: message.request, value: { ejected: false } });
    }
  };
  await client.call('console.ejectMedium', { machine: id, drive: 'cdrom' });
  await assert.rejects(client.call('console.insertMedium', { machine: id, drive: 'cdrom', path: '/nothing' }), {
    code: 'image-missing',
  });
  host.answers = (_message, process) => process.end({ code: 0, signal: null });
});

test('frames and serial output reach those who watch, over a restart too; keys reach the machine', async () => {
  const { id } = await client.call('machines.create', plain);
  const frames: number[] = [];
  const serial: string[] = [];
  const watching = client.subscribe('console.frames', { machine: id }, { item: ([byte]) => frames.push(byte ?? -1) });
  await client.call('machines.start', { id });
  host.last.say({ kind: 'frame', viewer: 1, packet: Uint8Array.of(5) });
  host.last.say({ kind: 'serial', bytes: new TextEncoder().encode('hello') });
  client.subscribe(
    'console.serial',
    { machine: id },
    { item: (bytes) => serial.push(new TextDecoder().decode(bytes)) },
  );
  watching.ack(1);
  await client.call('console.sendKey', { machine: id, code: 'KeyA', down: true });
  await client.call('machines.powerOff', { id });
  await client.call('machines.start', { id });
  host.last.say({ kind: 'frame', viewer: 1, packet: Uint8Array.of(6) });
  watching.dispose();
  host.last.say({ kind: 'frame', viewer: 1, packet: Uint8Array.of(7) });
  assert.deepEqual(frames, [5, 6]);
  assert.deepEqual(serial, ['hello']);
  assert.deepEqual(host.processes[0]?.commands, ['start', 'attach', 'ack', 'key', 'stop']);
  assert.deepEqual(host.last.commands, ['start', 'attach', 'detach']);
});

test('one owner at a time, and the next one after it', async () => {
  assert.throws(
    () => openServices({ dataFolder, what: 'another', processHost: new FakeProcessHost(), log: () => {} }),
    { code: 'owned-elsewhere', message: `${dataFolder} is in use by a test (process ${process.pid})` },
  );
  await services.close();
  assert.ok(host.disposed);
  openThem();
});

test('settings are kept, and nonsense in their file counts as not chosen', async () => {
  const seen: string[] = [];
  client.subscribe('settings.changes', {}, { item: ({ theme }) => seen.push(theme) });
  await client.call('settings.set', { theme: 'dark', dismissedWarnings: ['mouse-capture'] });
  assert.deepEqual(seen, ['system', 'dark']);
  await services.close();
  const path = join(dataFolder, 'settings.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), language: 'tlh' }));
  openThem();
  const settings = await client.call('settings.get');
  assert.deepEqual(
    [settings.theme, settings.language, settings.dismissedWarnings],
    ['dark', 'system', ['mouse-capture']],
  );
});

test('disk images are made sparse and never over something else', async () => {
  const path = join(folder, 'new.img');
  const made = await client.call('media.createDisk', { path, sizeGigabytes: 100 });
  assert.equal(made.sizeBytes, 100 * 2 ** 30);
  await assert.rejects(client.call('media.createDisk', { path, sizeGigabytes: 1 }), { code: 'exists', field: 'path' });
  const space = await client.call('host.diskSpace', { folder: join(folder, 'not', 'yet') });
  assert.equal(space.folder, folder);
  assert.ok(space.freeBytes > 0);
});
