import { type MessageKey, messages } from '../../renderer/i18n/messages.ts';

export type Text = (key: MessageKey, values?: Readonly<Record<string, string>>) => string;

/** The texts in the language of the settings, or in the first of the system's languages that there is. */
export function textsFor(setting: string, systemLanguages: readonly string[]): Text {
  const wanted = setting === 'system' ? systemLanguages : [setting, ...systemLanguages];
  const language =
    wanted.map((tag) => tag.toLowerCase().split(/[-_]/)[0]).find((tag) => tag === 'en' || tag === 'ko') ?? 'en';
  return (key, values = {}) =>
    messages[key][language].replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole);
}
