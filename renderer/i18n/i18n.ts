import i18next, { type i18n } from 'i18next';
import { useCallback } from 'react';
import { initReactI18next, useTranslation } from 'react-i18next';
import { type MessageKey, messages } from './messages.ts';

export const LANGUAGES = { en: 'English', ko: '한국어' } as const;
export type Language = keyof typeof LANGUAGES;

export type Text = (key: MessageKey, values?: Readonly<Record<string, string | number>>) => string;

function resources(language: Language): { translation: Record<string, string> } {
  return {
    translation: Object.fromEntries(Object.entries(messages).map(([key, text]) => [key, text[language]])),
  };
}

/** The language that is shown: the one set, or else the first of the browser's that there is. */
export function chooseLanguage(set: string | undefined, preferred: readonly string[]): Language {
  const known = (tag: string): Language | undefined => {
    const language = tag.toLowerCase().split('-')[0];
    return language === 'en' || language === 'ko' ? language : undefined;
  };
  return (set === undefined ? undefined : known(set)) ?? preferred.map(known).find((found) => found) ?? 'en';
}

export function setUpTexts(language: Language): i18n {
  if (!i18next.isInitialized) {
    i18next.use(initReactI18next).init({
      lng: language,
      fallbackLng: 'en',
      resources: { en: resources('en'), ko: resources('ko') },
      keySeparator: false,
      nsSeparator: false,
      // React escapes.
      interpolation: { escapeValue: false },
      initAsync: false,
    });
  }
  return i18next;
}

/** The language that is shown now. */
export function currentLanguage(): Language {
  return chooseLanguage(i18next.language, []);
}

/** The texts in the language that is set. */
export function useText(): Text {
  const { t } = useTranslation();
  return useCallback((key, values) => t(key, { ...values }), [t]);
}
