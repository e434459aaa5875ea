import { EventEmitter } from 'node:events';
import type {
  BrowserWindowConstructorOptions,
  MenuItemConstructorOptions,
  MessageBoxOptions,
  OpenDialogOptions,
  Privileges,
} from 'electron';
import { APP_PAGE } from '../app-protocol.ts';
import { FROM_PAGE, PICK_PATH, TO_PAGE, type ToPage } from '../channels.ts';
import type {
  AppLike,
  ContentsLike,
  ElectronParts,
  FrameLike,
  IpcMainLike,
  PortLike,
  Rectangle,
  SenderEvent,
  SessionLike,
  WindowLike,
} from '../electron-api.ts';
import type { DirectPort, PageIpc } from '../page-bridge.ts';

/** Electron as far as the desktop shell uses it, played in one process for tests. */

export class FakeApp extends EventEmitter implements AppLike {
  readonly name = 'Lodge';
  locked = true;
  sandboxed = false;
  quits = 0;
  exitCode: number | undefined;
  languages = ['en-GB'];

  requestSingleInstanceLock(): boolean {
    return this.locked;
  }

  enableSandbox(): void {
    this.sandboxed = true;
  }

  whenReady(): Promise<void> {
    return Promise.resolve();
  }

  /** As Electron does: listeners may object. */
  quit(): void {
    const event = new FakeEvent();
    this.emit('before-quit', event);
    if (!event.prevented) {
      this.quits++;
    }
  }

  exit(code = 0): void {
    this.exitCode = code;
  }

  getPreferredSystemLanguages(): string[] {
    return this.languages;
  }
}

export class FakeEvent {
  prevented = false;
  readonly url: string;
  readonly isMainFrame: boolean;

  constructor(url = '', isMainFrame = true) {
    this.url = url;
    this.isMainFrame = isMainFrame;
  }

  preventDefault(): void {
    this.prevented = true;
  }
}

/** One end of a channel; messages arrive in the same turn once the other end was started. */
export class FakePort extends EventEmitter implements PortLike, DirectPort {
  other: FakePort | undefined;
  closed = false;
  #started = false;
  #waiting: unknown[] = [];

  static pair(): { port1: FakePort; port2: FakePort } {
    const port1 = new FakePort();
    const port2 = new FakePort();
    port1.other = port2;
    port2.other = port1;
    return { port1, port2 };
  }

  addEventListener(event: 'message', listener: (event: { readonly data: unknown }) => void): void {
    this.on(event, listener);
  }

  postMessage(message: unknown): void {
    if (!this.closed) {
      this.other?.arrive(structuredClone(message));
    }
  }

  arrive(data: unknown): void {
    if (this.#started) {
      this.emit('message', { data });
    } else {
      this.#waiting.push(data);
    }
  }

  start(): void {
    this.#started = true;
    for (const data of this.#waiting.splice(0)) {
      this.emit('message', { data });
    }
  }

  close(): void {
    if (!this.closed) {
      this.closed = true;
      this.other?.close();
      this.emit('close');
    }
  }
}

let lastContents = 0;

export class FakeContents extends EventEmitter implements ContentsLike {
  readonly id = ++lastContents;
  readonly sent: ToPage[] = [];
  gone = false;
  reloads = 0;
  ignoresMenu = false;
  windowOpen: (() => { action: 'deny' }) | undefined;
  /** The page's preload script, once there is one. */
  page: ((message: ToPage, port: DirectPort | undefined) => void) | undefined;

  isDestroyed(): boolean {
    return this.gone;
  }

  send(channel: string, message: ToPage): void {
    this.deliver(channel, message, undefined);
  }

  deliver(channel: string, message: ToPage, port: DirectPort | undefined): void {
    if (channel === TO_PAGE) {
      const copy = structuredClone(message);
      this.sent.push(copy);
      this.page?.(copy, port);
    }
  }

  reload(): void {
    this.reloads++;
  }

  setIgnoreMenuShortcuts(ignore: boolean): void {
    this.ignoresMenu = ignore;
  }

  setWindowOpenHandler(handler: () => { action: 'deny' }): void {
    this.windowOpen = handler;
  }

  destroy(): void {
    this.gone = true;
    this.emit('destroyed');
  }
}

export class FakeFrame implements FrameLike {
  readonly parent: unknown;
  readonly url: string;
  readonly #contents: FakeContents;

  constructor(contents: FakeContents, url = APP_PAGE, parent: unknown = null) {
    this.#contents = contents;
    this.url = url;
    this.parent = parent;
  }

  isDestroyed(): boolean {
    return this.#contents.gone;
  }

  postMessage(channel: string, message: ToPage, [port]: FakePort[] = []): void {
    this.#contents.deliver(channel, message, port);
  }
}

export class FakeIpcMain implements IpcMainLike {
  readonly #listeners = new Map<string, (event: SenderEvent, message: unknown) => void>();
  readonly #handlers = new Map<string, (event: SenderEvent, message: unknown) => unknown>();

  on(channel: string, listener: (event: SenderEvent, message: unknown) => void): void {
    this.#listeners.set(channel, listener);
  }

  handle(channel: string, handler: (event: SenderEvent, message: unknown) => unknown): void {
    this.#handlers.set(channel, handler);
  }

  /** A message as anything that runs in a window could send it. */
  receive(sender: FakeContents, message: unknown, frame: FrameLike | null = new FakeFrame(sender)): void {
    this.#listeners.get(FROM_PAGE)?.({ sender, senderFrame: frame }, structuredClone(message));
  }

  async ask(sender: FakeContents, request: unknown, frame: FrameLike | null = new FakeFrame(sender)): Promise<unknown> {
    return this.#handlers.get(PICK_PATH)?.({ sender, senderFrame: frame }, structuredClone(request));
  }
}

/** The ipcRenderer of a page in a window. */
export function pageIpc(ipc: FakeIpcMain, contents: FakeContents): PageIpc {
  return {
    send: (message) => ipc.receive(contents, message),
    pick: async (request) => (await ipc.ask(contents, request)) as Awaited<ReturnType<PageIpc['pick']>>,
    listen: (listener) => {
      contents.page = listener;
    },
  };
}

export class FakeWindow extends EventEmitter implements WindowLike {
  readonly options: BrowserWindowConstructorOptions;
  readonly webContents = new FakeContents();
  url: string | undefined;
  bounds: Rectangle;
  shown = 0;
  focused = 0;
  maximized = false;
  minimized = false;
  menu = true;
  gone = false;

  constructor(options: BrowserWindowConstructorOptions) {
    super();
    this.options = options;
    const { x = 10, y = 20, width = 800, height = 600 } = options;
    this.bounds = { x, y, width, height };
  }

  async loadURL(url: string): Promise<void> {
    this.url = url;
  }

  show(): void {
    this.shown++;
  }

  focus(): void {
    this.focused++;
  }

  close(): void {
    const event = new FakeEvent();
    this.emit('close', event);
    if (!event.prevented) {
      this.destroy();
    }
  }

  destroy(): void {
    if (!this.gone) {
      this.gone = true;
      this.webContents.destroy();
      this.emit('closed');
    }
  }

  isDestroyed(): boolean {
    return this.gone;
  }

  isMinimized(): boolean {
    return this.minimized;
  }

  isMaximized(): boolean {
    return this.maximized;
  }

  restore(): void {
    this.minimized = false;
  }

  maximize(): void {
    this.maximized = true;
  }

  getNormalBounds(): Rectangle {
    return this.bounds;
  }

  removeMenu(): void {
    this.menu = false;
  }
}

export class FakeSession implements SessionLike {
  request: Parameters<SessionLike['setPermissionRequestHandler']>[0] | undefined;
  check: Parameters<SessionLike['setPermissionCheckHandler']>[0] | undefined;
  device: (() => boolean) | undefined;
  blocked: string[] = [];
  readonly webRequest: SessionLike['webRequest'] = {
    onBeforeRequest: ({ urls }, listener) =>
      listener({}, ({ cancel }) => {
        this.blocked = cancel ? urls : [];
      }),
  };

  setPermissionRequestHandler(handler: Parameters<SessionLike['setPermissionRequestHandler']>[0]): void {
    this.request = handler;
  }

  setPermissionCheckHandler(handler: Parameters<SessionLike['setPermissionCheckHandler']>[0]): void {
    this.check = handler;
  }

  setDevicePermissionHandler(handler: () => boolean): void {
    this.device = handler;
  }
}

export const DISPLAY: Rectangle = { x: 0, y: 0, width: 1920, height: 1040 };

/** Everything together, with what was asked of it. */
export class FakeElectron implements ElectronParts {
  readonly app = new FakeApp();
  readonly session = new FakeSession();
  readonly ipcMain = new FakeIpcMain();
  readonly windows: FakeWindow[] = [];
  readonly schemes: { scheme: string; privileges: Privileges }[] = [];
  readonly errorBoxes: string[] = [];
  readonly questions: MessageBoxOptions[] = [];
  readonly opened: OpenDialogOptions[] = [];
  readonly shownInFolder: string[] = [];
  readonly stored = new Map<string, unknown>();
  menu: MenuItemConstructorOptions[] | null = null;
  displays: Rectangle[] = [DISPLAY];
  /** What people answer to the next question. */
  answer: () => Promise<number> = async () => 0;
  picked: string[] = [];
  serve: ((request: Request) => Promise<Response>) | undefined;

  readonly protocol: ElectronParts['protocol'] = {
    registerSchemesAsPrivileged: (schemes) => this.schemes.push(...schemes),
    handle: (_scheme, handler) => {
      this.serve = handler;
    },
  };
  readonly dialog: ElectronParts['dialog'] = {
    showErrorBox: (_title, content) => this.errorBoxes.push(content),
    showMessageBox: async (options) => {
      this.questions.push(options);
      return { response: await this.answer() };
    },
    showOpenDialog: async (_window, options) => {
      this.opened.push(options);
      return { canceled: this.picked.length === 0, filePaths: this.picked };
    },
  };
  readonly shell: ElectronParts['shell'] = {
    showItemInFolder: (path) => this.shownInFolder.push(path),
    openPath: async () => '',
  };
  readonly createWindow = (options: BrowserWindowConstructorOptions): FakeWindow => {
    const window = new FakeWindow(options);
    this.windows.push(window);
    this.app.emit('web-contents-created', {}, window.webContents);
    window.on('closed', () => {
      if (this.windows.every(({ gone }) => gone)) {
        this.app.emit('window-all-closed');
      }
    });
    return window;
  };
  readonly createChannel = () => FakePort.pair();

  readonly defaultSession = () => this.session;
  readonly screen = () => ({
    getAllDisplays: () => this.displays.map((workArea) => ({ workArea })),
    getPrimaryDisplay: () => ({ workArea: this.displays[0] ?? DISPLAY }),
  });
  readonly setApplicationMenu = (template: MenuItemConstructorOptions[] | null) => {
    this.menu = template;
    // As on Windows and Linux: it becomes the menu of every window.
    for (const window of this.windows) {
      window.menu = template !== null;
    }
  };
  readonly isDark = () => true;
  readonly placements = () => ({
    get: (key: string) => this.stored.get(key),
    set: (key: string, value: unknown) => {
      this.stored.set(key, value);
    },
  });
}
