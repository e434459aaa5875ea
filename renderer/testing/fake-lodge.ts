import { encodeFramePacket } from '../../engine/base/frame-packet.ts';
import type { CallInput, CallName, CallResult, FeedItem, FeedName } from '../../main/contract/api.ts';
import { isCallName, isFeedName } from '../../main/contract/api.ts';
import {
  type ApiClient,
  type ClientTransport,
  createApiClient,
  type TransportListener,
} from '../../main/contract/client.ts';
import type { ConsoleStatus } from '../../main/contract/console.ts';
import { ApiError } from '../../main/contract/errors.ts';
import type { AppInfo, GuestSystem, Settings } from '../../main/contract/host.ts';
import type { Machine, MachineState } from '../../main/contract/machines.ts';
import type { ClientMessage } from '../../main/contract/wire.ts';
import type { Shell } from '../api/shell.ts';

const software = {
  name: 'software',
  label: 'Software',
  reason: '/dev/kvm is missing (no virtualization in this kernel or processor)',
};

export const guestSystems: readonly GuestSystem[] = [
  system('debian-12', 'Debian 12 (64-bit)', 'linux', 1024, 10, 512),
  system('linux-64', 'Other Linux (64-bit)', 'linux', 512, 8, 128),
  system('windows-10', 'Windows 10 (64-bit)', 'windows', 3072, 40, 2048),
  system('other', 'Other', 'other', 256, 2, 16),
];

function system(
  id: string,
  name: string,
  family: GuestSystem['family'],
  memoryMegabytes: number,
  diskGigabytes: number,
  minimum: number,
): GuestSystem {
  return {
    id,
    name,
    family,
    bits: 64,
    defaults: {
      memoryMegabytes,
      processors: 2,
      diskGigabytes,
      firmware: 'bios',
      diskBus: family === 'linux' ? 'virtio' : 'ide',
      network: family === 'linux' ? 'virtio' : 'e1000',
      vga: family === 'linux' ? 'virtio' : 'std',
      paravirtual: family === 'linux',
      hyperv: family === 'windows',
    },
    minima: { memoryMegabytes: minimum, diskGigabytes: 1 },
  };
}

const info: AppInfo = {
  versions: { lodge: '0.1.0', node: '24.0.0', v8: '13.6' },
  shell: 'web',
  host: { platform: 'linux', release: '6.1', arch: 'x64' },
  processors: { count: 4, model: 'A processor' },
  memory: { totalMegabytes: 16_000, freeMegabytes: 9000 },
  firmware: { found: true, bios: '/bios', vgaBios: '/vga' },
  accelerators: [{ name: 'software', usable: true, chosen: true, detail: 'our own' }],
  dataFolder: '/home/user/.local/share/lodge',
  machinesFolder: '/home/user/Lodge machines',
  limits: {
    memoryMegabytes: { minimum: 16, maximum: 3584 },
    processors: { minimum: 1, maximum: 8 },
    diskGigabytes: { minimum: 0.001, maximum: 2048 },
  },
};

/** A machine with this name and state. */
export function fakeMachine(name: string, state: MachineState, more: Partial<Machine> = {}): Machine {
  const id = name.toLowerCase().replaceAll(' ', '-');
  const folder = `${info.machinesFolder}/${name}`;
  const active = state === 'running' || state === 'paused';
  return {
    id,
    name,
    folder,
    state,
    reason: null,
    settings: {
      name,
      guestSystem: 'debian-12',
      memoryMegabytes: 1024,
      processors: 2,
      firmware: 'bios',
      accelerator: 'auto',
      bootOrder: ['cdrom', 'disk'],
      disks: [{ path: `${folder}/disk.img`, bus: 'virtio', port: 0, readOnly: false, serial: null }],
      cdrom: { path: '/images/debian-12.5.0-amd64-netinst.iso', bus: 'ide', port: 2 },
      floppy: { path: null, readOnly: false },
      network: {
        model: 'virtio',
        mac: '52:54:00:12:34:56',
        connected: true,
        forwards: [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestAddress: null, guestPort: 22 }],
        hostLoopback: false,
        isolated: false,
        capture: null,
        bootFolder: null,
        bootFile: null,
      },
      hyperv: false,
      vga: 'virtio',
      shares: [],
      sound: null,
      entropy: true,
      balloon: true,
    },
    trouble: null,
    accelerator: active ? software : null,
    startedAt: active ? '2026-01-02T03:04:05.000Z' : null,
    logPath: `${folder}/logs/run.log`,
    ...more,
  };
}

type Handlers = { [N in CallName]?: (args: CallInput<N>) => CallResult<N> | Promise<CallResult<N>> };

interface Viewer {
  readonly name: FeedName;
  readonly args: unknown;
  send(item: unknown): void;
}

/** The services in memory: enough of them for the user interface to work, and everything that was asked of them. */
export class FakeLodge {
  readonly calls: { readonly name: CallName; readonly args: unknown }[] = [];
  readonly acknowledged: number[] = [];
  machines: Machine[];
  settings: Settings = {
    language: 'en',
    theme: 'system',
    hostKey: 'ControlRight',
    dismissedWarnings: [],
    closeAction: 'ask',
    scaling: 'integer',
    resizeGuest: true,
    expert: false,
  };
  readonly #viewers = new Set<Viewer>();
  readonly #handlers: Handlers;
  readonly #own: Handlers;

  constructor(machines: readonly Machine[] = [], handlers: Handlers = {}) {
    this.machines = [...machines];
    this.#own = handlers;
    this.#handlers = {
      'app.info': () => info,
      'osCatalogue.list': () => [...guestSystems],
      'settings.get': () => this.settings,
      'settings.set': (changes) => {
        this.settings = { ...this.settings, ...withoutUndefined(changes) };
        this.publish('settings.changes', this.settings);
        return this.settings;
      },
      'host.diskSpace': ({ folder }) => ({
        folder,
        freeBytes: 120 * 2 ** 30,
        totalBytes: 500 * 2 ** 30,
        writable: true,
      }),
      'fs.complete': ({ prefix }) => ({ folder: prefix, entries: [], truncated: false }),
      'media.inspect': ({ path }) => {
        if (path.endsWith('.img')) {
          return {
            path,
            kind: 'disk',
            sizeBytes: 4 * 2 ** 30,
            label: null,
            title: null,
            bootable: true,
            guestSystem: null,
            kernel: null,
            description: 'hard disk, raw, with a boot sector',
            suggestedName: null,
          };
        }
        if (!path.endsWith('.iso')) {
          throw new ApiError({ code: 'not-found', message: `${path}: there is no such file` });
        }
        return {
          path,
          kind: 'cdrom',
          sizeBytes: 700 << 20,
          label: 'Debian 12.5.0 amd64 n',
          bootable: true,
          guestSystem: 'debian-12',
          title: 'Debian 12.5.0 amd64',
          kernel: '6.1.0-18-amd64',
          description: 'Debian 12.5.0 amd64, Linux 6.1.0-18-amd64, bootable CD',
          suggestedName: 'Debian 12',
        };
      },
      'machines.create': (args) => {
        const machine = fakeMachine(args.name, 'powered-off');
        this.change(machine);
        return machine;
      },
      'machines.createDemo': () => {
        const machine = fakeMachine('Lodge tour', 'powered-off');
        this.change(machine);
        return machine;
      },
      'machines.update': ({ id, changes }) => {
        const machine = this.#machine(id);
        const settings = machine.settings === null ? null : { ...machine.settings, ...withoutUndefined(changes) };
        const changed = { ...machine, name: settings?.name ?? machine.name, settings };
        this.change(changed);
        return changed;
      },
      'machines.setBalloon': ({ megabytes }) => ({
        targetMegabytes: megabytes,
        presentMegabytes: 1024,
        active: true,
      }),
      'machines.setLink': ({ id, up }) => {
        const machine = this.#machine(id);
        const network = machine.settings?.network ?? null;
        const settings =
          machine.settings === null
            ? null
            : { ...machine.settings, network: network === null ? null : { ...network, connected: up } };
        this.change({ ...machine, settings });
        return { ...machine, settings };
      },
      'machines.files': ({ id }) => {
        const { folder } = this.#machine(id);
        return {
          folder,
          deleted: [
            { path: `${folder}/machine.json`, sizeBytes: 900 },
            { path: `${folder}/disk.img`, sizeBytes: 3 * 2 ** 30 },
          ],
          kept: [{ path: `${folder}/notes.txt`, reason: 'foreign' as const }],
        };
      },
      'machines.remove': ({ id }) => {
        this.machines = this.machines.filter((machine) => machine.id !== id);
        this.publish('machines.changes', { kind: 'removed', id });
        return { deleted: [] };
      },
      'machines.start': ({ id }) => this.setState(id, 'running'),
      'machines.powerOff': ({ id }) => this.setState(id, 'powered-off'),
      'machines.shutdown': ({ id }) => this.#machine(id),
      'machines.pause': ({ id }) => this.setState(id, 'paused'),
      'machines.resume': ({ id }) => this.setState(id, 'running'),
      'machines.reset': ({ id }) => this.#machine(id),
      'machines.log': ({ id }) => ({
        path: this.#machine(id).logPath,
        text: 'the machine was started\nthe process was killed by SIGKILL\n',
        truncated: false,
      }),
      'console.sendKey': () => null,
      'console.sendKeys': () => null,
      'console.sendMouse': () => null,
      'console.releaseKeys': () => null,
      'console.sendSerial': () => null,
      'console.sendText': () => ({ unknown: [] }),
      'console.insertMedium': () => null,
      'console.ejectMedium': () => ({ ejected: true }),
    };
  }

  connect(): ApiClient {
    return createApiClient(new FakeTransport(this));
  }

  /** A shell on these services; `opened` are the windows it was asked for. */
  shell(opened: string[] = []): Shell {
    return {
      kind: 'web',
      connect: () => this.connect(),
      openConsole: (machine) => opened.push(machine),
      openConsoleOfNew: (machine) => {
        opened.push('a machine to come');
        machine.then(
          (id) => opened.push(id),
          () => opened.push('none'),
        );
      },
      closeWindow: () => opened.push('closed'),
      onCloseRequest: () => () => undefined,
      saveFile: () => undefined,
    };
  }

  async answer(name: CallName, args: unknown): Promise<unknown> {
    this.calls.push({ name, args });
    const handler = (this.#own[name] ?? this.#handlers[name]) as ((args: unknown) => unknown) | undefined;
    if (handler === undefined) {
      throw new ApiError({ code: 'not-found', message: `${name} is not faked` });
    }
    return await handler(args);
  }

  /** The arguments of every call of this name so far. */
  callsOf(name: CallName): unknown[] {
    return this.calls.filter((call) => call.name === name).map(({ args }) => args);
  }

  view(viewer: Viewer): () => void {
    this.#viewers.add(viewer);
    switch (viewer.name) {
      case 'settings.changes':
        viewer.send(this.settings);
        break;
      case 'machines.changes':
        viewer.send({ kind: 'all', machines: this.machines });
        break;
      case 'console.status':
        viewer.send(this.status());
        break;
      case 'console.frames':
        viewer.send(picture());
        break;
      case 'console.cursor':
        viewer.send(null);
        break;
      default:
    }
    return () => this.#viewers.delete(viewer);
  }

  publish<N extends FeedName>(name: N, item: FeedItem<N>): void {
    for (const viewer of this.#viewers) {
      if (viewer.name === name) {
        viewer.send(item);
      }
    }
  }

  change(machine: Machine): void {
    const known = this.machines.some(({ id }) => id === machine.id);
    this.machines = known
      ? this.machines.map((one) => (one.id === machine.id ? machine : one))
      : [...this.machines, machine];
    this.publish('machines.changes', { kind: 'changed', machine });
  }

  setState(id: string, state: MachineState): Machine {
    const machine = fakeMachine(this.#machine(id).name, state, { id });
    this.change(machine);
    this.publish('console.status', this.status(state));
    return machine;
  }

  status(state: MachineState = 'running'): ConsoleStatus {
    return {
      state,
      activity: { disk: 'read', cdrom: 'idle', floppy: 'none', network: 'idle' },
      media: { cdrom: '/images/debian-12.5.0-amd64-netinst.iso', floppy: null },
      balloon: { targetMegabytes: 1024, presentMegabytes: 1024, active: true },
      accelerator: software,
      leds: { capsLock: false, numLock: false, scrollLock: false },
      mouse: 'relative',
      heads: 1,
      resizable: false,
      screen: { width: 640, height: 400 },
    };
  }

  #machine(id: string): Machine {
    const machine = this.machines.find((one) => one.id === id);
    if (machine === undefined) {
      throw new ApiError({ code: 'not-found', message: `there is no machine ${id}` });
    }
    return machine;
  }
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never;
}

/** A first picture: 640 × 400 with a gradient. */
function picture(): Uint8Array<ArrayBuffer> {
  const width = 640;
  const height = 400;
  const pixels = new Uint8Array(width * height * 4);
  for (let at = 0; at < pixels.length; at += 4) {
    pixels.set([20, (at / 4 / width / height) * 160, 120, 255], at);
  }
  const rectangles = [{ x: 0, y: 0, width, height }];
  return encodeFramePacket({ sequence: 1, width, height, whole: true, rectangles }, pixels);
}

/** Messages go through JSON and the client's own checks, as over a real connection. */
class FakeTransport implements ClientTransport {
  readonly #lodge: FakeLodge;
  readonly #feeds = new Map<number, () => void>();
  #listener: TransportListener | undefined;

  constructor(lodge: FakeLodge) {
    this.#lodge = lodge;
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
  }

  send(message: ClientMessage): void {
    queueMicrotask(() => this.#receive(JSON.parse(JSON.stringify(message))));
  }

  close(): void {
    for (const stop of this.#feeds.values()) {
      stop();
    }
    this.#feeds.clear();
  }

  #reply(message: unknown): void {
    this.#listener?.message(JSON.parse(JSON.stringify(message)));
  }

  #receive(message: ClientMessage): void {
    switch (message.kind) {
      case 'call': {
        const { id, name, args } = message;
        if (isCallName(name)) {
          this.#lodge.answer(name, args).then(
            (value) => this.#reply({ kind: 'result', id, value }),
            (error: unknown) =>
              this.#reply({
                kind: 'error',
                id,
                error: error instanceof ApiError ? error.toData() : { code: 'internal', message: String(error) },
              }),
          );
        }
        return;
      }
      case 'subscribe': {
        const { id, name, args } = message;
        if (isFeedName(name)) {
          const send = (item: unknown) =>
            item instanceof Uint8Array
              ? this.#listener?.bytes(id, item.slice())
              : this.#reply({ kind: 'item', id, item });
          this.#feeds.set(id, this.#lodge.view({ name, args, send }));
        }
        return;
      }
      case 'ack':
        this.#lodge.acknowledged.push(message.sequence);
        return;
      case 'unsubscribe':
        this.#feeds.get(message.id)?.();
        this.#feeds.delete(message.id);
        return;
    }
  }
}
