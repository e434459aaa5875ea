import { z } from 'zod';
import { pickRequestSchema } from '../contract/desktop-bridge.ts';
import { machineIdSchema } from '../contract/machines.ts';
import { ApiConnection } from '../services/api-connection.ts';
import type { ApiHandlers } from '../services/api-handlers.ts';
import { toErrorData } from '../services/failures.ts';
import {
  type ConnectionId,
  FROM_PAGE,
  PICK_PATH,
  type PickAnswer,
  type PickRequest,
  TO_PAGE,
  type ToPage,
} from './channels.ts';
import type { CreateChannel, FrameLike, IpcMainLike, PortLike, SenderEvent } from './electron-api.ts';

const connection = z.string().min(1).max(64);
const fromPageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hello') }),
  z.object({ kind: z.literal('connect'), connection }),
  /** The message itself is checked by the connection, against the contract. */
  z.object({ kind: z.literal('message'), connection, message: z.unknown() }),
  z.object({ kind: z.literal('disconnect'), connection }),
  z.object({ kind: z.literal('open-console'), machine: machineIdSchema }),
  z.object({ kind: z.literal('close-window') }),
  z.object({ kind: z.literal('guard-close'), on: z.boolean() }),
  z.object({ kind: z.literal('show-log'), machine: machineIdSchema }),
]);

const MAX_CONNECTIONS_OF_A_PAGE = 16;

/** What pages ask of the shell besides the API; `contents` says which window's page asks. */
export interface PageActions {
  openConsole(machine: string): void;
  closeWindow(contents: number): void;
  guardClose(contents: number, on: boolean): void;
  showLog(machine: string): void;
  /** Null when the dialog was cancelled. */
  pickPath(contents: number, request: PickRequest): Promise<string | null>;
}

export interface IpcHostOptions {
  readonly handlers: ApiHandlers;
  readonly actions: PageActions;
  readonly createChannel: CreateChannel;
  isTrusted(event: SenderEvent): boolean;
  log(line: string): void;
}

/** The main process's end of all pages: checks who speaks and what, and leads the API's messages to the services. */
export class IpcHost {
  readonly #options: IpcHostOptions;
  /** By window, then by the page's name for them. */
  readonly #pages = new Map<number, Map<ConnectionId, ApiConnection>>();

  constructor(options: IpcHostOptions) {
    this.#options = options;
  }

  listen(ipc: IpcMainLike): void {
    ipc.on(FROM_PAGE, (event, message) => this.#receive(event, message));
    ipc.handle(PICK_PATH, (event, request) => this.#pick(event, request));
  }

  #receive(event: SenderEvent, raw: unknown): void {
    const { actions, isTrusted, log } = this.#options;
    const frame = event.senderFrame;
    if (frame === null || !isTrusted(event)) {
      log(`a message from ${frame?.url ?? 'a page that is gone'} was refused`);
      return;
    }
    const parsed = fromPageSchema.safeParse(raw);
    if (!parsed.success) {
      log('a message of a page is not understood');
      return;
    }
    const contents = event.sender.id;
    const message = parsed.data;
    switch (message.kind) {
      case 'hello':
        if (!this.#pages.has(contents)) {
          event.sender.on('destroyed', () => this.#forget(contents));
        }
        this.#forget(contents);
        this.#pages.set(contents, new Map());
        actions.guardClose(contents, false);
        return;
      case 'connect':
        this.#connect(contents, message.connection, frame);
        return;
      case 'message':
        this.#pages.get(contents)?.get(message.connection)?.receive(message.message);
        return;
      case 'disconnect':
        this.#drop(contents, message.connection);
        return;
      case 'open-console':
        actions.openConsole(message.machine);
        return;
      case 'close-window':
        actions.closeWindow(contents);
        return;
      case 'guard-close':
        actions.guardClose(contents, message.on);
        return;
      case 'show-log':
        actions.showLog(message.machine);
        return;
    }
  }

  #connect(contents: number, name: ConnectionId, frame: FrameLike): void {
    const connections = this.#pages.get(contents);
    const send = (message: ToPage, ports: PortLike[] = []) => {
      // A page that is gone takes nothing; its connections end when that becomes known.
      if (!frame.isDestroyed()) {
        frame.postMessage(TO_PAGE, message, ports);
      }
    };
    const refuse = (reason: string) => send({ kind: 'closed', connection: name, reason });
    if (connections === undefined || connections.has(name)) {
      refuse('the page is not known');
      return;
    }
    if (connections.size >= MAX_CONNECTIONS_OF_A_PAGE) {
      refuse('too many connections');
      return;
    }
    const { handlers, createChannel } = this.#options;
    const traits = { shell: 'desktop', compressFrames: false } as const;
    connections.set(
      name,
      new ApiConnection(handlers, traits, {
        message: (message) => send({ kind: 'message', connection: name, message }),
        bytes: (id, item) => send({ kind: 'bytes', connection: name, id, item }),
        openDirect: (id) => {
          const { port1, port2 } = createChannel();
          send({ kind: 'direct', connection: name, id }, [port2]);
          return port1;
        },
        violation: (what) => {
          this.#drop(contents, name);
          refuse(what);
        },
      }),
    );
  }

  #drop(contents: number, name: ConnectionId): void {
    const connections = this.#pages.get(contents);
    connections?.get(name)?.dispose();
    connections?.delete(name);
  }

  #forget(contents: number): void {
    for (const open of this.#pages.get(contents)?.values() ?? []) {
      open.dispose();
    }
    this.#pages.delete(contents);
  }

  async #pick(event: SenderEvent, raw: unknown): Promise<PickAnswer> {
    if (!this.#options.isTrusted(event)) {
      return { error: { code: 'refused', message: 'file dialogs are for the pages of Lodge only' } };
    }
    const request = pickRequestSchema.safeParse(raw);
    if (!request.success) {
      return { error: { code: 'bad-arguments', message: 'the request for a file dialog is not understood' } };
    }
    try {
      return { path: await this.#options.actions.pickPath(event.sender.id, request.data) };
    } catch (error) {
      return { error: toErrorData(error) };
    }
  }

  /** Ends all connections. */
  dispose(): void {
    for (const contents of [...this.#pages.keys()]) {
      this.#forget(contents);
    }
  }
}
