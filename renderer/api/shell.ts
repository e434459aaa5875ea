import { type ApiClient, createApiClient } from '../../main/contract/client.ts';
import type { DesktopBridge, PickRequest } from '../../main/contract/desktop-bridge.ts';
import { webSocketTransport } from '../../main/contract/web-socket-transport.ts';

/** Everything that differs between the desktop and the web. Features ask this, never the browser's or Electron's API. */
export interface Shell {
  readonly kind: 'desktop' | 'web';
  /** A new connection to the services. It ends with `onClose`. */
  connect(): ApiClient;
  /** Whether the services are there but do not let this page in any more. Absent where that cannot happen. */
  readonly isRefused?: () => Promise<boolean>;
  /** Shows the window of a machine, or brings it to the front. */
  openConsole(machine: string): void;
  /**
   * The same for a machine that is still being made. Browsers open windows only right after a click, so it is called then
   * and not when the machine is there. When `machine` rejects, no window is left.
   */
  openConsoleOfNew(machine: Promise<string>): void;
  /** Closes this window; a page that must not close itself goes back to the manager. */
  closeWindow(): void;
  /** Opens a file dialog: undefined when it was cancelled. Absent where there is none. */
  readonly pickPath?: (request: PickRequest) => Promise<string | undefined>;
  /** Shows the log of a machine's last run in the host's file manager. Absent where the host is elsewhere. */
  readonly showLog?: (machine: string) => void;
  /** Someone wants to close this window: `listener` decides when. Gives back how to stop listening. */
  onCloseRequest(listener: () => void): () => void;
  /** Saves a file to where the user wants it. */
  saveFile(name: string, content: Blob): void;
}

declare global {
  interface Window {
    readonly lodgeDesktop?: DesktopBridge;
  }
}

function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The address of a machine's window, from the page's own. */
export function consoleAddress(machine: string): string {
  return `#/console/${encodeURIComponent(machine)}`;
}

/** One window a machine: its name finds the one that is open. */
function windowName(machine: string): string {
  return `lodge-${machine}`;
}

const WINDOW_FEATURES = 'popup,width=1064,height=900';

function webShell(): Shell {
  return {
    kind: 'web',
    connect() {
      const url = new URL('/api/socket', window.location.href);
      url.protocol = url.protocol.replace('http', 'ws');
      return createApiClient(webSocketTransport(new WebSocket(url)));
    },
    async isRefused() {
      try {
        return (await fetch('/', { method: 'HEAD', cache: 'no-store' })).status === 401;
      } catch {
        return false;
      }
    },
    openConsole(machine) {
      const address = consoleAddress(machine);
      const opened = window.open(address, windowName(machine), WINDOW_FEATURES);
      if (opened === null) {
        window.location.hash = address;
      } else {
        opened.focus();
      }
    },
    openConsoleOfNew(machine) {
      const opened = window.open('', '_blank', WINDOW_FEATURES);
      machine.then(
        (id) => {
          if (opened === null) {
            window.location.hash = consoleAddress(id);
          } else {
            opened.name = windowName(id);
            opened.location.replace(new URL(consoleAddress(id), window.location.href));
          }
        },
        () => opened?.close(),
      );
    },
    closeWindow() {
      window.close();
      // A window that a script did not open stays.
      window.location.hash = '';
    },
    onCloseRequest() {
      // Closing a tab leaves the machine running, which is what browsers' users expect.
      return () => undefined;
    },
    saveFile,
  };
}

function desktopShell(bridge: DesktopBridge): Shell {
  return {
    kind: 'desktop',
    connect: () => createApiClient(bridge.connect()),
    openConsole: (machine) => bridge.openConsole(machine),
    openConsoleOfNew: (machine) => {
      machine.then(
        (id) => bridge.openConsole(id),
        () => {},
      );
    },
    closeWindow: () => bridge.closeWindow(),
    pickPath: (request) => bridge.pickPath(request),
    showLog: (machine) => bridge.showLog(machine),
    onCloseRequest: (listener) => bridge.onCloseRequest(listener),
    saveFile,
  };
}

/** The shell that this page runs in. */
export function currentShell(): Shell {
  return window.lodgeDesktop === undefined ? webShell() : desktopShell(window.lodgeDesktop);
}
