import type { MessageKey } from '../../i18n/messages.ts';
import { hostPlatform } from '../../input/platform.ts';

/** What keys do together with the host key. */
export type HostCommand =
  | 'full-screen'
  | 'scale-integer'
  | 'scale-fit'
  | 'screenshot'
  | 'settings'
  | 'information'
  | 'pause'
  | 'reset'
  | 'shutdown'
  | 'close'
  | 'ctrl-alt-delete'
  | 'ctrl-alt-backspace';

export interface HostShortcut {
  readonly command: HostCommand;
  /** KeyboardEvent.code */
  readonly code: string;
  /** How the key is written in menus. */
  readonly label: string;
  readonly message: MessageKey;
}

/** macOS hides the app with Command+H. */
const SHUTDOWN_KEY = hostPlatform() === 'mac' ? { code: 'KeyU', label: 'U' } : { code: 'KeyH', label: 'H' };

export const HOST_SHORTCUTS: readonly HostShortcut[] = [
  { command: 'full-screen', code: 'KeyF', label: 'F', message: 'console.fullScreen' },
  { command: 'scale-integer', code: 'KeyC', label: 'C', message: 'console.scale.integer' },
  { command: 'scale-fit', code: 'KeyA', label: 'A', message: 'console.scale.fit' },
  { command: 'screenshot', code: 'KeyE', label: 'E', message: 'console.screenshot' },
  { command: 'settings', code: 'KeyS', label: 'S', message: 'console.settings' },
  { command: 'information', code: 'KeyN', label: 'N', message: 'console.information' },
  { command: 'pause', code: 'KeyP', label: 'P', message: 'console.pauseOrResume' },
  { command: 'reset', code: 'KeyR', label: 'R', message: 'manager.reset' },
  { command: 'shutdown', ...SHUTDOWN_KEY, message: 'manager.shutdown' },
  { command: 'close', code: 'KeyQ', label: 'Q', message: 'console.close' },
  { command: 'ctrl-alt-delete', code: 'Delete', label: 'Del', message: 'console.ctrlAltDel' },
  { command: 'ctrl-alt-backspace', code: 'Backspace', label: 'Backspace', message: 'console.ctrlAltBackspace' },
];

/** The command of a key pressed with the host key, or the function key that is to be sent with Ctrl+Alt. */
export function hostCommandOf(code: string): HostCommand | { readonly functionKey: string } | undefined {
  if (/^F([1-9]|1[0-2])$/.test(code)) {
    return { functionKey: code };
  }
  return HOST_SHORTCUTS.find((shortcut) => shortcut.code === code)?.command;
}

/** How a shortcut stands in a menu: 'Host+F'. */
export function shortcutLabel(command: HostCommand): string {
  return `Host+${HOST_SHORTCUTS.find((shortcut) => shortcut.command === command)?.label ?? ''}`;
}
