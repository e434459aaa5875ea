import { createReadStream, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';

export const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
  '.map': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
  '.txt': 'text/plain; charset=utf-8',
};

/** Serves the built renderer. */
export class StaticFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Answers a GET or HEAD for a decoded path; false when there is no such file. */
  serve(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    // Paths without an ending are places in the user interface, which its page understands.
    const wanted = extname(path) === '' ? '/index.html' : path;
    const file = normalize(join(this.#root, wanted));
    const type = CONTENT_TYPES[extname(file)];
    if (!file.startsWith(this.#root + sep) || file.includes('\0') || type === undefined) {
      return false;
    }
    let stats: ReturnType<typeof statSync>;
    try {
      stats = statSync(file);
    } catch {
      return false;
    }
    if (!stats.isFile()) {
      return false;
    }
    const tag = `"${Number(stats.size).toString(36)}-${Math.floor(Number(stats.mtimeMs)).toString(36)}"`;
    // Names of built assets hold a hash of their contents.
    const lasting = wanted.startsWith('/assets/');
    response.setHeader('Content-Type', type);
    response.setHeader('Cache-Control', lasting ? 'private, max-age=31536000, immutable' : 'private, no-cache');
    response.setHeader('ETag', tag);
    if (request.headers['if-none-match'] === tag) {
      response.writeHead(304).end();
      return true;
    }
    response.setHeader('Content-Length', String(stats.size));
    response.writeHead(200);
    if (request.method === 'HEAD') {
      response.end();
    } else {
      createReadStream(file)
        .on('error', () => response.destroy())
        .pipe(response);
    }
    return true;
  }
}
