import type { BrowserWindowConstructorOptions } from 'electron';
import { APP_PAGE } from './app-protocol.ts';
import { TO_PAGE, type ToPage } from './channels.ts';
import type { ContentsLike, CreateWindow, WindowLike } from './electron-api.ts';
import { pagePreferences } from './security.ts';
import type { WindowPlacements } from './window-placement.ts';

/** What a window shows. */
export type Subject = { readonly kind: 'manager' } | { readonly kind: 'console'; readonly machine: string };

const MANAGER: Subject = { kind: 'manager' };
const MANAGER_SIZE = { width: 1180, height: 780 };
/** Holds a guest's screen of 1024 × 768 at its own size. */
const CONSOLE_SIZE = { width: 1064, height: 900 };
const MIN_SIZE = { minWidth: 480, minHeight: 360 };
const BACKGROUND = { dark: '#16181d', light: '#f6f7f9' };

interface OpenWindow {
  readonly subject: Subject;
  readonly window: WindowLike;
  readonly contents: ContentsLike;
  /** The page wants to be asked before it is closed. */
  guarded: boolean;
  responding: boolean;
  /** It closes now, whatever its page would say. */
  closing: boolean;
}

export interface WindowsOptions {
  readonly create: CreateWindow;
  readonly placements: WindowPlacements;
  /** Path of the bundled preload script. */
  readonly preload: string;
  isDark(): boolean;
  /** A page's process ended by a failure. */
  pageGone(reason: string, reload: () => void): void;
}

/** The app's windows: the manager, and one for each machine that is looked at. */
export class Windows {
  readonly #options: WindowsOptions;
  readonly #windows = new Map<string, OpenWindow>();

  constructor(options: WindowsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#windows.size;
  }

  openManager(): void {
    this.#open(MANAGER);
  }

  openConsole(machine: string): void {
    this.#open({ kind: 'console', machine });
  }

  /** The window with these contents. */
  windowOf(contents: number): WindowLike | undefined {
    return this.#of(contents)?.window;
  }

  has(contents: number): boolean {
    return this.#of(contents) !== undefined;
  }

  guard(contents: number, on: boolean): void {
    const open = this.#of(contents);
    if (open !== undefined) {
      open.guarded = on;
    }
  }

  close(contents: number): void {
    const open = this.#of(contents);
    if (open !== undefined) {
      open.closing = true;
      open.window.close();
    }
  }

  /** Takes the menu from consoles again: a new menu of the app goes to every window that there is. */
  removeConsoleMenus(): void {
    for (const { subject, window } of this.#windows.values()) {
      if (subject.kind === 'console') {
        window.removeMenu();
      }
    }
  }

  closeAll(): void {
    for (const { contents } of [...this.#windows.values()]) {
      this.close(contents.id);
    }
  }

  #of(contents: number): OpenWindow | undefined {
    return [...this.#windows.values()].find((open) => open.contents.id === contents);
  }

  #open(subject: Subject): void {
    const key = keyOf(subject);
    const existing = this.#windows.get(key);
    if (existing !== undefined) {
      if (existing.window.isMinimized()) {
        existing.window.restore();
      }
      existing.window.show();
      existing.window.focus();
      return;
    }
    const { create, placements, preload, isDark } = this.#options;
    const { maximized, ...bounds } = placements.opening(key, subject.kind === 'manager' ? MANAGER_SIZE : CONSOLE_SIZE);
    const options: BrowserWindowConstructorOptions = {
      ...bounds,
      ...MIN_SIZE,
      title: 'Lodge',
      show: false,
      backgroundColor: isDark() ? BACKGROUND.dark : BACKGROUND.light,
      webPreferences: pagePreferences(preload),
    };
    const window = create(options);
    const contents = window.webContents;
    const open: OpenWindow = { subject, window, contents, guarded: false, responding: true, closing: false };
    this.#windows.set(key, open);
    if (subject.kind === 'console') {
      // Keys are the guest's: no menu of ours may take them.
      window.removeMenu();
      contents.setIgnoreMenuShortcuts(true);
    }
    window.once('ready-to-show', () => {
      if (maximized) {
        window.maximize();
      }
      window.show();
    });
    window.on('unresponsive', () => {
      open.responding = false;
    });
    window.on('responsive', () => {
      open.responding = true;
    });
    contents.on('render-process-gone', (_event, { reason, exitCode }) => {
      open.guarded = false;
      if (reason !== 'clean-exit' && !open.closing) {
        this.#options.pageGone(`${reason}, exit code ${exitCode}`, () => {
          if (!contents.isDestroyed()) {
            contents.reload();
          }
        });
      }
    });
    window.on('close', (event) => {
      if (open.guarded && open.responding && !open.closing) {
        event.preventDefault();
        const message: ToPage = { kind: 'close-request' };
        contents.send(TO_PAGE, message);
        return;
      }
      placements.remember(key, window.getNormalBounds(), window.isMaximized());
    });
    window.on('closed', () => this.#windows.delete(key));
    // A page that cannot be loaded leaves an empty window, which can be closed.
    window.loadURL(addressOf(subject)).catch(() => window.show());
  }
}

/** Names a window, and its placement in the store. */
export function keyOf(subject: Subject): string {
  return subject.kind === 'manager' ? 'manager' : `console:${subject.machine}`;
}

function addressOf(subject: Subject): string {
  return subject.kind === 'manager' ? APP_PAGE : `${APP_PAGE}#/console/${encodeURIComponent(subject.machine)}`;
}
