import { dirname, isAbsolute, join } from 'node:path';
import type { Machine } from '../contract/machines.ts';
import { toErrorData } from '../services/failures.ts';
import { APP_PRIVILEGES, APP_SCHEME, serveApp } from './app-protocol.ts';
import type { Backend } from './backend.ts';
import type { PickRequest } from './channels.ts';
import type { ElectronParts, Preventable } from './electron-api.ts';
import { IpcHost } from './ipc-host.ts';
import { appMenu } from './menu.ts';
import { hardenContents, hardenSession, isTrusted } from './security.ts';
import { failureText, type Text, textsFor } from './texts.ts';
import { WindowPlacements } from './window-placement.ts';
import { Windows } from './windows.ts';

export interface DesktopOptions {
  readonly platform: string;
  /** Path of the bundled preload script. */
  readonly preload: string;
  /** Folder of the built renderer. */
  readonly rendererFolder: string;
  openBackend(): Promise<Backend>;
  log(line: string): void;
}

/** States in which a machine has a process. */
const ACTIVE: ReadonlySet<Machine['state']> = new Set(['starting', 'running', 'paused', 'stopping']);

/** The desktop shell: from the start of the app to its end. */
export class DesktopApp {
  readonly #electron: ElectronParts;
  readonly #options: DesktopOptions;
  #text: Text = textsFor('system', []);
  #backend: Backend | undefined;
  #windows: Windows | undefined;
  #ipc: IpcHost | undefined;
  readonly #machines = new Map<string, Machine>();
  /** People were asked, and machines go on without windows. */
  #background = false;
  /** Everything is closed, or there was nothing to close. */
  #mayQuit = true;
  /** A question about quitting is open, or its answer is being carried out. */
  #quitting = false;

  constructor(electron: ElectronParts, options: DesktopOptions) {
    this.#electron = electron;
    this.#options = options;
  }

  /** Settles when the first window is open, or when it is clear that there will be none. */
  async run(): Promise<void> {
    const { app, protocol } = this.#electron;
    if (!app.requestSingleInstanceLock()) {
      // The first instance shows its window.
      app.quit();
      return;
    }
    protocol.registerSchemesAsPrivileged([{ scheme: APP_SCHEME, privileges: APP_PRIVILEGES }]);
    app.enableSandbox();
    app.on('web-contents-created', (_event, contents) => hardenContents(contents));
    app.on('second-instance', () => this.#showManager());
    app.on('activate', () => this.#showManager());
    app.on('window-all-closed', () => this.#allClosed());
    app.on('before-quit', (event) => this.#beforeQuit(event));
    await app.whenReady();
    this.#text = textsFor('system', app.getPreferredSystemLanguages());
    try {
      this.#backend = await this.#options.openBackend();
    } catch (error) {
      this.#electron.dialog.showErrorBox(
        this.#text('desktop.cannotStart'),
        failureText(toErrorData(error), app.getPreferredSystemLanguages()),
      );
      app.exit(1);
      return;
    }
    this.#mayQuit = false;
    this.#open(this.#backend);
  }

  #open(backend: Backend): void {
    const electron = this.#electron;
    const options = this.#options;
    hardenSession(electron.defaultSession());
    electron.protocol.handle(APP_SCHEME, (request) => serveApp(options.rendererFolder, request));
    const windows = new Windows({
      create: electron.createWindow,
      placements: new WindowPlacements(electron.placements(), electron.screen()),
      preload: options.preload,
      isDark: electron.isDark,
      pageGone: (reason, reload) => {
        options.log(`a page ended: ${reason}`);
        electron.dialog
          .showMessageBox({
            type: 'error',
            message: this.#text('desktop.pageGone', { reason }),
            buttons: [this.#text('app.reload')],
          })
          .then(reload, reload);
      },
    });
    this.#windows = windows;
    this.#ipc = new IpcHost({
      handlers: backend.handlers,
      createChannel: electron.createChannel,
      isTrusted: (event) => isTrusted(event, (contents) => windows.has(contents)),
      log: options.log,
      actions: {
        openConsole: (machine) => {
          if (this.#machines.has(machine)) {
            windows.openConsole(machine);
          }
        },
        closeWindow: (contents) => windows.close(contents),
        guardClose: (contents, on) => windows.guard(contents, on),
        showLog: (machine) => {
          const path = this.#machines.get(machine)?.logPath;
          if (path !== undefined && path !== null) {
            electron.shell.showItemInFolder(path);
          }
        },
        pickPath: (contents, request) => this.#pickPath(contents, request),
      },
    });
    this.#ipc.listen(electron.ipcMain);
    this.#follow(backend);
    windows.openManager();
  }

  /** Keeps up with machines and settings. */
  #follow({ client }: Backend): void {
    client.subscribe(
      'machines.changes',
      {},
      {
        item: (change) => {
          switch (change.kind) {
            case 'all':
              this.#machines.clear();
              for (const machine of change.machines) {
                this.#machines.set(machine.id, machine);
              }
              break;
            case 'changed':
              this.#machines.set(change.machine.id, change.machine);
              break;
            case 'removed':
              this.#machines.delete(change.id);
              break;
          }
          this.#endBackground();
        },
      },
    );
    let language: string | undefined;
    client.subscribe(
      'settings.changes',
      {},
      {
        item: (settings) => {
          if (settings.language !== language) {
            language = settings.language;
            this.#setLanguage(language);
          }
        },
      },
    );
    client.onClose(() => this.#backendGone());
  }

  #setLanguage(language: string): void {
    const { app, setApplicationMenu, shell } = this.#electron;
    this.#text = textsFor(language, app.getPreferredSystemLanguages());
    setApplicationMenu(
      appMenu(this.#options.platform, app.name, this.#text, {
        openManager: () => this.#showManager(),
        openMachinesFolder: () => {
          this.#backend?.client
            .call('app.info')
            .then(({ machinesFolder }) => shell.openPath(machinesFolder))
            .catch((error: unknown) => this.#options.log(toErrorData(error).message));
        },
      }),
    );
    this.#windows?.removeConsoleMenus();
  }

  #showManager(): void {
    if (!this.#mayQuit) {
      this.#background = false;
      this.#windows?.openManager();
    }
  }

  async #pickPath(contents: number, { want, title, start }: PickRequest): Promise<string | null> {
    const window = this.#windows?.windowOf(contents);
    if (window === undefined) {
      return null;
    }
    const { canceled, filePaths } = await this.#electron.dialog.showOpenDialog(window, {
      title,
      ...(start !== undefined && isAbsolute(start) ? { defaultPath: start } : {}),
      properties: want === 'folder' ? ['openDirectory', 'createDirectory'] : ['openFile'],
    });
    return canceled ? null : (filePaths[0] ?? null);
  }

  // The end --------------------------------------------------------------------------------------------------------

  /** Names of the machines that would end with this process. */
  #running(): string[] {
    return this.#backend?.isOwner === true
      ? [...this.#machines.values()].filter(({ state }) => ACTIVE.has(state)).map(({ name }) => name)
      : [];
  }

  async #ask(choices: readonly string[]): Promise<number> {
    const { response } = await this.#electron.dialog.showMessageBox({
      type: 'question',
      title: this.#text('desktop.runningTitle'),
      message: this.#text('desktop.runningText', { names: this.#running().join(', ') }),
      detail: this.#text('desktop.runningDetail'),
      buttons: [...choices],
      defaultId: 0,
      cancelId: 0,
      noLink: true,
    });
    return response;
  }

  #allClosed(): void {
    if (this.#options.platform === 'darwin' || this.#quitting || this.#background) {
      return;
    }
    if (this.#running().length === 0) {
      this.#electron.app.quit();
      return;
    }
    this.#quitting = true;
    this.#ask([this.#text('desktop.background'), this.#text('desktop.powerOffAndQuit')])
      .then((choice) => {
        this.#quitting = false;
        if (choice === 1) {
          return this.#close();
        }
        // Meanwhile a window may have been opened again.
        this.#background = this.#windows?.count === 0;
        this.#endBackground();
        return undefined;
      })
      .catch((error: unknown) => this.#failed(error));
  }

  /** Without windows there is nothing to stay for once the last machine has ended. */
  #endBackground(): void {
    if (this.#background && this.#running().length === 0) {
      this.#background = false;
      this.#electron.app.quit();
    }
  }

  #beforeQuit(event: Preventable): void {
    if (this.#mayQuit) {
      return;
    }
    event.preventDefault();
    if (this.#quitting) {
      return;
    }
    this.#quitting = true;
    const asked =
      this.#running().length === 0
        ? Promise.resolve(1)
        : this.#ask([this.#text('common.cancel'), this.#text('desktop.powerOffAndQuit')]);
    asked
      .then((choice) => {
        if (choice === 1) {
          return this.#close();
        }
        this.#quitting = false;
        return undefined;
      })
      .catch((error: unknown) => this.#failed(error));
  }

  /** Closes windows and services, in this order, and quits. */
  async #close(): Promise<void> {
    this.#quitting = true;
    this.#windows?.closeAll();
    this.#ipc?.dispose();
    try {
      await this.#backend?.close();
    } finally {
      this.#mayQuit = true;
      this.#electron.app.quit();
    }
  }

  #failed(error: unknown): void {
    this.#options.log(toErrorData(error).message);
    this.#quitting = false;
  }

  #backendGone(): void {
    if (!this.#quitting && !this.#mayQuit) {
      this.#quitting = true;
      this.#electron.dialog.showErrorBox(this.#electron.app.name, this.#text('desktop.ownerGone'));
      this.#mayQuit = true;
      this.#windows?.closeAll();
      this.#electron.app.quit();
    }
  }
}

/** Where bundled files stand on the disk: programs of other processes are not read from the app's archive. */
export function unpacked(path: string): string {
  return path.replace(/([\\/])app\.asar([\\/])/, '$1app.asar.unpacked$2');
}

/** The folder of the built renderer, beside the folder of the bundled programs. */
export function rendererFolder(programs: string): string {
  return join(dirname(programs), 'renderer');
}
