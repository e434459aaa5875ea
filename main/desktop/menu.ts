import type { MenuItemConstructorOptions } from 'electron';
import type { Text } from './texts.ts';

export interface MenuActions {
  openManager(): void;
  openMachinesFolder(): void;
}

/**
 * The app's menu. On macOS it is always there; elsewhere only the manager shows it, because consoles have a menu of
 * their own and their keys are the guest's.
 */
export function appMenu(
  platform: string,
  name: string,
  text: Text,
  actions: MenuActions,
): MenuItemConstructorOptions[] {
  const isMac = platform === 'darwin';
  const quit: MenuItemConstructorOptions = { role: 'quit', label: text('desktop.quit') };
  const manager: MenuItemConstructorOptions = { label: text('desktop.manager'), click: () => actions.openManager() };
  const folder: MenuItemConstructorOptions = {
    label: text('desktop.openMachines'),
    click: () => actions.openMachinesFolder(),
  };
  const separator: MenuItemConstructorOptions = { type: 'separator' };
  return [
    ...(isMac
      ? [
          {
            label: name,
            submenu: [
              { role: 'about' },
              separator,
              { role: 'services' },
              separator,
              { role: 'hide' },
              { role: 'hideOthers' },
              { role: 'unhide' },
              separator,
              quit,
            ],
          } satisfies MenuItemConstructorOptions,
        ]
      : []),
    {
      label: text('desktop.file'),
      submenu: isMac ? [folder, separator, { role: 'close' }] : [folder, separator, quit],
    },
    {
      label: text('desktop.edit'),
      submenu: [
        { role: 'undo' },
        { role: 'redo' },
        separator,
        { role: 'cut' },
        { role: 'copy' },
        { role: 'paste' },
        { role: 'selectAll' },
      ],
    },
    {
      label: text('desktop.view'),
      submenu: [
        { role: 'resetZoom' },
        { role: 'zoomIn' },
        { role: 'zoomOut' },
        separator,
        { role: 'togglefullscreen' },
      ],
    },
    { label: text('desktop.window'), submenu: [manager, separator, { role: 'minimize' }, { role: 'close' }] },
  ];
}
