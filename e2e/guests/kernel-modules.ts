import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { NotAvailable } from '../../scripts/debian.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { busyboxInitramfs, type KernelName, kernels, linuxKernel } from './linux.ts';
import { prepared } from './prepared.ts';

/** Loads everything that was put into the initramfs; a guest's shell calls it. */
export const LOAD_MODULES = 'sh /modules/load';

/** Modules are told apart neither by case of hyphens nor by folders. */
const plain = (name: string) => name.replaceAll('-', '_');

function moduleFiles(kernel: string): Map<string, string> {
  const library = join(dirname(dirname(kernel)), 'lib/modules');
  const files = readdirSync(library, { recursive: true, encoding: 'utf8' }).filter((path) => /\.ko(\.xz)?$/.test(path));
  return new Map(files.map((path) => [plain(basename(path).replace(/\.ko(\.xz)?$/, '')), join(library, path)]));
}

/** A module as the kernel loads it; newer kernels' packages compress them. @throws NotAvailable */
function readModule(path: string): Buffer {
  if (!path.endsWith('.xz')) {
    return readFileSync(path);
  }
  const { error, status, stdout } = spawnSync('xz', ['-dc', path], { maxBuffer: 1 << 28 });
  if (error !== undefined || status !== 0) {
    throw new NotAvailable(`xz cannot unpack ${path}: ${error?.message ?? `status ${status}`}`);
  }
  return stdout;
}

/** What a module says it needs, in its section of `key=value` strings. */
function dependencies(module: Buffer): string[] {
  const text = module.toString('latin1');
  const listed = /\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '';
  return listed.split(',').filter((name) => name !== '');
}

/**
 * The busybox initramfs with modules of its kernel, and of what they need, in an order in which they can be loaded:
 * the guest does so with {@link LOAD_MODULES}. Names that the kernel has built in are left out. @throws NotAvailable
 */
export function initramfsWithModules(name: KernelName, wanted: readonly string[]): string {
  const kernel = linuxKernel(name);
  const base = busyboxInitramfs(kernels[name].architecture);
  const key = createHash('sha256').update(`${kernel} ${wanted.join()}`).digest('hex').slice(0, 12);
  return prepared(`modules-1-${key}.cpio.gz`, (path) => {
    const files = moduleFiles(kernel);
    const order: string[] = [];
    const entries: CpioEntry[] = [{ kind: 'folder', path: 'modules', mode: 0o755 }];
    const add = (module: string): void => {
      const file = files.get(plain(module));
      const name = file && basename(file, '.xz');
      if (file === undefined || name === undefined || order.includes(name)) {
        return;
      }
      const data = readModule(file);
      for (const needed of dependencies(data)) {
        add(needed);
      }
      order.push(name);
      entries.push({ kind: 'file', path: `modules/${name}`, mode: 0o644, data });
    };
    for (const module of wanted) {
      add(module);
    }
    if (order.length === 0) {
      throw new NotAvailable(`the kernel ${basename(kernel)} has none of ${wanted.join(', ')}`);
    }
    const script = `for module in ${order.join(' ')}; do insmod /modules/$module || echo "FAILED $module"; done\n`;
    entries.push({ kind: 'file', path: 'modules/load', mode: 0o755, data: Buffer.from(script) });
    writeFileSync(path, Buffer.concat([readFileSync(base), gzipSync(cpioArchive(entries), { level: 1 })]));
  });
}
