/**
 * Runs the program of a machine as Electron's utility processes do, in a child of Node: `process.parentPort` stands on
 * Node's own channel. A message is `{ data, ports }` with the number of ports; one port at a time, whose messages go
 * as `{ port: data }` in both directions.
 */
import { EventEmitter } from 'node:events';

interface Heard {
  readonly data?: unknown;
  readonly ports?: number;
  readonly port?: unknown;
}

class ChildPort extends EventEmitter {
  postMessage(data: unknown): void {
    process.send?.({ port: data });
  }
  start(): void {}
  close(): void {
    this.emit('close');
  }
}

const parentPort = new EventEmitter();
let port: ChildPort | undefined;
process.on('message', (heard: Heard) => {
  if (heard.port !== undefined) {
    port?.emit('message', { data: heard.port });
    return;
  }
  if (heard.ports === 1) {
    port = new ChildPort();
  }
  parentPort.emit('message', { data: heard.data, ports: heard.ports === 1 ? [port] : [] });
});
Object.assign(process, {
  parentPort: Object.assign(parentPort, { postMessage: (data: unknown) => process.send?.({ data }) }),
});
await import('../../../engine/process/vm-process.ts');
