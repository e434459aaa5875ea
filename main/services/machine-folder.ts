import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { z } from 'zod';
import { type ErrorData, errorDataSchema } from '../contract/errors.ts';
import { failure, failureData } from '../contract/failures.ts';
import type { KeptReason, MachineSettings } from '../contract/machines.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { causeOf, errnoOf } from './failures.ts';
import { MACHINE_FILE } from './machine-file.ts';

/** What happened to the last run; the file exists while a machine runs and after it ended badly. */
const RUN_FILE = 'run.json';
const LOG_FOLDER = 'logs';
const LOG_NAME = /^run-[0-9TZ.-]+\.log$/;
const KEPT_LOGS = 10;
const MAX_FOLDER_NAME = 60;

const runSchema = z.object({ startedAt: z.string(), logPath: z.string(), reason: errorDataSchema.nullable() });
export type RunRecord = z.infer<typeof runSchema>;

/** The name of a machine as the name of a folder that every file system takes. */
export function folderNameFor(name: string): string {
  const plain = name
    .normalize('NFC')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced here
    .replace(/[<>:"/\\|?*\u0000-\u001f\u007f]/g, '-')
    .slice(0, MAX_FOLDER_NAME)
    .replace(/^[. ]+|[. ]+$/g, '');
  // Names that Windows keeps for devices.
  return plain === '' || /^(con|prn|aux|nul|com\d|lpt\d)$/i.test(plain) ? `machine ${plain}`.trim() : plain;
}

/** Makes a new folder below `parent`, named after the machine. Throws ApiError about `field`. */
export function makeMachineFolder(parent: string, name: string, field: string): string {
  const wish = folderNameFor(name);
  try {
    mkdirSync(parent, { recursive: true, mode: 0o700 });
    for (let number = 1; ; number++) {
      const folder = join(parent, number === 1 ? wish : `${wish} ${number}`);
      try {
        mkdirSync(folder, { mode: 0o700 });
        return folder;
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST' || number > 1000) {
          throw error;
        }
      }
    }
  } catch (error) {
    throw failure('write-failed.folder', { path: join(parent, wish), cause: causeOf(error), field }, { cause: error });
  }
}

/** A path for the log of a new run; the oldest logs go. Throws errors of Node. */
export function newLogPath(folder: string, startedAt: string): string {
  const logs = join(folder, LOG_FOLDER);
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  for (const old of logNames(folder).slice(0, -(KEPT_LOGS - 1))) {
    rmSync(join(logs, old), { force: true });
  }
  return join(logs, `run-${startedAt.replaceAll(':', '-')}.log`);
}

/** Oldest first. */
function logNames(folder: string): string[] {
  try {
    return readdirSync(join(folder, LOG_FOLDER))
      .filter((name) => LOG_NAME.test(name))
      .sort();
  } catch {
    return [];
  }
}

export function lastLogPath(folder: string): string | undefined {
  const last = logNames(folder).at(-1);
  return last === undefined ? undefined : join(folder, LOG_FOLDER, last);
}

export function readRunRecord(folder: string): RunRecord | undefined {
  try {
    return runSchema.parse(JSON.parse(readFileSync(join(folder, RUN_FILE), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Losing this record loses only the word 'aborted', so a failure to write it is no failure of the machine. */
export function writeRunRecord(folder: string, record: RunRecord | undefined): void {
  try {
    if (record === undefined) {
      rmSync(join(folder, RUN_FILE), { force: true });
    } else {
      writeFileAtomically(join(folder, RUN_FILE), `${JSON.stringify(record, null, 2)}\n`);
    }
  } catch {}
}

/** Why a machine is aborted whose record says that it runs, although nobody runs it. */
export const OWNER_DIED: ErrorData = failureData('lodge-ended');

export interface MachineFiles {
  readonly deleted: { path: string; sizeBytes: number }[];
  readonly kept: { path: string; reason: KeptReason }[];
}

/**
 * What belongs to a machine in its folder: its description, records and logs, and the images of its disks that are
 * nobody else's. Everything else in the folder, and images elsewhere, are kept.
 */
export function machineFiles(
  folder: string,
  settings: MachineSettings | undefined,
  isUsedElsewhere: (path: string) => boolean,
): MachineFiles {
  const deleted: MachineFiles['deleted'] = [];
  const kept: MachineFiles['kept'] = [];
  const own = new Set([MACHINE_FILE, RUN_FILE].map((name) => join(folder, name)));
  for (const name of logNames(folder)) {
    own.add(join(folder, LOG_FOLDER, name));
  }
  const media = [settings?.cdrom?.path, settings?.floppy?.path].filter((path) => path != null);
  for (const { path } of settings?.disks ?? []) {
    if (!isInside(folder, path)) {
      kept.push({ path, reason: 'outside' });
    } else if (isUsedElsewhere(path)) {
      kept.push({ path, reason: 'shared' });
    } else {
      own.add(path);
    }
  }
  for (const path of media) {
    kept.push({ path, reason: 'medium' });
  }
  const mentioned = new Set(kept.map(({ path }) => path));
  for (const path of filesBelow(folder)) {
    if (own.has(path)) {
      deleted.push({ path, sizeBytes: sizeOf(path) });
    } else if (!mentioned.has(path)) {
      kept.push({ path, reason: 'foreign' });
    }
  }
  return { deleted, kept };
}

function isInside(folder: string, path: string): boolean {
  const inside = relative(folder, path);
  return inside !== '' && !inside.startsWith('..') && !isAbsolute(inside);
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

function filesBelow(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true, recursive: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch {
    return [];
  }
}

/** Deletes files, then the folders that are empty without them. Throws errors of Node at the first file that stays. */
export function deleteFiles(folder: string, files: readonly { readonly path: string }[]): void {
  // The description goes last: with it the machine can still be seen when something before it fails.
  const ordered = [...files].sort(
    (a, b) => Number(basename(a.path) === MACHINE_FILE) - Number(basename(b.path) === MACHINE_FILE),
  );
  const folders = new Set<string>([folder]);
  for (const { path } of ordered) {
    rmSync(path, { force: true });
    folders.add(dirname(path));
  }
  for (const empty of [...folders].sort((a, b) => b.length - a.length)) {
    try {
      rmdirSync(empty);
    } catch {
      // Something of the user's is in it.
    }
  }
}
