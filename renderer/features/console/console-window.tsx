import { Tabs } from '@base-ui/react/tabs';
import { CirclePause, LoaderCircle, Monitor, Play, Power, SquareTerminal } from 'lucide-react';
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useRef, useState } from 'react';
import type { Drive } from '../../../main/contract/console.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { errorText, showError, useChangeSettings, useFeed, useLodge, useShell } from '../../api/lodge-context.ts';
import { GuestPicture } from '../../display/guest-picture.tsx';
import '../../display/picture.css';
import { useText } from '../../i18n/i18n.ts';
import { useKeyName } from '../../input/key-name.ts';
import { Button } from '../../ui/button.tsx';
import { Notice } from '../../ui/notice.tsx';
import { MachineSettingsDialog } from '../machine-settings/machine-settings-dialog.tsx';
import type { Tab } from '../machine-settings/settings-form.ts';
import { useConfirmation } from '../manager/confirm-dialog.tsx';
import { DiskTrouble } from '../manager/disk-trouble.tsx';
import { MachineLog } from '../manager/machine-log.tsx';
import { canStart, isActive } from '../manager/machine-state.tsx';
import './console.css';
import { useConsoleCommands } from './console-commands.ts';
import {
  AboutDialog,
  CaptureDialog,
  type CloseChoice,
  CloseDialog,
  InformationDialog,
  InsertDialog,
  SendTextDialog,
  ShortcutsDialog,
} from './console-dialogs.tsx';
import { ConsoleMenus } from './console-menus.tsx';
import { type HostCommand, hostCommandOf } from './shortcuts.ts';
import { StatusBar } from './status-bar.tsx';
import { useGuestInput } from './use-guest-input.ts';
import { useGuestSize } from './use-guest-size.ts';

const SerialConsole = lazy(() => import('./serial-console.tsx'));

/** The window of one machine. */
export function ConsoleWindow({ id }: { id: string }) {
  const { machines } = useLodge();
  const shell = useShell();
  const text = useText();
  const machine = machines.find((one) => one.id === id);
  if (machine === undefined) {
    return (
      <main className="console-gone">
        <h1>{text('console.gone')}</h1>
        <Button onClick={() => shell.closeWindow()}>{text('common.close')}</Button>
      </main>
    );
  }
  return <Console machine={machine} />;
}

type Open =
  | 'capture'
  | 'send-text'
  | 'information'
  | 'shortcuts'
  | 'about'
  | 'close'
  | { readonly insert: Drive }
  | { readonly settings: Tab };

function Console({ machine }: { machine: Machine }) {
  const { api, settings } = useLodge();
  const shell = useShell();
  const text = useText();
  const keyName = useKeyName();
  const changeSettings = useChangeSettings();
  const { id, name, state } = machine;
  const running = state === 'running';
  const status = useFeed('console.status', { machine: id });
  const [wantedHead, setHead] = useState(0);
  const head = wantedHead < (status?.heads ?? 1) ? wantedHead : 0;
  const commands = useConsoleCommands(machine, head);
  const [confirmation, confirm] = useConfirmation();
  const [open, setOpen] = useState<Open>();
  const [tab, setTab] = useState<'screen' | 'serial'>('screen');
  const [closing, setClosing] = useState(false);
  const fullScreen = useFullScreen();
  const surface = useRef<HTMLDivElement>(null);
  const closeDialog = useCallback(() => setOpen(undefined), []);

  const start = () => {
    call('machines.start');
    surface.current?.focus();
  };
  const call = (name: 'machines.start' | 'machines.pause' | 'machines.resume' | 'machines.shutdown') => {
    api.call(name, { id }).catch(showError);
  };
  const requestClose = useCallback(() => {
    if (isActive({ state })) {
      setOpen('close');
    } else {
      shell.closeWindow();
    }
  }, [shell, state]);

  const wishCapture = () => {
    if (settings.dismissedWarnings.includes('capture')) {
      input.captureMouse();
    } else {
      setOpen('capture');
    }
  };

  const onCommand = (command: HostCommand) => {
    switch (command) {
      case 'full-screen':
        return commands.toggleFullScreen();
      case 'scale-integer':
        return changeSettings({ scaling: 'integer' });
      case 'scale-fit':
        return changeSettings({ scaling: 'fit' });
      case 'screenshot':
        return commands.screenshot();
      case 'settings':
        return setOpen({ settings: 'system' });
      case 'information':
        return setOpen('information');
      case 'pause':
        return call(state === 'paused' ? 'machines.resume' : 'machines.pause');
      case 'reset':
        return confirm({
          warning: 'reset',
          title: text('confirm.reset.title', { name }),
          text: text('confirm.reset.text'),
          confirm: text('manager.reset'),
          danger: true,
          run: () => void api.call('machines.reset', { id }).catch(showError),
        });
      case 'shutdown':
        return call('machines.shutdown');
      case 'close':
        return requestClose();
      case 'ctrl-alt-delete':
        return commands.sendKeys('ControlLeft', 'AltLeft', 'Delete');
      case 'ctrl-alt-backspace':
        return commands.sendKeys('ControlLeft', 'AltLeft', 'Backspace');
    }
  };

  const input = useGuestInput({
    machine: id,
    surface,
    mouse: status?.mouse ?? 'relative',
    head,
    enabled: running && tab === 'screen',
    onCaptureWish: wishCapture,
    onHostCommand(code) {
      const command = hostCommandOf(code);
      if (typeof command === 'object') {
        commands.sendKeys('ControlLeft', 'AltLeft', command.functionKey);
      } else if (command !== undefined) {
        onCommand(command);
      }
    },
    onHostTap(captured) {
      if (captured) {
        input.release();
        document.querySelector<HTMLElement>('.menubar__item')?.focus();
      } else if (open === undefined) {
        surface.current?.focus();
      }
    },
  });

  useGuestSize({ machine: id, head, surface, enabled: running && settings.resizeGuest });

  useEffect(() => {
    document.title = text('console.title', { name, state: text(`state.${state}`) });
  }, [text, name, state]);

  useEffect(() => shell.onCloseRequest(requestClose), [shell, requestClose]);

  useEffect(() => {
    // The keyboard is the guest's from the start, as in every window of a guest.
    surface.current?.focus();
  }, []);

  useEffect(() => {
    if (closing && !isActive({ state })) {
      shell.closeWindow();
    }
  }, [closing, shell, state]);

  const onCloseChoice = (choice: CloseChoice) => {
    setOpen(undefined);
    if (choice === 'keep-running') {
      shell.closeWindow();
      return;
    }
    setClosing(true);
    api.call(choice === 'shutdown' ? 'machines.shutdown' : 'machines.powerOff', { id }).catch((error) => {
      setClosing(false);
      showError(error);
    });
  };

  const host = keyName(settings.hostKey);
  const dialogs: Readonly<Record<Exclude<Open, object>, () => ReactNode>> = {
    capture: () => (
      <CaptureDialog
        onClose={closeDialog}
        onCapture={() => {
          setOpen(undefined);
          input.captureMouse();
        }}
      />
    ),
    'send-text': () => <SendTextDialog machine={machine} onClose={closeDialog} />,
    information: () => (
      <InformationDialog machine={machine} onClose={closeDialog} {...(status === undefined ? {} : { status })} />
    ),
    shortcuts: () => <ShortcutsDialog onClose={closeDialog} />,
    about: () => <AboutDialog onClose={closeDialog} />,
    close: () => <CloseDialog machine={machine} onClose={closeDialog} onChoose={onCloseChoice} />,
  };

  return (
    <div className={fullScreen ? 'console console--full' : 'console'}>
      <Tabs.Root className="console__tabs" value={tab} onValueChange={(value: 'screen' | 'serial') => setTab(value)}>
        <header className="console__bar">
          <h1 className="visually-hidden">{text('console.title', { name, state: text(`state.${state}`) })}</h1>
          <ConsoleMenus
            machine={machine}
            status={status}
            fullScreen={fullScreen}
            mouseCaptured={input.mouseCaptured}
            head={head}
            onHead={setHead}
            commands={commands}
            onCommand={onCommand}
            onSettings={(settings) => setOpen({ settings })}
            onSendText={() => setOpen('send-text')}
            onCaptureMouse={wishCapture}
            onPowerOff={() =>
              confirm({
                warning: 'power-off',
                title: text('confirm.powerOff.title', { name }),
                text: text('confirm.powerOff.text'),
                confirm: text('manager.powerOff'),
                danger: true,
                run: () => void api.call('machines.powerOff', { id }).catch(showError),
              })
            }
            onStart={start}
            onInsert={(drive) => setOpen({ insert: drive })}
            onShortcuts={() => setOpen('shortcuts')}
            onAbout={() => setOpen('about')}
            focusAfterMenu={() => (tab === 'screen' ? surface.current : null)}
          />
          {fullScreen && <span className="console__name">{name}</span>}
          <Tabs.List className="tabs" aria-label={text('console.tabs')}>
            <Tabs.Tab value="screen" className="tabs__tab">
              <Monitor size={15} aria-hidden="true" />
              {text('console.tab.screen')}
            </Tabs.Tab>
            <Tabs.Tab value="serial" className="tabs__tab">
              <SquareTerminal size={15} aria-hidden="true" />
              {text('console.tab.serial')}
            </Tabs.Tab>
          </Tabs.List>
        </header>
        <main className="console__main">
          <Tabs.Panel value="screen" keepMounted className="console__panel" tabIndex={-1}>
            <div
              ref={surface}
              className={`surface ${input.mouseCaptured ? 'surface--captured' : ''}`}
              role="application"
              aria-label={text('console.screenOf', { name, host })}
              // biome-ignore lint/a11y/noNoninteractiveTabindex: it is what takes the guest's keys
              tabIndex={0}
            >
              {isActive(machine) && (
                <GuestPicture
                  machine={id}
                  mode={settings.scaling}
                  head={head}
                  pointer={status?.mouse === 'absolute' ? 'host' : 'drawn'}
                  placeholder={<Waiting text={text('console.waiting')} />}
                />
              )}
            </div>
            <Overlay machine={machine} onStart={start} onResume={() => call('machines.resume')} />
          </Tabs.Panel>
          <Tabs.Panel value="serial" className="console__panel">
            <Suspense fallback={null}>
              <SerialConsole machine={machine} />
            </Suspense>
          </Tabs.Panel>
        </main>
      </Tabs.Root>
      <StatusBar
        machine={machine}
        status={status}
        keyboardCaptured={input.keyboardCaptured && running}
        mouseCaptured={input.mouseCaptured}
        onInsert={(drive) => setOpen({ insert: drive })}
        onEject={commands.eject}
        onLink={commands.setLink}
        onAccelerate={commands.accelerate}
        onSettings={(settings) => setOpen({ settings })}
      />
      {confirmation}
      {typeof open === 'object' && 'insert' in open && (
        <InsertDialog machine={machine} drive={open.insert} onClose={closeDialog} />
      )}
      {typeof open === 'object' && 'settings' in open && (
        <MachineSettingsDialog machine={machine} tab={open.settings} onClose={closeDialog} />
      )}
      {typeof open === 'string' && dialogs[open]()}
      <p className="visually-hidden" role="status">
        {text(`state.${state}`)}
      </p>
    </div>
  );
}

function Waiting({ text }: { text: string }) {
  return (
    <>
      <LoaderCircle size={22} className="spinner" aria-hidden="true" />
      <span>{text}</span>
    </>
  );
}

interface OverlayProps {
  readonly machine: Machine;
  readonly onStart: () => void;
  readonly onResume: () => void;
}

/** What is said in front of the screen when there is nothing to see on it. */
function Overlay({ machine, onStart, onResume }: OverlayProps) {
  const text = useText();
  const { state, reason, trouble } = machine;
  if (trouble !== null) {
    return (
      <div className="console__off">
        <div className="console__trouble">
          <DiskTrouble trouble={trouble} onResume={onResume} />
        </div>
      </div>
    );
  }
  if (state === 'paused') {
    return (
      <p className="console__paused">
        <CirclePause size={16} aria-hidden="true" />
        {text('console.paused')}
      </p>
    );
  }
  if (isActive(machine)) {
    return null;
  }
  return (
    <div className="console__off">
      {reason === null ? (
        <>
          <Power size={36} aria-hidden="true" />
          <p className="console__off-title">{text('console.off.title')}</p>
        </>
      ) : (
        <div className="console__trouble">
          <Notice kind="danger" title={text(`manager.${state === 'inaccessible' ? 'inaccessible' : 'aborted'}.title`)}>
            <p>{errorText(reason)}</p>
            {machine.logPath !== null && <MachineLog machine={machine} />}
          </Notice>
        </div>
      )}
      {canStart(machine) && (
        <Button look="primary" icon={<Play size={16} aria-hidden="true" />} onClick={onStart}>
          {text('manager.start')}
        </Button>
      )}
    </div>
  );
}

function useFullScreen(): boolean {
  const [full, setFull] = useState(document.fullscreenElement !== null);
  useEffect(() => {
    const update = () => setFull(document.fullscreenElement !== null);
    document.addEventListener('fullscreenchange', update);
    return () => document.removeEventListener('fullscreenchange', update);
  }, []);
  return full;
}
