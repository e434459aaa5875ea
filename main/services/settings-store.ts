import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Emitter } from '../../engine/base/event.ts';
import { failure } from '../contract/failures.ts';
import { type Settings, settingsSchema } from '../contract/host.ts';
import { writeFileAtomically } from './atomic-file.ts';
import { causeOf } from './failures.ts';

export const DEFAULT_SETTINGS: Settings = {
  language: 'system',
  theme: 'system',
  hostKey: process.platform === 'darwin' ? 'MetaLeft' : 'ControlRight',
  dismissedWarnings: [],
  closeAction: 'ask',
  scaling: 'integer',
  resizeGuest: true,
  expert: false,
};

/** What people chose, in settings.json of the data folder. What cannot be understood there counts as not chosen. */
export class SettingsStore {
  readonly #path: string;
  readonly #onChange = new Emitter<Settings>();
  readonly onChange = this.#onChange.event;
  #settings: Settings;

  constructor(dataFolder: string) {
    this.#path = join(dataFolder, 'settings.json');
    this.#settings = this.#read();
  }

  get settings(): Settings {
    return this.#settings;
  }

  #read(): Settings {
    let raw: unknown;
    try {
      raw = JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch {
      return DEFAULT_SETTINGS;
    }
    const kept: Record<string, unknown> = {};
    for (const [name, schema] of Object.entries(settingsSchema.shape)) {
      const value: unknown = typeof raw === 'object' && raw !== null ? Reflect.get(raw, name) : undefined;
      if (schema.safeParse(value).success) {
        kept[name] = value;
      }
    }
    return settingsSchema.parse({ ...DEFAULT_SETTINGS, ...kept });
  }

  set(changes: { readonly [K in keyof Settings]?: Settings[K] | undefined }): Settings {
    const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
    const settings = settingsSchema.parse({ ...this.#settings, ...given });
    try {
      writeFileAtomically(this.#path, `${JSON.stringify(settings, null, 2)}\n`);
    } catch (error) {
      throw failure('write-failed', { path: this.#path, cause: causeOf(error) }, { cause: error });
    }
    this.#settings = settings;
    this.#onChange.fire(settings);
    return settings;
  }
}
