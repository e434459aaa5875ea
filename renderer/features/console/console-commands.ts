import { useMemo } from 'react';
import type { Drive } from '../../../main/contract/console.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { showError, useLodge, useShell } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { toasts } from '../../ui/toast-manager.ts';

/** What can be done to the guest from its window; failures are shown. */
export interface ConsoleCommands {
  sendKeys(...codes: readonly string[]): void;
  screenshot(): void;
  eject(drive: Drive): void;
  /** Plugs the network cable in or out. */
  setLink(up: boolean): void;
  /** Moves the running machine to the other kind of processor. */
  accelerate(accelerator: 'kvm' | 'software'): void;
  toggleFullScreen(): void;
}

/** What a machine can be moved to. */
export function otherAccelerator(present: Machine['accelerator']): 'kvm' | 'software' {
  return present?.name === 'kvm' ? 'software' : 'kvm';
}

interface KeyboardLock {
  lock?(): Promise<void>;
  unlock?(): void;
}

/** In full screen the browser can leave even its own shortcuts to the guest. */
function keyboardLock(): KeyboardLock | undefined {
  return (navigator as Navigator & { readonly keyboard?: KeyboardLock }).keyboard;
}

function pngBlob(base64: string): Blob {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: 'image/png' });
}

/** `head` is the screen that is shown. */
export function useConsoleCommands({ id, name }: Pick<Machine, 'id' | 'name'>, head: number): ConsoleCommands {
  const { api } = useLodge();
  const shell = useShell();
  const text = useText();
  return useMemo(
    () => ({
      sendKeys(...codes) {
        api.call('console.sendKeys', { machine: id, codes: [...codes] }).catch(showError);
      },
      async screenshot() {
        try {
          const { png } = await api.call('console.screenshot', { machine: id, head });
          const time = new Date().toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '-');
          const file = `${name} ${time}.png`;
          shell.saveFile(file, pngBlob(png));
          toasts.add({ title: text('console.screenshotSaved', { file }) });
        } catch (error) {
          showError(error);
        }
      },
      async eject(drive) {
        try {
          const { ejected } = await api.call('console.ejectMedium', { machine: id, drive });
          if (!ejected) {
            toasts.add({
              title: text('console.locked'),
              actionProps: {
                children: text('console.forceEject'),
                onClick: () =>
                  void api.call('console.ejectMedium', { machine: id, drive, force: true }).catch(showError),
              },
              timeout: 15_000,
            });
          }
        } catch (error) {
          showError(error);
        }
      },
      setLink(up) {
        api.call('machines.setLink', { id, up }).catch(showError);
      },
      accelerate(accelerator) {
        api.call('machines.accelerate', { id, accelerator }).catch(showError);
      },
      async toggleFullScreen() {
        try {
          if (document.fullscreenElement === null) {
            // The whole page, not the console alone: menus and dialogs stand beside it.
            await document.documentElement.requestFullscreen();
            await keyboardLock()?.lock?.();
          } else {
            keyboardLock()?.unlock?.();
            await document.exitFullscreen();
          }
        } catch (error) {
          showError(error);
        }
      },
    }),
    [api, id, name, head, shell, text],
  );
}
