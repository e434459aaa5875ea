/**
 * The module `electron` as main.ts imports it, on the fakes: so that the entry itself can be run. Says on standard
 * output what a page would see, then quits.
 */
import { FakeElectron, FakeWindow } from './fake-electron.ts';

const electron = new FakeElectron();
const paths = new Map<string, string>();

export const app = Object.assign(electron.app, {
  setName: () => {},
  setPath: (name: string, path: string) => paths.set(name, path),
  getPath: (name: string) => paths.get(name),
  getVersion: () => '0.0.0',
});

export class BrowserWindow extends FakeWindow {
  static readonly all: BrowserWindow[] = [];

  constructor(options: ConstructorParameters<typeof FakeWindow>[0]) {
    super(options);
    BrowserWindow.all.push(this);
    app.emit('web-contents-created', {}, this.webContents);
  }

  static getAllWindows(): BrowserWindow[] {
    return BrowserWindow.all;
  }

  override async loadURL(url: string): Promise<void> {
    const answer = await electron.serve?.(new Request(url));
    console.log(JSON.stringify({ url, status: answer?.status, sandbox: this.options.webPreferences?.sandbox }));
    this.close();
    app.quit();
    app.on('before-quit', () => setImmediate(() => console.log(JSON.stringify({ quits: app.quits }))));
  }
}

export class MessageChannelMain {}

export const { dialog, ipcMain, protocol, shell } = electron;
export const Menu = { setApplicationMenu: () => {}, buildFromTemplate: (template: unknown) => template };
export const nativeTheme = { shouldUseDarkColors: false };
export const screen = electron.screen();
export const session = { defaultSession: electron.session };
export const utilityProcess = { fork: () => undefined };
export default { app, ipcMain, shell };
