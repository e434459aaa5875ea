import { readFileSync } from 'node:fs';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { failure } from '../contract/failures.ts';
import { type MachineSettings, machineSettingsSchema } from '../contract/machines.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { causeOf } from './failures.ts';
import { MACHINE_SCHEMA_VERSION, migrate, OWN_FIELD } from './machine-file-migrations.ts';
import { mapPaths } from './settings-paths.ts';

export const MACHINE_FILE = 'machine.json';
const MAX_FILE_BYTES = 1 << 20;

/**
 * The file of a machine: its settings, readable and editable by people. Paths below the machine's folder are relative
 * to it, so that the folder can be moved. Fields whose names begin with `x-` are the user's and kept as they are; others
 * that this version does not know are refused.
 */
export interface MachineFile {
  readonly settings: MachineSettings;
  /** ISO 8601. */
  readonly createdAt: string;
  /** The user's own fields. */
  readonly own: Readonly<Record<string, unknown>>;
}

const headerSchema = z.looseObject({ schemaVersion: z.int().min(1), createdAt: z.string().default('') });

/** Throws ApiError `machine-file-…` that says what is wrong with the file; the file is never changed by that. */
export function readMachineFile(folder: string): MachineFile {
  const path = join(folder, MACHINE_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw failure('machine-file-unreadable', { path, cause: causeOf(error) }, { cause: error });
  }
  if (text.length > MAX_FILE_BYTES) {
    throw failure('machine-file-damaged.size', { path });
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    const problem = error instanceof Error ? error.message : 'error';
    throw failure('machine-file-damaged.json', { path, problem }, { cause: error });
  }
  const header = headerSchema.safeParse(raw);
  if (!header.success) {
    throw failure('machine-file-damaged.header', { path });
  }
  if (header.data.schemaVersion > MACHINE_SCHEMA_VERSION) {
    const version = header.data.schemaVersion;
    throw failure('machine-file-newer', { path, version, known: MACHINE_SCHEMA_VERSION });
  }
  const { schemaVersion, createdAt, ...contents } = migrate(header.data, header.data.schemaVersion);
  const isOwn = ([name]: [string, unknown]) => name.startsWith(OWN_FIELD);
  const fields = Object.entries(contents);
  const settings = machineSettingsSchema.safeParse(Object.fromEntries(fields.filter((field) => !isOwn(field))));
  if (!settings.success) {
    const issue = settings.error.issues[0];
    if (issue?.code === 'unrecognized_keys') {
      const name = [...issue.path, issue.keys[0] ?? ''].map(String).join('.');
      throw failure('machine-file-damaged.unknown', { path, name });
    }
    const field = issue?.path.map(String).join('.') ?? '';
    const where = field === '' ? '' : `${field}: `;
    throw failure('machine-file-damaged.setting', { path, where, problem: issue?.message ?? 'is not understood' });
  }
  return {
    settings: mapPaths(settings.data, (stored) => (isAbsolute(stored) ? stored : resolve(folder, stored))),
    createdAt: header.data.createdAt,
    own: Object.fromEntries(fields.filter(isOwn)),
  };
}

/** Writes the file atomically. Throws ApiError `write-failed`. */
export function writeMachineFile(folder: string, file: MachineFile): void {
  const path = join(folder, MACHINE_FILE);
  const settings = mapPaths(file.settings, (absolute) => {
    const inside = relative(folder, absolute);
    return inside === '' || inside.startsWith('..') || isAbsolute(inside) ? absolute : inside.split(sep).join('/');
  });
  const contents = {
    schemaVersion: MACHINE_SCHEMA_VERSION,
    ...settings,
    createdAt: file.createdAt,
    ...file.own,
  };
  try {
    writeFileAtomically(path, `${JSON.stringify(contents, null, 2)}\n`);
  } catch (error) {
    throw failure('write-failed.settings', { path, cause: causeOf(error) }, { cause: error });
  }
}
