import type { WebPreferences } from 'electron';
import { isAppPage, isAppUrl } from './app-protocol.ts';
import type { ContentsLike, SenderEvent, SessionLike } from './electron-api.ts';

/** Capturing the mouse and the keyboard, the whole screen, copying: what a console needs. Everything else is refused. */
const PERMISSIONS: ReadonlySet<string> = new Set([
  'pointerLock',
  'keyboardLock',
  'fullscreen',
  'clipboard-sanitized-write',
]);

/** The renderer runs sandboxed and sees the bridge of `preload` only. */
export function pagePreferences(preload: string): WebPreferences {
  return {
    preload,
    sandbox: true,
    contextIsolation: true,
    nodeIntegration: false,
    nodeIntegrationInWorker: false,
    nodeIntegrationInSubFrames: false,
    webSecurity: true,
    allowRunningInsecureContent: false,
    webviewTag: false,
    navigateOnDragDrop: false,
    // It would fetch dictionaries from elsewhere, and guests' texts are none of its business.
    spellcheck: false,
  };
}

/** Keeps a page where it is: no other addresses, windows or embedded pages. Reloading is no other address. */
export function hardenContents(contents: ContentsLike): void {
  contents.setWindowOpenHandler(() => ({ action: 'deny' }));
  contents.on('will-frame-navigate', (details) => {
    if (!details.isMainFrame || !isAppPage(details.url)) {
      details.preventDefault();
    }
  });
  contents.on('will-redirect', (details) => details.preventDefault());
  contents.on('will-attach-webview', (event) => event.preventDefault());
}

export function hardenSession(session: SessionLike): void {
  session.setPermissionRequestHandler((_contents, permission, decide, { requestingUrl, isMainFrame }) =>
    decide(PERMISSIONS.has(permission) && isMainFrame && isAppUrl(requestingUrl)),
  );
  session.setPermissionCheckHandler(
    (_contents, permission, origin, { isMainFrame }) => PERMISSIONS.has(permission) && isMainFrame && isAppUrl(origin),
  );
  session.setDevicePermissionHandler(() => false);
  // Nothing of the user interface comes from the network or from files, whatever a page tries.
  const urls = ['http://*/*', 'https://*/*', 'ws://*/*', 'wss://*/*', 'file://*/*'];
  session.webRequest.onBeforeRequest({ urls }, (_details, answer) => answer({ cancel: true }));
}

/** Whether a message comes from the app's own page, as the top frame of a window of ours. */
export function isTrusted(event: SenderEvent, isOurWindow: (contents: number) => boolean): boolean {
  const { senderFrame, sender } = event;
  return senderFrame !== null && senderFrame.parent === null && isAppPage(senderFrame.url) && isOurWindow(sender.id);
}
