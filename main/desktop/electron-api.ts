import type {
  BrowserWindowConstructorOptions,
  MenuItemConstructorOptions,
  MessageBoxOptions,
  OpenDialogOptions,
  Privileges,
  WebContentsWillFrameNavigateEventParams,
} from 'electron';

/**
 * What the desktop shell uses of Electron, and no more. Everything but main.ts and preload.ts knows Electron by these
 * interfaces only, which tests fulfil with fakes.
 */

export interface Preventable {
  preventDefault(): void;
}

export interface AppLike {
  readonly name: string;
  requestSingleInstanceLock(): boolean;
  enableSandbox(): void;
  whenReady(): Promise<void>;
  quit(): void;
  exit(code?: number): void;
  getPreferredSystemLanguages(): string[];
  on(event: 'second-instance', listener: () => void): unknown;
  on(event: 'activate', listener: () => void): unknown;
  on(event: 'window-all-closed', listener: () => void): unknown;
  on(event: 'before-quit', listener: (event: Preventable) => void): unknown;
  on(event: 'web-contents-created', listener: (event: unknown, contents: ContentsLike) => void): unknown;
}

export interface FrameLike {
  readonly url: string;
  readonly parent: unknown;
  isDestroyed(): boolean;
  postMessage(channel: string, message: unknown, transfer?: PortLike[]): void;
}

export interface ContentsLike {
  readonly id: number;
  isDestroyed(): boolean;
  send(channel: string, message: unknown): void;
  reload(): void;
  setIgnoreMenuShortcuts(ignore: boolean): void;
  setWindowOpenHandler(handler: () => { action: 'deny' }): void;
  on(
    event: 'will-frame-navigate',
    listener: (details: Preventable & Pick<WebContentsWillFrameNavigateEventParams, 'url' | 'isMainFrame'>) => void,
  ): unknown;
  on(event: 'will-redirect', listener: (details: Preventable) => void): unknown;
  on(event: 'will-attach-webview', listener: (event: Preventable) => void): unknown;
  on(
    event: 'render-process-gone',
    listener: (event: unknown, details: { readonly reason: string; readonly exitCode: number }) => void,
  ): unknown;
  on(event: 'destroyed', listener: () => void): unknown;
}

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface WindowLike {
  readonly webContents: ContentsLike;
  loadURL(url: string): Promise<void>;
  show(): void;
  focus(): void;
  close(): void;
  destroy(): void;
  isDestroyed(): boolean;
  isMinimized(): boolean;
  isMaximized(): boolean;
  restore(): void;
  maximize(): void;
  getNormalBounds(): Rectangle;
  removeMenu(): void;
  once(event: 'ready-to-show', listener: () => void): unknown;
  on(event: 'close', listener: (event: Preventable) => void): unknown;
  on(event: 'closed', listener: () => void): unknown;
  on(event: 'unresponsive', listener: () => void): unknown;
  on(event: 'responsive', listener: () => void): unknown;
}

export type CreateWindow = (options: BrowserWindowConstructorOptions) => WindowLike;

/** A MessagePortMain. */
export interface PortLike {
  postMessage(message: unknown): void;
  close(): void;
}

export type CreateChannel = () => { readonly port1: PortLike; readonly port2: PortLike };

export interface SenderEvent {
  readonly sender: ContentsLike;
  /** Null when the frame is gone meanwhile. */
  readonly senderFrame: FrameLike | null;
}

export interface IpcMainLike {
  on(channel: string, listener: (event: SenderEvent, message: unknown) => void): unknown;
  handle(channel: string, listener: (event: SenderEvent, message: unknown) => unknown): void;
}

export interface ProtocolLike {
  registerSchemesAsPrivileged(schemes: { scheme: string; privileges: Privileges }[]): void;
  handle(scheme: string, handler: (request: Request) => Promise<Response>): void;
}

export interface SessionLike {
  setPermissionRequestHandler(
    handler: (
      contents: ContentsLike,
      permission: string,
      decide: (granted: boolean) => void,
      details: { readonly requestingUrl: string; readonly isMainFrame: boolean },
    ) => void,
  ): void;
  setPermissionCheckHandler(
    handler: (
      contents: ContentsLike | null,
      permission: string,
      origin: string,
      details: { readonly isMainFrame: boolean },
    ) => boolean,
  ): void;
  setDevicePermissionHandler(handler: () => boolean): void;
  readonly webRequest: {
    onBeforeRequest(
      filter: { urls: string[] },
      listener: (details: unknown, answer: (response: { cancel: boolean }) => void) => void,
    ): void;
  };
}

export interface DialogLike {
  showErrorBox(title: string, content: string): void;
  showMessageBox(options: MessageBoxOptions): Promise<{ readonly response: number }>;
  showOpenDialog(
    window: WindowLike,
    options: OpenDialogOptions,
  ): Promise<{ readonly canceled: boolean; readonly filePaths: string[] }>;
}

export interface FileManagerLike {
  showItemInFolder(path: string): void;
  openPath(path: string): Promise<string>;
}

export interface ScreenLike {
  getAllDisplays(): { readonly workArea: Rectangle }[];
  getPrimaryDisplay(): { readonly workArea: Rectangle };
}

/** Where positions of windows are kept. */
export interface PlacementStore {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
}

/** The parts of Electron together, as main.ts hands them over. */
export interface ElectronParts {
  readonly app: AppLike;
  readonly protocol: ProtocolLike;
  /** Only once the app is ready. */
  readonly defaultSession: () => SessionLike;
  readonly ipcMain: IpcMainLike;
  readonly dialog: DialogLike;
  readonly shell: FileManagerLike;
  /** Only once the app is ready. */
  readonly screen: () => ScreenLike;
  readonly createWindow: CreateWindow;
  readonly createChannel: CreateChannel;
  readonly setApplicationMenu: (template: MenuItemConstructorOptions[] | null) => void;
  readonly isDark: () => boolean;
  readonly placements: () => PlacementStore;
}
