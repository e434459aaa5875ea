/** The desktop app's main process. The only file, beside the preload script, that reaches for Electron itself. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  app,
  BrowserWindow,
  dialog,
  ipcMain,
  Menu,
  MessageChannelMain,
  nativeTheme,
  protocol,
  screen,
  session,
  shell,
  utilityProcess,
} from 'electron';
import Store from 'electron-store';
import { dataFolder } from '../services/data-folder.ts';
import { openBackend } from './backend.ts';
import { DesktopApp, rendererFolder, unpacked } from './desktop-app.ts';
import { utilityProcessHost } from './utility-process-host.ts';

const folder = dataFolder();
const programs = import.meta.dirname;
const log = (line: string) => process.stderr.write(`lodge: ${line}\n`);

app.setName('Lodge');
// One instance for each data folder, whose lock stands with Electron's own files.
try {
  mkdirSync(join(folder, 'desktop'), { recursive: true, mode: 0o700 });
  app.setPath('userData', join(folder, 'desktop'));
} catch {
  // A folder that cannot be made is reported when the services are opened.
}

const desktop = new DesktopApp(
  {
    app,
    protocol,
    defaultSession: () => session.defaultSession,
    ipcMain,
    dialog: {
      showErrorBox: dialog.showErrorBox,
      showMessageBox: (options) => dialog.showMessageBox(options),
      showOpenDialog: (window, options) => {
        const parent = BrowserWindow.getAllWindows().find(({ webContents }) => webContents === window.webContents);
        return parent === undefined ? dialog.showOpenDialog(options) : dialog.showOpenDialog(parent, options);
      },
    },
    shell,
    screen: () => screen,
    createWindow: (options) => new BrowserWindow(options),
    createChannel: () => new MessageChannelMain(),
    setApplicationMenu: (template) =>
      Menu.setApplicationMenu(template === null ? null : Menu.buildFromTemplate(template)),
    isDark: () => nativeTheme.shouldUseDarkColors,
    placements: () =>
      new Store<Record<string, unknown>>({
        name: 'windows',
        // Names of machines may hold dots.
        accessPropertiesByDotNotation: false,
        clearInvalidConfig: true,
      }),
  },
  {
    platform: process.platform,
    preload: join(programs, 'preload.cjs'),
    rendererFolder: rendererFolder(programs),
    openBackend: () =>
      openBackend({
        dataFolder: folder,
        processHost: utilityProcessHost({
          fork: (program, args, options) => utilityProcess.fork(program, args, options),
          program: unpacked(join(programs, 'vm-process.js')),
          platform: process.platform,
        }),
        log,
      }),
    log,
  },
);
// Not awaited: Electron becomes ready only once this module is through.
desktop.run().catch((error: unknown) => {
  log(error instanceof Error ? (error.stack ?? error.message) : String(error));
  app.exit(1);
});
