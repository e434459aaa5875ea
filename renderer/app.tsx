import { CSPProvider } from '@base-ui/react/csp-provider';
import { LoaderCircle, PlugZap } from 'lucide-react';
import { Component, type ReactNode, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import { Connection, type ConnectionState } from './api/connection.ts';
import { errorText, LodgeContext, ShellContext } from './api/lodge-context.ts';
import type { Shell } from './api/shell.ts';
import { ConsoleWindow } from './features/console/console-window.tsx';
import { Manager } from './features/manager/manager.tsx';
import { chooseLanguage, setUpTexts, useText } from './i18n/i18n.ts';
import { Button } from './ui/button.tsx';
import { ToastArea } from './ui/toasts.tsx';
import { TooltipProvider } from './ui/tooltip.tsx';
import './ui/theme.css';
import './ui/controls.css';
import './app.css';
import './display/picture.css';

/** The app: one window of it, whatever the window shows. */
export function App({ shell }: { shell: Shell }) {
  const connection = useMemo(() => new Connection(() => shell.connect(), shell.isRefused), [shell]);
  const state = useSyncExternalStore(connection.subscribe, connection.getState);
  useEffect(() => {
    connection.open();
    return () => connection.dispose();
  }, [connection]);
  useAppearance(state);
  return (
    <CSPProvider disableStyleElements>
      <ShellContext value={shell}>
        <TooltipProvider>
          <ErrorBoundary>
            <Window state={state} />
          </ErrorBoundary>
          <ToastArea />
        </TooltipProvider>
      </ShellContext>
    </CSPProvider>
  );
}

function Window({ state: { lodge, status, problem, refused } }: { state: ConnectionState }) {
  const text = useText();
  const route = useRoute();
  if (lodge === undefined) {
    return (
      <main className="connecting">
        <LoaderCircle size={28} className="spinner" aria-hidden="true" />
        <p role="status">{text(refused ? 'app.refused' : 'app.connecting')}</p>
        {problem !== undefined && <p className="muted">{errorText(problem)}</p>}
      </main>
    );
  }
  return (
    <LodgeContext value={lodge}>
      {status === 'lost' && (
        <div className="disconnected" role="alert">
          <PlugZap size={16} aria-hidden="true" />
          {text(refused ? 'app.refused' : 'app.disconnected')}
        </div>
      )}
      {route.kind === 'console' ? <ConsoleWindow key={route.machine} id={route.machine} /> : <Manager />}
    </LodgeContext>
  );
}

type Route = { readonly kind: 'manager' } | { readonly kind: 'console'; readonly machine: string };

/** What a window shows stands after the # of its address, which needs no help from the server. */
export function routeOf(hash: string): Route {
  const machine = /^#\/console\/([^/]+)$/.exec(hash)?.[1];
  if (machine === undefined) {
    return { kind: 'manager' };
  }
  try {
    return { kind: 'console', machine: decodeURIComponent(machine) };
  } catch {
    return { kind: 'manager' };
  }
}

function useRoute(): Route {
  const [hash, setHash] = useState(window.location.hash);
  useEffect(() => {
    const update = () => setHash(window.location.hash);
    window.addEventListener('hashchange', update);
    return () => window.removeEventListener('hashchange', update);
  }, []);
  return routeOf(hash);
}

/** Language and theme as the settings say, or as the system does. */
function useAppearance({ lodge }: ConnectionState): void {
  const language = lodge?.settings.language ?? 'system';
  const theme = lodge?.settings.theme ?? 'system';
  useEffect(() => {
    const chosen = chooseLanguage(language === 'system' ? undefined : language, navigator.languages);
    document.documentElement.lang = chosen;
    void setUpTexts(chosen).changeLanguage(chosen);
  }, [language]);
  useEffect(() => {
    const dark = window.matchMedia('(prefers-color-scheme: dark)');
    const apply = () => {
      document.documentElement.dataset['theme'] = theme === 'system' ? (dark.matches ? 'dark' : 'light') : theme;
    };
    apply();
    dark.addEventListener('change', apply);
    return () => dark.removeEventListener('change', apply);
  }, [theme]);
}

/** A defect of the user interface ends a window's content, not the machine behind it. */
class ErrorBoundary extends Component<{ readonly children: ReactNode }, { readonly error: unknown }> {
  override state: { readonly error: unknown } = { error: undefined };

  static getDerivedStateFromError(error: unknown): { readonly error: unknown } {
    return { error };
  }

  override render(): ReactNode {
    return this.state.error === undefined ? this.props.children : <Broken error={this.state.error} />;
  }
}

function Broken({ error }: { error: unknown }) {
  const text = useText();
  return (
    <main className="connecting" role="alert">
      <h1>{text('app.failed')}</h1>
      <p className="muted">{error instanceof Error ? error.message : String(error)}</p>
      <Button look="primary" onClick={() => window.location.reload()}>
        {text('app.reload')}
      </Button>
    </main>
  );
}
