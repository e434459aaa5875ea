import { readFile } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { CONTENT_TYPES } from '../web/static-files.ts';

/** The renderer's pages have an origin of their own, so that neither files nor the network are near them. */
export const APP_SCHEME = 'lodge';
const APP_HOST = 'app';
const PAGE_PATH = '/index.html';
export const APP_PAGE = `${APP_SCHEME}://${APP_HOST}${PAGE_PATH}`;

/** What the scheme may do: as much as https, and not more. */
export const APP_PRIVILEGES = { standard: true, secure: true, supportFetchAPI: true, codeCache: true } as const;

/** Nothing from elsewhere, nothing inline, and no connections: the page talks through its bridge only. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

function parse(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}

/** Whether `url` is of the app's own origin. */
export function isAppUrl(url: string): boolean {
  const parsed = parse(url);
  return (
    parsed !== undefined &&
    parsed.protocol === `${APP_SCHEME}:` &&
    parsed.host === APP_HOST &&
    parsed.username === '' &&
    parsed.password === ''
  );
}

/** Whether `url` is the app's one page, whatever stands after its #. */
export function isAppPage(url: string): boolean {
  const parsed = parse(url);
  return parsed !== undefined && isAppUrl(url) && parsed.pathname === PAGE_PATH && parsed.search === '';
}

/** Answers requests for the built renderer in the folder `root`. Never rejects. */
export async function serveApp(root: string, request: { readonly method: string; readonly url: string }) {
  const refuse = (status: number) => new Response(null, { status, headers: HEADERS });
  const parsed = parse(request.url);
  if (parsed === undefined || !isAppUrl(request.url)) {
    return refuse(403);
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refuse(405);
  }
  let path: string;
  try {
    path = decodeURIComponent(parsed.pathname);
  } catch {
    return refuse(400);
  }
  const file = normalize(join(root, path));
  const type = CONTENT_TYPES[extname(file)];
  if (!file.startsWith(root + sep) || path.includes('\0') || path.includes('\\') || type === undefined) {
    return refuse(404);
  }
  try {
    const body = await readFile(file);
    return new Response(request.method === 'HEAD' ? null : body, { headers: { ...HEADERS, 'Content-Type': type } });
  } catch {
    return refuse(404);
  }
}
