import { z } from 'zod';
import type { ClientTransport } from './client.ts';

/** What a file dialog of the desktop is opened for. */
export const pickRequestSchema = z.object({
  want: z.enum(['file', 'folder']),
  title: z.string().max(200),
  /** Where the dialog begins: a file or folder, or what stands in a field so far. */
  start: z.string().max(4096).exactOptional(),
});
export type PickRequest = z.infer<typeof pickRequestSchema>;

/** What the preload script of the desktop shell puts on `window.lodgeDesktop`. */
export interface DesktopBridge {
  /** A new connection to the services. */
  connect(): ClientTransport;
  /** Shows the window of a machine, or brings it to the front. */
  openConsole(machine: string): void;
  /** Closes this window without asking its page. */
  closeWindow(): void;
  /** Opens a file dialog: undefined when it was cancelled. */
  pickPath(request: PickRequest): Promise<string | undefined>;
  /** Shows the log of a machine's last run in the file manager. */
  showLog(machine: string): void;
  /** With a listener, the window's close button asks it instead of closing. Gives back how to stop listening. */
  onCloseRequest(listener: () => void): () => void;
}
