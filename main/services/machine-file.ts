import { readFileSync } from 'node:fs';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { ApiError } from '../contract/errors.ts';
import { type MachineSettings, machineSettingsSchema } from '../contract/machines.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { reasonOf } from './failures.ts';

export const MACHINE_FILE = 'machine.json';
/** Counts up whenever the meaning of the file changes; each step gets a migration. */
export const MACHINE_SCHEMA_VERSION = 1;
const MAX_FILE_BYTES = 1 << 20;

/**
 * The file of a machine: its settings, readable and editable by people. Paths below the machine's folder are relative
 * to it, so that the folder can be moved. What the file holds beyond the settings is kept as it is.
 */
export interface MachineFile {
  readonly settings: MachineSettings;
  /** ISO 8601. */
  readonly createdAt: string;
  /** The whole file, to keep what this version does not know. */
  readonly raw: Readonly<Record<string, unknown>>;
}

const headerSchema = z.looseObject({ schemaVersion: z.int().min(1), createdAt: z.string().default('') });

/** Throws ApiError `machine-file-…` that says what is wrong with the file; the file is never changed by that. */
export function readMachineFile(folder: string): MachineFile {
  const path = join(folder, MACHINE_FILE);
  const refuse = (code: string, what: string, remedy: string): never => {
    throw new ApiError({ code: `machine-file-${code}`, message: `${path}: ${what}`, remedy, details: { path } });
  };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return refuse('unreadable', reasonOf(error), 'bring the folder back, or take the machine off the list');
  }
  const repair = 'repair the file or restore it from a backup; it is left as it is';
  if (text.length > MAX_FILE_BYTES) {
    return refuse('damaged', 'is too large to be the description of a machine', repair);
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    return refuse('damaged', `is not valid JSON (${error instanceof Error ? error.message : 'error'})`, repair);
  }
  const header = headerSchema.safeParse(raw);
  if (!header.success) {
    return refuse('damaged', 'is not the description of a machine (no schemaVersion)', repair);
  }
  if (header.data.schemaVersion > MACHINE_SCHEMA_VERSION) {
    return refuse(
      'newer',
      `was written by a newer Lodge (schema version ${header.data.schemaVersion}, this one reads up to ${MACHINE_SCHEMA_VERSION})`,
      'use that version of Lodge; the file is left as it is',
    );
  }
  const settings = machineSettingsSchema.safeParse(header.data);
  if (!settings.success) {
    const issue = settings.error.issues[0];
    const field = issue?.path.map(String).join('.') ?? '';
    return refuse('damaged', `${field === '' ? '' : `${field}: `}${issue?.message ?? 'is not understood'}`, repair);
  }
  return {
    settings: withPaths(settings.data, (stored) => (isAbsolute(stored) ? stored : resolve(folder, stored))),
    createdAt: header.data.createdAt,
    raw: header.data,
  };
}

/** Writes the file atomically. Throws ApiError `write-failed`. */
export function writeMachineFile(folder: string, file: MachineFile): void {
  const path = join(folder, MACHINE_FILE);
  const settings = withPaths(file.settings, (absolute) => {
    const inside = relative(folder, absolute);
    return inside === '' || inside.startsWith('..') || isAbsolute(inside) ? absolute : inside.split(sep).join('/');
  });
  const contents = {
    ...file.raw,
    schemaVersion: MACHINE_SCHEMA_VERSION,
    ...settings,
    createdAt: file.createdAt,
  };
  try {
    writeFileAtomically(path, `${JSON.stringify(contents, null, 2)}\n`);
  } catch (error) {
    throw new ApiError(
      {
        code: 'write-failed',
        message: `${path}: cannot be written (${reasonOf(error)})`,
        remedy: 'make room or change the permissions; nothing was changed',
      },
      { cause: error },
    );
  }
}

function withPaths(settings: MachineSettings, change: (path: string) => string): MachineSettings {
  const optional = (path: string | null) => (path === null ? null : change(path));
  return {
    ...settings,
    disks: settings.disks.map((disk) => ({ ...disk, path: change(disk.path) })),
    cdrom: settings.cdrom === null ? null : { ...settings.cdrom, path: optional(settings.cdrom.path) },
    floppy: settings.floppy === null ? null : { ...settings.floppy, path: optional(settings.floppy.path) },
  };
}
