import { readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, parse, sep } from 'node:path';
import type { PathCompletion } from '../contract/host.ts';

const MAX_ENTRIES = 200;

const withSeparator = (folder: string) => (folder.endsWith(sep) ? folder : folder + sep);

/**
 * The entries of a host folder that begin with the last part of `prefix`; hidden ones only when asked for by a dot.
 * `~` is the home folder, and so is an empty prefix. A folder that cannot be read has no entries.
 */
export function completePath(prefix: string, want: 'any' | 'folder', home: string = homedir()): PathCompletion {
  let typed = prefix;
  if (typed === '' || typed === '~') {
    typed = withSeparator(home);
  } else if (typed.startsWith('~/') || typed.startsWith(`~${sep}`)) {
    typed = join(home, typed.slice(2)) + (/[/\\]$/.test(typed) ? sep : '');
  }
  if (!isAbsolute(typed) || typed.includes('\0')) {
    return { folder: parse(home).root, entries: [], truncated: false };
  }
  const whole = typed.endsWith('/') || typed.endsWith(sep);
  const folder = withSeparator(whole ? typed : dirname(typed));
  const start = whole ? '' : basename(typed);
  const entries: PathCompletion['entries'] = [];
  let truncated = false;
  let names: string[];
  try {
    names = readdirSync(folder).sort((a, b) => a.localeCompare(b));
  } catch {
    return { folder, entries, truncated };
  }
  const same = process.platform === 'win32' ? (text: string) => text.toLowerCase() : (text: string) => text;
  for (const name of names) {
    if (!same(name).startsWith(same(start)) || (name.startsWith('.') && !start.startsWith('.'))) {
      continue;
    }
    const path = join(folder, name);
    let stats: ReturnType<typeof statSync>;
    try {
      stats = statSync(path);
    } catch {
      continue;
    }
    const isFolder = stats.isDirectory();
    if (!isFolder && (want === 'folder' || !(stats.isFile() || stats.isBlockDevice()))) {
      continue;
    }
    if (entries.length === MAX_ENTRIES) {
      truncated = true;
      break;
    }
    entries.push({
      name,
      path: isFolder ? withSeparator(path) : path,
      kind: isFolder ? 'folder' : 'file',
      sizeBytes: isFolder ? null : Number(stats.size),
    });
  }
  return { folder, entries, truncated };
}
