import { useCallback } from 'react';
import { useText } from '../i18n/i18n.ts';
import { type MessageKey, messages } from '../i18n/messages.ts';

/** What people call a key, from its code. */
export function useKeyName(): (code: string) => string {
  const text = useText();
  return useCallback(
    (code) => {
      const key = `key.${code}`;
      return key in messages ? text(key as MessageKey) : code.replace(/^(Key|Digit|Arrow)/, '');
    },
    [text],
  );
}
