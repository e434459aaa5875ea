import { type MessageKey, messages } from '../../renderer/i18n/messages.ts';
import type { ErrorData } from '../contract/errors.ts';
import { failureTextsOf, fillText } from '../contract/failures.ts';

export type Text = (key: MessageKey, values?: Readonly<Record<string, string>>) => string;

/** The language of the settings, or the first of the system's languages that there is. */
function languageOf(setting: string, systemLanguages: readonly string[]): 'en' | 'ko' {
  const wanted = setting === 'system' ? systemLanguages : [setting, ...systemLanguages];
  return wanted.map((tag) => tag.toLowerCase().split(/[-_]/)[0]).find((tag) => tag === 'en' || tag === 'ko') ?? 'en';
}

/** A failure as a dialog shows it, in the language of the system: what happened, and below it what to do. */
export function failureText(failure: ErrorData, systemLanguages: readonly string[]): string {
  const texts = failureTextsOf(failure);
  const language = languageOf('system', systemLanguages);
  const lines =
    texts === undefined || failure.details === undefined
      ? [failure.message, failure.remedy]
      : [texts.message, texts.remedy].map((text) => text && fillText(text[language], failure.details ?? {}, language));
  return lines.filter((line) => line !== undefined).join('\n\n');
}

export function textsFor(setting: string, systemLanguages: readonly string[]): Text {
  const language = languageOf(setting, systemLanguages);
  return (key, values = {}) =>
    messages[key][language].replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole);
}
