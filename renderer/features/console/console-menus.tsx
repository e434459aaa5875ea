import { Menubar } from '@base-ui/react/menubar';
import {
  Cable,
  Camera,
  CircleHelp,
  CirclePlay,
  Cpu,
  Disc3,
  DoorOpen,
  Eject,
  Expand,
  FolderOpen,
  Info,
  Keyboard,
  MemoryStick,
  Mouse,
  Network,
  Pause,
  Power,
  RotateCcw,
  Save,
  SlidersHorizontal,
  TextCursorInput,
  Unplug,
  Zap,
} from 'lucide-react';
import type { ReactElement } from 'react';
import type { ConsoleStatus, Drive } from '../../../main/contract/console.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { useChangeSettings, useLodge } from '../../api/lodge-context.ts';
import { SCALE_MODES } from '../../display/scaling.ts';
import { useText } from '../../i18n/i18n.ts';
import { Menu, MenuCheck, MenuItem, MenuRadio, MenuSeparator } from '../../ui/menu.tsx';
import type { Tab } from '../machine-settings/settings-form.ts';
import { type ConsoleCommands, otherAccelerator } from './console-commands.ts';
import { type HostCommand, shortcutLabel } from './shortcuts.ts';

interface ConsoleMenusProps {
  readonly machine: Machine;
  readonly status: ConsoleStatus | undefined;
  readonly fullScreen: boolean;
  /** The screen that is shown. */
  readonly head: number;
  readonly onHead: (head: number) => void;
  readonly mouseCaptured: boolean;
  readonly commands: ConsoleCommands;
  readonly onCommand: (command: HostCommand) => void;
  readonly onSettings: (tab: Tab) => void;
  readonly onSendText: () => void;
  readonly onCaptureMouse: () => void;
  readonly onPowerOff: () => void;
  readonly onStart: () => void;
  readonly onInsert: (drive: Drive) => void;
  readonly onShortcuts: () => void;
  readonly onAbout: () => void;
  /** The guest's screen, where the keyboard belongs once a menu is closed. */
  readonly focusAfterMenu: () => HTMLElement | null;
}

/** Keys that hosts and browsers tend to keep for themselves. */
const SPECIAL_KEYS: readonly (readonly [label: string, codes: readonly string[]])[] = [
  ['Esc', ['Escape']],
  ['Print Screen', ['PrintScreen']],
  ['Pause', ['Pause']],
  ['Alt+Tab', ['AltLeft', 'Tab']],
  ['Alt+F4', ['AltLeft', 'F4']],
  ['Ctrl+Alt+F1', ['ControlLeft', 'AltLeft', 'F1']],
  ['Ctrl+Alt+F2', ['ControlLeft', 'AltLeft', 'F2']],
];

/** The menus of a machine's window. */
export function ConsoleMenus(props: ConsoleMenusProps) {
  const { machine, status, commands, onCommand, onSettings, fullScreen } = props;
  const { settings } = useLodge();
  const change = useChangeSettings();
  const text = useText();
  const { state } = machine;
  const running = state === 'running';
  const paused = state === 'paused';
  const on = running || paused;
  const off = state === 'powered-off' || state === 'aborted';
  const medium = status?.media;
  const heads = status?.heads ?? 1;
  const network = machine.settings?.network ?? null;
  const other = otherAccelerator(machine.accelerator);
  return (
    <Menubar className="menubar" aria-label={text('console.menus')} modal={false}>
      <Menu focusAfter={props.focusAfterMenu} trigger={trigger(text('console.menu.machine'))}>
        {off ? (
          <MenuItem icon={<CirclePlay size={16} />} onSelect={props.onStart}>
            {text('manager.start')}
          </MenuItem>
        ) : (
          <MenuItem
            icon={paused ? <CirclePlay size={16} /> : <Pause size={16} />}
            shortcut={shortcutLabel('pause')}
            disabled={!on}
            onSelect={() => onCommand('pause')}
          >
            {text(paused ? 'manager.resume' : 'manager.pause')}
          </MenuItem>
        )}
        <MenuItem
          icon={<RotateCcw size={16} />}
          shortcut={shortcutLabel('reset')}
          disabled={!on}
          onSelect={() => onCommand('reset')}
        >
          {text('manager.reset')}
        </MenuItem>
        <MenuItem
          icon={<Power size={16} />}
          shortcut={shortcutLabel('shutdown')}
          disabled={!running}
          onSelect={() => onCommand('shutdown')}
        >
          {text('manager.shutdown')}
        </MenuItem>
        <MenuItem icon={<Zap size={16} />} disabled={off || state === 'stopping'} onSelect={props.onPowerOff}>
          {text('manager.powerOff')}
        </MenuItem>
        <MenuSeparator />
        <MenuItem
          icon={<SlidersHorizontal size={16} />}
          shortcut={shortcutLabel('settings')}
          disabled={machine.settings === null}
          onSelect={() => onCommand('settings')}
        >
          {text('machine.settingsMenu')}
        </MenuItem>
        <MenuItem icon={<Cpu size={16} />} disabled={!on} onSelect={() => commands.accelerate(other)}>
          {text(`accelerate.${other}`)}
        </MenuItem>
        <MenuItem
          icon={<Camera size={16} />}
          shortcut={shortcutLabel('screenshot')}
          disabled={!on}
          onSelect={() => onCommand('screenshot')}
        >
          {text('console.screenshot')}
        </MenuItem>
        <MenuItem
          icon={<Info size={16} />}
          shortcut={shortcutLabel('information')}
          onSelect={() => onCommand('information')}
        >
          {text('console.information')}
        </MenuItem>
        <MenuSeparator />
        <MenuItem icon={<DoorOpen size={16} />} shortcut={shortcutLabel('close')} onSelect={() => onCommand('close')}>
          {text('console.close')}
        </MenuItem>
      </Menu>
      <Menu focusAfter={props.focusAfterMenu} trigger={trigger(text('console.menu.view'))}>
        <MenuItem
          icon={<Expand size={16} />}
          shortcut={shortcutLabel('full-screen')}
          onSelect={() => onCommand('full-screen')}
        >
          {text(fullScreen ? 'console.leaveFullScreen' : 'console.fullScreen')}
        </MenuItem>
        <MenuSeparator />
        <MenuRadio
          label={text('console.scale')}
          value={settings.scaling}
          onChange={(scaling) => change({ scaling })}
          choices={SCALE_MODES.map((value) => ({
            value,
            label: text(`console.scale.${value}`),
            ...(value === 'actual' ? {} : { shortcut: shortcutLabel(`scale-${value}`) }),
          }))}
        />
        <MenuSeparator />
        <MenuCheck checked={settings.resizeGuest} onChange={(resizeGuest) => change({ resizeGuest })}>
          {text('console.resizeGuest')}
        </MenuCheck>
        {heads > 1 && (
          <>
            <MenuSeparator />
            <MenuRadio
              label={text('console.heads')}
              value={String(props.head)}
              onChange={(head) => props.onHead(Number(head))}
              choices={Array.from({ length: heads }, (_, head) => ({
                value: String(head),
                label: text('console.head', { number: head + 1 }),
              }))}
            />
          </>
        )}
      </Menu>
      <Menu focusAfter={props.focusAfterMenu} trigger={trigger(text('console.menu.input'))}>
        <MenuItem
          icon={<Keyboard size={16} />}
          shortcut={shortcutLabel('ctrl-alt-delete')}
          disabled={!running}
          onSelect={() => onCommand('ctrl-alt-delete')}
        >
          {text('console.ctrlAltDel')}
        </MenuItem>
        <MenuItem
          shortcut={shortcutLabel('ctrl-alt-backspace')}
          disabled={!running}
          onSelect={() => onCommand('ctrl-alt-backspace')}
        >
          {text('console.ctrlAltBackspace')}
        </MenuItem>
        {SPECIAL_KEYS.map(([label, codes]) => (
          <MenuItem key={label} disabled={!running} onSelect={() => commands.sendKeys(...codes)}>
            {text('console.sendKey', { key: label })}
          </MenuItem>
        ))}
        <MenuSeparator />
        <MenuItem icon={<TextCursorInput size={16} />} disabled={!running} onSelect={props.onSendText}>
          {text('console.sendText')}
        </MenuItem>
        <MenuItem
          icon={<Mouse size={16} />}
          disabled={!running || status?.mouse === 'absolute'}
          onSelect={props.onCaptureMouse}
        >
          {text('console.captureMouse')}
        </MenuItem>
      </Menu>
      <Menu focusAfter={props.focusAfterMenu} trigger={trigger(text('console.menu.devices'))}>
        <MenuItem
          icon={<Disc3 size={16} />}
          disabled={machine.settings?.cdrom == null}
          onSelect={() => props.onInsert('cdrom')}
        >
          {text('console.insertCd')}
        </MenuItem>
        <MenuItem icon={<Eject size={16} />} disabled={medium?.cdrom == null} onSelect={() => commands.eject('cdrom')}>
          {text('console.ejectCd')}
        </MenuItem>
        <MenuSeparator />
        <MenuItem
          icon={<Save size={16} />}
          disabled={machine.settings?.floppy == null}
          onSelect={() => props.onInsert('floppy')}
        >
          {text('console.insertFloppy')}
        </MenuItem>
        <MenuItem
          icon={<Eject size={16} />}
          disabled={medium?.floppy == null}
          onSelect={() => commands.eject('floppy')}
        >
          {text('console.ejectFloppy')}
        </MenuItem>
        <MenuSeparator />
        <MenuItem
          icon={network?.connected === false ? <Cable size={16} /> : <Unplug size={16} />}
          disabled={network === null}
          onSelect={() => commands.setLink(network?.connected === false)}
        >
          {text(network?.connected === false ? 'network.plug' : 'network.unplug')}
        </MenuItem>
        <MenuItem icon={<Network size={16} />} disabled={network === null} onSelect={() => onSettings('network')}>
          {text('network.forwardsMenu')}
        </MenuItem>
        <MenuItem
          icon={<MemoryStick size={16} />}
          disabled={status?.balloon == null}
          onSelect={() => onSettings('system')}
        >
          {text('memory.menu')}
        </MenuItem>
        <MenuItem
          icon={<FolderOpen size={16} />}
          disabled={off && machine.settings === null}
          onSelect={() => onSettings('shares')}
        >
          {text('shares.menu')}
        </MenuItem>
      </Menu>
      <Menu focusAfter={props.focusAfterMenu} trigger={trigger(text('console.menu.help'))}>
        <MenuItem icon={<Keyboard size={16} />} onSelect={props.onShortcuts}>
          {text('console.shortcuts')}
        </MenuItem>
        <MenuItem icon={<CircleHelp size={16} />} onSelect={props.onAbout}>
          {text('console.about')}
        </MenuItem>
      </Menu>
    </Menubar>
  );
}

function trigger(label: string): ReactElement {
  return (
    <button type="button" className="menubar__item">
      {label}
    </button>
  );
}
