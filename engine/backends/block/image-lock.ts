import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Disposable } from '../../base/disposable.ts';

/**
 * An advisory lock on a writable image, so that two machines of one user do not write the same file. Node has no
 * flock, so a small file in the temporary directory, named after the image's device and inode, holds the process
 * that writes it. A lock whose process is gone (or whose number now belongs to a process started later) is taken over.
 * Where no lock can be kept (no temporary directory) images are simply not locked.
 */
export type LockResult = { readonly lock: Disposable } | { readonly holder: number };

const unlocked: LockResult = { lock: { dispose() {} } };

/** `key` identifies the file on this host. Returns the lock, or the number of the process that holds it. */
export function lockImage(key: string): LockResult {
  let directory: string;
  const mine = `${process.pid} ${processStart(process.pid)}`;
  let path: string;
  try {
    directory = join(tmpdir(), `lodge-locks-${userName()}`);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    path = join(directory, `${key}.lock`);
    // Linking a finished file into place: nobody ever sees a lock without its contents.
    const candidate = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}`;
    writeFileSync(candidate, mine);
    try {
      linkSync(candidate, path);
      rmSync(candidate);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        rmSync(candidate);
        return unlocked;
      }
      const holder = livingHolder(path);
      if (holder !== undefined) {
        rmSync(candidate);
        return { holder };
      }
      // The holder is gone. Of several processes that take over at once, the one whose rename comes last has it.
      renameSync(candidate, path);
      if (readFileSync(path, 'utf8') !== mine) {
        return { holder: livingHolder(path) ?? 0 };
      }
    }
  } catch {
    return unlocked;
  }
  let held = true;
  return {
    lock: {
      dispose() {
        if (held) {
          held = false;
          rmSync(path, { force: true });
        }
      },
    },
  };
}

function userName(): string {
  try {
    return String(userInfo().uid);
  } catch {
    return 'user';
  }
}

function livingHolder(path: string): number | undefined {
  const [pidText, start] = readFileSync(path, 'utf8').split(' ');
  const pid = Number(pidText);
  if (!Number.isSafeInteger(pid) || pid <= 0) {
    return undefined;
  }
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it exists but belongs to someone else.
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? pid : undefined;
  }
  return start === processStart(pid) ? pid : undefined;
}

/** When a process started, in clock ticks since boot on Linux; '0' where that cannot be known. */
function processStart(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, in parentheses, may contain spaces; the fields after it start with number 3 (proc(5)).
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0';
  } catch {
    return '0';
  }
}
