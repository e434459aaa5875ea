import { loadKvm } from '../../../native/index.ts';

/** Gives whole pages of a shared WebAssembly memory back to the host; they read as zeros afterwards. */
export type ReleasePages = (bytes: Uint8Array) => void;

/**
 * How this host takes pages back, or why it cannot: JavaScript has no means for it, so it needs the native addon, which
 * there is on Linux.
 */
export function pageReleaser(): { readonly release: ReleasePages } | { readonly problem: string } {
  const { addon, problem } = loadKvm();
  if (addon === undefined) {
    return { problem };
  }
  if (addon.releasePages === undefined) {
    return { problem: 'the native addon is of an older version; run npm ci again' };
  }
  return { release: (bytes) => addon.releasePages(bytes) };
}
