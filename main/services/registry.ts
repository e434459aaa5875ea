import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { failure } from '../contract/failures.ts';
import { machineIdSchema } from '../contract/machines.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { causeOf, errnoOf, reasonOf } from './failures.ts';
import { MACHINE_FILE } from './machine-file.ts';

const INDEX_FILE = 'machines.json';
const INDEX_VERSION = 1;

const indexSchema = z.object({
  schemaVersion: z.literal(INDEX_VERSION),
  machines: z.array(z.object({ id: machineIdSchema, folder: z.string().min(1) })),
  /** Folders below the machines folder that were taken off the list and are not to come back by themselves. */
  removed: z.array(z.string()),
});

export interface RegistryEntry {
  readonly id: string;
  /** Absolute. */
  readonly folder: string;
}

/**
 * Which machines there are, in the file machines.json of the data folder. Machines in the machines folder are found by
 * themselves, so losing that file loses no machine.
 */
export class Registry {
  readonly machinesFolder: string;
  /** What was wrong with the list when it was read, for the log. */
  readonly problem: string | undefined;
  readonly #path: string;
  #entries: RegistryEntry[] = [];
  #removed = new Set<string>();

  constructor(dataFolder: string) {
    this.machinesFolder = join(dataFolder, 'machines');
    this.#path = join(dataFolder, INDEX_FILE);
    this.problem = this.#read();
    this.discover();
  }

  get entries(): readonly RegistryEntry[] {
    return this.#entries;
  }

  #read(): string | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      return errnoOf(error) === 'ENOENT' ? undefined : `${this.#path}: ${reasonOf(error)}`;
    }
    try {
      const index = indexSchema.parse(JSON.parse(text));
      this.#entries = index.machines;
      this.#removed = new Set(index.removed);
      return undefined;
    } catch {
      // Kept for whoever wants to look into it; the machines themselves are found again.
      const aside = `${this.#path}.damaged-${Date.now()}`;
      renameSync(this.#path, aside);
      return `${this.#path} could not be understood; it is now ${aside}, and machines in other folders have to be added again`;
    }
  }

  /** Adds machines that stand in the machines folder and are not on the list yet; true when there were any. */
  discover(): boolean {
    let names: string[];
    try {
      names = readdirSync(this.machinesFolder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name);
    } catch {
      return false;
    }
    const known = new Set(this.#entries.map(({ folder }) => folder));
    const found = names
      .map((name) => join(this.machinesFolder, name))
      .filter((folder) => !known.has(folder) && !this.#removed.has(folder) && existsSync(join(folder, MACHINE_FILE)));
    for (const folder of found.sort()) {
      this.#entries = [...this.#entries, { id: this.#freeId(basename(folder)), folder }];
    }
    if (found.length > 0) {
      this.#write();
    }
    return found.length > 0;
  }

  #freeId(wish: string): string {
    const taken = new Set(this.#entries.map(({ id }) => id));
    let id = wish;
    for (let number = 2; taken.has(id); number++) {
      id = `${wish}-${number}`;
    }
    return id;
  }

  /** Throws ApiError when the list cannot be written; it is then as before. */
  add(folder: string): RegistryEntry {
    const existing = this.#entries.find((entry) => entry.folder === folder);
    if (existing !== undefined) {
      return existing;
    }
    const entry = { id: this.#freeId(basename(folder)), folder };
    const before = { entries: this.#entries, removed: this.#removed };
    this.#entries = [...this.#entries, entry];
    this.#removed = new Set([...this.#removed].filter((path) => path !== folder));
    this.#writeOr(before);
    return entry;
  }

  remove(id: string): void {
    const entry = this.#entries.find((candidate) => candidate.id === id);
    if (entry === undefined) {
      return;
    }
    const before = { entries: this.#entries, removed: this.#removed };
    this.#entries = this.#entries.filter((candidate) => candidate !== entry);
    const stays = existsSync(join(entry.folder, MACHINE_FILE));
    this.#removed = new Set([...this.#removed].filter((path) => existsSync(join(path, MACHINE_FILE))));
    if (stays) {
      this.#removed.add(entry.folder);
    }
    this.#writeOr(before);
  }

  #writeOr(before: { entries: RegistryEntry[]; removed: Set<string> }): void {
    try {
      this.#write();
    } catch (error) {
      this.#entries = before.entries;
      this.#removed = before.removed;
      throw error;
    }
  }

  #write(): void {
    const index = { schemaVersion: INDEX_VERSION, machines: this.#entries, removed: [...this.#removed] };
    try {
      writeFileAtomically(this.#path, `${JSON.stringify(index, null, 2)}\n`);
    } catch (error) {
      throw failure('write-failed', { path: this.#path, cause: causeOf(error) }, { cause: error });
    }
  }
}
