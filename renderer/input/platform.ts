import type { HostPlatform } from './key-capture.ts';

/** What the browser runs on, as far as keyboards differ. */
export function hostPlatform(): HostPlatform {
  const name = navigator.userAgent;
  return /Mac/.test(name) ? 'mac' : /Windows/.test(name) ? 'windows' : 'other';
}
