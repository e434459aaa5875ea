import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { HOME_VARIABLE } from '../services/data-folder.ts';
import { runLodge as run } from './testing/run-lodge.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-settings-'));
process.env[HOME_VARIABLE] = join(folder, 'data');
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command that has to succeed without a word. */
async function quietly(...argv: string[]): Promise<void> {
  assert.deepEqual(await run(...argv), { code: 0, out: '', complaints: [] }, argv.join(' '));
}

async function settings(name: string) {
  return JSON.parse((await run('show', name, '--json')).out).settings;
}

const image = (name: string, bytes: number) => {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(bytes));
  return path;
};

test('create takes buses, serial numbers, a network and an accelerator', async () => {
  const disk = image('first.img', 1024);
  const made = await run(
    ...['create', '--name', 'Full', '--guest', 'debian', '--disk', `${disk},bus=scsi,serial=S1,readonly`],
    ...['--net', 'nat,model=e1000,forward=tcp:2222:22,host-loopback', '--accel', 'software'],
    ...['--vga', 'std', '--share', `docs=${folder}`, '--sound', 'null'],
  );
  assert.deepEqual([made.code, made.complaints], [0, []]);
  const { disks, network, accelerator, entropy } = await settings('Full');
  assert.deepEqual(disks, [{ path: disk, bus: 'scsi', port: 0, readOnly: true, serial: 'S1' }]);
  assert.deepEqual([network.model, network.hostLoopback, accelerator, entropy], ['e1000', true, 'software', true]);
  assert.deepEqual(network.forwards, [
    { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestAddress: null, guestPort: 22 },
  ]);
  const { vga, shares, sound } = await settings('Full');
  assert.deepEqual([vga, sound], ['std', { output: null, input: null }]);
  assert.deepEqual(shares, [{ name: 'docs', path: folder, readOnly: false }]);
  const shown = (await run('show', 'Full')).out;
  assert.match(shown, /^scsi 0 +.*first\.img, serial S1, read-only$/m);
  assert.match(shown, /^network +nat, e1000, 52:54:00:\S+, host-loopback$/m);
  assert.match(shown, /^forward +tcp:2222:22$/m);

  await run('create', '--name', 'New', '--guest', 'windows-10', '--disk-size', '0.01,bus=virtio,serial=N1');
  const fresh = await settings('New');
  assert.deepEqual([fresh.disks[0].bus, fresh.disks[0].serial, fresh.network.model], ['virtio', 'N1', 'e1000']);
  assert.equal(fresh.hyperv, true);
  await run('create', '--name', 'Alone', '--guest', 'debian', '--no-disk', '--net', 'none');
  assert.equal((await settings('Alone')).network, null);
});

test('set, forward and disk change a machine that is off', async () => {
  await run('create', '--name', 'Box', '--guest', 'debian', '--disk-size', '0.01');
  const { mac } = (await settings('Box')).network;
  const iso = image('cd.iso', 4096);
  const second = image('second.img', 512);
  for (const [name, value] of [
    ['memory', '256'],
    ['cpus', '2'],
    ['accel', 'kvm'],
    ['hyperv', 'on'],
    ['boot', 'disk,cdrom'],
    ['balloon', 'off'],
    ['rng', 'off'],
    ['net', 'nat,isolated,forward=udp:5353:53'],
    ['link', 'down'],
    ['vga', 'std'],
    ['sound', `wav=${join(folder, 'out.wav')}`],
    ['cdrom', iso],
    ['floppy', 'none'],
    ['guest', 'fedora'],
  ] as const) {
    await quietly('set', 'Box', name, value);
  }
  assert.deepEqual(await run('forward', 'Box', 'add', 'tcp:[::1]:8080:10.0.2.16:80'), {
    code: 0,
    out: 'tcp:[::1]:8080:10.0.2.16:80\n',
    complaints: [],
  });
  assert.equal((await run('forward', 'Box')).out, 'udp:5353:53\ntcp:[::1]:8080:10.0.2.16:80\n');
  await quietly('forward', 'Box', 'remove', 'udp:5353');
  await quietly('disk', 'Box', 'add', `${second},bus=ide,serial=TWO`);
  const made = await run('disk', 'Box', 'new', '0.01,bus=scsi,serial=THREE');
  assert.deepEqual([made.code, made.out], [0, `${join(folder, 'data', 'machines', 'Box', 'disk-2.img')}\n`]);
  await quietly('set', 'Box', 'name', 'Renamed');
  const changed = await settings('Renamed');
  assert.deepEqual(
    [changed.memoryMegabytes, changed.processors, changed.accelerator, changed.bootOrder, changed.guestSystem],
    [256, 2, 'kvm', ['disk', 'cdrom'], 'fedora'],
  );
  assert.match((await run('show', 'Renamed')).out, /^hyperv +on$/m);
  assert.equal(changed.hyperv, true);
  assert.deepEqual([changed.balloon, changed.entropy, changed.floppy, changed.cdrom.path], [false, false, null, iso]);
  const { forwards, ...network } = changed.network;
  assert.deepEqual([network.mac, network.model, network.isolated, network.connected], [mac, 'virtio', true, false]);
  assert.deepEqual(
    forwards.map(({ hostPort }: { hostPort: number }) => hostPort),
    [8080],
  );
  assert.deepEqual(changed.disks[1], { path: second, bus: 'ide', port: 0, readOnly: false, serial: 'TWO' });
  assert.deepEqual([changed.vga, changed.sound], ['std', { output: join(folder, 'out.wav'), input: null }]);
  await quietly('share', 'Renamed', 'add', `docs=${folder},readonly`);
  assert.equal((await run('share', 'Renamed')).out, `docs=${folder},readonly\n`);
  await quietly('share', 'Renamed', 'remove', 'docs');
  assert.deepEqual((await settings('Renamed')).shares, []);
  assert.deepEqual([changed.disks[2].bus, changed.disks[2].serial], ['scsi', 'THREE']);
  await quietly('disk', 'Renamed', 'remove', changed.disks[2].path);
  await quietly('disk', 'Renamed', 'remove', second);
  await quietly('set', 'Renamed', 'net', 'none');
  await quietly('set', 'Renamed', 'cdrom', 'none');
  const bare = await settings('Renamed');
  assert.deepEqual([bare.disks.length, bare.network, bare.cdrom], [1, null, null]);
});

test('mistakes are told in one line with exit code 2, and nothing is changed', async () => {
  await run(
    'create',
    '--name',
    'Strict',
    '--guest',
    'debian',
    '--disk-size',
    '0.01',
    '--net',
    'nat,forward=tcp:2022:22',
  );
  await run('create', '--name', 'Bare', '--guest', 'dos', '--no-disk');
  const file = join(folder, 'data', 'machines', 'Strict', 'machine.json');
  const before = readFileSync(file, 'utf8');
  const empty = image('empty.img', 0);
  const cut = image('cut.img', 700);
  const cases: [string[], RegExp][] = [
    [['set', 'Strict', 'memroy', '256'], /^set memroy: there is no such setting; give one of name, guest, memory,/],
    [['set', 'Strict', 'memory', '1'], /^memory 1: is out of range; give 16 to \d+ megabytes$/],
    [['set', 'Strict', 'memory', 'lots'], /^memory lots: is not a whole number/],
    [['set', 'Strict', 'cpus', '99'], /^cpus 99: is out of range/],
    [['set', 'Strict', 'accel', 'fast'], /^accel fast: is not known; give auto or kvm or software/],
    [['set', 'Strict', 'boot', 'tape'], /^boot order tape: is not known/],
    [['set', 'Strict', 'guest', 'beos'], /^beos: is not a known guest system/],
    [['set', 'Strict', 'name', ''], /^name "": is not a name/],
    [['set', 'Strict', 'balloon', '256'], /^Strict: it is not running; start it first/],
    [['set', 'Strict', 'balloon', '1'], /^balloon 1: is out of range/],
    [['set', 'Strict', 'net', 'nat,modle=e1000'], /^net nat,modle=e1000: there is no 'modle=e1000'; after a comma/],
    [['set', 'Strict', 'net', 'nat,model=ne2000'], /^net model=ne2000: there is no such card/],
    [['set', 'Strict', 'net', `nat,boot=${folder}/none`], /boot=.*: is no folder/],
    [['set', 'Strict', 'vga', 'cga'], /^vga cga: is not known; give std or virtio/],
    [['set', 'Strict', 'sound', 'loud'], /^sound loud: is not known/],
    [['share', 'Strict', 'add', `docs=${folder}/none`], /none: there is no such folder; give a folder to share/],
    [['share', 'Strict', 'add', `do cs=${folder}`], /is not a name for a share/],
    [['share', 'Strict', 'add', folder], /is not a share; write NAME=FOLDER/],
    [['share', 'Strict', 'add', `docs=${cut}`], /is no folder/],
    [['share', 'Strict', 'remove', 'docs'], /^Strict: there is no share 'docs'/],
    [['set', 'Strict', 'link', 'sideways'], /^link sideways: is not known; give up or down/],
    [['set', 'Bare', 'link', 'down'], /^Bare: the machine has no network/],
    [['set', 'Strict', 'cdrom', join(folder, 'none.iso')], /none\.iso: there is no such file/],
    [['set', 'Strict', 'cdrom', cut], /700 bytes are too few for a CD/],
    [['set', 'Strict', 'cdrom', folder], /is a directory/],
    [['disk', 'Strict', 'attach', `${cut},bus=ide`], /only SCSI disks come and go/],
    [['disk', 'Strict', 'attach', cut], /Strict: is not running|not running/],
    [['disk', 'Strict', 'detach', 'first'], /^disk detach first: is not a whole number/],
    [
      ['disk', 'Strict', 'add', `${cut},bus=usb`],
      /cut\.img: there is no bus 'usb'; give bus=ide, bus=virtio, bus=scsi/,
    ],
    [
      ['disk', 'Strict', 'add', `${cut},buss=ide`],
      /there is no 'buss='; after a comma, give bus=…, serial=…, readonly/,
    ],
    [['disk', 'Strict', 'add', `${cut},serial=${'x'.repeat(30)}`], /is not a serial number/],
    [['disk', 'Strict', 'add', cut], /its size of 700 bytes is not a multiple of 512/],
    [['disk', 'Strict', 'add', empty], /the file is empty/],
    [['disk', 'Strict', 'add', join(folder, 'none.img')], /there is no such file/],
    [['disk', 'Strict', 'remove', '/nothing.img'], /^Strict: \/nothing\.img is none of its hard disks/],
    [['disk', 'Strict', 'new', '9999999'], /^disk 9999999: is out of range; give 0\.001 to 2048 gigabytes/],
    [['disk', 'Strict', 'eject', cut], /^disk eject: is not known; give add or remove or new or attach or detach/],
    [['forward', 'Strict', 'add', 'tcp:22'], /^tcp:22: is not a forward; write tcp:HOSTPORT:GUESTPORT/],
    [['forward', 'Strict', 'add', 'tcp:99999:22'], /there is no such host port/],
    [['forward', 'Strict', 'add', 'tcp:2022:80'], /^TCP port 2022 is forwarded already/],
    [['forward', 'Strict', 'add', 'tcp:0:80'], /^Strict: a free port can be chosen only while it runs/],
    [['forward', 'Strict', 'remove', 'udp:2022'], /^Strict: UDP port 2022 of 127\.0\.0\.1 is not forwarded/],
    [['forward', 'Bare', 'add', 'tcp:2022:80'], /^Bare: the machine has no network/],
    [['forward', 'Strict', 'add'], /^forward add: says not what; see lodge forward --help/],
    [['create', '--name', 'x', '--net', 'nat,forward=tcp:0:22'], /host port 0 is for machines that run/],
    [['create', '--name', 'x', '--net', 'bridge'], /^--net bridge: is not known/],
    [['create', '--name', 'x', '--disk-size', 'big'], /^--disk-size big: is not a size/],
    [['create', '--name', 'x', '--disk-size', '1,bus=usb'], /^--disk-size 1: there is no bus 'usb'/],
    [['create', '--name', 'x', '--vga', 'cga'], /^--vga cga: is not known/],
    [['create', '--name', 'x', '--share', `docs=${folder}/none`], /docs=.*none: there is no such folder/],
    [['create', '--name', 'x', '--accel', 'fast'], /^--accel fast: is not known/],
    [['create', '--name', 'x', '--disk', empty], /empty\.img: the file is empty/],
  ];
  for (const [argv, complaint] of cases) {
    const { code, out, complaints } = await run(...argv);
    assert.deepEqual([code, out, complaints.length], [2, '', 1], `${argv.join(' ')}: ${complaints.join('|')}`);
    assert.match(complaints[0] ?? '', complaint, argv.join(' '));
  }
  assert.equal(readFileSync(file, 'utf8'), before);
  assert.doesNotMatch((await run('list')).out, /^x /m);
});

test('an occupied host port stops the start, and the machine is as before', { timeout: 120_000 }, async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  try {
    const forward = `forward=tcp:${address.port}:22`;
    await run('create', '--name', 'Blocked', '--guest', 'debian', '--no-disk', '--net', `nat,${forward}`);
    const { code, complaints } = await run('start', 'Blocked');
    assert.equal(code, 2, complaints.join());
    assert.equal(complaints.length, 1);
    assert.match(complaints[0] ?? '', new RegExp(`TCP port ${address.port} of 127.0.0.1: .*; give another host port`));
    assert.match((await run('list')).out, /^Blocked +powered-off /m);
  } finally {
    server.close();
  }
});

test('a share or an image that has vanished stops the start with one line', { timeout: 120_000 }, async () => {
  const docs = join(folder, 'docs');
  mkdirSync(docs);
  const disk = image('vanishing.img', 512);
  await run('create', '--name', 'Gone', '--guest', 'debian', '--disk', disk, '--share', `docs=${docs}`);
  rmSync(docs, { recursive: true });
  const share = await run('start', 'Gone');
  assert.deepEqual([share.code, share.complaints.length], [2, 1]);
  assert.match(
    share.complaints[0] ?? '',
    /^shared folder docs=.*docs: there is no such folder; give a folder to share$/,
  );
  await quietly('share', 'Gone', 'remove', 'docs');
  rmSync(disk);
  const missing = await run('start', 'Gone');
  assert.equal(missing.code, 2);
  assert.match(missing.complaints[0] ?? '', /^hard disk .*vanishing\.img: there is no such file/);
  assert.match((await run('list')).out, /^Gone +powered-off /m);
});
