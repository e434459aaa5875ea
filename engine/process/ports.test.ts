import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { validateMachineConfig } from '../config/validate-machine-config.ts';
import { VirtioConsole } from '../virtio/console/virtio-console.ts';
import { GuestDriver } from '../virtio/testing/guest-driver.ts';
import { MachinePorts } from './machine-ports.ts';
import { PortsHost } from './ports-host.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodge-ports-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const CONTROL_TX = 3;
const PORT1_RX = 4;
const PORT1_TX = 5;

/** Both ends of a machine's ports, and a guest that has opened channel 1. */
async function build(name: string) {
  const path = join(folder, name);
  const config = validateMachineConfig({
    console: { kind: 'stdio' },
    channels: [{ name: 'agent', socket: path }],
  });
  const host = await PortsHost.create(config, () => {});
  let terminal = '';
  const ports = new MachinePorts(config, host.cables, {
    wake: () => host.wake(),
    opened: (index, open) => host.setGuestOpen(index, open),
    terminal: (bytes) => {
      terminal += Buffer.from(bytes).toString();
    },
    log: silentLog,
  });
  const device = new VirtioConsole(ports.hosts ?? [], 4);
  ports.connect(device);
  host.onConnected = (index, open) => ports.setConnected(index, open);
  const guest = new GuestDriver(device);
  guest.start();
  const message = (port: number, event: number) => Uint8Array.of(port, 0, 0, 0, event, 0, 1, 0);
  guest.request(CONTROL_TX, [message(0, 0)]);
  for (const port of [0, 1]) {
    guest.request(CONTROL_TX, [message(port, 3)]);
    guest.request(CONTROL_TX, [message(port, 6)]);
  }
  return { path, host, ports, guest, terminal: () => terminal };
}

function client(path: string): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(socket));
  });
}

/** Lets the machine's side go on until `done`. */
async function until(ports: MachinePorts, done: () => boolean): Promise<void> {
  while (!done()) {
    await new Promise((resolve) => setImmediate(resolve));
    ports.poll();
  }
}

test('what the guest says on its console is the terminal, on a channel the socket; and back', async () => {
  const { path, host, ports, guest, terminal } = await build('talk');
  guest.request(1, [Buffer.from('login: ')]);
  ports.flush();
  assert.equal(terminal(), 'login: ');
  assert.deepEqual(host.channels, [{ name: 'agent', socket: path, connected: false, guestOpen: true }]);
  guest.request(PORT1_TX, [Buffer.from('nobody hears this')]);
  const socket = await client(path);
  await until(ports, () => host.channels[0]?.connected === true);
  let heard = '';
  socket.on('data', (bytes) => {
    heard += bytes.toString();
  });
  guest.request(PORT1_TX, [Buffer.from('hello')]);
  socket.write('good day');
  guest.submit(PORT1_RX, [16]);
  let answer = '';
  await until(ports, () => {
    for (const { data, length } of guest.collect(PORT1_RX)) {
      answer += Buffer.from(data.subarray(0, length)).toString();
    }
    return answer === 'good day' && heard === 'hello';
  });
  await host.close();
  assert.equal(existsSync(path), false);
  assert.equal(host.channels[0]?.connected, false);
});

test('a slow client stops the guest and a slow guest the client, and nothing is lost', async () => {
  const { path, host, ports, guest } = await build('slow');
  const socket = await client(path);
  socket.pause();
  await until(ports, () => host.channels[0]?.connected === true);
  // Until all that lies between guest and client is full.
  const piece = Buffer.alloc(65_536, 'g');
  let submitted = 0;
  let done = 0;
  for (let idle = 0; idle < 50; idle++) {
    if (submitted - done < 8) {
      guest.submit(PORT1_TX, [piece]);
      submitted++;
      idle = 0;
    }
    await new Promise((resolve) => setImmediate(resolve));
    ports.poll();
    done += guest.collect(PORT1_TX).length;
    assert.ok(submitted < 1000, 'the guest is stopped');
  }
  let heard = 0;
  socket.on('data', (bytes) => {
    heard += bytes.length;
  });
  socket.resume();
  await until(ports, () => {
    done += guest.collect(PORT1_TX).length;
    return done === submitted && heard === submitted * piece.length;
  });
  // And the other way round: the guest takes a little at a time.
  socket.write(Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251)));
  let next = 0;
  guest.submit(PORT1_RX, [1000]);
  await until(ports, () => {
    for (const { data, length } of guest.collect(PORT1_RX)) {
      for (const byte of data.subarray(0, length)) {
        assert.equal(byte, next++ % 251);
      }
      guest.submit(PORT1_RX, [1000]);
    }
    return next === 300_000;
  });
  socket.destroy();
  await host.close();
});

test('channels come and go; names and places are given once', async () => {
  const { host, ports } = await build('plug');
  const cable = await host.add('later', join(folder, 'later'));
  assert.equal(cable.index, 2);
  assert.equal(ports.plug(cable), true);
  await assert.rejects(host.add('later', join(folder, 'x')), { code: 'channel-exists' });
  await assert.rejects(host.add('y', join(folder, 'later')), { code: 'socket-taken' });
  assert.equal(await host.remove('none'), undefined);
  assert.equal(await host.remove('later'), 2);
  ports.unplug(2);
  assert.equal((await host.add('again', join(folder, 'later'))).index, 2);
  await host.close();
  assert.equal(existsSync(join(folder, 'later')), false);
});

test('a socket that cannot be made closes the others', async () => {
  const first = join(folder, 'first');
  const channels = [
    { name: 'a', socket: first },
    { name: 'b', socket: join(folder, 'none/b') },
  ];
  await assert.rejects(
    PortsHost.create(validateMachineConfig({ channels }), () => {}),
    { code: 'socket-refused' },
  );
  assert.equal(existsSync(first), false);
});
