import type { Disposable } from '../../engine/base/disposable.ts';
import { MAX_CPUS, MAX_MEMORY_MEGABYTES, MIN_CPUS, MIN_MEMORY_MEGABYTES } from '../../engine/config/machine-config.ts';
import { hostReport } from '../../engine/process/host-report.ts';
import type { CallInput, CallName, CallResult, FeedInput, FeedItem, FeedName } from '../contract/api.ts';
import { failure } from '../contract/failures.ts';
import type { AppInfo } from '../contract/host.ts';
import { MAX_DISK_GIGABYTES, MIN_DISK_MEGABYTES } from '../contract/machines.ts';
import type { DirectPort } from '../vms/process-host.ts';
import { createRawDisk, diskSpace } from './disk-images.ts';
import { guestSystems } from './guest-systems.ts';
import { hostPath } from './host-paths.ts';
import type { Machines } from './machines.ts';
import { inspectMedium } from './media-inspector.ts';
import { completePath } from './path-completion.ts';
import type { SettingsStore } from './settings-store.ts';

const LIMITS: AppInfo['limits'] = {
  memoryMegabytes: { minimum: MIN_MEMORY_MEGABYTES, maximum: MAX_MEMORY_MEGABYTES },
  processors: { minimum: MIN_CPUS, maximum: MAX_CPUS },
  diskGigabytes: { minimum: MIN_DISK_MEGABYTES / 1024, maximum: MAX_DISK_GIGABYTES },
};

/** What differs between the connections that use the API. */
export interface ConnectionTraits {
  readonly shell: AppInfo['shell'];
  /** Pictures travel far: pixels are compressed. */
  readonly compressFrames: boolean;
}

export interface FeedSink<N extends FeedName> {
  item(item: FeedItem<N>): void;
  /** Opens a way on which a machine's process reaches the client of a binary feed past this one, if there are such. */
  readonly openDirect?: (() => DirectPort) | undefined;
  end(error?: unknown): void;
}

export interface FeedSource extends Disposable {
  ack?(sequence: number): void;
}

/** Carries out the API: one function for each call and each feed. Arguments have been checked. */
export interface ApiHandlers {
  readonly calls: {
    readonly [N in CallName]: (args: CallInput<N>, traits: ConnectionTraits) => CallResult<N> | Promise<CallResult<N>>;
  };
  readonly feeds: {
    /** Throws to refuse; items may come before it returns. */
    readonly [N in FeedName]: (args: FeedInput<N>, sink: FeedSink<N>, traits: ConnectionTraits) => FeedSource;
  };
}

export interface ServicesParts {
  readonly dataFolder: string;
  readonly machinesFolder: string;
  readonly machines: Machines;
  readonly settings: SettingsStore;
}

export function apiHandlers({ dataFolder, machinesFolder, machines, settings }: ServicesParts): ApiHandlers {
  const present = (id: string) => machines.get(id).describe();
  return {
    calls: {
      'app.info': (_args, { shell }) => {
        const { accelerators, ...report } = hostReport();
        return { ...report, accelerators: [...accelerators], shell, dataFolder, machinesFolder, limits: LIMITS };
      },
      'host.diskSpace': ({ folder }) => diskSpace(hostPath('folder', folder)),
      'fs.complete': ({ prefix, want }) => completePath(prefix, want),
      'settings.get': () => settings.settings,
      'settings.set': (changes) => settings.set(changes),
      'osCatalogue.list': () => [...guestSystems],
      'media.inspect': ({ path }) => inspectMedium(hostPath('path', path)),
      'media.createDisk': ({ path, sizeGigabytes }) => {
        const absolute = hostPath('path', path);
        return { path: absolute, sizeBytes: createRawDisk(absolute, sizeGigabytes, 'path') };
      },

      'machines.list': () => machines.list(),
      'machines.get': ({ id }) => {
        machines.get(id).reload();
        return present(id);
      },
      'machines.create': (input) => machines.create(input),
      'machines.createDemo': () => machines.createDemo(),
      'machines.add': ({ folder }) => machines.add(folder),
      'machines.update': (args) => machines.update(args),
      'machines.files': ({ id }) => machines.files(id),
      'machines.remove': ({ id, deleteFiles }) => machines.remove(id, deleteFiles),
      'machines.start': async ({ id }) => {
        await machines.get(id).start();
        return present(id);
      },
      'machines.powerOff': async ({ id }) => {
        await machines.get(id).powerOff();
        return present(id);
      },
      'machines.shutdown': ({ id }) => {
        machines.get(id).shutdown();
        return present(id);
      },
      'machines.pause': async ({ id }) => {
        await machines.get(id).pause();
        return present(id);
      },
      'machines.resume': async ({ id }) => {
        await machines.get(id).resume();
        return present(id);
      },
      'machines.accelerate': async ({ id, accelerator }) => {
        await machines.get(id).accelerate(accelerator);
        return present(id);
      },
      'machines.addDisk': (args) => machines.addDisk(args),
      'machines.setBalloon': ({ id, megabytes }) => machines.get(id).setBalloon(megabytes),
      'machines.attachDisk': ({ id, path, readOnly, serial }) =>
        machines.get(id).perform({
          ...{ kind: 'attach-disk', path: hostPath('path', path), readOnly },
          ...(serial === null ? {} : { serial }),
        }),
      'machines.detachDisk': async ({ id, target }) => {
        await machines.get(id).perform({ kind: 'detach-disk', target });
        return null;
      },
      'machines.addForward': async (args) => ({ forward: await machines.addForward(args) }),
      'machines.removeForward': (args) => machines.removeForward(args),
      'machines.setLink': ({ id, up }) => machines.setLink(id, up),
      'machines.reset': ({ id }) => {
        machines.get(id).tell({ kind: 'reset' });
        return present(id);
      },
      'machines.log': ({ id, maxBytes }) => machines.get(id).log(maxBytes),

      'console.screenshot': async ({ machine, head }) => {
        const { png, width, height } = await machines.get(machine).perform({ kind: 'screenshot', head });
        return { png: Buffer.from(png).toString('base64'), width, height };
      },
      'console.screenText': ({ machine }) => machines.get(machine).perform({ kind: 'screen-text' }),
      'console.sendKey': ({ machine, code, down }) => {
        machines.get(machine).tell({ kind: 'key', code, down });
        return null;
      },
      'console.sendKeys': ({ machine, codes }) => {
        machines.get(machine).tell({ kind: 'keys', codes });
        return null;
      },
      'console.releaseKeys': ({ machine }) => {
        machines.get(machine).tell({ kind: 'release-keys' });
        return null;
      },
      'console.sendText': async ({ machine, text }) => {
        const { unknown } = await machines.get(machine).perform({ kind: 'type', text });
        return { unknown: [...unknown] };
      },
      'console.sendMouse': ({ machine, input }) => {
        if (input.kind === 'absolute') {
          if (machines.get(machine).status().mouse !== 'absolute') {
            throw failure('not-supported.tablet');
          }
          const { head, x, y, wheel, buttons } = input;
          machines.get(machine).tell({ kind: 'pointer', head, x, y, wheel, buttons });
          return null;
        }
        const { dx, dy, wheel, buttons } = input;
        machines.get(machine).tell({ kind: 'mouse', dx, dy, wheel, buttons });
        return null;
      },
      'console.resizeScreen': ({ machine, head, width, height }) => {
        machines.get(machine).tell({ kind: 'resize-screen', head, width, height });
        return null;
      },
      'console.sendSerial': ({ machine, text }) => {
        machines.get(machine).tell({ kind: 'serial', bytes: new TextEncoder().encode(text) });
        return null;
      },
      'console.insertMedium': async ({ machine, drive, path, readOnly }) => {
        const absolute = hostPath('path', path);
        inspectMedium(absolute);
        await machines.get(machine).insertMedium(drive, absolute, readOnly);
        return null;
      },
      'console.ejectMedium': async ({ machine, drive, force }) => ({
        ejected: await machines.get(machine).ejectMedium(drive, force),
      }),
    },
    feeds: {
      'settings.changes': (_args, sink) => {
        const listening = settings.onChange((changed) => sink.item(changed));
        sink.item(settings.settings);
        return listening;
      },
      'machines.changes': (_args, sink) => {
        const all = machines.list();
        const listening = machines.onChange((change) => sink.item(change));
        sink.item({ kind: 'all', machines: all });
        return listening;
      },
      'console.status': ({ machine: id }, sink) => {
        const machine = machines.get(id);
        const listening = machine.onStatus(() => sink.item(machine.status()));
        sink.item(machine.status());
        return withRemoval(machines, id, listening, sink);
      },
      'console.frames': ({ machine: id, head, framesPerSecond }, sink, { compressFrames }) => {
        const { openDirect } = sink;
        const watching = machines.get(id).watch({
          head,
          framesPerSecond,
          compress: compressFrames,
          frame: (packet) => sink.item(packet),
          ...(openDirect === undefined ? {} : { openDirect }),
        });
        const source = withRemoval(machines, id, watching, sink);
        return { ack: (sequence) => watching.ack(sequence), dispose: () => source.dispose() };
      },
      'console.cursor': ({ machine: id, head }, sink) => {
        const cursors = machines.get(id).cursors;
        const listening = cursors.onChange((change) => {
          if (change.head === head) {
            sink.item(change.cursor);
          }
        });
        sink.item(cursors.present(head));
        return withRemoval(machines, id, listening, sink);
      },
      'console.serial': ({ machine: id }, sink) => {
        const machine = machines.get(id);
        const backlog = machine.serialBacklog();
        const listening = machine.onSerial((bytes) => sink.item(bytes));
        if (backlog.length > 0) {
          sink.item(backlog);
        }
        return withRemoval(machines, id, listening, sink);
      },
    },
  };
}

/** Ends a feed about a machine when that machine is taken off the list. */
function withRemoval(
  machines: Machines,
  id: string,
  source: Disposable,
  sink: { end(error?: unknown): void },
): Disposable {
  const removal = machines.onChange((change) => {
    if (change.kind === 'removed' && change.id === id) {
      sink.end();
    }
  });
  return {
    dispose() {
      removal.dispose();
      source.dispose();
    },
  };
}
