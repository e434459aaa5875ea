import { createContext, useCallback, useContext, useEffect, useState } from 'react';
import type { FeedArgs, FeedItem, FeedName } from '../../main/contract/api.ts';
import type { Settings } from '../../main/contract/host.ts';
import { sayFailure } from '../i18n/failures.ts';
import { currentLanguage } from '../i18n/i18n.ts';
import { toasts } from '../ui/toast-manager.ts';
import type { Lodge } from './connection.ts';
import { errorData } from './error-data.ts';
import type { Shell } from './shell.ts';

export const LodgeContext = createContext<Lodge | undefined>(undefined);
export const ShellContext = createContext<Shell | undefined>(undefined);

export function useLodge(): Lodge {
  const lodge = useContext(LodgeContext);
  if (lodge === undefined) {
    throw new Error('useLodge() outside of a connected window');
  }
  return lodge;
}

export function useShell(): Shell {
  const shell = useContext(ShellContext);
  if (shell === undefined) {
    throw new Error('useShell() outside of the app');
  }
  return shell;
}

/** What happened and what to do, in one line. */
export function errorText(error: unknown): string {
  const language = currentLanguage();
  const { message, remedy } = sayFailure(errorData(error), language);
  if (remedy === undefined || message.includes(remedy)) {
    return message;
  }
  return language === 'ko' ? `${message}. ${remedy}.` : `${message}; ${remedy}`;
}

/** Shows a failure beside the work; it stays until it is dismissed. */
export function showError(error: unknown): void {
  const { message, remedy } = sayFailure(errorData(error), currentLanguage());
  toasts.add({
    title: message,
    ...(remedy === undefined ? {} : { description: remedy }),
    type: 'error',
    priority: 'high',
    timeout: 0,
  });
}

/** Changes some settings; failures are shown. */
export function useChangeSettings(): (changes: Partial<Settings>) => void {
  const { api } = useLodge();
  return useCallback((changes) => void api.call('settings.set', changes).catch(showError), [api]);
}

/** The latest item of a feed, from when this component is shown; undefined before the first. */
export function useFeed<N extends FeedName>(name: N, args: FeedArgs<N>): FeedItem<N> | undefined {
  const { api } = useLodge();
  const [item, setItem] = useState<FeedItem<N>>();
  // Arguments are compared by value: they are small and plain.
  const key = JSON.stringify(args);
  useEffect(() => {
    const subscription = api.subscribe(name, JSON.parse(key) as FeedArgs<N>, { item: (next) => setItem(() => next) });
    return () => {
      subscription.dispose();
      setItem(undefined);
    };
  }, [api, name, key]);
  return item;
}
