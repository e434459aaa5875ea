import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { decodeFramePacket } from '../../engine/base/frame-packet.ts';
import { hostReport } from '../../engine/process/host-report.ts';
import { createApiClient } from '../contract/client.ts';
import { type LodgeServices, openServices } from '../services/lodge-services.ts';
import { IpcHost } from './ipc-host.ts';
import { createBridge } from './page-bridge.ts';
import { FakeContents, FakeIpcMain, FakePort, pageIpc } from './testing/fake-electron.ts';
import { type UtilityProcessLike, utilityProcessHost } from './utility-process-host.ts';

/**
 * A real machine behind the desktop's own ways: the bridge of the page, the main process's IPC, a utility process, and
 * frames straight from there to the page. Electron's part is played by Node: see testing/parent-port.ts.
 */

const dataFolder = mkdtempSync(join(tmpdir(), 'lodge-desktop-real-'));
let services: LodgeServices | undefined;
after(async () => {
  await services?.close();
  rmSync(dataFolder, { recursive: true, force: true });
});

function forkLikeElectron(program: string): UtilityProcessLike {
  const child = fork(program, [], { serialization: 'advanced', stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const events = new EventEmitter();
  let port: FakePort | undefined;
  child.on('spawn', () => events.emit('spawn'));
  child.on('exit', (code, signal) => events.emit('exit', code ?? (signal === 'SIGTERM' ? 15 : 9)));
  child.on('message', (message: { readonly data?: unknown; readonly port?: unknown }) => {
    if (message.port === undefined) {
      events.emit('message', message.data);
    } else {
      port?.postMessage(message.port);
    }
  });
  return {
    get pid() {
      return child.pid;
    },
    stdout: child.stdout,
    stderr: child.stderr,
    postMessage(data, ports = []) {
      const [given] = ports;
      if (given instanceof FakePort) {
        port = given;
        port.on('message', ({ data: heard }: { data: unknown }) => child.send({ port: heard }));
        port.start();
      }
      child.send({ data, ports: ports.length });
    },
    kill: () => child.kill(),
    on: (event: string, listener: (...args: never[]) => void) => events.on(event, listener as () => void),
  };
}

const { firmware } = hostReport();

test('the demonstration guest in a utility process, its pictures by the direct way', {
  skip: firmware.found ? false : 'no firmware',
  timeout: 60_000,
}, async () => {
  services = openServices({
    dataFolder,
    what: 'a test',
    processHost: utilityProcessHost({
      fork: forkLikeElectron,
      program: join(import.meta.dirname, 'testing', 'parent-port.ts'),
      platform: process.platform,
    }),
    log: () => {},
  });
  const ipc = new FakeIpcMain();
  const contents = new FakeContents();
  new IpcHost({
    handlers: services.handlers,
    createChannel: () => FakePort.pair(),
    isTrusted: () => true,
    log: () => {},
    actions: {
      openConsole: () => {},
      closeWindow: () => {},
      guardClose: () => {},
      showLog: () => {},
      pickPath: async () => null,
    },
  }).listen(ipc);
  const bridge = createBridge(pageIpc(ipc, contents), () => 'only');
  const client = createApiClient(bridge.connect());

  const { id } = await client.call('machines.createDemo');
  assert.equal((await client.call('machines.start', { id })).state, 'running');
  let packets = 0;
  const size = await new Promise<string>((resolve) => {
    const feed = client.subscribe(
      'console.frames',
      { machine: id },
      {
        item: (packet) => {
          packets++;
          const frame = decodeFramePacket(packet);
          // More packets than may be open at a time: acknowledgements arrive as well.
          feed.ack(frame.sequence);
          if (packets >= 10 && frame.width >= 640) {
            resolve(`${frame.width} x ${frame.height}`);
          }
        },
      },
    );
  });
  assert.match(size, /^\d+ x \d+$/);
  assert.equal(contents.sent.filter(({ kind }) => kind === 'bytes').length, 0, 'none went through the main process');
  assert.equal((await client.call('machines.powerOff', { id })).state, 'powered-off');
  const log = await client.call('machines.log', { id });
  assert.match(log.text, /started/);
  assert.match(log.text, /ended: quit/);
});
