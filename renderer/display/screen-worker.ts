import type { FromScreenWorker, ToScreenWorker } from './screen-messages.ts';
import { ScreenPainter } from './screen-painter.ts';

/** Decodes and draws off the page's thread, so that a busy guest never makes menus stutter. */
let painter: ScreenPainter | undefined;

const post = (message: FromScreenWorker): void => self.postMessage(message);

self.addEventListener('message', ({ data }: MessageEvent<ToScreenWorker>) => {
  if (data.kind === 'canvas') {
    painter = new ScreenPainter(data.canvas, {
      drawn: (sequence, width, height) => post({ kind: 'drawn', sequence, width, height }),
      failed: (message) => post({ kind: 'failed', message }),
    });
  } else {
    painter?.push(data.packet);
  }
});
