import type { Disposable } from '../../engine/base/disposable.ts';
import type { FromScreenWorker, ToScreenWorker } from './screen-messages.ts';
import { type PainterEvents, ScreenPainter } from './screen-painter.ts';

/** Where packets for one canvas go. */
export interface Screen extends Disposable {
  /** Takes the packet's bytes away. */
  push(packet: Uint8Array<ArrayBuffer>): void;
}

/** Draws on `canvas`, which nothing else may have drawn on: in a worker where the browser can, else on this thread. */
export function openScreen(canvas: HTMLCanvasElement, events: PainterEvents): Screen {
  if (typeof Worker === 'undefined' || !('transferControlToOffscreen' in canvas)) {
    const painter = new ScreenPainter(canvas, events);
    return { push: (packet) => painter.push(packet), dispose() {} };
  }
  const worker = new Worker(new URL('./screen-worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<FromScreenWorker>) => {
    if (data.kind === 'drawn') {
      events.drawn(data.sequence, data.width, data.height);
    } else {
      events.failed(data.message);
    }
  });
  const post = (message: ToScreenWorker, transfer: Transferable[]): void => worker.postMessage(message, transfer);
  const offscreen = canvas.transferControlToOffscreen();
  post({ kind: 'canvas', canvas: offscreen }, [offscreen]);
  return {
    push: (packet) => post({ kind: 'packet', packet }, [packet.buffer]),
    dispose: () => worker.terminate(),
  };
}
