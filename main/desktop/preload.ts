/** The script that runs in every window before its page, sandboxed: it gives the page the bridge and nothing else. */
import { contextBridge, ipcRenderer } from 'electron';
import { FROM_PAGE, PICK_PATH, TO_PAGE, type ToPage } from './channels.ts';
import { createBridge, type DirectPort } from './page-bridge.ts';

const bridge = createBridge(
  {
    send: (message) => ipcRenderer.send(FROM_PAGE, message),
    pick: (request) => ipcRenderer.invoke(PICK_PATH, request),
    listen: (listener) => {
      ipcRenderer.on(TO_PAGE, ({ ports }, message: ToPage) => {
        const [port]: (DirectPort | undefined)[] = ports;
        listener(message, port);
      });
    },
  },
  () => crypto.randomUUID(),
);

contextBridge.exposeInMainWorld('lodgeDesktop', bridge);
